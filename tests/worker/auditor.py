"""A second opinion on whole runs: dictionaries, Fractions and the design's sentences; nothing of worker or solver.

Rule 1: state is rebuilt from the input records below each decision's basis, and from the legs published before it.
Rule 2: every check is a sentence with numbers; `audit` returns what is wrong, and nothing where all is right. It knows
neither parked accounts nor `protect_principal`; runs with dead letters on accounts are not its matter.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor

from schemas import (
    Account,
    AccountUpdate,
    Bankruptcy,
    Control,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarkPrice,
    decode,
)


@dataclass
class Removal:
    """A null value on the topic of positions or accounts."""

    topic: str
    account: str


KINDS = (Instrument, Account, Control, InsuranceFund, MarkPrice, AccountUpdate, ForcedTradeResult, Bankruptcy)
DONE = ("DECIDED", "RESIDUAL")


@dataclass
class Market:
    """One symbol; `value` is exact, in minor units."""

    lot: Fraction
    unit: Fraction  # minor units per contract and price
    mmf: Fraction
    fund_id: str
    mark: Fraction | None = None

    def value(self, quantity):
        return quantity * self.unit * (self.mark or 0)


@dataclass
class Holding:
    quantity: Fraction
    entry: int
    margin: int | None
    adl_seq: int


@dataclass
class Leg:
    trade_id: str
    decision_id: str
    role: str
    account: str
    key: tuple[str, str]  # symbol, position side
    sign: int  # +1 a long is reduced
    adl_seq: int
    quantity: Fraction
    quote: int
    haircut: int
    round: int


@dataclass
class Trader:
    role: str = "TRADER"
    adl: str = "NORMAL"
    owner: str | None = None
    epoch: int = -1
    seq: int = -1
    adl_seq: int = 0
    full_adl_seq: int = 0
    cash: int = 0
    holdings: dict = field(default_factory=dict)  # (symbol, position side) -> Holding
    closed: dict = field(default_factory=dict)  # the same -> newest leg in a position that is gone
    legs: list = field(default_factory=list)


@dataclass
class Estate:
    """One margin unit of a bankrupt account, with what it must give up."""

    claim: int  # place of the bankruptcy in the decision
    account: str
    lines: list  # (symbol, position side, signed quantity, price or None)
    equity: int  # of its whole margin unit
    requirement: Fraction  # the same
    unit: tuple
    deficit: Fraction = Fraction(0)  # its part of the unit's, exact
    asked: int = 0  # of it, what fund and trades are asked for


@dataclass
class Refusal:
    """Legs of one decision that were refused in one run of results."""

    bankruptcies: tuple[str, ...]
    attempt: int
    wanted: dict  # (symbol, side) -> [quantity, quote]
    refused_by: set


def order(message):
    """The place of a message's kind among records of one log time."""
    if isinstance(message, Removal):
        return KINDS.index(AccountUpdate if message.topic == "positions" else Account)
    return KINDS.index(type(message))


