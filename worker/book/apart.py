"""Plain records taken out of the text of their fetch, so that the rest of it need not be kept with them.

Rule: what they say stays the same; only where it stands changes.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.plain import BEGIN, COUNT, END, FIRST, NAME_BEGIN, NAME_END, SYMBOL_BEGIN, SYMBOL_END

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
