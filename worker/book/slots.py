"""Positions as slots: those of an account side by side, each seated among its symbol's holders.

Rule: a slot's number is good until the next position of its account is opened or closed, for they stay side by side.
Nothing here ever scans the book, and nothing stops to copy it.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.blocks import HEAP_FIELDS, POSITIONS, SLOTS_USED, give_back, length_of, lengthen, take
from worker.book.holders import HOLDER, LOTS_HIGH, Holders, seat, tell, unseat
from worker.book.kernel import kernel
from worker.book.table import (
    ACCOUNT,
    BUY,
    COUNT,
    EFFECTIVE,
    ENTRY,
    FIRST,
    HELD_QUOTE,
    KEY,
    LOTS,
    MARGIN,
    NOBODY,
    PLACE,
    SELL,
    SLOT_ADL_SEQ,
    SLOT_FIELDS,
    Table,
)

Cells = NDArray[np.int64]
Seats = NDArray[np.int64]

SLOTS_MAX = limits.POSITIONS_MAX + limits.POSITIONS_MAX // 4  # a quarter is for blocks that are not full
_MARGIN = 2**14  # slots: more than one update takes

_CELLS = "int64[:, ::1]"
_BOOK = f"{_CELLS}, {_CELLS}, int64[::1], int64[::1], {_CELLS}"
_SCANNED = 16  # up to so many positions Python looks itself; a call costs 0.5 us


@kernel(f"int64({_CELLS}, int64, int64, int64)")
def find_slot(slots: Cells, first: int, count: int, key: int) -> int:
    """The slot with this key among an account's, or -1."""
    for slot in range(first, first + count):
        if slots[KEY, slot] == key:
            return slot
    return -1


@kernel(f"void({_CELLS}, int64)")
def empty_slot(slots: Cells, slot: int) -> None:
    """A slot that holds nothing: what `fill_slot` does not write is 0."""
    slots[ACCOUNT, slot] = NOBODY
    for field in (HELD_QUOTE, SELL, BUY):
        if slots[field, slot] != 0:
            slots[field, slot] = 0


@kernel(f"void({_CELLS}, int64[::1], int64, int64)")
def move_slot(slots: Cells, seats: Seats, slot: int, target: int) -> None:
    """Moves a position to a slot that holds nothing. Zeros are not written over zeros: that would take memory."""
    for field in range(SLOT_FIELDS):
        if slots[field, target] != slots[field, slot]:
            slots[field, target] = slots[field, slot]
    seats[slots[PLACE, slot] + HOLDER] += target - slot
    empty_slot(slots, slot)


@kernel(f"void({_BOOK}, int64, int64, int64, int64, int64, int64, int64)")
def fill_slot(
    accounts: Cells,
    slots: Cells,
    heap: Cells,
    seats: Seats,
    holdings: Cells,
    account: int,
    slot: int,
    key: int,
    lots: int,
    entry: int,
    margin: int,
    adl_seq: int,
) -> None:
    """Writes a position into the slot behind the account's others; the caller sees to equity."""
    symbol = key >> 2
    slots[ACCOUNT, slot] = account
    slots[KEY, slot] = key
    slots[EFFECTIVE, slot] = slots[LOTS, slot] = lots
    slots[ENTRY, slot] = entry
    slots[MARGIN, slot] = margin
    if slots[SLOT_ADL_SEQ, slot] != adl_seq:
        slots[SLOT_ADL_SEQ, slot] = adl_seq
    seat(seats, holdings, slots, slot)
    holdings[LOTS_HIGH, symbol] = max(holdings[LOTS_HIGH, symbol], abs(lots))
    accounts[COUNT, account] += 1
    heap[POSITIONS] += 1


