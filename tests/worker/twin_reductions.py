"""Staged reductions as anybody would work them out with pencil and paper: fractions, dictionaries, no kernels.

Reads the records and the cuts that the worker wrote, one account at a time, and says which reductions must stand there.
"""

from collections import defaultdict
from fractions import Fraction
from math import ceil, floor, inf
from typing import NamedTuple

from schemas import Account, AccountUpdate, Bankruptcy, Instrument, MarkPrice, RiskModel, decode

SHARED = Fraction(7, 10)  # of the variance in the default model, by its one factor


class Held(NamedTuple):
    lots: int
    entry: int
    isolated: int | None


class Wanted(NamedTuple):
    """What a reduction must say, as far as it does not follow from the cut."""

    account: str
    symbol: str
    position_side: str
    margin_mode: str
    side: str
    quantity: str
    place: int
    places: int
    tier: str
    share: str
    ratio_before: str
    ratio_after: str | None
    account_seq: int
    again_above: dict[str, str]
    not_before_ms: int


class Twin:
    """One pool without forced trades; `tiers` as (ratio, share) texts, largest ratio first."""

    def __init__(self, tiers, hysteresis="0.05", cool_down_ms=10_000, mark_age_ms_max=60_000, asked_max=inf):
        self.tiers, self.hysteresis = tiers, Fraction(hysteresis)
        self.asked_max = asked_max
        self.cool_down_ms, self.mark_age_ms_max = cool_down_ms, mark_age_ms_max
        self.instruments, self.marks, self.accounts, self.roles = {}, {}, {}, {}
        self.model = None
        self.bankrupt, self.parked = set(), set()
        self.used = defaultdict(dict)  # (account, isolated (symbol, side) or None) -> tier -> again above
        self.not_before_ms = {}

    def apply(self, record):
        if record.value is None:
            self.accounts.pop(record.key.decode(), None)
            return
        for message in decode(record.value):
            if isinstance(message, Instrument):
                self.instruments[message.symbol] = message
            elif isinstance(message, MarkPrice):
                if Fraction(message.mark_price) <= 0:
                    self.parked.add(message.symbol)
                else:
                    self.parked.discard(message.symbol)
                    self.marks[message.symbol] = Fraction(message.mark_price), record.log_time_ms
            elif isinstance(message, AccountUpdate):
                self._update(message)
            elif isinstance(message, Account):
                self.roles[message.account] = message.role
            elif isinstance(message, RiskModel):
                self.model = {row.symbol: row for row in message.symbols}
            elif isinstance(message, Bankruptcy):
                self.bankrupt.add(message.account)

    def _update(self, message):
        held = {}
        for p in message.positions:
            lots = Fraction(p.quantity) / Fraction(self.instruments[p.symbol].lot_size)
            margin = None if p.margin_mode == "cross" else cents(p.isolated_margin)
            held[p.symbol, p.position_side] = Held(int(lots), cents(p.entry_value), margin)
        stated = None if message.maintenance_margin is None else cents(message.maintenance_margin)
        self.accounts[message.account] = cents(message.balances[0].amount), stated, message.seq, held

    # --- one margin ---------------------------------------------------------------------------------------------------

    def value(self, symbol, lots):
        """Cents, rounded down."""
        instrument = self.instruments[symbol]
        size = Fraction(instrument.lot_size) * Fraction(instrument.multiplier)
        return floor(lots * size * self.marks[symbol][0] * 100)

    def requirement(self, symbol, lots):
        value, begin, needed = Fraction(abs(self.value(symbol, lots)), 100), Fraction(0), Fraction(0)
        for tier in self.instruments[symbol].margin_tiers or ():
            end, fraction = Fraction(tier.notional_max), Fraction(tier.maintenance_margin_fraction)
            needed += fraction * max(0, min(end, value) - begin)
            begin = end
        last = fraction if begin else Fraction(self.instruments[symbol].maintenance_margin_fraction)
        return 100 * (needed + last * max(0, value - begin))

    def margins(self):
        """(account, isolated position or None) -> equity, requirement, positions as lots; known margins alone."""
        for name in sorted(self.accounts, key=str.encode):
            cash, stated, _, held = self.accounts[name]
            cross = {key: p for key, p in held.items() if p.isolated is None}
            units = [(None, cash, stated, cross)]
            units += [(key, p.isolated, None, {key: p}) for key, p in held.items() if p.isolated is not None]
            for isolated, cash_of, stated_of, positions in sorted(units, key=lambda unit: unit[0] or ("", "")):
                if all(self.is_known(symbol) for symbol, _ in positions):
                    worth = sum(self.value(symbol, p.lots) - p.entry for (symbol, _), p in positions.items())
                    own = sum(self.requirement(symbol, p.lots) for (symbol, _), p in positions.items())
                    lots = {key: p.lots for key, p in positions.items() if self.value(key[0], p.lots)}
                    yield (name, isolated), cash_of + worth, own if stated_of is None else stated_of, own, lots

    def is_known(self, symbol):
        known = symbol in self.marks and symbol not in self.parked
        return known and self.now_ms - self.marks[symbol][1] <= self.mark_age_ms_max

    # --- a watch cut --------------------------------------------------------------------------------------------------

    def watch(self, now_ms):
        """The reductions of a watch cut, in their order."""
        self.now_ms = now_ms
        due = []
        for account, isolated in list(self.used):
            held = self.accounts[account][3] if account in self.accounts else {}
            gone = account not in self.accounts if isolated is None else isolated not in held
            if gone or (isolated is not None and held[isolated].isolated is None):
                del self.used[account, isolated]
        for margin, equity, required, own, lots in self.margins():
            used = self.used[margin]
            for tier in list(used):
                if not required or equity / Fraction(required) > used[tier]:
                    del used[tier]
            account = margin[0]
            if (
                not own or not required or equity <= required or now_ms < self.not_before_ms.get(margin, 0)
                or account in self.bankrupt or self.roles.get(account, "TRADER") != "TRADER"
            ):  # fmt: skip
                continue
            reached = [t for t in self.tiers if equity <= Fraction(t[0]) * required]
            if reached and all(Fraction(reached[-1][0]) < Fraction(tier) for tier in used):
                due.append((margin, equity, required, own, lots, *reached[-1]))
        most_urgent = sorted(due, key=lambda one: self._urgency(one[0], one[1]))  # stable: by names where alike
        asked = [one for place, one in enumerate(most_urgent) if place < self.asked_max]
        return [reduction for one in due if one in asked for reduction in self._reduce(*one)]

    def _urgency(self, margin, equity):
        account, isolated = margin
        _, stated, _, held = self.accounts[account]
        if isolated is None and stated is not None:
            return Fraction(equity, stated)
        mine = {k: p for k, p in held.items() if k == isolated or (isolated is None and p.isolated is None)}
        return Fraction(equity, sum(ceil(self.requirement(symbol, p.lots)) for (symbol, _), p in mine.items()))

    def _reduce(self, margin, equity, required, own, lots, tier, share):
        (account, isolated), left, parts = margin, dict(lots), []
        while own - (still := self._own(left)) < Fraction(share) * own:
            missing = Fraction(share) * own - (own - still)
            tried = {}
            for key, q in left.items():
                needed = self.requirement(key[0], q)
                part = min(Fraction(1), missing / needed)  # lots are not yet whole where risks are compared
                tried[key] = self._variance(left, key, part)
            key = min(sorted(tried), key=tried.get)
            q = left.pop(key)
            sign = 1 if q > 0 else -1
            lots_off = next(
                n for n in range(1, abs(q) + 1)
                if n == abs(q) or self.requirement(key[0], q) - self.requirement(key[0], q - sign * n) >= missing
            )  # fmt: skip
            parts.append((key, sign * lots_off))
            if lots_off < abs(q):
                left[key] = q - sign * lots_off
                break
        for t, _ in self.tiers:
            if Fraction(t) >= Fraction(tier):
                self.used[margin].setdefault(t, Fraction(t) + self.hysteresis)
        self.not_before_ms[margin] = self.now_ms + self.cool_down_ms
        after = required * self._own(left) / own
        again = {t: text(above) for t, above in self.used[margin].items()}
        return [
            Wanted(
                account, symbol, side, "cross" if isolated is None else "isolated", "SELL" if n > 0 else "BUY",
                text(abs(n) * Fraction(self.instruments[symbol].lot_size)), place, len(parts), tier, share,
                text(rounded(equity / Fraction(required))), text(rounded(equity / Fraction(after))) if after else None,
                self.accounts[account][2], again, self.now_ms + self.cool_down_ms,
            )
            for place, ((symbol, side), n) in enumerate(parts, start=1)
        ]  # fmt: skip

    def _own(self, lots):
        return sum(self.requirement(symbol, q) for (symbol, _), q in lots.items())

    def _variance(self, lots, changed, part):
        """Of the book in which that part of one position is closed."""
        value = defaultdict(Fraction)
        for key, q in lots.items():
            value[key[0]] += self.value(key[0], q) * (1 - part if key == changed else 1)
        if self.model is None:
            scale = {s: Fraction(self.instruments[s].maintenance_margin_fraction) / 2 for s in value}
            common = sum(scale[s] * v for s, v in value.items())
            return SHARED * common**2 + sum((1 - SHARED) * (scale[s] * v) ** 2 for s, v in value.items())
        rows = {s: self.model[s] for s in value}
        factors = [sum(Fraction(rows[s].loadings[k]) * v for s, v in value.items()) for k in range(2)]
        return sum(f * f for f in factors) + sum(Fraction(rows[s].idiosyncratic) * v * v for s, v in value.items())


def cents(amount):
    return int(Fraction(amount) * 100)


def rounded(ratio):
    return Fraction(floor(ratio * 10**6), 10**6)


def text(number):
    whole, rest = divmod(abs(Fraction(number)), 1)
    digits = f"{int(rest * 10**6):06}".rstrip("0")
    return ("-" if number < 0 else "") + (f"{whole}.{digits}" if digits else str(whole))
