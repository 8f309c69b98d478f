"""A batch's records side by side, in the one order, with the rows of the symbols that they name."""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from worker.batch import ORDER_BITS, Batch, Run
from worker.book.plain import (
    BEGIN,
    COUNT,
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
        texts, text_by = _side_by_side(batch.runs)
        self.text: Bytes = texts[0] if len(texts) == 1 else np.concatenate(texts)
        positions, found, count = [], [], 0
        for run in batch.runs:
            shift, (first, last) = text_by[id(run.plain)], _extent(run)
            positions.append(_shifted(run.plain.positions[first:last], shift))
            found.append(_moved(run, shift, count - first))
            count += last - first
        self.positions: Cells = positions[0] if len(positions) == 1 else np.concatenate(positions)
        # [P, POSITION_FIELDS] and [N, RECORD_FIELDS]
        self.records: Cells = np.concatenate(found)[self.sequence]

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


def _extent(run: Run) -> tuple[int, int]:
    """Where the positions of a run begin and end among those of its fetch."""
    records = run.plain.records
    updates = np.flatnonzero(records[run.begin : run.end, KIND] == UPDATE)
    if not len(updates):
        return 0, 0
    first, last = records[run.begin + updates[0]], records[run.begin + updates[-1]]
    return int(first[FIRST]), int(last[FIRST] + last[COUNT])


def _moved(run: Run, text_by: int, positions_by: int) -> Cells:
    records = run.plain.records[run.begin : run.end]
    if text_by or positions_by:
        records = records.copy()
        records[:, NAME_BEGIN : NAME_END + 1] += text_by
        records[:, BEGIN : END + 1] += text_by
        records[:, FIRST] += positions_by
    return records


def _shifted(positions: Cells, text_by: int) -> Cells:
    if text_by:
        positions = positions.copy()
        positions[:, SYMBOL_BEGIN : SYMBOL_END + 1] += text_by
    return positions
