"""A batch's records side by side, in the one order, with the rows of the symbols that they name."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from worker.batch import ORDER_BITS, Batch, Plain, Run
from worker.book.plain import (
    BEGIN,
    END,
    FIRST,
    KIND,
    MARK,
    NAME_BEGIN,
    NAME_END,
    SYMBOL_BEGIN,
    SYMBOL_END,
    UPDATE,
)
from worker.event import Event

Cells = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class Columns:
    """N records with P positions; places in records and positions count from the beginning of one text."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._begins = np.cumsum([0, *map(len, batch.runs)])
        plains = list({id(run.plain): run.plain for run in batch.runs}.values())
        bases, text_base, position_base = {}, 0, 0
        for plain in plains:
            bases[id(plain)] = text_base, position_base
            text_base += len(plain.text)
            position_base += len(plain.positions)
        one = len(plains) == 1
        self.text: Bytes = plains[0].text if one else np.concatenate([plain.text for plain in plains])
        self.positions: Cells = (
            plains[0].positions if one else np.concatenate([_shifted(p, bases[id(p)][0]) for p in plains])
        )  # [P', POSITION_FIELDS], also those of records that are not of the batch
        self.sequence = batch.sequence()  # [N] places in the runs, one behind the other
        found = [_moved(run, *bases[id(run.plain)]) for run in batch.runs]
        self.records: Cells = np.concatenate(found)[self.sequence]  # [N, RECORD_FIELDS]

    @cached_property
    def marks(self) -> Cells:
        """Places of the marks among the records."""
        return np.flatnonzero(self.records[:, KIND] == MARK)

    @cached_property
    def updates(self) -> Cells:
        """Places of the updates."""
        return np.flatnonzero(self.records[:, KIND] == UPDATE)

    def log_times(self, places: Cells) -> Cells:
        """Of records, made non-decreasing inside their partition."""
        return self._batch.orders[self.sequence[places]] >> ORDER_BITS

    def event(self, at: int) -> Event:
        """The record at a place, as an event."""
        place = int(self.sequence[at])
        which = int(np.searchsorted(self._begins, place, "right")) - 1
        return self._batch.runs[which].event(place - int(self._begins[which]))


def spans(cells: Cells, field: int) -> tuple[Cells, Cells]:
    """The columns `field` and the next: where texts begin and end."""
    return np.ascontiguousarray(cells[:, field]), np.ascontiguousarray(cells[:, field + 1])


def _moved(run: Run, text_base: int, position_base: int) -> Cells:
    records = run.plain.records[run.begin : run.end]
    if text_base or position_base:
        records = records.copy()
        records[:, [NAME_BEGIN, NAME_END, BEGIN, END]] += text_base
        records[:, FIRST] += position_base
    return records


def _shifted(plain: Plain, text_base: int) -> Cells:
    positions = plain.positions
    if text_base:
        positions = positions.copy()
        positions[:, [SYMBOL_BEGIN, SYMBOL_END]] += text_base
    return positions
