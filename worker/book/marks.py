"""What a new mark does to the equities of its holders, and to where they stand in the ladders of all they hold."""

import numpy as np
from numpy.typing import NDArray

from worker.book.holders import (
    ACCOUNT_SHIFT,
    BEHIND,
    FIRST_PAGE,
    FIRST_SEAT,
    HELD,
    HOLDER,
    IS_COLLATERAL,
    PAGE,
    ROOM,
    SEAT_FIELDS,
    SEAT_LOTS,
)
from worker.book.kernel import kernel
from worker.book.ladders import FROM, MOVER_FIELDS, ROW, TO, move_levels
from worker.book.levels import cross_key, level_of
from worker.book.table import (
    COLLATERAL,
    DEN,
    EQUITY,
    GROSS,
    KEY,
    LEVEL,
    LOTS,
    MARK_REST,
    MARK_WHOLE,
    UNMARKED,
)
from worker.book.value import value_minor

Cells = NDArray[np.int64]


@kernel(
    "int64(int64[:, ::1], int64[:, ::1], int64[:, :, ::1], int64[::1], int64[:, ::1], int64[:, ::1], int64, int64, "
    "int64)"
)
def move_mark(
    accounts: Cells,
    slots: Cells,
    rungs: NDArray[np.int64],
    seats: Cells,
    holdings: Cells,
    terms: Cells,
    symbol: int,
    whole: int,
    rest: int,
) -> int:
    """Moves equities and levels of a symbol's cross holders from the mark in `terms` to the new one.

    Returns how often a holder stands behind the one that follows it in memory.
    """
    before_whole, before_rest, den = terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol], terms[DEN, symbol]
    page, left = holdings[FIRST_PAGE, symbol], holdings[HELD, symbol]
    movers = np.empty((MOVER_FIELDS, ROOM), np.int64)
    falls, previous = 0, np.int64(-1)
    while left > 0:
        begin, moved = PAGE * page + FIRST_SEAT, 0
        for place in range(begin, begin + SEAT_FIELDS * min(ROOM, left), SEAT_FIELDS):
            holder, lots = seats[place + HOLDER], seats[place + SEAT_LOTS]
            account = holder >> ACCOUNT_SHIFT
            falls += account < previous
            previous = account
            if lots == 0:
                continue
            value = value_minor(lots, whole, rest, den)
            before = value_minor(lots, before_whole, before_rest, den)
            equity = accounts[EQUITY, account] + value - before
            accounts[EQUITY, account] = equity
            if holder & IS_COLLATERAL:
                before = value
            gross = accounts[GROSS, account] + abs(value) - abs(before)
            accounts[GROSS, account] = gross
            level = accounts[LEVEL, account]
            if level > 0:
                new = level_of(cross_key(equity, gross)) + 1
                if new != level:
                    accounts[LEVEL, account] = new
                    movers[ROW, moved], movers[FROM, moved], movers[TO, moved] = account, level - 1, new - 1
                    moved += 1
        move_levels(accounts, slots, rungs, movers, moved)
        page = seats[PAGE * page + BEHIND]
        left -= ROOM
    return falls


@kernel("void(int64[:, ::1], int64[::1])")
def first_mark(accounts: Cells, rows: Cells) -> None:
    """Each cross position, of these account rows, was the one of a symbol without a mark, and is no longer."""
    for row in rows:
        accounts[UNMARKED, row] -= 1


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
