"""The leverage queue once more: made anew from the twin's positions, sorted by floats, with nothing kept between."""

from fractions import Fraction
from math import floor, frexp, inf
from typing import NamedTuple

from tests.worker.book.twin import Twin


class Queued(NamedTuple):
    ratio: float  # equity / |value|; infinite where there is no value
    name: bytes
    account: str
    isolated: bool
    lots: int

    @property
    def leverage(self) -> float:
        return 0.0 if self.ratio == inf else 1 / self.ratio if self.ratio else inf

    @property
    def level(self) -> int:
        if self.ratio <= 0 or self.ratio == inf:
            return 0 if self.ratio <= 0 else 127
        mantissa, exponent = frexp(self.ratio)
        return min(max((exponent + 9) * 8 + int((mantissa - 0.5) * 16) + 1, 1), 126)


def may_be_taken(twin: Twin, account: str) -> bool:
    said = twin.accounts.get(account)
    free = said is None or (said.role == "TRADER" and said.adl != "EXEMPT")
    return free and not twin.is_parked(account, "AccountUpdate", "Account")


def queue(twin: Twin, symbol: str, side: int) -> list[Queued]:
    """Everybody on a side of a symbol, the first to be deleveraged first; the twin's lots are booked ones."""
    side = -side if twin.inverse(symbol) else side
    found = []
    for account in twin.names():
        if not may_be_taken(twin, account):
            continue
        held = twin.sorted_positions(account)
        cross = [(s, h) for s, _, h in held if h.margin is None]
        gross = sum(abs(twin.value(s, h.effective)) for s, h in cross)
        whole = all(s in twin.marks for s, _ in cross)
        for held_symbol, _, h in held:
            if held_symbol != symbol or h.effective * side <= 0 or symbol not in twin.marks:
                continue
            if h.margin is not None:
                ratio = isolated_ratio(twin, symbol, h.effective, h.margin - h.entry + h.quote)
            elif whole:
                ratio = float(twin.equity(account)) / float(gross) if gross else inf
            else:
                continue
            found.append(Queued(ratio, account.encode(), account, h.margin is not None, abs(h.effective)))
    return sorted(found)


def isolated_ratio(twin: Twin, symbol: str, lots: int, cash: int) -> float:
    """Distance of the mark to the bankruptcy price, as a share of the mark."""
    mark = float(twin.exact(symbol, 1, twin.marks[symbol][0]))
    bankruptcy = -float(cash) / float(lots)
    return (mark - bankruptcy if lots > 0 else bankruptcy - mark) / mark


def depth(twin: Twin, symbol: str, found: list[Queued]) -> list[tuple[int, int, int, int]]:
    """Level, positions, lots and notional of each level, the first to be deleveraged first."""
    levels: dict[int, list[int]] = {}
    for place in found:
        levels.setdefault(place.level, []).append(place.lots)
    value: Fraction = twin.exact(symbol, 1, twin.marks[symbol][0]) if symbol in twin.marks else Fraction(0)
    return [(level, len(lots), sum(lots), floor(sum(lots) * value)) for level, lots in sorted(levels.items())]
