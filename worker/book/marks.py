"""What a new mark does to the equities of its holders, and to where they stand in the ladders of all they hold."""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.ladders import move
from worker.book.levels import cross_key, level_of
from worker.book.table import (
    ACCOUNT,
    COLLATERAL,
    EFFECTIVE,
    EQUITY,
    GROSS,
    KEY,
    LEVEL,
    LOTS,
    MARGIN,
    UNMARKED,
    VALUE,
)
from worker.book.value import value_minor


@kernel("int64(int64[:, ::1], int64[:, ::1], int64[:, :, ::1], int32[::1], int64, int64, int64, boolean)")
def move_mark(
    accounts: NDArray[np.int64],
    slots: NDArray[np.int64],
    rungs: NDArray[np.int64],
    holders: NDArray[np.int32],
    whole: int,
    rest: int,
    den: int,
    first: bool,
) -> int:
    """Moves values, equities and levels of cross holders to the new mark; isolated ones do not move.

    `first`: the symbol had no mark before, so each cross account, lifted, has one unmarked slot less. Returns how
    often a holder stands behind the one that follows it in memory.
    """
    falls, previous = 0, -1
    for slot in holders:
        falls += slot < previous
        previous = slot
        if slots[MARGIN, slot] >= 0:
            continue
        value, before = value_minor(slots[EFFECTIVE, slot], whole, rest, den), slots[VALUE, slot]
        account = slots[ACCOUNT, slot]
        equity = accounts[EQUITY, account] + value - before
        accounts[EQUITY, account] = equity
        slots[VALUE, slot] = value
        if first:
            accounts[UNMARKED, account] -= 1
        if slots[KEY, slot] & 3 == COLLATERAL:
            before = value
        gross = accounts[GROSS, account] + abs(value) - abs(before)
        accounts[GROSS, account] = gross
        level = accounts[LEVEL, account]
        if level > 0:
            new = level_of(cross_key(equity, gross)) + 1
            if new != level:
                move(accounts, slots, rungs, account, level - 1, new - 1)
                accounts[LEVEL, account] = new
    return falls


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
        if slots[KEY, slot] & 3 != COLLATERAL:
            net += slots[LOTS, slot]
    return net