class Auditor:
    def __init__(self, records, decimals=2, settlement="bankruptcy", collar=None, residual="mark"):
        self.scale, self.settlement, self.residual = 10**decimals, settlement, residual
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
        self.decided = {}  # decision id -> (bankruptcy ids, attempt, refused_by)
        self.faults = []

    def minor(self, text):
        amount = Fraction(text) * self.scale
        assert amount.denominator == 1, text
        return int(amount)

    def check(self, right, decision, *words):
        if not right:
            self.faults.append(" ".join(map(str, (decision.decision_id[:8], f"cut {decision.cut_number}:", *words))))

    # --- the state, from inputs -----------------------------------------------------------------------------------

    def advance(self, decision):
        """Applies every record below the decision's basis, and the results that stand at its cut."""
        ready = []
        for place, end in decision.basis.items():
            for _, messages in self.inputs[place][self.next.get(place, 0) : end]:
                ready += messages
            self.next[place] = max(end, self.next.get(place, 0))
        self.apply_all(ready)
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
        self.refusals += self.run.values()
        self.run = {}

    def apply(self, message):
        match message:
            case Instrument():
                unit = Fraction(message.multiplier) * self.scale
                mark = self.markets[message.symbol].mark if message.symbol in self.markets else None
                mmf = Fraction(message.maintenance_margin_fraction)
                self.markets[message.symbol] = Market(Fraction(message.lot_size), unit, mmf, message.fund_id, mark)
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
        if refused and leg.role == "COUNTERPARTY":
            ids, attempt, refused_by = self.decided[leg.decision_id]
            run = self.run.setdefault(leg.decision_id, Refusal(ids, attempt + 1, {}, set(refused_by)))
            run.refused_by.add(leg.account)
            cell = run.wanted.setdefault((leg.key[0], leg.sign), [Fraction(0), 0])
            cell[0] += refused
            cell[1] += quote

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
            abs(floor(self.markets[k[0]].value(self.free(unit[0], k)))) * self.markets[k[0]].mmf
            for k in self.members(unit)
        )

    # --- the decision ---------------------------------------------------------------------------------------------

    def audit(self, decisions, trades):
        mine = defaultdict(list)
        for trade in trades:
            mine[trade.decision_id].append(trade)
        for decision in decisions:
            self.advance(decision)
            if decision.status in DONE and decision.mode == "live":
                self.decision(decision, [self.leg(trade) for trade in mine.pop(decision.decision_id, [])])
        assert not mine, f"trades without a decision that was made: {sorted(mine)}"
        return self.faults

    def leg(self, trade):
        sign = 1 if trade.side == "SELL" else -1
        key, quantity = (trade.symbol, trade.position_side), Fraction(trade.quantity)
        return Leg(
            trade.trade_id, trade.decision_id, trade.role, trade.account, key, sign, trade.adl_seq, quantity,
            self.minor(trade.quote_amount), self.minor(trade.haircut), trade.round,
        )  # fmt: skip

    def decision(self, decision, legs):
        claims = [self.claims[f"{b.topic}:{b.partition}", b.offset, b.id] for b in decision.bankruptcies]
        ids = tuple(claim.id for claim in claims)
        taken = [leg for leg in legs if leg.role == "COUNTERPARTY"]
        given = [leg for leg in legs if leg.role == "LIQUIDATED"]
        self.check(decision.trades == len(legs), decision, "says", decision.trades, "trades, published", len(legs))
        self.numbers(decision, legs)
        refused_by = set()
        if decision.attempt == 1:
            estates = self.estates(claims)
            wanted = self.takeover(decision, estates, given)
            self.zero_sum(decision, legs)
            self.waterfall(decision, claims, estates, given, taken)
        else:
            refusal = self.refusal(decision, ids)
            if refusal is None:
                return
            wanted, refused_by = {key: cell[0] for key, cell in refusal.wanted.items()}, refusal.refused_by
            self.check(not given, decision, "a later attempt asks liquidated accounts again")
            self.same_cash(decision, refusal, taken)
        self.demands(decision, wanted, taken, given)
        outside = {claim.account for claim in claims} | refused_by
        owners = {self.traders[claim.account].owner for claim in claims} - {None}
        self.counterparties(decision, taken, given, outside, owners)
        self.order(decision, taken, given, outside, owners)
        for leg in legs:
            self.legs[leg.trade_id] = leg
            self.traders[leg.account].legs.append(leg)
        self.decided[decision.decision_id] = (ids, decision.attempt, refused_by)
        for fund, text in decision.fund_draws.items():
            self.draws[fund].append((decision.sequence, self.minor(text)))

    def numbers(self, decision, legs):
        """Legs of an account are numbered without a gap, as published; each trade has an id of its own."""
        for leg in legs:
            expected = max(self.assigned[leg.account], self.traders[leg.account].adl_seq) + 1
            self.check(leg.adl_seq == expected, decision, leg.account, "adl_seq", leg.adl_seq, "expected", expected)
            self.assigned[leg.account] = leg.adl_seq
            self.check(leg.trade_id not in self.legs, decision, "trade id used before", leg.trade_id)
            off = self.off_mark(leg) - leg.haircut
            self.check(abs(off) <= (len(legs) if leg.round == 0 else 0), decision, leg.account, "haircut", leg.haircut)
        for what in (lambda leg: leg.trade_id, lambda leg: (leg.account, leg.key, leg.role, leg.round)):
            self.check(len({what(leg) for leg in legs}) == len(legs), decision, "two legs where one belongs")

    def zero_sum(self, decision, legs):
        for symbol in {leg.key[0] for leg in legs}:
            here = [leg for leg in legs if leg.key[0] == symbol]
            quantity, cash = sum(leg.sign * leg.quantity for leg in here), sum(leg.quote for leg in here)
            self.check(quantity == 0 == cash, decision, symbol, "quantities sum to", quantity, "cash to", cash)

    def refusal(self, decision, ids):
        """The refused legs that a later attempt replaces, which must be some that nobody has replaced yet."""
        demanded = defaultdict(Fraction)
        seen = set()
        for demand in decision.demands:
            key = (demand.symbol, 1 if demand.side == "LONG" else -1)
            if key not in seen and demand.residual_reason != "LIQUIDATED_LEG_REFUSED":
                seen.add(key)
                demanded[key] = Fraction(demand.quantity)
        for refusal in self.refusals:
            amounts = {key: cell[0] for key, cell in refusal.wanted.items()}
            if (refusal.bankruptcies, refusal.attempt, amounts) == (ids, decision.attempt, demanded):
                self.refusals.remove(refusal)
                return refusal
        self.check(not demanded, decision, "replaces nothing that was refused:", dict(demanded))
        return None

    def same_cash(self, decision, refusal, taken):
        """New counterparties pay what the refusing ones would have; what they do not at the mark is bad debt."""
        unpaid = 0
        for (symbol, sign), (quantity, quote) in refusal.wanted.items():
            here = [leg for leg in taken if (leg.key[0], leg.sign) == (symbol, sign)]
            due = floor(-quote * sum(leg.quantity for leg in here) / quantity)
            paid = -sum(leg.quote for leg in here)
            if not any(self.at_mark(decision, leg, taken) for leg in here):
                self.check(due == paid, decision, symbol, "refused cash was", due, "replaced by", paid)
            unpaid += max(0, due - paid)
        self.check(self.minor(decision.bad_debt) == unpaid, decision, "bad debt", decision.bad_debt, "unpaid", unpaid)

    # --- liquidated accounts --------------------------------------------------------------------------------------

    def estates(self, claims):
        estates, whole = [], set()
        listed = defaultdict(Fraction)
        for claim in claims:
            for line in claim.lines:
                listed[claim.account, (line.symbol, line.position_side)] += Fraction(line.quantity)
        for place, claim in enumerate(claims):
            name, cross = claim.account, []
            lines = [
                (line.symbol, line.position_side, Fraction(line.quantity), line.price and Fraction(line.price))
                for line in claim.lines
            ]
            if not lines and name not in whole:
                whole.add(name)
                for key in self.members((name, None)):
                    free, others = self.free(name, key), listed[name, key]
                    if free * others > 0:
                        free -= others if abs(others) < abs(free) else free
                    lines += [(*key, free, None)] if free else []
            for line in sorted(lines):
                unit = self.margin_unit(name, line[:2])
                if unit[1]:
                    market = self.markets[line[0]]
                    size = max(abs(self.free(name, line[:2])), abs(listed[name, line[:2]]))
                    need = market.value(size) * market.mmf
                    estates.append(Estate(place, name, [line], self.equity(unit), need, unit))
                else:
                    cross.append(line)
            if cross and self.members((name, None)):
                unit = (name, None)
                estates.append(Estate(place, name, cross, self.equity(unit), self.requirement(unit), unit))
            elif cross:
                estates.append(Estate(place, name, cross, self.minor(claim.equity or "0"), Fraction(0), (place,)))
        for unit in {estate.unit for estate in estates}:
            self.share(claims, [estate for estate in estates if estate.unit == unit])
        return estates

    def needed(self, lines):
        return sum(
            (abs(self.markets[s].value(quantity)) * self.markets[s].mmf for s, _, quantity, _ in lines), Fraction(0)
        )

    def share(self, claims, group):
        """A unit's deficit is counted once, by requirement of lines; what priced lines carry is asked of nobody."""
        total = sum(self.needed(estate.lines) for estate in group)
        if any(claims[estate.claim].lines for estate in group):
            for estate in group:
                estate.requirement = max(estate.requirement, total)
        for estate in group:
            mine, unpriced = self.needed(estate.lines), self.needed(x for x in estate.lines if x[3] is None)
            estate.deficit = Fraction(max(0, -estate.equity)) * mine / total
            estate.asked = floor(estate.deficit * unpriced / mine + Fraction(1, 2))
            estate.requirement *= unpriced / total

    def takeover(self, decision, estates, given):
        """What must be taken, per (symbol, side that is reduced), after the crossings; checks the liquidated legs."""
        listed, wanted = defaultdict(Fraction), defaultdict(Fraction)
        for estate in estates:
            for symbol, side, quantity, _ in estate.lines:
                sign = 1 if quantity > 0 else -1
                listed[estate.account, (symbol, side), sign] += abs(quantity)
                wanted[symbol, -sign] += abs(quantity)
        done = defaultdict(Fraction)
        crossed = defaultdict(Fraction)
        for leg in given:
            done[leg.account, leg.key, leg.sign] += leg.quantity
            if leg.round == 0:
                crossed[leg.key[0], leg.sign] += leg.quantity
        for cell, quantity in done.items():
            self.check(quantity <= listed[cell], decision, *cell, "gives", quantity, "of", listed[cell])
        for symbol in {symbol for symbol, _ in crossed}:
            self.check(crossed[symbol, 1] == crossed[symbol, -1], decision, symbol, "crossings do not meet")
            said = sum(Fraction(c.quantity) for c in decision.crossings if c.symbol == symbol)
            self.check(said == crossed[symbol, 1], decision, symbol, "crossings say", said)
        for (symbol, sign), quantity in crossed.items():
            wanted[symbol, -sign] -= quantity
        return {key: quantity for key, quantity in wanted.items() if quantity}

    def waterfall(self, decision, claims, estates, given, taken):
        """deficit = fund + haircut + bad debt, to the rounding of the legs; prices; the fund is never overdrawn."""
        sums = defaultdict(int)
        groups = defaultdict(list)
        for place, (claim, said) in enumerate(zip(claims, decision.bankruptcies, strict=True)):
            mine = [estate for estate in estates if estate.claim == place]
            only = [claim.account for claim in claims].count(claim.account) == 1
            legs = [leg for leg in given if leg.account == claim.account]
            netted = not any(price for estate in mine for *_, price in estate.lines)
            told = {name: self.minor(getattr(said, name)) for name in ("deficit", "fund", "haircut", "bad_debt")}
            for name, amount in told.items():
                sums[name] += amount
            exact = sum(estate.deficit for estate in mine)
            right = abs(told["deficit"] - exact) < max(1, len(mine))
            self.check(right, decision, said.id, "deficit", told["deficit"], "is", exact)
            deficit = told["deficit"]
            if netted:
                paid = told["fund"] + told["haircut"] + told["bad_debt"]
                # A quote is rounded up; so is the value it is compared with where lots are no whole minor units.
                slack = sum(1 + (self.markets[x.key[0]].value(x.quantity).denominator > 1) for x in legs)
                self.check(0 <= paid - deficit <= slack, decision, said.id, "deficit", deficit, "paid", paid)
            if only:
                given_up = -sum(leg.haircut for leg in legs)
                self.check(told["haircut"] == given_up, decision, said.id, "haircut", told["haircut"], "is", given_up)
            asked, slack = sum(estate.asked for estate in mine), sum(estate.deficit.denominator > 1 for estate in mine)
            right = 0 <= told["fund"] <= asked + slack
            self.check(right, decision, said.id, "fund pays", told["fund"], "of", asked)
            if claim.insurance is not None:
                off = told["fund"] - min(asked, self.minor(claim.insurance))
                self.check(abs(off) <= slack, decision, said.id, "insurance pays", told["fund"], "not", off, "less")
            elif asked:
                funds = {claim.fund_id or self.markets[e.lines[0][0]].fund_id for e in mine if e.asked}
                groups[funds.pop() if len(funds) == 1 else None].append((asked, told["fund"], len(mine) + slack))
            if only and len(mine) == 1:
                self.prices(decision, mine[0], told["fund"], legs, taken)
            else:
                crossed = [leg for leg in legs if leg.round == 0]
                self.check(all(abs(self.off_mark(x)) <= len(legs) for x in crossed), decision, "crossing off the mark")
        whole = {estate.unit: max(0, -estate.equity) for estate in estates}
        self.check(sums["deficit"] == sum(whole.values()), decision, "deficits", sums["deficit"], "are", whole)
        for name, total in sums.items():
            if name != "deficit":
                self.check(self.minor(getattr(decision, name)) == total, decision, name, "is not the sum", total)
        self.fund(decision, groups)

    def fund(self, decision, groups):
        for name, text in decision.fund_draws.items():
            there, contained = self.funds.get(name, (0, 0))
            there -= sum(amount for sequence, amount in self.draws[name] if sequence > contained)
            self.check(0 < self.minor(text) <= there, decision, "fund", name, "draws", text, "of", there)
        if None in groups:
            return
        for name, group in groups.items():
            drawn = self.minor(decision.fund_draws.get(name, "0"))
            total = sum(deficit for deficit, _, _ in group)
            self.check(drawn == sum(paid for _, paid, _ in group), decision, "fund", name, "draws", drawn, "pays else")
            for deficit, paid, count in group:
                fair = Fraction(drawn * deficit, total)
                self.check(abs(paid - fair) <= count, decision, "fund", name, "pays", paid, "pro rata is", fair)

    def off_mark(self, leg):
        """What a leg gives up against its value; crossings of several pairs round each pair."""
        return leg.sign * floor(self.markets[leg.key[0]].value(leg.quantity)) - leg.quote

    def at_mark(self, decision, leg, taken):
        """Whether the leg's round is the one at the mark: the third or later, and nobody gave anything up."""
        here = [x for x in taken if (x.key[0], x.sign, x.round) == (leg.key[0], leg.sign, leg.round)]
        return leg.round > 2 and abs(sum(x.haircut for x in here)) <= len(here) + 2 * len(decision.bankruptcies)

    def prices(self, decision, estate, fund, legs, taken):
        """Liquidated legs stand at the event's price, the rule's price, or the mark (crossings and the last round)."""
        left = min(0, fund - estate.asked)
        for leg in legs:
            market = self.markets[leg.key[0]]
            price = next(p for s, side, _, p in estate.lines if (s, side) == leg.key)
            factor = Fraction(1)
            if price is not None:
                factor = price / market.mark
            elif self.settlement == "bankruptcy" and estate.requirement:
                factor = 1 - leg.sign * market.mmf * left / estate.requirement
                if self.collar is not None:
                    factor = min(max(factor, 1 - self.collar), 1 + self.collar)
                factor = max(Fraction(0), factor)
            if leg.round == 0:
                self.check(left == 0, decision, leg.account, "crosses with a deficit of", -left)
                self.check(abs(self.off_mark(leg)) <= len(decision.bankruptcies), decision, leg.account, "crosses off")
                continue
            facing = [x for x in taken if (x.key[0], -x.sign, x.round) == (leg.key[0], leg.sign, leg.round)]
            if leg.round and self.at_mark(decision, facing[0], facing):
                factor = Fraction(1)
            due = ceil(leg.sign * market.value(leg.quantity) * factor)
            self.check(leg.quote == due, decision, leg.account, leg.key, "quote", leg.quote, "expected", due)

    # --- counterparties -------------------------------------------------------------------------------------------

    def demands(self, decision, wanted, taken, given):
        """Demanded = taken + residual, round by round, and the legs say the same."""
        by_key = defaultdict(list)
        for demand in decision.demands:
            if demand.residual_reason != "LIQUIDATED_LEG_REFUSED":
                by_key[demand.symbol, 1 if demand.side == "LONG" else -1].append(demand)
        self.check(by_key.keys() == wanted.keys(), decision, "demands", sorted(by_key), "expected", sorted(wanted))
        short = False
        for key, rounds in by_key.items():
            left = wanted.get(key, Fraction(0))
            for demand in sorted(rounds, key=lambda d: d.round):
                got = Fraction(demand.taken)
                self.check(Fraction(demand.quantity) == left, decision, *key, "asks", demand.quantity, "open", left)
                legs = [x for x in taken if (x.key[0], x.sign, x.round) == (*key, demand.round)]
                self.check(sum(x.quantity for x in legs) == got, decision, *key, "legs are not what was taken", got)
                self.check(len({x.account for x in legs}) == demand.accounts, decision, *key, "accounts")
                if decision.attempt == 1 and demand.round:  # legs of round 0 are crossings
                    gave = sum(x.quantity for x in given if (x.key[0], -x.sign, x.round) == (*key, demand.round))
                    self.check(gave == got, decision, *key, "liquidated legs give", gave, "taken", got)
                left -= got
            residual = sum(Fraction(demand.residual) for demand in rounds)
            self.check(residual == left, decision, *key, "residual", residual, "left", left)
            short |= left > 0
        if short:
            self.check(decision.status == "RESIDUAL", decision, "is short, status", decision.status)

    def may_be_asked(self, name, key, outside, owners):
        trader = self.traders[name]
        return (
            trader.role == "TRADER"
            and trader.adl != "EXEMPT"
            and name not in outside
            and trader.owner not in owners
            and all(self.markets[k[0]].mark is not None for k in self.members(self.margin_unit(name, key)))
        )

    def counterparties(self, decision, taken, given, outside, owners):
        """Who was asked, that nothing crosses zero, and that nobody is worse off than the promise."""
        by_position, by_unit = defaultdict(list), defaultdict(list)
        for leg in taken:
            by_position[leg.account, leg.key].append(leg)
            by_unit[self.margin_unit(leg.account, leg.key)].append(leg)
        for (name, key), legs in by_position.items():
            self.check(self.may_be_asked(name, key, outside, owners), decision, name, "must not be asked")
            free = self.free(name, key)
            total = sum(leg.sign * leg.quantity for leg in legs)
            right = (free > 0) == (total > 0) and abs(total) <= abs(free) and len({leg.sign for leg in legs}) == 1
            self.check(right, decision, name, key, "has", free, "and gives", total)
        for unit, legs in by_unit.items():
            equity, gross = self.equity(unit), self.gross(unit)
            # One minor unit for the split, and those by which liquidated quotes of the same demand were rounded up.
            beside = {(leg.key[0], -leg.sign, leg.round) for leg in legs}
            count = len(legs) + sum((leg.key[0], leg.sign, leg.round) in beside for leg in given)
            values = [(leg.sign, self.markets[leg.key[0]].value(leg.quantity), leg.quote) for leg in legs]
            after = equity - sum(sign * value - quote for sign, value, quote in values)
            rest = gross - sum(value for _, value, _ in values)
            if equity <= 0:
                self.check(after + count >= equity, decision, *unit, "is insolvent and pays", equity - after)
            else:
                self.check(after + count >= 0, decision, *unit, "is made insolvent:", equity, "to", after)
                self.check(rest * equity <= gross * (after + count), decision, *unit, "is more levered by being taken")

    def order(self, decision, taken, given, outside, owners):
        """Normal before LAST; insolvent before solvent where it costs nothing; residuals only of nothing left."""
        for demand in decision.demands:
            if demand.residual_reason in ("LIQUIDATED_LEG_REFUSED", "ATTEMPTS_EXHAUSTED"):
                continue
            symbol, sign = demand.symbol, 1 if demand.side == "LONG" else -1
            mine = [leg for leg in taken if (leg.key[0], leg.sign) == (symbol, sign)]
            here = [leg for leg in mine if leg.round == demand.round]
            value = sum(self.markets[symbol].value(leg.quantity) for leg in here)
            haircut = sum(sign * self.markets[symbol].value(leg.quantity) - leg.quote for leg in here)
            # Asked is the mean price of all that is open, paid that of whole lots: up to a lot a line apart.
            facing = [x for x in given if (x.key[0], -x.sign) == (symbol, sign)]
            prices = [Fraction(x.quote) / x.quantity for x in facing] or [Fraction(0)]
            apart = len(facing) * self.markets[symbol].lot * (max(map(abs, prices)) - min(map(abs, prices))) + len(here)
            last = [
                x.account for x in here if self.traders[x.account].adl == "LAST" and not self.at_mark(decision, x, here)
            ]
            for name, trader in list(self.traders.items()):
                for key, holding in trader.holdings.items():
                    if key[0] != symbol or holding.quantity * sign <= 0:
                        continue
                    own = [leg for leg in mine if (leg.account, leg.key) == (name, key) and leg.round <= demand.round]
                    left = abs(self.free(name, key)) - sum(leg.quantity for leg in own)
                    if not left or not self.may_be_asked(name, key, outside, owners):
                        continue
                    where = (decision, name, key, "has lots left,")
                    if self.residual == "mark":
                        self.check(not Fraction(demand.residual), *where, "and there is a residual of", demand.residual)
                    if not here or trader.adl != "NORMAL":
                        continue
                    unit = self.margin_unit(name, key)
                    equity, gross = self.equity(unit), self.gross(unit)
                    for leg in taken:  # as it stands after the rounds before this one
                        if self.margin_unit(leg.account, leg.key) == unit and leg.round < demand.round:
                            equity -= leg.haircut
                            gross -= self.markets[leg.key[0]].value(leg.quantity)
                    able = haircut <= 0
                    if equity > 0:  # by more than the roundings of quotes and floats
                        able = (haircut + apart) * gross * Fraction(1000001, 1000000) < equity * value
                    self.check(not (able and last), *where, "could pay, and LAST accounts are asked:", last)
                    if equity <= 0 and haircut <= 0 and demand.round == 1:
                        solvent = [x.account for x in here if self.equity(self.margin_unit(x.account, x.key)) > 0]
                        self.check(not solvent, *where, "is insolvent, and asked were", solvent)


def audit(records, decisions, trades, **settings):
    """Sentences about everything that is wrong with a run; empty where nothing is."""
    return Auditor(records, **settings).audit(decisions, trades)
