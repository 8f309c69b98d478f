"""The positions of one account as an update says them, written by one kernel: opened, changed, closed.

Rule: nothing here can fail; whoever calls has looked (worker/book/apply.py), and has made room.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.holders import LOTS_HIGH, seat, tell, unseat
from worker.book.kernel import kernel
from worker.book.scales import ENTRY, FIRST_STAGED, IS_FULL, KEY, LOTS, MARGIN, STAGED
from worker.book.slots import close_slot, find_slot, open_slot
from worker.book.table import (
    COUNT,
    DEN,
    EFFECTIVE,
    EQUITY,
    FIRST,
    HELD_QUOTE,
    MARK_REST,
    MARK_WHOLE,
    UNMARKED,
)
from worker.book.table import ENTRY as SLOT_ENTRY
from worker.book.table import KEY as SLOT_KEY
from worker.book.table import LOTS as SLOT_LOTS
from worker.book.table import MARGIN as SLOT_MARGIN
from worker.book.update import CROSS
from worker.book.value import slot_value, value_minor

Cells = NDArray[np.int64]
Seats = NDArray[np.int64]

_CELLS = "int64[:, ::1]"
_BOOK = f"{_CELLS}, {_CELLS}, int64[::1], int64[::1], {_CELLS}"  # as `Slots.cells` gives it


@kernel(f"void({_CELLS}, {_CELLS}, int64[::1], {_CELLS}, {_CELLS}, int64, int64, int64[::1])")
def change(
    accounts: Cells, slots: Cells, seats: Seats, holdings: Cells, terms: Cells, row: int, slot: int, said: Cells
) -> None:
    """Rewrites a position and moves its account's equity by what its cross part changed."""
    symbol = said[KEY] >> 2
    whole, rest = terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol]
    marked = whole != 0 or rest != 0
    if slots[SLOT_MARGIN, slot] < 0:
        accounts[EQUITY, row] -= slot_value(slots, terms, slot) - slots[SLOT_ENTRY, slot] + slots[HELD_QUOTE, slot]
        accounts[UNMARKED, row] -= not marked
    value = value_minor(said[LOTS], whole, rest, terms[DEN, symbol])
    slots[SLOT_LOTS, slot] = slots[EFFECTIVE, slot] = said[LOTS]
    slots[SLOT_ENTRY, slot], slots[SLOT_MARGIN, slot] = said[ENTRY], said[MARGIN]
    tell(seats, slots, slot)
    if said[MARGIN] < 0:
        accounts[EQUITY, row] += value - said[ENTRY] + slots[HELD_QUOTE, slot]
        accounts[UNMARKED, row] += not marked
    holdings[LOTS_HIGH, symbol] = max(holdings[LOTS_HIGH, symbol], abs(said[LOTS]))


@kernel(f"void({_CELLS}, {_CELLS}, {_CELLS}, int64, int64)")
def leave(accounts: Cells, slots: Cells, terms: Cells, row: int, slot: int) -> None:
    """Takes a position's part out of its account's equity."""
    if slots[SLOT_MARGIN, slot] < 0:
        symbol = slots[SLOT_KEY, slot] >> 2
        accounts[EQUITY, row] -= slot_value(slots, terms, slot) - slots[SLOT_ENTRY, slot] + slots[HELD_QUOTE, slot]
        accounts[UNMARKED, row] -= terms[MARK_WHOLE, symbol] == 0 and terms[MARK_REST, symbol] == 0


@kernel(f"void({_BOOK}, {_CELLS}, int64, int64)")
def close(
    accounts: Cells, slots: Cells, heap: Cells, seats: Seats, holdings: Cells, terms: Cells, row: int, slot: int
) -> None:
    """Closes a position."""
    leave(accounts, slots, terms, row, slot)
    close_slot(accounts, slots, heap, seats, holdings, slot)


