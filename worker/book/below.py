"""Margin units whose equity is below zero: cross books and isolated positions, found in one pass over the columns.

A unit with a symbol that never had a mark has no equity that could be judged, and is left out.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.table import ACCOUNT, ENTRY, EQUITY, HELD_QUOTE, KEY, MARGIN, MARK_REST, MARK_WHOLE, UNMARKED
from worker.book.value import slot_value

Cells = NDArray[np.int64]


@kernel("int64(int64[:, ::1], int64, int64[:, ::1], int64, int64[:, ::1], int64[:, ::1])")
def find_units_below_zero(accounts: Cells, rows: int, slots: Cells, used: int, terms: Cells, found: Cells) -> int:
    """Writes account row, and 0 or 1 + the key of an isolated position, of each unit as far as there is room.

    Returns how many there are. 25 ms of a processor for 1 M accounts and 3 M positions.
    """
    count, room = 0, found.shape[1]
    for row in range(rows):
        if accounts[EQUITY, row] < 0 and accounts[UNMARKED, row] == 0:
            if count < room:
                found[0, count], found[1, count] = row, 0
            count += 1
    for slot in range(used):
        if slots[MARGIN, slot] < 0 or slots[ACCOUNT, slot] < 0:
            continue
        equity = slots[MARGIN, slot] + slot_value(slots, terms, slot) - slots[ENTRY, slot] + slots[HELD_QUOTE, slot]
        symbol = slots[KEY, slot] >> 2
        if equity < 0 and (terms[MARK_WHOLE, symbol] != 0 or terms[MARK_REST, symbol] != 0):
            if count < room:
                found[0, count], found[1, count] = slots[ACCOUNT, slot], 1 + slots[KEY, slot]
            count += 1
    return count


def units_below_zero(accounts: Cells, rows: int, slots: Cells, used: int, terms: Cells) -> Cells:
    """int64[2, units]: account row and key of each."""
    found = np.empty((2, 1 << 12), np.int64)
    count = find_units_below_zero(accounts, rows, slots, used, terms, found)
    if count > found.shape[1]:
        found = np.empty((2, count), np.int64)
        find_units_below_zero(accounts, rows, slots, used, terms, found)
    return found[:, :count]
