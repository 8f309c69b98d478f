"""What was last said of each position's place beside what holds now, and what is to be said: one merge, one scan.

Rule 1: rows stand in the order of names, so nothing that leaves depends on arrival. Rule 2: what was said of a position
stays until a tombstone is; one that was never said leaves no trace.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel

Cells = NDArray[np.int32]
Scores = NDArray[np.float64]
Ids = NDArray[np.int64]

ACCOUNT = 0  # row in the book
KEY = 1  # 4 * symbol row + position side
SHORT = 2  # 1: in the line of the shorts
PLACE = 3
POPULATION = 4
QUANTILE = 5  # 0 to 4, or GONE
SAID_QUANTILE = 6  # the last one said, or NEVER or OUTDATED
FIELDS = 7
NOW, SAID = 0, 1  # rows of the scores

QUANTILES = 5
GONE = -1  # has no place any more
NEVER = -2  # nothing was said, or a tombstone
OUTDATED = -3  # something was, and it counts no longer

_CELLS, _SCORES = "int32[:, ::1]", "float64[:, ::1]"


class Places(NamedTuple):
    """One column a position."""

    cells: Cells
    scores: Scores

    def of(self, rows: Ids) -> "Places":
        """Those of some rows, in their order."""
        return Places(self.cells.take(rows, 1), self.scores.take(rows, 1))


def nothing_said(size: int = 0) -> Places:
    """Positions of which nothing was said, without a place."""
    cells = np.zeros((FIELDS, size), np.int32)
    cells[QUANTILE], cells[SAID_QUANTILE] = GONE, NEVER
    return Places(cells, np.zeros((2, size)))


def quantiles(place: Ids, population: Ids) -> Ids:
    """In which fifth of its line a place is: 4 is first to be taken, and somebody always is."""
    return (QUANTILES * (population - place + 1) - 1) // population


@kernel(
    f"Tuple(({_CELLS}, {_SCORES}))({_CELLS}, {_SCORES}, int64[::1], {_CELLS}, {_SCORES}, int64[::1])",
)
def merge(
    old: Cells, old_scores: Scores, old_ids: Ids, new: Cells, new_scores: Scores, new_ids: Ids
) -> tuple[Cells, Scores]:
    """The new rows with what was said of them, and the old ones that have no place any more; both sorted by id.

    `old`: only rows of which something was said.
    """
    size, at = len(new_ids) + len(old_ids), 0
    for row in range(len(new_ids)):
        while at < len(old_ids) and old_ids[at] < new_ids[row]:
            at += 1
        size -= at < len(old_ids) and old_ids[at] == new_ids[row]
    cells, scores = np.empty((FIELDS, size), np.int32), np.empty((2, size))
    to, at = 0, 0
    for row in range(len(new_ids) + 1):
        while at < len(old_ids) and (row == len(new_ids) or old_ids[at] < new_ids[row]):
            for field in range(FIELDS):
                cells[field, to] = old[field, at]
            cells[QUANTILE, to] = GONE
            scores[NOW, to], scores[SAID, to] = 0.0, old_scores[SAID, at]
            at += 1
            to += 1
        if row == len(new_ids):
            break
        for field in range(FIELDS):
            cells[field, to] = new[field, row]
        scores[NOW, to], scores[SAID, to] = new_scores[NOW, row], 0.0
        if at < len(old_ids) and old_ids[at] == new_ids[row]:
            cells[SAID_QUANTILE, to] = old[SAID_QUANTILE, at]
            scores[SAID, to] = old_scores[SAID, at]
            at += 1
        to += 1
    return cells, scores


@kernel(f"int64({_CELLS}, {_SCORES}, float64, int64[::1], uint64[::1])")
def list_due(cells: Cells, scores: Scores, change: float, due: Ids, urgency: NDArray[np.uint64]) -> int:
    """Lists the rows of which something is to be said, with their urgency, smaller first; returns how many.

    First who has no place any more, then new quantiles, then scores that differ from the one said by more than `change`
    of the larger of both (infinity: none does); within these the highest quantiles first, in them the first places.
    """
    size = 0
    for row in range(cells.shape[1]):
        quantile, said = cells[QUANTILE, row], cells[SAID_QUANTILE, row]
        if quantile == GONE:
            if said == NEVER:
                continue
            group = 0
        elif quantile != said:
            group = QUANTILES - quantile
        else:
            now, then = scores[NOW, row], scores[SAID, row]
            # An infinite score differs from all others by more than any part of it.
            moved = abs(now - then) > change * max(abs(now), abs(then)) or np.isinf(now) or np.isinf(then)
            if now == then or np.isinf(change) or not moved:
                continue
            group = 2 * QUANTILES - quantile
        due[size] = row
        urgency[size] = np.uint64(group) << np.uint64(32) | np.uint64(cells[PLACE, row])
        size += 1
    return size
