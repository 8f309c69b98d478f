"""The state as the auditor sees it, rebuilt from the input records below a decision's basis and from earlier legs.

Nothing of worker or solver is used: positions and equities are sums over dictionaries, made anew each time.
"""

from collections import defaultdict
from fractions import Fraction
from math import floor

from schemas import (
    Account,
    AccountUpdate,
    Bankruptcy,
    Control,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarkPrice,
    RiskModel,
    decode,
)
from tests.worker.audit.nouns import Holding, Market, Refusal, Removal, Trader

KINDS = (
    Instrument, RiskModel, Account, Control, InsuranceFund, MarkPrice, AccountUpdate, ForcedTradeResult, Bankruptcy
)  # fmt: skip


def order(message):
    """The place of a message's kind among records of one log time."""
    if isinstance(message, Removal):
        return KINDS.index(AccountUpdate if message.topic == "positions" else Account)
    return KINDS.index(type(message))


class State:
    """Inputs applied up to a basis, and the legs that were published."""

    def __init__(self, records, decimals=2, settlement="bankruptcy", collar=None, residual="mark", winners_only=False):
        """`winners_only`: the policy shares by profit, so nobody solvent gives of a position without one."""
        self.scale, self.settlement, self.residual, self.winners_only = 10**decimals, settlement, residual, winners_only
        self.collar = None if collar is None else Fraction(collar)
        self.inputs = defaultdict(list)  # partition -> [(log time, messages)]
        self.claims = {}
        for record in records:
            place = f"{record.topic}:{record.partition}"
            if record.value is None:
                messages = [Removal(record.topic, (record.key or b"").decode())]
            else:
                messages = decode(record.value)
            newest = self.inputs[place][-1][0] if self.inputs[place] else record.log_time_ms
            self.inputs[place].append((max(newest, record.log_time_ms), messages))
            for message in messages:
                named = message.bankruptcy if isinstance(message, Control) else message
                if isinstance(named, Bankruptcy):
                    self.claims[place, record.offset, named.id] = named
        self.next = dict.fromkeys(self.inputs, 0)
        self.markets, self.traders, self.funds = {}, defaultdict(Trader), {}
        self.draws = defaultdict(list)  # fund -> [(decision sequence, amount)]
        self.legs = {}  # trade id -> Leg
        self.answered = set()
        self.assigned = defaultdict(int)
        self.refusals = []
        self.run = {}  # decision id -> Refusal, of the results now being applied
        self.gone = defaultdict(dict)  # bankruptcy ids -> (symbol, side) -> [quantity, quote] not given up, not undone
        self.decided = {}  # decision id -> (bankruptcy ids, attempt, refused_by)
        self.solvent_marks = {}  # margin unit below zero at the last watch cut -> symbol -> mark
        self.watched_marks = {}  # symbol -> mark at the last watch cut
        self.faults = []

    def minor(self, text):
        amount = Fraction(text) * self.scale
        assert amount.denominator == 1, text
        return int(amount)

    def check(self, right, decision, *words):
        if not right:
            self.faults.append(" ".join(map(str, (decision.decision_id[:8], f"cut {decision.cut_number}:", *words))))

    # --- the state, from inputs -----------------------------------------------------------------------------------

    def advance_to(self, basis):
        """Applies every record below a basis."""
        ready = []
        for place, end in basis.items():
            for _, messages in self.inputs[place][self.next.get(place, 0) : end]:
                ready += messages
            self.next[place] = max(end, self.next.get(place, 0))
        self.apply_all(ready)

    def watch(self, cut):
        """A watch cut: whoever has fallen below zero since the one before was last solvent at that one's marks."""
        self.advance_to(cut.basis)
        now = {}
        for name, trader in self.traders.items():
            isolated = [(name, key) for key, held in trader.holdings.items() if held.margin is not None]
            for unit in [(name, None), *isolated]:
                marked = all(self.markets[symbol].mark is not None for symbol, _ in self.members(unit))
                if marked and self.equity(unit) < 0:
                    now[unit] = self.solvent_marks.get(unit, self.watched_marks)
        self.solvent_marks = now
        self.watched_marks = {symbol: market.mark for symbol, market in self.markets.items() if market.mark is not None}

    def advance(self, decision):
        """Applies every record below the decision's basis, and the results that stand at its cut."""
        self.advance_to(decision.basis)
        heads = [
            (log[at][0], min(map(order, log[at][1])), place)
            for place, log in self.inputs.items()
            if (at := self.next[place]) < len(log)
        ]
        first = min(heads, default=None)
        if first is None or first[0] != decision.cut_time_ms or KINDS[first[1]] is not ForcedTradeResult:
            return
        run = []
        for place, log in self.inputs.items():
            while self.next[place] < len(log) and log[self.next[place]][0] == first[0]:
                messages = log[self.next[place]][1]
                if not all(isinstance(message, ForcedTradeResult) for message in messages):
                    break
                run += messages
                self.next[place] += 1
        self.apply_all(run)

    def apply_all(self, messages):
        results = [m for m in messages if isinstance(m, ForcedTradeResult)]
        for message in sorted((m for m in messages if m not in results), key=order):
            self.apply(message)
        for message in results:
            self.apply(message)
        for refusal in self.run.values():
            self.undo(refusal)
        self.run = {}

    def apply(self, message):
        match message:
            case Instrument():
                unit = Fraction(message.multiplier) * self.scale
                mark = self.markets[message.symbol].mark if message.symbol in self.markets else None
                mmf = Fraction(message.maintenance_margin_fraction)
                tiers = [
                    (self.minor(tier.notional_max), Fraction(tier.maintenance_margin_fraction))
                    for tier in message.margin_tiers or []
                ]
                lot = Fraction(message.lot_size)
                self.markets[message.symbol] = Market(lot, unit, mmf, message.fund_id, mark, tiers)
            case Account():
                trader = self.traders[message.account]
                trader.role, trader.adl, trader.owner = message.role, message.adl, message.beneficial_owner
            case MarkPrice():
                self.markets[message.symbol].mark = Fraction(message.mark_price)
            case InsuranceFund():
                contained = max(message.decision_sequence, self.funds.get(message.fund_id, (0, 0))[1])
                self.funds[message.fund_id] = (self.minor(message.balance), contained)
            case AccountUpdate():
                self.update(message)
            case ForcedTradeResult():
                self.result(message)
            case Removal(topic="positions"):
                trader = self.traders[message.account]
                self.traders[message.account] = Trader(trader.role, trader.adl, trader.owner, legs=trader.legs)
            case Removal(topic="accounts"):
                trader = self.traders[message.account]
                trader.role, trader.adl, trader.owner = "TRADER", "NORMAL", None

    def update(self, message):
        trader = self.traders[message.account]
        renewed = message.epoch > trader.epoch
        if not renewed and (message.epoch < trader.epoch or message.seq <= trader.seq):
            return
        if renewed:
            trader.adl_seq = trader.full_adl_seq = 0
            trader.closed = {}
        trader.epoch, trader.seq = message.epoch, message.seq
        trader.adl_seq = max(trader.adl_seq, message.adl_seq)
        if message.full:
            trader.full_adl_seq = max(trader.full_adl_seq, message.adl_seq)
        if message.full or message.balances:
            trader.cash = sum(self.minor(balance.amount) for balance in message.balances)
        before, trader.holdings = trader.holdings, {} if message.full else dict(trader.holdings)
        for position in message.positions:
            key = (position.symbol, position.position_side)
            market, quantity = self.markets[position.symbol], Fraction(position.quantity)
            known = 0 if renewed else max(before[key].adl_seq if key in before else 0, trader.closed.get(key, 0))
            adl_seq = max(position.adl_seq, trader.full_adl_seq, known)
            trader.holdings.pop(key, None)
            trader.closed[key] = adl_seq
            if quantity:
                price = position.entry_price
                entry = floor(quantity * market.unit * Fraction(price)) if price else self.minor(position.entry_value)
                margin = None if position.margin_mode == "cross" else self.minor(position.isolated_margin)
                trader.holdings[key] = Holding(quantity, entry, margin, adl_seq)

    def result(self, message):
        leg = self.legs[message.trade_id]
        filled = Fraction(message.filled_quantity)
        if message.trade_id in self.answered:
            return
        self.answered.add(message.trade_id)
        lot = self.markets[leg.key[0]].lot
        kept = leg.quote * int(filled / lot) // int(leg.quantity / lot)
        refused, quote = leg.quantity - filled, leg.quote - kept
        leg.quantity, leg.quote = filled, kept
        if refused:
            ids, attempt, refused_by = self.decided[leg.decision_id]
            run = self.run.setdefault(leg.decision_id, Refusal(ids, attempt + 1, {}, set(refused_by)))
            if leg.role == "COUNTERPARTY":
                run.refused_by.add(leg.account)
            side = run.wanted if leg.role == "COUNTERPARTY" else run.gave_less
            cell = side.setdefault((leg.key[0], leg.sign), [Fraction(0), 0])
            cell[0] += refused
            cell[1] += quote

    def undo(self, refusal):
        """What both sides of a decision refused undoes itself, in this run of results or an earlier one."""
        self.refusals.append(refusal)
        gone = self.gone[refusal.bankruptcies]
        before = {key: cell[0] for key, cell in gone.items()}
        for key, (quantity, quote) in refusal.gave_less.items():
            cell = gone.setdefault(key, [Fraction(0), 0])
            cell[0], cell[1] = cell[0] + quantity, cell[1] + quote
        for (symbol, side), cell in sorted(gone.items()):
            for pending in [r for r in self.refusals if r.bankruptcies == refusal.bankruptcies]:
                wanted = pending.wanted.get((symbol, -side))
                if wanted is None or not cell[0]:
                    continue
                both = min(wanted[0], cell[0])
                given = floor(cell[1] * both / cell[0])
                # New counterparties pay what is owed for the rest, but no more than those who refused it would have.
                share, owed = floor(wanted[1] * (wanted[0] - both) / wanted[0]), wanted[1] + given
                pending.lost += max(0, share - owed)
                cell[0], cell[1] = cell[0] - both, cell[1] - given
                wanted[0], wanted[1] = wanted[0] - both, max(share, min(owed, 0) if side > 0 else owed)
                if not wanted[0]:
                    del pending.wanted[symbol, -side]
            if cell[0] != before.get((symbol, side), 0):
                refusal.open[symbol, side] = cell[0]

    # --- what the state says --------------------------------------------------------------------------------------

    def contained(self, trader, key):
        holding = trader.holdings.get(key)
        return holding.adl_seq if holding else max(trader.closed.get(key, 0), trader.full_adl_seq)

    def free(self, name, key):
        """The position less what open legs hold, signed; never across zero."""
        trader = self.traders[name]
        if key not in trader.holdings:
            return Fraction(0)
        quantity = trader.holdings[key].quantity
        sign = 1 if quantity > 0 else -1
        newer = [leg for leg in trader.legs if leg.key == key and leg.adl_seq > self.contained(trader, key)]
        return sign * max(Fraction(0), abs(quantity) - sum(leg.quantity for leg in newer if leg.sign == sign))

    def margin_unit(self, name, key):
        """An isolated position stands for itself, everything else of an account together."""
        holding = self.traders[name].holdings.get(key)
        return (name, key) if holding is not None and holding.margin is not None else (name, None)

    def members(self, unit):
        name, key = unit
        return [key] if key else [k for k, holding in self.traders[name].holdings.items() if holding.margin is None]

    def equity(self, unit):
        """Minor units at the marks, with values rounded down as the wire's scale does, and the cash of open legs."""
        name, key = unit
        trader = self.traders[name]
        total = trader.holdings[key].margin if key else trader.cash
        for member in self.members(unit):
            value = floor(self.markets[member[0]].value(self.free(name, member)))
            total += value - trader.holdings[member].entry
        open_legs = [leg for leg in trader.legs if leg.adl_seq > trader.adl_seq]
        return total + sum(leg.quote for leg in open_legs if self.margin_unit(name, leg.key) == unit)

    def gross(self, unit):
        return sum(abs(self.markets[k[0]].value(self.free(unit[0], k))) for k in self.members(unit))

    def requirement(self, unit):
        return sum(
            self.markets[k[0]].requirement(floor(self.markets[k[0]].value(self.free(unit[0], k))))
            for k in self.members(unit)
        )
