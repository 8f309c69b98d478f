"""Who holds a symbol: seats in pages of an array that all symbols share, so no list is ever copied to grow.

Rule 1: a seat says all that a mark needs of its slot, so a mark looks at no slot: the account, and its effective lots
if they are cross. Whoever changes EFFECTIVE or MARGIN of a slot tells its seat (`tell`). Rule 2: `seats` is cut into
pages of PAGE numbers: the page before, the page behind (0: none), then seats of two numbers. Page 0 is nobody's; it
says how many pages were taken, and the first of those given back. A slot's PLACE is where in `seats` its seat begins.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.table import ACCOUNT, COLLATERAL, EFFECTIVE, KEY, MARGIN, PLACE, Table, grown, larger

Cells = NDArray[np.int64]
Seats = NDArray[np.int64]

# --- of a symbol ------------------------------------------------------------------------------------------------------
FIRST_PAGE = 0
LAST_PAGE = 1
HELD = 2  # positions
LOTS_HIGH = 3  # at least the largest |lots| held; tightened only when it stands in the way of a mark
HOLDING_FIELDS = 4

PAGE = 256
BEFORE, BEHIND, FIRST_SEAT = 0, 1, 2
_TAKEN, _RETURNED = 0, 1  # of page 0

# --- a seat -----------------------------------------------------------------------------------------------------------
HOLDER = 0  # account << 32 | IS_COLLATERAL | slot: in this order a mark goes through memory from one end to the other
SEAT_LOTS = 1  # effective lots, 0 of an isolated position
SEAT_FIELDS = 2
ROOM = (PAGE - FIRST_SEAT) // SEAT_FIELDS
ACCOUNT_SHIFT = 32
IS_COLLATERAL = 2**31
SLOT_MASK = 2**31 - 1

_SEATS_MAX = PAGE * (1 + limits.SYMBOLS_MAX + limits.POSITIONS_MAX // ROOM + 1)

_SEATS = "int64[::1]"
_CELLS = "int64[:, ::1]"


@kernel(f"void({_SEATS}, {_CELLS}, int64)")
def tell(seats: Seats, slots: Cells, slot: int) -> None:
    """Tells a slot's seat the lots that a mark moves; after EFFECTIVE or MARGIN changed."""
    seats[slots[PLACE, slot] + SEAT_LOTS] = slots[EFFECTIVE, slot] if slots[MARGIN, slot] < 0 else 0


@kernel(f"void({_SEATS}, {_CELLS}, {_CELLS}, int64)")
def seat(seats: Seats, holdings: Cells, slots: Cells, slot: int) -> None:
    """Adds a slot, which says its KEY, to its symbol's, and writes its PLACE."""
    symbol = slots[KEY, slot] >> 2
    at = holdings[HELD, symbol] % ROOM
    page = holdings[LAST_PAGE, symbol]
    if at == 0:
        last, page = page, seats[_RETURNED]
        if page > 0:
            seats[_RETURNED] = seats[PAGE * page + BEHIND]
        else:
            page = seats[_TAKEN] + 1
            seats[_TAKEN] = page
        seats[PAGE * page + BEFORE], seats[PAGE * page + BEHIND] = last, 0
        if last > 0:
            seats[PAGE * last + BEHIND] = page
        else:
            holdings[FIRST_PAGE, symbol] = page
        holdings[LAST_PAGE, symbol] = page
    place = PAGE * page + FIRST_SEAT + SEAT_FIELDS * at
    collateral = IS_COLLATERAL if slots[KEY, slot] & 3 == COLLATERAL else 0
    seats[place + HOLDER] = slots[ACCOUNT, slot] << ACCOUNT_SHIFT | collateral | slot
    slots[PLACE, slot] = place
    tell(seats, slots, slot)
    holdings[HELD, symbol] += 1


