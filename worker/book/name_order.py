"""The order of names by their UTF-8 bytes: many sorted at once, a few merged into the order that is there.

Sorting goes eight bytes at a time by counting, for names mostly differ at their ends; equal beginnings are sorted by
the next eight. Names are unique, so the order is one and the same whichever way it was made.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.name_cells import FIRST_SHIFT, LENGTH, SORTED, WORD

Cells = NDArray[np.int64]
Rows = NDArray[np.int32]
Words = NDArray[np.uint64]

_FEW = 48  # names are sorted by insertion
_8, _16, _32 = np.uint64(8), np.uint64(16), np.uint64(32)
_BYTES, _PAIRS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)


@kernel("uint64(int64, int64, uint64[::1], int64[::1])")
def _key(row: int, depth: int, words: Words, spans: Cells) -> np.uint64:
    """Eight bytes of a name, first byte highest; 0 behind its end."""
    word = np.uint64(0)
    if WORD * depth < spans[row] & LENGTH:
        word = words[(spans[row] >> FIRST_SHIFT) + depth]
    word = ((word >> _8) & _BYTES) | ((word & _BYTES) << _8)
    word = ((word >> _16) & _PAIRS) | ((word & _PAIRS) << _16)
    return (word >> _32) | (word << _32)


@kernel("boolean(int64, int64, int64, uint64[::1], int64[::1])")
def _before(row: int, other: int, depth: int, words: Words, spans: Cells) -> np.bool_:
    """Whether a name stands before another, equal up to 8 * depth bytes."""
    while True:
        key, other_key = _key(row, depth, words, spans), _key(other, depth, words, spans)
        if key != other_key or key == 0:
            return key < other_key
        depth += 1


@kernel("void(int32[::1], uint64[::1], int32[::1], uint64[::1])")
def _sort_by_keys(rows: Rows, keys: Words, spare_rows: Rows, spare_keys: Words) -> None:
    """Sorts rows by their keys, byte by byte from the last; bytes in which no two differ cost one look."""
    counts = np.zeros((WORD, 256), np.int64)
    for key in keys:
        for byte in range(WORD):
            counts[byte, np.int64(key >> np.uint64(8 * byte)) & 255] += 1
    for byte in range(WORD):
        count, shift = counts[byte], np.uint64(8 * byte)
        if count[np.int64(keys[0] >> shift) & 255] == len(keys):
            continue
        end = 0
        for digit in range(256):
            end, count[digit] = end + count[digit], end
        for at in range(len(keys)):
            digit = int(keys[at] >> shift) & 255
            spare_rows[count[digit]], spare_keys[count[digit]] = rows[at], keys[at]
            count[digit] += 1
        rows[:] = spare_rows
        keys[:] = spare_keys


@kernel("void(int32[::1], uint64[::1], int64[::1])")
def sort_rows(rows: Rows, words: Words, spans: Cells) -> None:
    """Sorts rows by their names."""
    size = len(rows)
    keys, spare_rows, spare_keys = np.empty(size, np.uint64), np.empty(size, np.int32), np.empty(size, np.uint64)
    waiting = np.empty((size // _FEW + 1, 3), np.int64)  # groups of equal beginnings: begin, end, depth
    waiting[0, 0], waiting[0, 1], waiting[0, 2] = 0, size, 0
    groups = 1
    while groups > 0:
        groups -= 1
        begin, end, depth = waiting[groups, 0], waiting[groups, 1], waiting[groups, 2]
        if end - begin <= _FEW:
            for at in range(begin + 1, end):
                row, place = rows[at], at
                while place > begin and _before(row, rows[place - 1], depth, words, spans):
                    rows[place] = rows[place - 1]
                    place -= 1
                rows[place] = row
            continue
        for at in range(begin, end):
            keys[at] = _key(rows[at], depth, words, spans)
        _sort_by_keys(rows[begin:end], keys[begin:end], spare_rows[begin:end], spare_keys[begin:end])
        first = begin
        for at in range(begin + 1, end + 1):
            if at < end and keys[at] == keys[first]:
                continue
            if at - first > _FEW:
                waiting[groups, 0], waiting[groups, 1], waiting[groups, 2] = first, at, depth + 1
                groups += 1
            else:
                for other in range(first + 1, at):
                    row, place = rows[other], other
                    while place > first and _before(row, rows[place - 1], depth + 1, words, spans):
                        rows[place] = rows[place - 1]
                        place -= 1
                    rows[place] = row
            first = at


@kernel("int64(int64, int32[::1], int64[::1])")
def fresh_rows(used: int, fresh: Rows, spans: Cells) -> int:
    """Writes the rows below `used` that the order does not contain, and marks them as contained; returns how many."""
    found = 0
    for row in range(used):
        if spans[row] > 0 and spans[row] & SORTED == 0:
            fresh[found] = row
            found += 1
    return found


@kernel("void(int64, int32[::1], int32[::1], int32[::1], int32[::1], uint64[::1], int64[::1])")
def merge(same: int, old: Rows, new: Rows, order: Rows, rank: Rows, words: Words, spans: Cells) -> None:
    """Merges `new`, which is sorted, into `old`; writes the order, and the ranks that change.

    `same`: the first of `old` stand where they stood before.
    """
    done = at = 0
    for fresh in new:
        low, high = done, len(old)
        while low < high:
            middle = (low + high) >> 1
            if _before(old[middle], fresh, 0, words, spans):
                low = middle + 1
            else:
                high = middle
        order[at : at + low - done] = old[done:low]
        at += low - done
        done = low
        same = min(same, at)
        order[at] = fresh
        at += 1
        spans[fresh] |= SORTED
    order[at:] = old[done:]
    for place in range(same, len(order)):
        rank[order[place]] = place
