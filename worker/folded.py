"""Marks that wait to be applied: of each symbol the newest, because those before it would leave nothing behind.

Rule: a mark waits only while no mark and no update of the batches since could be refused, whatever their order; then
the state that follows does not depend on it. Who wants to know the state asks for what waits first.
"""

from typing import cast

import numpy as np
from numpy.typing import NDArray

from schemas import MarkPrice, decode
from worker.book.book import Book
from worker.book.plain import BEGIN, END, NAME_BEGIN
from worker.book.scales import stage_marks, within
from worker.columns import Columns, spans

Cells = NDArray[np.int64]


class Folded:
    """The newest mark of each symbol that waits."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._newest: dict[int, tuple[bytes, int]] = {}  # symbol row -> record, log time
        self._lots_max = np.zeros(0, np.int64)  # [symbols] the most lots that no waiting mark would refuse

    def __bool__(self) -> bool:
        return bool(self._newest)

    def add(self, columns: Columns, symbols: Cells) -> bool:
        """Takes the marks of a batch; False, with nothing taken, where they must be applied in their order.

        symbols: the symbol's row of each position, -1 unknown.
        """
        marks = columns.marks
        if not self._newest:
            if len(marks) == 0:
                return True
            self._lots_max = np.full(len(self._book.markets), 1 << 62, np.int64)
        records, terms = columns.records[marks], self._book.terms()
        rows = self._book.symbols.rows_of(columns.text, *spans(records, NAME_BEGIN))
        lots_max = self._lots_max.copy()
        if not stage_marks(records, rows, terms, lots_max) or not within(columns.positions, symbols, terms, lots_max):
            return False
        newest = dict(zip(rows.tolist(), marks.tolist(), strict=True))
        high = [self._book.markets[row].lots_high for row in self._newest.keys() | newest.keys()]
        if np.any(np.array(high, np.int64) > lots_max[[*(self._newest.keys() | newest.keys())]]):
            return False
        self._lots_max = lots_max
        places = np.fromiter(newest.values(), np.int64, len(newest))
        extents, times, text = (
            columns.records[places][:, [BEGIN, END]].tolist(),
            columns.log_times(places),
            columns.text.data,
        )
        for row, (begin, end), log_time_ms in zip(newest, extents, times.tolist(), strict=True):
            self._newest[row] = bytes(text[begin:end]), log_time_ms
        return True

    def take(self) -> list[tuple[MarkPrice, int]]:
        """The marks that waited, with their log times; none waits any more."""
        newest, self._newest = self._newest, {}
        return [(cast(MarkPrice, decode(record)[0]), log_time_ms) for record, log_time_ms in newest.values()]
