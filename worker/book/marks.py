"""What a new mark does to the equities of its holders."""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.table import ACCOUNT, EFFECTIVE, EQUITY, LOTS, MARGIN, UNMARKED, VALUE
from worker.book.value import value_minor


@kernel("void(int64[:, ::1], int64[:, ::1], int32[::1], int64, int64, int64, boolean)")
def move_mark(
    accounts: NDArray[np.int64],
    slots: NDArray[np.int64],
    holders: NDArray[np.int32],
    whole: int,
    rest: int,
    den: int,
    first: bool,
) -> None:
    """Writes each holder's value at the new mark and moves the equity of cross accounts by the difference.

    `first`: the symbol had no mark before, so each cross account has one unmarked slot less.
    """
    for slot in holders:
        value = value_minor(slots[EFFECTIVE, slot], whole, rest, den)
        if slots[MARGIN, slot] < 0:
            account = slots[ACCOUNT, slot]
            accounts[EQUITY, account] += value - slots[VALUE, slot]
            if first:
                accounts[UNMARKED, account] -= 1
        slots[VALUE, slot] = value


@kernel("int64(int64[:, ::1], int32[::1])")
def largest_lots(slots: NDArray[np.int64], holders: NDArray[np.int32]) -> int:
    """The largest |lots| among holders, before what legs hold."""
    largest = 0
    for slot in holders:
        largest = max(largest, abs(slots[LOTS, slot]))
    return largest


@kernel("int64(int64[:, ::1], int32[::1])")
def net_lots(slots: NDArray[np.int64], holders: NDArray[np.int32]) -> int:
    """Longs less shorts; as far as they fit int64 (2**10 positions of the largest size)."""
    net = 0
    for slot in holders:
        net += slots[LOTS, slot]
    return net
