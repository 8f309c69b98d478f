"""A small closed exchange in whole minor units that executes every trade exactly, but tells late."""

import random

from schemas import (
    Account,
    AccountUpdate,
    Balance,
    Bankruptcy,
    BankruptcyLine,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Position,
    text_of,
)
from tests.worker.cascade_host import Client, Held, Host, minor
from worker.inputs import POLICIES

ROUNDS_MAX = 30
OTHERS = tuple(policy for policy in POLICIES if policy not in ("risk", "waterfill"))
WINNERS_ONLY = ("pro_rata:profit", "min_max_haircut")


class Cascade:
    """A closed book: longs equal shorts, and cash, funds and absorbed losses always add up to the same."""

    def __init__(self, seed):
        self.rng = rng = random.Random(seed)
        settlement = rng.choice(["bankruptcy", "mark", "last_solvent_mark"])
        residual = rng.choice(["mark", "mark", "none"])
        policy = rng.choice([*["risk"] * 5, *["waterfill"] * 4, *OTHERS])
        collar = rng.choice([None, None, "0.05"])
        decided_by = {"settlement": settlement, "collar": collar, "residual": residual, "policy": policy}
        self.host = Host(*(f"decision.{name}={value}" for name, value in decided_by.items() if value is not None))
        self.rules = {  # as the auditor knows them
            "settlement": settlement, "collar": collar, "residual": residual, "winners_only": policy in WINNERS_ONLY,
        }  # fmt: skip
        self.lots_per_contract = {f"S{number}": rng.choice([1, 10]) for number in range(rng.randint(1, 3))}
        self.marks = {symbol: rng.randint(2_000, 40_000) for symbol in self.lots_per_contract}
        self.clients = {f"a{number:02d}": Client() for number in range(rng.randint(4, 12))}
        self.fund, self.absorbed, self.sequence, self.declared = 0, 0, 0, 0
        self.claimed = {}  # bankruptcy id -> account, isolated key
        self.trade()
        self.capitalise()
        self.fund = rng.choice([0, 1, 1, 3]) * self.gross() // 50
        self.total = self.money()
        self.open()

    # --- a random leveraged book ----------------------------------------------------------------------------------

    def trade(self):
        """Random pairs trade each symbol off the mark; some accounts keep both legs, some positions are isolated."""
        rng, names = self.rng, sorted(self.clients)
        hedgers = {name for name in names if rng.random() < 0.15}
        isolated = {(name, symbol) for name in names for symbol in self.marks if rng.random() < 0.2}
        for symbol in self.marks:
            for _ in range(rng.randint(2, 2 * len(names))):
                buyer, seller = rng.sample(names, 2)
                lots = rng.randint(1, 60)
                for name, sign in ((buyer, 1), (seller, -1)):
                    side = ("LONG" if sign > 0 else "SHORT") if name in hedgers else "NET"
                    margin = 0 if (name, symbol) in isolated and name not in hedgers else None
                    self.clients[name].book.setdefault((symbol, side), Held(0, margin=margin)).lots += sign * lots
        for client in self.clients.values():
            client.book = {key: held for key, held in client.book.items() if held.lots}
            for (symbol, _), held in client.book.items():
                price = int(self.marks[symbol] * rng.uniform(0.8, 1.2))
                held.entry = held.lots * price // self.lots_per_contract[symbol]

    def capitalise(self):
        """Effective leverages from 1.5 to 30, cross and isolated."""
        for client in self.clients.values():
            for key, held in client.book.items():
                if held.margin is not None:
                    worth = abs(self.value(key, held)) / self.rng.uniform(1.5, 30)
                    held.margin = max(0, int(worth) + held.entry - self.value(key, held))
            cross = [(key, held) for key, held in client.book.items() if held.margin is None]
            worth = sum(abs(self.value(key, held)) for key, held in cross) / self.rng.uniform(1.5, 30)
            client.cash = int(worth) - sum(self.value(key, held) - held.entry for key, held in cross)

    def open(self):
        rng, host = self.rng, self.host
        for symbol, count in self.lots_per_contract.items():
            host.say(
                Instrument(
                    symbol=symbol, tick_size="0.01", lot_size="1" if count == 1 else "0.1", settlement_currency="USD",
                    maintenance_margin_fraction=rng.choice(["0.01", "0.03", "0.1"]), price_decimals=2,
                )
            )  # fmt: skip
        for name in self.clients:
            if rng.random() < 0.15:
                adl = rng.choice(["LAST", "LAST", "EXEMPT"])
                host.say(Account(account=name, adl=adl, beneficial_owner=rng.choice([None, "o"])))
        self.publish_marks()
        self.publish_fund()
        for name in self.clients:
            self.publish(name, full=True)

    # --- what the exchange knows ----------------------------------------------------------------------------------

    def value(self, key, held):
        return held.lots * self.marks[key[0]] // self.lots_per_contract[key[0]]

    def gross(self):
        return sum(abs(self.value(key, held)) for client in self.clients.values() for key, held in client.book.items())

    def money(self):
        held = [held for client in self.clients.values() for held in client.book.values()]
        cash = sum(client.cash for client in self.clients.values()) + sum(item.margin or 0 for item in held)
        return cash - sum(item.entry for item in held) + self.fund + self.absorbed

    def quantity(self, symbol, lots):
        return str(lots) if self.lots_per_contract[symbol] == 1 else text_of(lots, 1)

    def flat(self):
        """Nobody holds anything but both legs of a hedge with himself, which no mark can move."""
        net = {}
        for name, client in self.clients.items():
            for key, held in client.book.items():
                unit = (name, key[0], key[1] if held.margin is not None else None)
                net[unit] = net.get(unit, 0) + held.lots
        return not any(net.values())

    def publish_marks(self):
        now = self.host.tape.now_ms
        for symbol, mark in self.marks.items():
            self.host.say(MarkPrice(symbol=symbol, mark_price=text_of(mark, 2), event_time_ms=now))

    def publish_fund(self):
        balance = text_of(self.fund, 2)
        self.host.say(InsuranceFund(fund_id="default", balance=balance, decision_sequence=self.sequence))

    def publish(self, name, full):
        """The account in one step; a delta lists what changed, closed positions with quantity 0."""
        client = self.clients[name]
        client.seq += 1
        positions = []
        for key in sorted(client.book.keys() if full else client.touched):
            held = client.book.get(key, Held(0, adl_seq=client.adl_seq))
            positions.append(
                Position(
                    symbol=key[0], position_side=key[1], quantity=self.quantity(key[0], held.lots),
                    entry_value=text_of(held.entry, 2), adl_seq=held.adl_seq,
                    margin_mode="cross" if held.margin is None else "isolated",
                    isolated_margin=None if held.margin is None else text_of(held.margin, 2),
                )
            )  # fmt: skip
        client.touched.clear()
        self.host.say(
            AccountUpdate(
                account=name, epoch=1, seq=client.seq, adl_seq=client.adl_seq, full=full,
                balances=[Balance(currency="USD", amount=text_of(client.cash, 2))], positions=positions,
            )
        )  # fmt: skip

    # --- one round ------------------------------------------------------------------------------------------------

    def re_mark(self, number):
        """Jumps both ways at first, then a squeeze that no short survives."""
        low, high = (0.6, 1.5) if number < 5 else (1.1, 2.0)
        for symbol, mark in self.marks.items():
            self.marks[symbol] = max(1, int(mark * self.rng.uniform(low, high)))
        self.publish_marks()

    def bankruptcies(self):
        """Every margin unit with positions and no equity."""
        found = []
        for name, client in sorted(self.clients.items()):
            cross = [(key, held) for key, held in client.book.items() if held.margin is None]
            if cross and client.cash + sum(self.value(key, held) - held.entry for key, held in cross) <= 0:
                found.append(self.bankruptcy(name, None))
            for key, held in sorted(client.book.items()):
                if held.margin is not None and held.margin + self.value(key, held) - held.entry <= 0:
                    found.append(self.bankruptcy(name, key))
        return found

    def bankruptcy(self, name, key):
        self.declared += 1
        ident, lines = f"b{self.declared}", []
        self.claimed[ident] = (name, key)
        if key:
            quantity = self.quantity(key[0], self.clients[name].book[key].lots)
            lines = [BankruptcyLine(symbol=key[0], position_side=key[1], quantity=quantity)]
        return Bankruptcy(id=ident, account=name, event_time_ms=self.host.tape.now_ms, lines=lines)

    def execute(self, decisions, trades):
        """The fund pays, then every trade is filled whole; nothing may cross zero."""
        for decision in decisions:
            self.sequence = decision.sequence
            for paid in decision.bankruptcies:
                (name, key), amount = self.claimed[paid.id], minor(paid.fund)
                self.fund -= amount
                if key:
                    self.clients[name].book[key].margin += amount
                else:
                    self.clients[name].cash += amount
        assert self.fund >= 0
        for trade in trades:
            client, key = self.clients[trade.account], (trade.symbol, trade.position_side)
            held, sign = client.book[key], -1 if trade.side == "SELL" else 1
            lots = round(float(trade.quantity) * self.lots_per_contract[trade.symbol])
            assert held.lots * sign < 0
            assert lots <= abs(held.lots)
            cost = held.entry * lots // abs(held.lots)
            realised = minor(trade.quote_amount) - cost
            held.lots += sign * lots
            held.entry -= cost
            client.adl_seq = held.adl_seq = trade.adl_seq
            client.touched.add(key)
            if held.margin is None:
                client.cash += realised
            else:  # no more can be lost than an isolated margin
                self.absorbed += min(0, held.margin + realised)
                held.margin = max(0, held.margin + realised)
            if not held.lots:
                client.cash += client.book.pop(key).margin or 0
        assert self.money() == self.total

    def tell(self, trades, bankrupt):
        """Accounts and the fund are published now or a round later; results for one trade in two."""
        rng, tape = self.rng, self.host.tape
        for name, client in self.clients.items():
            if client.touched and (name in bankrupt or rng.random() < 0.7):
                self.publish(name, full=rng.random() < 0.5)
        for name in bankrupt:
            self.publish(name, full=True)
        if rng.random() < 0.7:
            self.publish_fund()
        tape.at(tape.now_ms + 10)
        results = [
            ForcedTradeResult(trade_id=trade.trade_id, account=trade.account, filled_quantity=trade.quantity)
            for trade in trades
            if rng.random() < 0.5
        ]
        if results:
            assert self.host.cut(results, joint=False) == ([], [])

    def run(self):
        """Rounds until flat or a final residual; returns how it ended and after how many."""
        for number in range(ROUNDS_MAX):
            tape = self.host.tape
            tape.at(tape.now_ms + 1000)
            assert self.host.cut([], joint=False) == ([], [])
            self.re_mark(number)
            tape.at(tape.now_ms + 10)
            claims = self.bankruptcies()
            if claims:
                decisions, trades = self.host.cut(claims, joint=True)
                self.execute(decisions, trades)
                residual = any(decision.status == "RESIDUAL" for decision in decisions)
                if residual and not trades:
                    return "residual", number
                self.tell(trades, {claim.account for claim in claims})
            if self.flat():
                return "flat", number
        return "open", ROUNDS_MAX