@kernel(f"void({_CELLS}, {_CELLS}, int64[::1], {_CELLS}, {_CELLS}, int64, int64, int64)")
def change_key(
    accounts: Cells, slots: Cells, seats: Seats, holdings: Cells, terms: Cells, row: int, slot: int, key: int
) -> None:
    """Makes a position one of no lots in another symbol or on another side, where `change` finds it."""
    leave(accounts, slots, terms, row, slot)
    unseat(seats, holdings, slots, slot)
    slots[SLOT_KEY, slot] = key
    slots[SLOT_LOTS, slot] = slots[EFFECTIVE, slot] = slots[SLOT_ENTRY, slot] = 0
    slots[SLOT_MARGIN, slot] = CROSS
    seat(seats, holdings, slots, slot)
    if slots[HELD_QUOTE, slot] != 0:
        slots[HELD_QUOTE, slot] = 0
    symbol = key >> 2
    accounts[UNMARKED, row] += terms[MARK_WHOLE, symbol] == 0 and terms[MARK_REST, symbol] == 0


@kernel(f"boolean({_CELLS}, int64, int64, int64)")
def stays(staged: Cells, begin: int, end: int, key: int) -> bool:
    """Whether a full update says a position with this key."""
    for place in range(begin, end):
        if staged[place, KEY] == key:
            return bool(staged[place, LOTS] != 0)
    return False


@kernel(f"void({_BOOK}, {_CELLS}, int64, int64, int64, {_CELLS})")
def replace_positions(
    accounts: Cells,
    slots: Cells,
    heap: Cells,
    seats: Seats,
    holdings: Cells,
    terms: Cells,
    row: int,
    begin: int,
    end: int,
    staged: Cells,
) -> None:
    """Gives slots of positions that a full update does not say to new ones that it does, and closes the others."""
    first, at = accounts[FIRST, row], 0
    for place in range(begin, end):
        said = staged[place]
        if said[LOTS] == 0 or find_slot(slots, first, accounts[COUNT, row], said[KEY]) >= 0:
            continue
        while at < accounts[COUNT, row] and stays(staged, begin, end, slots[SLOT_KEY, first + at]):
            at += 1
        if at == accounts[COUNT, row]:
            break
        # Closing and opening would take the block apart first: 0.3 us a position.
        change_key(accounts, slots, seats, holdings, terms, row, first + at, said[KEY])
        at += 1
    at = 0
    while at < accounts[COUNT, row]:
        slot = accounts[FIRST, row] + at
        if stays(staged, begin, end, slots[SLOT_KEY, slot]):
            at += 1
        else:
            close(accounts, slots, heap, seats, holdings, terms, row, slot)  # the last one is here now


@kernel(f"void({_BOOK}, {_CELLS}, int64, int64[::1], {_CELLS})")
def write_positions(
    accounts: Cells,
    slots: Cells,
    heap: Cells,
    seats: Seats,
    holdings: Cells,
    terms: Cells,
    row: int,
    head: Cells,
    staged: Cells,
) -> None:
    """Opens, changes and closes the positions of one account."""
    begin, end = head[FIRST_STAGED], head[FIRST_STAGED] + head[STAGED]
    if head[IS_FULL]:
        replace_positions(accounts, slots, heap, seats, holdings, terms, row, begin, end, staged)
    for place in range(begin, end):
        said = staged[place]
        slot = find_slot(slots, accounts[FIRST, row], accounts[COUNT, row], said[KEY])
        if slot >= 0 and said[LOTS] != 0:
            change(accounts, slots, seats, holdings, terms, row, slot, said)
        elif slot >= 0:
            close(accounts, slots, heap, seats, holdings, terms, row, slot)
        elif said[LOTS] != 0:
            symbol = said[KEY] >> 2
            whole, rest = terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol]
            value = value_minor(said[LOTS], whole, rest, terms[DEN, symbol])
            open_slot(accounts, slots, heap, seats, holdings, row, said[KEY], said[LOTS], said[ENTRY], said[MARGIN], 0)
            if said[MARGIN] < 0:
                accounts[EQUITY, row] += value - said[ENTRY]
                accounts[UNMARKED, row] += whole == 0 and rest == 0