@kernel(f"void({_SEATS}, {_CELLS}, {_CELLS}, int64)")
def unseat(seats: Seats, holdings: Cells, slots: Cells, slot: int) -> None:
    """Removes a slot's seat; its symbol's last takes the place."""
    symbol, place = slots[KEY, slot] >> 2, slots[PLACE, slot]
    holdings[HELD, symbol] -= 1
    at = holdings[HELD, symbol] % ROOM
    page = holdings[LAST_PAGE, symbol]
    last = PAGE * page + FIRST_SEAT + SEAT_FIELDS * at
    seats[place + HOLDER], seats[place + SEAT_LOTS] = seats[last + HOLDER], seats[last + SEAT_LOTS]
    slots[PLACE, seats[place + HOLDER] & SLOT_MASK] = place
    if at == 0:
        before = seats[PAGE * page + BEFORE]
        holdings[LAST_PAGE, symbol] = before
        if before > 0:
            seats[PAGE * before + BEHIND] = 0
        else:
            holdings[FIRST_PAGE, symbol] = 0
        seats[PAGE * page + BEHIND] = seats[_RETURNED]
        seats[_RETURNED] = page


@kernel(f"void({_SEATS}, int64, {_CELLS})")
def list_seats(seats: Seats, page: int, listed: Cells) -> None:
    """Writes the seats of a symbol, given its first page; listed: [SEAT_FIELDS, holders]."""
    for number in range(listed.shape[1]):
        at = number % ROOM
        if number > 0 and at == 0:
            page = seats[PAGE * page + BEHIND]
        place = PAGE * page + FIRST_SEAT + SEAT_FIELDS * at
        listed[HOLDER, number], listed[SEAT_LOTS, number] = seats[place + HOLDER], seats[place + SEAT_LOTS]


@kernel(f"void({_SEATS}, int64, {_CELLS}, int64[::1], {_CELLS})")
def reseat(seats: Seats, page: int, listed: Cells, order: Cells, slots: Cells) -> None:
    """Seats the holders of a symbol, given its first page, in another order of those listed."""
    for number in range(len(order)):
        at = number % ROOM
        if number > 0 and at == 0:
            page = seats[PAGE * page + BEHIND]
        place = PAGE * page + FIRST_SEAT + SEAT_FIELDS * at
        holder = listed[HOLDER, order[number]]
        seats[place + HOLDER], seats[place + SEAT_LOTS] = holder, listed[SEAT_LOTS, order[number]]
        slots[PLACE, holder & SLOT_MASK] = place


class Holders:
    """The seats of every symbol."""

    def __init__(self) -> None:
        self.table = Table(HOLDING_FIELDS, limits.SYMBOLS_MAX)
        self.seats = np.zeros(PAGE, np.int64)

    def reserve(self, slots: int) -> None:
        """Room for so many slots more, of any symbols."""
        pages = 1 + int(self.seats[_TAKEN]) + slots // ROOM + min(slots, self.table.capacity)
        size = min(PAGE * pages, _SEATS_MAX)  # no more pages than that are ever needed at once
        if size > len(self.seats):
            self.seats = grown(self.seats, larger(len(self.seats), size, _SEATS_MAX))

    def _listed(self, symbol: int) -> Cells:
        columns = self.table.columns
        listed = np.empty((SEAT_FIELDS, columns[HELD][symbol]), np.int64)
        list_seats(self.seats, columns[FIRST_PAGE][symbol], listed)
        return listed

    def of(self, symbol: int) -> NDArray[np.int32]:
        """The slots of a symbol, in no order; a copy."""
        slots: NDArray[np.int32] = (self._listed(symbol)[HOLDER] & SLOT_MASK).astype(np.int32)
        return slots

    def sort(self, symbol: int, slots: Cells) -> None:
        """Seats a symbol's holders in the order of their accounts' rows, in which a mark goes through them."""
        listed = self._listed(symbol)
        order = np.argsort(listed[HOLDER]).astype(np.int64, copy=False)  # no two are equal
        reseat(self.seats, self.table.columns[FIRST_PAGE][symbol], listed, order, slots)
