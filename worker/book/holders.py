"""Who holds a symbol: its slots in pages of an array that all symbols share, so no list is ever copied to grow.

`seats` is cut into pages of PAGE numbers: the page before, the page behind (0: none), then slots. Page 0 is nobody's;
it says how many pages were taken, and the first of those given back. A slot's PLACE is where in `seats` it stands.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.table import PLACE, Table, grown, larger

Cells = NDArray[np.int64]
Seats = NDArray[np.int32]

# --- of a symbol ------------------------------------------------------------------------------------------------------
FIRST_PAGE = 0
LAST_PAGE = 1
HELD = 2  # positions
LOTS_HIGH = 3  # at least the largest |lots| held; tightened only when it stands in the way of a mark
HOLDING_FIELDS = 4

PAGE = 256
_ROOM = PAGE - 2
_BEFORE, _BEHIND = 0, 1
_TAKEN, _RETURNED = 0, 1  # of page 0
_SEATS_MAX = PAGE * (1 + limits.SYMBOLS_MAX + limits.POSITIONS_MAX // _ROOM + 1)

_SEATS = "int32[::1]"
_CELLS = "int64[:, ::1]"


@kernel(f"int64({_SEATS}, {_CELLS}, int64, int64)")
def seat(seats: Seats, holdings: Cells, symbol: int, slot: int) -> int:
    """Adds a slot to a symbol's; returns its place."""
    at = holdings[HELD, symbol] % _ROOM
    page = holdings[LAST_PAGE, symbol]
    if at == 0:
        last, page = page, np.int64(seats[_RETURNED])
        if page > 0:
            seats[_RETURNED] = seats[PAGE * page + _BEHIND]
        else:
            page = np.int64(seats[_TAKEN]) + 1
            seats[_TAKEN] = page
        seats[PAGE * page + _BEFORE], seats[PAGE * page + _BEHIND] = last, 0
        if last > 0:
            seats[PAGE * last + _BEHIND] = page
        else:
            holdings[FIRST_PAGE, symbol] = page
        holdings[LAST_PAGE, symbol] = page
    place: int = PAGE * page + 2 + at
    seats[place] = slot
    holdings[HELD, symbol] += 1
    return place


@kernel(f"int64({_SEATS}, {_CELLS}, int64, int64)")
def unseat(seats: Seats, holdings: Cells, symbol: int, place: int) -> np.int64:
    """Removes the slot at a place; returns the slot that is there now (itself, if it was the last)."""
    holdings[HELD, symbol] -= 1
    at = holdings[HELD, symbol] % _ROOM
    page = holdings[LAST_PAGE, symbol]
    moved = np.int64(seats[PAGE * page + 2 + at])
    seats[place] = moved
    if at == 0:
        before = np.int64(seats[PAGE * page + _BEFORE])
        holdings[LAST_PAGE, symbol] = before
        if before > 0:
            seats[PAGE * before + _BEHIND] = 0
        else:
            holdings[FIRST_PAGE, symbol] = 0
        seats[PAGE * page + _BEHIND] = seats[_RETURNED]
        seats[_RETURNED] = page
    return moved


@kernel(f"void({_SEATS}, int64, {_SEATS})")
def list_slots(seats: Seats, page: int, slots: Seats) -> None:
    """Writes the slots of a symbol, given its first page."""
    done = 0
    while done < len(slots):
        size = min(_ROOM, len(slots) - done)
        for at in range(size):
            slots[done + at] = seats[PAGE * page + 2 + at]
        done += size
        page = int(seats[PAGE * page + _BEHIND])


@kernel(f"void({_SEATS}, int64, {_SEATS}, {_CELLS})")
def reseat(seats: Seats, page: int, ordered: Seats, slots: Cells) -> None:
    """Seats the slots of a symbol, given its first page, in another order."""
    for done in range(len(ordered)):
        at = done % _ROOM
        if done > 0 and at == 0:
            page = int(seats[PAGE * page + _BEHIND])
        place = PAGE * page + 2 + at
        seats[place] = ordered[done]
        slots[PLACE, ordered[done]] = place


class Holders:
    """The slots of every symbol."""

    def __init__(self) -> None:
        self.table = Table(HOLDING_FIELDS, limits.SYMBOLS_MAX)
        self.seats = np.zeros(PAGE, np.int32)

    def reserve(self, slots: int) -> None:
        """Room for so many slots more, of any symbols."""
        pages = 1 + int(self.seats[_TAKEN]) + slots // _ROOM + min(slots, self.table.capacity)
        size = min(PAGE * pages, _SEATS_MAX)  # no more pages than that are ever needed at once
        if size > len(self.seats):
            self.seats = grown(self.seats, larger(len(self.seats), size, _SEATS_MAX))

    def of(self, symbol: int) -> Seats:
        """The slots of a symbol, in no order; a copy."""
        columns = self.table.columns
        slots = np.empty(columns[HELD][symbol], np.int32)
        list_slots(self.seats, columns[FIRST_PAGE][symbol], slots)
        return slots

    def sort(self, symbol: int, slots: Cells) -> None:
        """Seats a symbol's slots in their own order, in which a mark goes through memory from one end to the other."""
        reseat(self.seats, self.table.columns[FIRST_PAGE][symbol], np.sort(self.of(symbol)), slots)
