"""Account updates as columns, from plain records or from a PositionBatch, on their way into the book.

Rule: what the kernels do not understand is given back, update by update and in its turn, to be applied as a message.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import AccountUpdate, Balance, Position, PositionBatch, Reason, Refused, limits, text_of
from worker.book.book import Book
from worker.book.columnar import (
    ALL,
    P_ADL_SEQ,
    P_ENTRY,
    P_LOTS,
    P_SIDE,
    P_SYMBOL,
    U_ACCOUNT,
    U_ADL_SEQ,
    U_AMOUNT,
    U_EPOCH,
    U_FULL,
    U_SEQ,
    U_STATED,
    pair,
    stage_rows,
)
from worker.book.plain import NAME_BEGIN
from worker.book.scales import FIRST_STAGED, HEAD_FIELDS, ROW, STAGED, STAGED_FIELDS, stage_updates
from worker.book.state import SIDES
from worker.columns import Columns, spans
from worker.held import Held

Cells = NDArray[np.int64]

TOGETHER = 1024  # updates: where many are given back, each looks at so many others, not at all of a batch


class Updates:
    """U updates with their positions as numbers (worker/book/scales.py)."""

    def __init__(self, updates: int, positions: int) -> None:
        self.heads: Cells = np.empty((updates, HEAD_FIELDS), np.int64)
        self.staged: Cells = np.empty((positions, STAGED_FIELDS), np.int64)
        self.stale = 0  # of those applied: not newer than what is known

    def left(self, book: Book, held: Held) -> Iterator[int]:
        """Applies them, and gives the place of each that must be applied as a message before those behind it."""
        rows = self.heads[:, ROW]
        special = held.among(rows)
        for begin in range(0, len(rows), TOGETHER):
            end, at = min(begin + TOGETHER, len(rows)), begin
            special[begin:end] |= book.remembers(rows[begin:end])
            while at < end:
                at, stale = book.apply_columns(self.heads[:end], self.staged, special, at)
                self.stale += stale
                if at < end:
                    yield at
                    # What it remembers now was not known above, and a new account's row is not known here.
                    special[at:end] |= (rows[at:end] == rows[at]) | book.remembers(rows[at:end])
                    at += 1


def plain_updates(book: Book, columns: Columns, symbols: Cells) -> Updates:
    """The updates among a batch's records; symbols: the row of each position's symbol, -1 unknown."""
    records = columns.records[columns.updates]
    updates = Updates(len(records), len(symbols))
    stage_updates(
        records, columns.positions, symbols, book.currency_decimals, book.terms(), updates.heads, updates.staged
    )
    book.enter(updates.heads, columns.text, *spans(records, NAME_BEGIN))
    return updates


def batch_updates(book: Book, message: PositionBatch) -> tuple[Updates, Callable[[int], AccountUpdate]]:
    """The updates of a batch, and what says one as a message, unchecked; raises Refused where its blocks do not fit."""
    rows = np.frombuffer(message.updates, "<i8").astype(np.int64, copy=False).reshape(-1, limits.UPDATE_ROW)
    positions = np.frombuffer(message.positions, "<i8").astype(np.int64, copy=False).reshape(-1, limits.POSITION_ROW)
    updates = Updates(len(rows), len(positions))
    paired = pair(rows, positions, len(message.accounts), len(message.symbols), updates.heads)
    if paired == -1:
        raise Refused(Reason.FIELD, "rows of updates and positions must name accounts and symbols by their index")
    if paired != ALL:
        raise Refused(
            Reason.FIELD,
            "positions must stand in the order of their updates, as many as those say, each with the account, epoch "
            f"and seq; row {paired} does not",
        )
    symbols = np.array([book.symbols.row(symbol) for symbol in message.symbols], np.int64)
    text, begins, ends = _side_by_side(message.accounts)
    stage_rows(rows, positions, symbols, book.terms(), updates.heads, updates.staged)
    named = rows[:, U_ACCOUNT]
    book.enter(updates.heads, text, begins[named], ends[named])

    def update_of(at: int) -> AccountUpdate:
        begin = int(updates.heads[at, FIRST_STAGED])
        return _update(book, message, rows[at], positions[begin : begin + int(updates.heads[at, STAGED])])

    return updates, update_of


def _side_by_side(names: list[str]) -> tuple[NDArray[np.uint8], Cells, Cells]:
    """The bytes of names one behind the other, and where each begins and ends."""
    joined = "".join(names)
    text = joined.encode()
    sizes = map(len, names) if len(text) == len(joined) else (len(name.encode()) for name in names)
    ends = np.cumsum(np.fromiter(sizes, np.int64, len(names)))
    begins = np.concatenate((np.zeros(1, np.int64), ends[:-1]))[: len(ends)]
    return np.frombuffer(text or b"\0", np.uint8), begins, ends


def _update(book: Book, message: PositionBatch, row: Cells, positions: Cells) -> AccountUpdate:
    """The update that a row says, unchecked: whoever decodes it again finds what cannot be said."""
    said = row.tolist()
    amount = text_of(said[U_AMOUNT], book.currency_decimals)
    return AccountUpdate(
        account=message.accounts[said[U_ACCOUNT]],
        epoch=said[U_EPOCH],
        seq=said[U_SEQ],
        adl_seq=said[U_ADL_SEQ],
        full=_code((False, True), said[U_FULL]),
        balances=[Balance(currency=book.currency, amount=amount)] if said[U_STATED] else [],
        positions=[_position(book, message.symbols[cells[P_SYMBOL]], cells) for cells in positions.tolist()],
    )


def _position(book: Book, symbol: str, said: list[int]) -> Position:
    known = book.symbols.row(symbol) >= 0
    return Position(
        symbol=symbol,
        quantity=book.scale(symbol).quantity_text(said[P_LOTS]) if known else str(said[P_LOTS]),
        position_side=_code(SIDES, said[P_SIDE]),
        entry_value=text_of(said[P_ENTRY], book.currency_decimals),
        adl_seq=said[P_ADL_SEQ],
    )


def _code(codes: Sequence[Any], number: int) -> Any:
    """What a number stands for, or itself, which no message can have in that place."""
    return codes[number] if 0 <= number < len(codes) else number
