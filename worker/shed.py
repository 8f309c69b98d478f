"""How much of which position removes a share of a margin's maintenance requirement: whole lots, exactly.

Rule 1: at least the share is removed, and not one lot more of the last position than that takes.
Rule 2: the position whose closing lowers the variance of the account's own book most comes first; floats decide about
the order alone.
"""

from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from solver import RiskModel
from solver.shedding import shedding_order
from worker.book.margins import PARTS, Margin, requirement_parts
from worker.book.market import Market
from worker.book.views import PositionView


class Part(NamedTuple):
    """So many lots of a position, signed as they are held."""

    position: PositionView
    lots: int


class Ratio(NamedTuple):
    """A margin ratio: an exact quotient of whole numbers, not reduced."""

    num: int
    den: int  # above 0


class Plan(NamedTuple):
    """What is to be closed, first things first, and the margin ratios; `after` is None where nothing is left."""

    parts: list[Part]
    before: Ratio
    after: Ratio | None  # all filled at the marks


def plan(margin: Margin, share: Fraction, markets: Sequence[Market], risk: RiskModel) -> Plan:
    """The parts to close of a margin above 0 with positions; `risk` is of all markets, by row."""
    den = share.denominator  # of what is wanted and removed, in parts of PARTS
    wanted = share.numerator * margin.own
    parts: list[Part] = []
    removed = 0
    for position in _ordered(margin, wanted / (den * PARTS), markets, risk):
        if removed * den >= wanted:
            break
        lots, freed = _part(markets[position.symbol_row], position, wanted - removed * den, den)
        parts.append(Part(position, lots))
        removed += freed
    # A requirement that the exchange stated is taken to fall as our own sum does.
    left = margin.required * (margin.own - removed)
    equity = margin.equity_minor * PARTS
    return Plan(parts, Ratio(equity, margin.required), Ratio(equity * margin.own, left) if left else None)


def _part(market: Market, position: PositionView, wanted: int, den: int) -> tuple[int, int]:
    """The fewest lots that free wanted / den, or all of them; and what they free."""
    sign = 1 if position.effective_lots > 0 else -1
    whole = requirement_parts(market, position.value_minor)

    def freed(lots: int) -> int:
        left = (position.effective_lots - sign * lots) * market.mark_num // market.den
        return whole - requirement_parts(market, left)

    every = abs(position.effective_lots)
    lots, step = min(every, -(-every * wanted // (whole * den))), 1
    while (found := freed(lots)) * den < wanted and lots < every:
        lots, step = min(every, lots + step), 2 * step
    # The share of the lots is nearly always the answer, so a search over all of them took five times as long.
    if lots > 1 and freed(lots - 1) * den >= wanted:
        lots = 1 + bisect_left(range(1, lots), wanted, key=lambda some: freed(some) * den)
        found = freed(lots)
    return sign * lots, found


def _ordered(margin: Margin, wanted: float, markets: Sequence[Market], risk: RiskModel) -> list[PositionView]:
    positions = margin.positions
    if len(positions) == 1:
        return positions
    order = shedding_order(
        np.array([position.value_minor for position in positions], np.float64),
        np.array([position.symbol_row for position in positions], np.int64),
        np.array([requirement_parts(markets[p.symbol_row], p.value_minor) / PARTS for p in positions], np.float64),
        risk.loadings, risk.idiosyncratic, wanted,
    )  # fmt: skip
    return [positions[at] for at in order.tolist()]
