"""Random histories of a small pool, good and bad messages mixed, as (method, arguments) for a book and its twin."""

import random
from typing import Any

from schemas.messages import Account, AccountUpdate, Balance, Instrument, MarginTier, MarkPrice, Position

Step = tuple[str, tuple[Any, ...]]

INSTRUMENTS = {
    "BTC-PERP": {"tick_size": "0.1", "lot_size": "0.001", "maintenance_margin_fraction": "0.005"},
    "ETH-PERP": {"tick_size": "0.01", "lot_size": "0.03", "maintenance_margin_fraction": "0.0123", "multiplier": "0.7"},
    "PEPE": {"tick_size": "0.0000001", "lot_size": "1000", "maintenance_margin_fraction": "0.1"},
    "ÅXS": {"tick_size": "0.5", "lot_size": "1", "maintenance_margin_fraction": "0.02", "multiplier": "0.000001"},
    "INV": {"tick_size": "0.01", "lot_size": "10", "maintenance_margin_fraction": "0.02", "contract_type": "inverse"},
    "Z0": {"tick_size": "1", "lot_size": "7", "maintenance_margin_fraction": "1", "price_decimals": 0},
}
PRICES = {"BTC-PERP": 60000.0, "ETH-PERP": 2500.0, "PEPE": 0.00001, "ÅXS": 5.0, "INV": 5.4, "Z0": 12.0}
SIZES = {"BTC-PERP": 1000, "ETH-PERP": 2000, "PEPE": 10**6, "ÅXS": 10**6, "INV": 5000, "Z0": 3000}
ACCOUNTS = ["a", "aa", "b", "Zoë", "0x9", "0x10", "account-with-a-rather-long-name-of-its-own", "é"]
CONVERTING = {"BTC": "BTC-PERP", "BRL": "INV"}
OWNERS = [None, None, "owner 1", "owner 2"]


def instrument(symbol: str, **changes: Any) -> Instrument:
    return Instrument(symbol=symbol, settlement_currency="USDT", **(INSTRUMENTS[symbol] | changes))


