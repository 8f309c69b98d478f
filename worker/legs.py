"""From rounds to forced trades: exact quotes, so that per decision and symbol lots and cash sum to zero.

The liquidated accounts' quotes are rounded up in their favour; their exact total is split over the counterparties
of the round by lots. Two liquidated accounts with covered deficits meet each other at the mark before anyone is asked.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import floor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import PositionSide
from solver.settlement import INT64_SAFE, rounded_up, split_by_largest_remainder
from worker.book.book import Book
from worker.book.update import SIDE_CODE
from worker.book.value import values_minor
from worker.rounds import Key, Round
from worker.takeover import Estate, Line

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Orders(NamedTuple):
    """Legs before they have numbers, in columns, in the order in which they will be written."""

    account: Ints  # row in the book
    key: Ints  # 4 * symbol row + position side, as in the book
    sign: Ints  # +1 where a long is reduced, as booked: SELL, of an inverse contract BUY
    liquidated: NDArray[np.bool_]  # else a counterparty
    lots: Ints
    quote_minor: Ints  # above 0 where cash is received
    haircut_minor: Ints
    round: Ints
    leverage: Floats  # NaN where there is none
    score: Floats  # NaN where there is none
    score_after: Floats
    score_alone: Floats


@dataclass(slots=True)
class Order:
    """One leg of a liquidated account, as a column of `Orders`."""

    account: str
    symbol: str
    position_side: PositionSide
    sign: int
    lots: int
    quote_minor: int
    haircut_minor: int
    round: int


class Taken(NamedTuple):
    """What one demand got of its counterparties."""

    accounts: int
    cash_minor: int


class QuoteRangeError(Exception):
    """Cash of a leg, or of a demand, is so far beyond what the book can hold that no column can."""


def no_orders() -> Orders:
    """Columns without a leg."""
    ints, floats = np.zeros(0, np.int64), np.zeros(0)
    return Orders(ints, ints, ints, np.zeros(0, np.bool_), ints, ints, ints, ints, floats, floats, floats, floats)


def joined(blocks: Iterable[Orders]) -> Orders:
    """The legs of all blocks, one block after the other."""
    return Orders(*map(np.concatenate, zip(no_orders(), *blocks, strict=True)))


def accounts_asked(orders: Orders) -> int:
    """How many accounts are counterparties."""
    return int(np.unique(orders.account[~orders.liquidated]).size)


def lots_asked(orders: Orders) -> dict[int, int]:
    """Lots that counterparties give, by symbol row, exactly."""
    lots: dict[int, int] = {}
    asked = ~orders.liquidated
    for symbol, given in zip((orders.key[asked] >> 2).tolist(), orders.lots[asked].tolist(), strict=True):
        lots[symbol] = lots.get(symbol, 0) + given
    return lots


def in_columns(book: Book, orders: list[Order]) -> Orders:
    """The liquidated accounts' legs as columns; an account that is not in the book gets its row here."""
    cells = np.array(
        [
            (
                book.account_row(order.account), book.market(order.symbol).key + SIDE_CODE[order.position_side],
                order.sign, order.lots, order.quote_minor, order.haircut_minor, order.round,
            )
            for order in orders
        ],
        np.int64,
    )  # fmt: skip
    account, key, sign, lots, quote, haircut, number = np.ascontiguousarray(cells.reshape(-1, 7).T)
    nothing = np.full(len(orders), np.nan)
    liquidated = np.ones(len(orders), np.bool_)
    return Orders(
        account, key, sign, liquidated, lots, quote, haircut, number, nothing, nothing, nothing, nothing
    )  # fmt: skip


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
        begin = 0
        for long_estate, long_line in longs:
            while begin < len(shorts) and not shorts[begin][1].left:
                begin += 1
            for short_estate, short_line in shorts[begin:] if long_line.left else ():
                owner, other = owner_of.get(long_estate.account), owner_of.get(short_estate.account)
                lots = min(long_line.left, short_line.left)
                if lots and long_estate.account != short_estate.account and (owner is None or owner != other):
                    quote = long_line.scale.value_minor(lots, long_line.mark)
                    for estate, line, cash in ((long_estate, long_line, quote), (short_estate, short_line, -quote)):
                        line.left -= lots
                        orders.append(_liquidated(estate.account, line, lots, cash, 0))
                    if not long_line.left:
                        break
    return _merged(orders)


