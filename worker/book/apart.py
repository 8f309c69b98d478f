"""Plain records moved: out of the text of their fetch, so that the rest of it need not be kept, and beside each other.

Rule: what they say stays the same; only where it stands changes.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.plain import BEGIN, COUNT, END, FIRST, KIND, NAME_BEGIN, NAME_END, SYMBOL_BEGIN, SYMBOL_END, UPDATE

Bytes = NDArray[np.uint8]
Cells = NDArray[np.int64]


@kernel(
    "int64(Array(uint8, 1, 'C', readonly=True), uint8[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], "
    "int64[:, ::1], int64[:, ::1])"
)
def take_apart(
    text: Bytes, out: Bytes, keys: Cells, begins: Cells, ends: Cells, records: Cells, positions: Cells, taken: Cells
) -> int:
    """Copies N records to `out`, side by side, and their positions to `taken`; returns how many positions.

    keys, begins, ends [N] and records [N, RECORD_FIELDS] are rewritten; out and taken are long enough.
    """
    end = used = 0
    for at in range(len(begins)):
        record = records[at]
        begin = keys[at] if keys[at] >= 0 else begins[at]
        size, shift = ends[at] - begin, end - begin
        out[end : end + size] = text[begin : begin + size]
        end += size
        if keys[at] >= 0:
            keys[at] += shift
        begins[at] += shift
        ends[at] += shift
        for field in (NAME_BEGIN, NAME_END, BEGIN, END):
            record[field] += shift
        first = record[FIRST]
        record[FIRST] = used
        for place in range(first, first + record[COUNT]):
            taken[used] = positions[place]
            taken[used, SYMBOL_BEGIN] += shift
            taken[used, SYMBOL_END] += shift
            used += 1
    return used


@kernel("UniTuple(int64, 2)(int64[:, ::1])")
def extent(records: Cells) -> tuple[int, int]:
    """Where the positions of records that follow each other begin and end."""
    first, last = 0, len(records) - 1
    while first <= last and records[first, KIND] != UPDATE:
        first += 1
    while last > first and records[last, KIND] != UPDATE:
        last -= 1
    if first > last:
        return 0, 0
    return records[first, FIRST], records[last, FIRST] + records[last, COUNT]


@kernel("void(int64[:, ::1], int64[::1], int64, int64, int64[:, ::1])")
def put_records(records: Cells, places: Cells, text_by: int, positions_by: int, out: Cells) -> None:
    """Copies records to their places among others, whose text and positions begin so much further on."""
    for at in range(len(records)):
        record = out[places[at]]
        record[:] = records[at]
        for field in (NAME_BEGIN, NAME_END, BEGIN, END):
            record[field] += text_by
        record[FIRST] += positions_by


@kernel("void(int64[:, ::1], int64, int64[:, ::1])")
def put_positions(positions: Cells, text_by: int, out: Cells) -> None:
    """The same for positions, which stay in their order."""
    for at in range(len(positions)):
        out[at] = positions[at]
        out[at, SYMBOL_BEGIN] += text_by
        out[at, SYMBOL_END] += text_by