class History:
    """One seeded history; `step()` gives the next message."""

    def __init__(self, seed: int, collateral: bool = False) -> None:
        self.collateral = collateral
        self.random = random.Random(seed)
        self.seq: dict[str, int] = {}
        self.epoch: dict[str, int] = {}
        self.clock = 0

    def start(self) -> list[Step]:
        return [("set_instrument", (instrument(symbol),)) for symbol in INSTRUMENTS if symbol != "Z0"]

    def step(self) -> Step:
        makers = [self.update, self.mark, self.role, self.held, self.loose, self.other]
        return self.random.choices(makers, weights=[50, 20, 6, 10, 3, 6])[0]()

    def quantity(self, symbol: str, side: str) -> str:
        chance = self.random.random()
        lots = self.random.randint(1, SIZES[symbol])
        if chance < 0.01:
            lots = 2**50  # beyond the value limit, mostly
        sign = {"NET": self.random.choice([1, -1]), "LONG": 1, "SHORT": -1}[side]
        if self.random.random() < 0.02:
            sign = -sign
        lot = INSTRUMENTS[symbol]["lot_size"]
        places = len(lot.partition(".")[2])
        scaled = sign * lots * int(lot.replace(".", ""))
        if chance > 0.99:
            return f"{scaled}.{'0' * places}1"
        if chance > 0.85:
            return "0"
        digits = str(abs(scaled)).zfill(places + 1)
        text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
        return f"-{text}" if sign < 0 else text

    def price(self, symbol: str) -> str:
        decimals = 0 if symbol == "Z0" else 12
        price = PRICES[symbol] * self.random.uniform(0.6, 1.6)
        text = f"{price:.{decimals if symbol == 'PEPE' else min(decimals, 5)}f}"
        return self.random.choices([text, "0", "-3", "100000000000"], weights=[97, 1, 1, 1])[0]

    def position(self, account: str, symbol: str) -> Position:
        hedged = (ACCOUNTS.index(account) + list(INSTRUMENTS).index(symbol)) % 5 < 2
        if self.random.random() < 0.03:  # its mode changes, or two modes are mixed
            hedged = not hedged
        side = self.random.choice(["LONG", "SHORT"]) if hedged else "NET"
        quantity = self.quantity(symbol, side)
        isolated = self.random.random() < 0.25
        entry = {"entry_price": self.price(symbol)}
        if self.random.random() < 0.3:
            sign = "-" if quantity.startswith("-") and self.random.random() < 0.97 else ""
            entry["entry_value"] = f"{sign}{self.random.uniform(0, 1e5):.6f}"
        if self.random.random() < 0.02:
            entry = {}
        return Position(
            symbol=symbol if self.random.random() < 0.99 else "NOPE",
            quantity=quantity,
            position_side=side,
            margin_mode="isolated" if isolated else "cross",
            isolated_margin=f"{self.random.uniform(-0.01, 1) * 1e4:.6f}" if self.random.random() < 0.97 else None,
            adl_seq=self.random.choice([0, 0, 0, self.random.randint(0, 9)]),
            **entry,
        )

    def update(self) -> Step:
        account = self.random.choice(ACCOUNTS)
        seq = self.seq.get(account, 0) + self.random.choice([1, 1, 1, 2, 0, -1])
        epoch = self.epoch.get(account, 0) + self.random.choices([0, 1, -1], weights=[90, 6, 4])[0]
        self.seq[account], self.epoch[account] = max(seq, 0), max(epoch, 0)
        symbols = self.random.choices(
            list(INSTRUMENTS), weights=[8, 8, 8, 8, 8, 1], k=self.random.choice([0, 1, 1, 1, 2, 4])
        )
        balances = [Balance(currency="USDT", amount=f"{self.random.gauss(1e4, 2e4):.6f}")]
        if self.random.random() < 0.03:
            other = [Balance(currency="BTC", amount="1"), Balance(currency="USDT", amount="1", collateral_weight="0.9")]
            balances.append(self.random.choice([*other, balances[0]]))
        if self.random.random() < 0.01:
            balances = [Balance(currency="USDT", amount=self.random.choice(["2000000000000", "0.0000001"]))]
        if self.collateral:
            balances += self.foreign()
            self.random.shuffle(balances)
        required = self.random.choices([None, f"{self.random.uniform(-5, 999):.6f}"], weights=[5, 1])[0]
        return "apply_update", (
            AccountUpdate(
                account=account,
                epoch=max(epoch, 0),
                seq=max(seq, 0),
                adl_seq=self.random.choice([0, 0, self.random.randint(0, 9)]),
                full=self.random.random() < 0.35,
                balances=balances if self.random.random() < 0.7 else [],
                positions=[self.position(account, symbol) for symbol in symbols],
                maintenance_margin=required,
            ),
        )

    def foreign(self) -> list[Balance]:
        """Balances that count as collateral, owned and owed, now and then one that is to be refused."""
        chance, found = self.random, []
        for currency, size in (("BTC", 0.4), ("BRL", 9e4), ("EUR", 1.0), ("BTC", 1.0)):
            if chance.random() < {"EUR": 0.01}.get(currency, 0.3 if size != 1.0 else 0.01):
                weight = chance.choice(
                    ["1", "0.95", "0.5", "0", "0.95"] if chance.random() < 0.97 else ["-0.1", "1.01"]
                )
                amount = chance.choice([f"{chance.gauss(0.5, 1) * size:.8f}", "0", "0.00001"])
                found.append(Balance(currency=currency, amount=amount, collateral_weight=weight))
        return found

    def mark(self) -> Step:
        self.clock += 1
        symbol = self.random.choices([*INSTRUMENTS, "NOPE"], weights=[8, 8, 8, 4, 8, 4, 1])[0]
        price = self.price(symbol if symbol != "NOPE" else "Z0")
        return "set_mark", (MarkPrice(symbol=symbol, mark_price=price, event_time_ms=self.clock), self.clock + 3)

    def role(self) -> Step:
        account = self.random.choice(ACCOUNTS)
        if self.random.random() < 0.2:
            return "clear_account", (account,)
        role = self.random.choices(["TRADER", "LIQUIDATION", "INSURANCE", "CLEARING"], weights=[9, 1, 1, 1])[0]
        adl = self.random.choices(["NORMAL", "LAST", "EXEMPT"], weights=[6, 2, 1])[0]
        owner = self.random.choice(OWNERS)
        return "set_account", (Account(account=account, role=role, adl=adl, beneficial_owner=owner),)

    def held(self) -> Step:
        account, symbol = self.random.choice(ACCOUNTS), self.random.choice(list(INSTRUMENTS))
        lots = [self.random.choice([0, self.random.randint(0, SIZES[symbol])]) for _ in range(2)]
        side = self.random.choice(["NET", "LONG", "SHORT"])
        return "set_held", (account, symbol, side, *lots, self.random.randint(-(10**9), 10**9))

    def loose(self) -> Step:
        return "set_loose_quote", (self.random.choice(ACCOUNTS), self.random.choice([0, 5 * 10**8, -7]))

    def tiers(self, symbol: str) -> list[MarginTier]:
        """Two to four tiers around the usual sizes, now and then not ascending, or not from the fraction on."""
        chance = self.random
        ends = sorted(chance.sample(range(1, 5000), chance.randint(2, 4)), reverse=chance.random() < 0.1)
        fractions = [INSTRUMENTS[symbol]["maintenance_margin_fraction"], "0.02", "0.25", "0.9"]
        if chance.random() < 0.1:
            fractions[chance.choice((0, 1))] = chance.choice(("0.7", "1.5", "0"))
        return [MarginTier(notional_max=str(end), maintenance_margin_fraction=fraction)
                for end, fraction in zip(ends, fractions, strict=False)]  # fmt: skip

    def other(self) -> Step:
        symbol, account = self.random.choice(list(INSTRUMENTS)), self.random.choice(ACCOUNTS)
        return self.random.choice(
            [
                ("remove_account", (account,)),
                ("park_account", (account, "LOT")),
                ("park_account", (account, "FIELD", "Account")),
                ("park_symbol", (symbol, "PRICE")),
                ("park_symbol", (symbol, "SCALE", "Instrument")),
                ("set_instrument", (instrument(symbol),)),
                ("set_instrument", (instrument(symbol, maintenance_margin_fraction="0.03", status="HALTED"),)),
                ("set_instrument", (instrument(symbol, lot_size="11"),)),
                ("set_instrument", (instrument(symbol, margin_tiers=self.tiers(symbol)),)),
                ("set_instrument", (instrument(symbol, margin_tiers=self.tiers(symbol)),)),
                ("set_instrument", (instrument(symbol, contract_type="inverse"),)),
            ]
        )