def _merged(orders: Iterable[Order]) -> list[Order]:
    """One leg per account and position, as their trade ids need it: a long may meet several shorts."""
    legs: dict[tuple[str, str, str, int], Order] = {}
    for order in orders:
        first = legs.setdefault((order.account, order.symbol, order.position_side, order.sign), order)
        if first is not order:
            first.lots += order.lots
            first.quote_minor += order.quote_minor
            first.haircut_minor += order.haircut_minor
    return list(legs.values())


def _liquidated(account: str, line: Line, lots: int, quote_minor: int, number: int) -> Order:
    haircut = line.sign * line.scale.value_minor(lots, line.mark) - quote_minor
    return Order(account, line.symbol, line.position_side, line.sign, lots, quote_minor, haircut, number)


def orders_of_round(
    book: Book, result: Round, lines: dict[Key, list[Line]], owner: dict[int, Estate], replaced: bool
) -> tuple[list[Orders], list[Taken]]:
    """The legs of one round, demand by demand: liquidated lines first, then counterparties; and what each demand got.

    `owner`: the estate of a line, by its id. `replaced`: the lines stand for legs that were refused, so the liquidated
    accounts have traded already and only new counterparties are written. Raises QuoteRangeError.
    """
    blocks: list[Orders] = []
    taken: list[Taken] = []
    starts = np.searchsorted(result.demand, np.arange(len(result.demands) + 1)).tolist()
    for index, key in enumerate(result.demands):
        total = 0
        orders: list[Order] = []
        for line, lots in zip(lines[key], result.parts[index], strict=True):
            if not lots:
                continue
            price = line.mark_minor if result.at_mark else line.price_minor
            if replaced:
                total += rounded_up(line.sign * price * lots) if result.at_mark else _next_cash(line, lots)
                continue
            quote = rounded_up(line.sign * price * lots)
            estate = owner[id(line)]
            order = _liquidated(estate.account, line, lots, quote, result.number)
            estate.haircut_minor -= order.haircut_minor
            orders.append(order)
            total += quote
        if max(map(abs, (total, *(order.quote_minor for order in orders)))) >= INT64_SAFE:
            raise QuoteRangeError
        block = _counterparties(book, result, slice(starts[index], starts[index + 1]), key[1], lines[key][0], total)
        blocks += [in_columns(book, _merged(orders)), block]
        # In the order of names, so the legs of an account stand together.
        accounts = int(np.count_nonzero(np.diff(block.account, prepend=-1)))
        taken.append(Taken(accounts, sum(block.quote_minor.tolist())))
    return blocks, taken


def _counterparties(book: Book, result: Round, rows: slice, sign: int, line: Line, liquidated_minor: int) -> Orders:
    """One demand's counterparties, who together pay what its liquidated accounts receive; `line`: any of its lines."""
    lots = result.lots[rows]
    if not lots.size:
        return no_orders()
    account, key = book.accounts_and_keys(result.slot[rows])
    quote: Ints = split_by_largest_remainder(-liquidated_minor, lots, result.tie_rank[rows])
    scale = line.scale
    value = sign * values_minor(lots, *divmod(scale.per_lot_num(line.mark), scale.den), scale.den)
    leverage, nothing = result.leverage[rows], np.full(lots.size, np.nan)
    scores = [score[rows] for score in result.scores] + [nothing] * (3 - len(result.scores))
    return Orders(
        account,
        key,
        np.full(lots.size, sign),
        np.zeros(lots.size, np.bool_),
        lots,
        quote,
        value - quote,
        np.full(lots.size, result.number),
        np.where(leverage < 1e18, leverage, np.nan),
        *scores,
    )


def _next_cash(line: Line, lots: int) -> int:
    """Cash of the next lots of a refused line, whose parts must add up to the whole."""
    begin, line.replaced = line.replaced, line.replaced + lots
    cash = line.sign * line.price_minor
    return floor(cash * line.replaced) - floor(cash * begin)


def price_of(quote_minor: int, lots: int, line: Line) -> Fraction:
    """The scaled price that a quote is, exactly."""
    return Fraction(*line.scale.price_of(quote_minor, lots))
