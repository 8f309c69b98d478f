"""What a decision says of each demand: a row a round, or where those would be too many, a row a symbol and side.

Rule: a decision's record is bounded: `groups_of` bounds symbols and sides, this file rows; the trades say the rest.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from schemas import DecidedDemand
from worker.book.book import Book
from worker.claims import ROUNDS_FEW
from worker.legs import Orders, Taken, price_of
from worker.rounds import Key, Round
from worker.takeover import Line

ROWS_FEW, ROWS_MAX = 64, 1024  # always said round by round; never said round by round


def _side(line: Line, side: int) -> Literal["LONG", "SHORT"]:
    """The side that is reduced in the words of the wire: booked longs of an inverse contract are shorts."""
    return "LONG" if side * line.scale.sign > 0 else "SHORT"


def unmet(symbol: str, side: int, line: Line, lots: int, reason: str) -> DecidedDemand:
    """A demand that no round was made for."""
    quantity = line.scale.quantity_text(lots)
    mark = line.scale.price_text(line.mark)
    return DecidedDemand(
        symbol=symbol, side=_side(line, side), quantity=quantity, taken="0", price=mark, mark_price=mark,
        round=0, accounts=0, residual=quantity, residual_reason=reason,
    )  # fmt: skip


def report(
    result: Round, index: int, lines: list[Line], got: Taken, residual: int, reason: str | None
) -> DecidedDemand:
    """What one round did for one of its demands."""
    symbol, side = result.demands[index]
    scale = lines[0].scale
    taken = result.taken[index]
    price = round(price_of(got.cash_minor, taken, lines[0])) if taken else lines[0].mark
    return DecidedDemand(
        symbol=symbol,
        side=_side(lines[0], side),
        quantity=scale.quantity_text(result.wanted[index]),
        taken=scale.quantity_text(taken),
        price=scale.price_text(price),
        mark_price=scale.price_text(lines[0].mark),
        round=result.number,
        accounts=got.accounts,
        leverage_before_max=result.leverage_before_max[index],
        leverage_after_max=result.leverage_after_max[index],
        level=result.level[index],
        shadow_price=result.shadow_price[index],
        residual=scale.quantity_text(residual),
        residual_reason=reason,
    )


def few(
    book: Book, rows: list[DecidedDemand], orders: Orders, demands: Mapping[Key, Sequence[Line]]
) -> list[DecidedDemand]:
    """The rows; where they are too many, one for all rounds of a symbol and side, with the number of the last."""
    said: dict[Key, list[DecidedDemand]] = {}
    for row in rows:
        side = (1 if row.side == "LONG" else -1) * book.scale(row.symbol).sign
        said.setdefault((row.symbol, side), []).append(row)
    if len(rows) <= min(ROWS_MAX, max(ROWS_FEW, ROUNDS_FEW * len(said))):
        return rows
    merged = []
    for (symbol, side), of_key in said.items():
        line, market = demands[symbol, side][0], book.market(symbol)
        mine = (orders.key >> 2 == market.row) & (orders.sign == side) & ~orders.liquidated
        lots = sum(orders.lots[mine].tolist())
        price = round(price_of(sum(orders.quote_minor[mine].tolist()), lots, line)) if lots else line.mark
        merged.append(
            msgspec.structs.replace(
                of_key[-1],
                quantity=of_key[0].quantity,
                taken=line.scale.quantity_text(lots),
                price=line.scale.price_text(price),
                accounts=int(np.unique(orders.account[mine]).size),
                leverage_before_max=of_key[0].leverage_before_max,
            )
        )
    return merged
