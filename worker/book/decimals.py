"""Decimal texts of many numbers at once: what `schemas.text_of` gives, 0.05 us each where that takes 0.7."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas import text_of
from worker.book.kernel import kernel

_WIDTH = 21  # sign, 19 digits, point; and zeros in front, as many as there are decimals
_ZERO, _MINUS, _POINT = 48, 45, 46


@kernel("int64(int64[::1], int64[::1], uint8[::1])")
def write_decimals(values: NDArray[np.int64], decimals: NDArray[np.int64], out: NDArray[np.uint8]) -> int:
    """Writes value / 10**decimals of each, a NUL behind it; returns how many bytes."""
    end = 0
    for at in range(len(values)):
        left, places = abs(values[at]), decimals[at]
        while places > 0 and left % 10 == 0:
            left //= 10
            places -= 1
        width, rest = 1, left // 10
        while rest > 0 or width <= places:
            rest //= 10
            width += 1
        if values[at] < 0:
            out[end] = _MINUS
            end += 1
        end += width + (places > 0)
        place = end
        for digit in range(width):
            if digit == places and places > 0:
                place -= 1
                out[place] = _POINT
            place -= 1
            out[place] = _ZERO + left % 10
            left //= 10
        out[end] = 0
        end += 1
    return end


def decimal_pieces(values: Sequence[int] | NDArray[np.int64], decimals: NDArray[np.int64]) -> bytes:
    """The canonical text of each value / 10**decimals, a NUL behind it; integers of Python may be of any size."""
    try:
        numbers = np.asarray(values, np.int64)
    except OverflowError:  # a sum of lots, or a price, that no column can hold
        pairs = zip(values, decimals.tolist(), strict=True)
        return b"".join(text_of(int(value), places).encode() + b"\0" for value, places in pairs)
    out = np.empty((_WIDTH + 1 + int(decimals.max(initial=0))) * len(numbers), np.uint8)
    return out[: write_decimals(numbers, decimals, out)].tobytes()
