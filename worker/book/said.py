"""What was last said of each position's place beside what holds now, and what is to be said: one merge, one scan.

Rule 1: rows stand in the order of names, so nothing that leaves depends on arrival. Rule 2: what was said of a position
stays until a tombstone is; one that was never said leaves no trace.
"""

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


def nothing_said(size: int = 0) -> tuple[Cells, Scores]:
    """Cells and scores of positions of which nothing was said, without a place."""
    cells = np.zeros((FIELDS, size), np.int32)
    cells[QUANTILE], cells[SAID_QUANTILE] = GONE, NEVER
    return cells, np.zeros((2, size))


def quantiles(place: Ids, population: Ids) -> Ids:
    """In which fifth of its line a place is: 4 is first to be taken, and somebody always is."""
    return (QUANTILES * (population - place + 1) - 1) // population


@kernel(f"int64({_CELLS}, {_SCORES}, int64[::1], {_CELLS}, {_SCORES}, int64[::1], {_CELLS}, {_SCORES})")
def merge(
    old: Cells, old_scores: Scores, old_ids: Ids, new: Cells, new_scores: Scores, new_ids: Ids, out: Cells,
    out_scores: Scores,
) -> int:  # fmt: skip
    """Writes the new rows with what was said of them, and the old ones that still need a tombstone; returns how many.

    Both come sorted by their ids; `out` has room for all.
    """
    size, at = 0, 0
    for row in range(len(new_ids) + 1):
        while at < len(old_ids) and (row == len(new_ids) or old_ids[at] < new_ids[row]):
            if old[SAID_QUANTILE, at] != NEVER:
                for field in range(FIELDS):
                    out[field, size] = old[field, at]
                out[QUANTILE, size] = GONE
                out_scores[SAID, size] = old_scores[SAID, at]
                size += 1
            at += 1
        if row == len(new_ids):
            break
        for field in range(FIELDS):
            out[field, size] = new[field, row]
        out_scores[NOW, size] = new_scores[NOW, row]
        out[SAID_QUANTILE, size] = NEVER
        if at < len(old_ids) and old_ids[at] == new_ids[row]:
            out[SAID_QUANTILE, size] = old[SAID_QUANTILE, at]
            out_scores[SAID, size] = old_scores[SAID, at]
            at += 1
        size += 1
    return size


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
