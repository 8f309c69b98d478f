"""From rounds to forced trades: exact quotes, so that per decision and symbol lots and cash sum to zero.

The liquidated accounts' quotes are rounded up in their favour; their exact total is split over the counterparties
of the round by lots. Two liquidated accounts with covered deficits meet each other at the mark before anyone is asked.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import Literal

import numpy as np

from schemas import PositionSide
from solver.settlement import rounded_up, split_by_largest_remainder
from worker.book.book import Book
from worker.rounds import Key, Round
from worker.takeover import Estate, Line


@dataclass(slots=True)
class Order:
    """One leg before it has a number: `sign` +1 where a long is reduced (SELL), quote > 0 where cash is received."""

    role: Literal["LIQUIDATED", "COUNTERPARTY"]
    account: str
    symbol: str
    position_side: PositionSide
    sign: int
    lots: int
    quote_minor: int
    haircut_minor: int
    round: int
    leverage: float | None = None
    score: float | None = None


def cross(estates: list[Estate], owner_of: dict[str, str | None]) -> list[Order]:
    """Lots of opposite sides whose deficits are covered, each other's counterparty at the mark; reduces their lines.

    Never two accounts of one owner. An uncovered side meets its own winners: a short's loss is not for shorts to pay.
    """
    free: dict[str, tuple[list[tuple[Estate, Line]], list[tuple[Estate, Line]]]] = {}
    for estate in sorted(estates, key=lambda item: item.account):
        for line in estate.lines:
            if not line.priced and estate.left_minor == 0:
                longs, shorts = free.setdefault(line.symbol, ([], []))
                (longs if line.sign > 0 else shorts).append((estate, line))
    orders: list[Order] = []
    for _, (longs, shorts) in sorted(free.items()):
        for long_estate, long_line in longs:
            for short_estate, short_line in shorts:
                owner, other = owner_of.get(long_estate.account), owner_of.get(short_estate.account)
                lots = min(long_line.left, short_line.left)
                if lots and long_estate.account != short_estate.account and (owner is None or owner != other):
                    quote = long_line.scale.value_minor(lots, long_line.mark)
                    for estate, line, cash in ((long_estate, long_line, quote), (short_estate, short_line, -quote)):
                        line.left -= lots
                        orders.append(_liquidated(estate.account, line, lots, cash, 0))
    return merged(orders)


def merged(orders: Iterable[Order]) -> list[Order]:
    """One leg per account, position, role and round, as their trade ids need it: a long may meet several shorts."""
    legs: dict[tuple[str, str, str, str, int], Order] = {}
    for order in orders:
        first = legs.setdefault((order.role, order.account, order.symbol, order.position_side, order.sign), order)
        if first is not order:
            first.lots += order.lots
            first.quote_minor += order.quote_minor
            first.haircut_minor += order.haircut_minor
    return list(legs.values())


def _liquidated(account: str, line: Line, lots: int, quote_minor: int, number: int) -> Order:
    haircut = line.sign * line.scale.value_minor(lots, line.mark) - quote_minor
    return Order("LIQUIDATED", account, line.symbol, line.position_side, line.sign, lots, quote_minor, haircut, number)


def orders_of_round(
    book: Book, result: Round, lines: dict[Key, list[Line]], owner: dict[int, Estate], replaced: bool
) -> Iterator[Order]:
    """The legs of one round: liquidated lines first, then counterparties, demand by demand.

    `owner`: the estate of a line, by its id. `replaced`: the lines stand for legs that were refused, so the liquidated
    accounts have traded already and only new counterparties are written.
    """
    starts = np.searchsorted(result.demand, np.arange(len(result.demands) + 1))
    for index, key in enumerate(result.demands):
        total = 0
        for line, lots in zip(lines[key], result.parts[index], strict=True):
            if not lots:
                continue
            price = line.mark_minor if result.at_mark else line.price_minor
            if replaced:
                quote = rounded_up(line.sign * price * lots) if result.at_mark else _next_cash(line, lots)
            else:
                quote = rounded_up(line.sign * price * lots)
                estate = owner[id(line)]
                order = _liquidated(estate.account, line, lots, quote, result.number)
                estate.haircut_minor -= order.haircut_minor
                yield order
            total += quote
        begin, end = int(starts[index]), int(starts[index + 1])
        if begin == end:
            continue
        weights = result.lots[begin:end]
        quotes = split_by_largest_remainder(-total, weights, result.tie_rank[begin:end])
        sign = key[1]
        scale = lines[key][0].scale
        num, den, mark = scale.value_num, scale.value_den, lines[key][0].mark
        names = book.names_of(result.slot[begin:end])
        leverages = result.leverage[begin:end].tolist()
        scores = None if result.score is None else result.score[begin:end].tolist()
        for row, ((account, side), lots, quote) in enumerate(zip(names, weights.tolist(), quotes, strict=True)):
            yield Order(
                "COUNTERPARTY", account, key[0], side, sign, lots, quote,
                sign * (lots * mark * num // den) - quote, result.number,
                leverages[row], None if scores is None else scores[row],
            )  # fmt: skip


def _next_cash(line: Line, lots: int) -> int:
    """Cash of the next lots of a refused line, whose parts must add up to the whole."""
    begin, line.replaced = line.replaced, line.replaced + lots
    cash = line.sign * line.price_minor
    return floor(cash * line.replaced) - floor(cash * begin)


def price_of(quote_minor: int, lots: int, line: Line) -> Fraction:
    """The scaled price that a quote is, exactly."""
    return Fraction(abs(quote_minor) * line.scale.value_den, lots * line.scale.value_num)