@kernel(f"int64({_BOOK}, int64, int64, int64, int64, int64, int64)")
def open_slot(
    accounts: Cells,
    slots: Cells,
    heap: Cells,
    seats: Seats,
    holdings: Cells,
    account: int,
    key: int,
    lots: int,
    entry: int,
    margin: int,
    adl_seq: int,
) -> int:
    """Opens a position behind the account's others, which move where their block is full; returns its slot.

    The caller has made room (`Slots.reserve`) and sees to equity.
    """
    first, count = accounts[FIRST, account], accounts[COUNT, account]
    length = length_of(count)
    if length == count:
        longer = length_of(count + 1)
        if count == 0:
            first = take(slots, heap, longer)
        elif not lengthen(slots, heap, first + length, longer - length):
            block = take(slots, heap, longer)
            for at in range(count):
                move_slot(slots, seats, first + at, block + at)
            give_back(slots, heap, first, length)
            first = block
        accounts[FIRST, account] = first
    slot: int = first + count
    fill_slot(accounts, slots, heap, seats, holdings, account, slot, key, lots, entry, margin, adl_seq)
    return slot


@kernel(f"void({_BOOK}, int64)")
def close_slot(accounts: Cells, slots: Cells, heap: Cells, seats: Seats, holdings: Cells, slot: int) -> None:
    """Closes a position; the account's last takes its slot. The caller sees to equity."""
    account = slots[ACCOUNT, slot]
    unseat(seats, holdings, slots, slot)
    first, count = accounts[FIRST, account], accounts[COUNT, account] - 1
    empty_slot(slots, slot)
    if slot != first + count:
        move_slot(slots, seats, first + count, slot)
    length, shorter = length_of(count + 1), length_of(count)
    if shorter < length:
        give_back(slots, heap, first + shorter, length - shorter)
    if count == 0:
        accounts[FIRST, account] = -1
    accounts[COUNT, account] = count
    heap[POSITIONS] -= 1


class Slots:
    """All slots; the accounts' table is passed in, for it says which are whose."""

    def __init__(self, accounts: Table) -> None:
        self._accounts = accounts
        self.table = Table(SLOT_FIELDS, SLOTS_MAX)
        self.holders = Holders()
        self.heap = np.zeros(HEAP_FIELDS, np.int64)
        self._heap = self.heap.data

    @property
    def used(self) -> int:
        """Slots below are held or free."""
        return self._heap[SLOTS_USED]

    @property
    def positions(self) -> int:
        return self._heap[POSITIONS]

    def has_room(self, positions: int) -> bool:
        """Whether so many positions more are within the limits of a pool."""
        within = self.positions + positions <= limits.POSITIONS_MAX
        return within and self.used + positions + positions // 4 + _MARGIN <= SLOTS_MAX

    def reserve(self, positions: int, slots: int) -> None:
        """Room for so many positions more, in blocks of so many slots altogether."""
        self.table.reserve(self.used + slots)
        self.holders.reserve(positions)

    def cells(self) -> tuple[Cells, Cells, Cells, Seats, Cells]:
        """What kernels that open and close positions take; valid until the next `reserve`."""
        return self._accounts.cells, self.table.cells, self.heap, self.holders.seats, self.holders.table.cells

    def of(self, account: int) -> range:
        """The account's slots, in no order."""
        accounts = self._accounts.columns
        first = accounts[FIRST][account]
        return range(first, first + accounts[COUNT][account])

    def find(self, account: int, key: int) -> int:
        """The account's slot of a (symbol, side) or -1."""
        accounts = self._accounts.columns
        first, count = accounts[FIRST][account], accounts[COUNT][account]
        if count > _SCANNED:
            return find_slot(self.table.cells, first, count, key)
        keys = self.table.columns[KEY]
        for slot in range(first, first + count):
            if keys[slot] == key:
                return slot
        return -1

    def keys(self, account: int) -> list[int]:
        """The keys of the account's positions."""
        slots = self.of(account)
        return self.table.columns[KEY][slots.start : slots.stop].tolist() if slots else []

    def open(self, account: int, key: int, lots: int, entry: int, margin: int, adl_seq: int) -> int:
        """A new position; returns its slot."""
        self.reserve(1, 2 * self._accounts.columns[COUNT][account] + 2)
        return open_slot(*self.cells(), account, key, lots, entry, margin, adl_seq)

    def tell(self, slot: int) -> None:
        """To be called after EFFECTIVE or MARGIN of a slot changed."""
        tell(self.holders.seats, self.table.cells, slot)

    def close(self, slot: int) -> None:
        """Gives a slot back; the account's last position takes it."""
        close_slot(*self.cells(), slot)
