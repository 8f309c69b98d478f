"""A batch's records side by side, in the one order, with the rows of the symbols that they name."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from worker.batch import ORDER_BITS, Batch, Run
from worker.book.apart import extent, put_positions, put_records
from worker.book.plain import (
    KIND,
    MARK,
    POSITION_FIELDS,
    RECORD_FIELDS,
    UPDATE,
)
from worker.book.text import SENTINEL
from worker.event import Event

Cells = NDArray[np.int64]
Bytes = NDArray[np.uint8]


class Columns:
    """N records with P positions; places in records and positions count from the beginning of one text."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._begins = np.cumsum([0, *map(len, batch.runs)])
        self.sequence = batch.sequence()  # [N] places in the runs, one behind the other
        # Many cuts may stand in one fetch, so only what is of these runs is looked at.
        texts, moved = _side_by_side(batch.runs)
        self.text: Bytes = texts[0] if len(texts) == 1 else np.concatenate(texts)
        places = np.empty(len(batch), np.int64)
        places[self.sequence] = np.arange(len(batch))
        extents = [extent(run.plain.records[run.begin : run.end]) for run in batch.runs]
        self.records: Cells = np.empty((len(batch), RECORD_FIELDS), np.int64)
        self.positions: Cells = np.empty((sum(last - first for first, last in extents), POSITION_FIELDS), np.int64)
        begin = count = 0
        for run, (first, last) in zip(batch.runs, extents, strict=True):
            records, end = run.plain.records[run.begin : run.end], count + last - first
            text_by = moved[id(run.plain)]
            put_records(records, places[begin : begin + len(run)], text_by, count - first, self.records)
            put_positions(run.plain.positions[first:last], text_by, self.positions[count:end])
            begin, count = begin + len(run), end

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


def _side_by_side(runs: list[Run]) -> tuple[list[Bytes], dict[int, int]]:
    """The texts of the runs' fetches, as far as these runs reach, and by how much each is moved, by the fetch's id."""
    plains = {id(run.plain): run.plain for run in runs}
    if len(plains) == 1:
        return [plain.text for plain in plains.values()], dict.fromkeys(plains, 0)
    texts, text_by, end = [], {}, 0
    for which, plain in plains.items():
        extents = [run.text_extent() for run in runs if run.plain is plain]
        first, last = min(extent[0] for extent in extents), max(extent[1] for extent in extents)
        texts.append(plain.text[first:last])
        text_by[which] = end - first
        end += last - first
    return [*texts, np.frombuffer(SENTINEL, np.uint8)], text_by
