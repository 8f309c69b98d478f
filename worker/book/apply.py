"""Updates as columns, written by one kernel: balances and positions of many accounts, each update one atomic step.

Rule 1: it takes them in their order and stops at the first that it does not understand: that one is left to
`Book.apply_update`, which alone knows how to refuse. Rule 2: both ways leave the same cells.
Not understood are updates of accounts that show forced legs or whose row is `special`, and whatever might be refused.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.holders import LOTS_HIGH
from worker.book.kernel import kernel
from worker.book.scales import (
    ADL_SEQ,
    BALANCE_MINOR,
    ENTRY,
    FIRST_STAGED,
    GOOD,
    IS_FULL,
    KEY,
    LOTS,
    MARGIN,
    REQUIRED_MINOR,
    ROW,
    STAGED,
    UNSAID,
    UPDATE_ADL_SEQ,
    UPDATE_EPOCH,
    UPDATE_SEQ,
)
from worker.book.slots import close_slot, find_slot, open_slot
from worker.book.table import ADL_SEQ as ACCOUNT_ADL_SEQ
from worker.book.table import (
    BALANCE,
    BUY,
    COUNT,
    DEN,
    EFFECTIVE,
    EPOCH,
    EQUITY,
    FIRST,
    FLAGS,
    FULL_ADL_SEQ,
    HELD_QUOTE,
    LOTS_LIMIT,
    MARGIN_REQUIRED,
    MARK_REST,
    MARK_WHOLE,
    OWNER,
    PARKED,
    SELL,
    SEQ,
    SLOT_ADL_SEQ,
    UNMARKED,
    VALUE,
)
from worker.book.table import ENTRY as SLOT_ENTRY
from worker.book.table import KEY as SLOT_KEY
from worker.book.table import LOOSE as LOOSE_QUOTE
from worker.book.table import LOTS as SLOT_LOTS
from worker.book.table import MARGIN as SLOT_MARGIN
from worker.book.value import value_minor

Cells = NDArray[np.int64]
Seats = NDArray[np.int32]
Flags = NDArray[np.bool_]

_CELLS = "int64[:, ::1]"
_BOOK = f"{_CELLS}, {_CELLS}, int64[::1], int32[::1], {_CELLS}"  # as `Slots.cells` gives it


@kernel(f"void({_CELLS}, int64[::1])")
def no_update(accounts: Cells, rows: Cells) -> None:
    """Rows of accounts that nobody has spoken of yet."""
    for row in rows:
        accounts[FIRST, row] = accounts[OWNER, row] = -1
        accounts[EPOCH, row] = accounts[SEQ, row] = accounts[MARGIN_REQUIRED, row] = -1
        accounts[ACCOUNT_ADL_SEQ, row] = accounts[FULL_ADL_SEQ, row] = 0
        accounts[BALANCE, row] = accounts[LOOSE_QUOTE, row] = 0


@kernel(f"UniTuple(int64, 2)({_CELLS}, {_CELLS}, int64)")
def wanted(accounts: Cells, heads: Cells, at: int) -> tuple[int, int]:
    """At most how many positions the updates from the place `at` on open, and how many slots their blocks take."""
    positions, slots = 0, 0
    while at < len(heads):
        row, count = heads[at, ROW], heads[at, STAGED]
        if count > 0:
            positions += count
            # Opened one by one, each block may be followed by a longer one.
            slots += 8 * (count + (accounts[COUNT, row] if row >= 0 else 0))
        at += 1
    return positions, slots


@kernel(f"boolean({_CELLS}, {_CELLS}, {_CELLS}, int64, int64[::1], {_CELLS})")
def understood(accounts: Cells, slots: Cells, terms: Cells, row: int, head: Cells, staged: Cells) -> bool:
    """Whether an update that is newer than its account is one of those that are written here."""
    if head[UPDATE_ADL_SEQ] > 0 or accounts[ACCOUNT_ADL_SEQ, row] > 0 or accounts[FULL_ADL_SEQ, row] > 0:
        return False
    if accounts[FLAGS, row] & PARKED or accounts[LOOSE_QUOTE, row] != 0:
        return False
    first, count = accounts[FIRST, row], accounts[COUNT, row]
    if count + head[STAGED] > limits.POSITIONS_PER_ACCOUNT_MAX:
        return False
    begin = head[FIRST_STAGED]
    for place in range(begin, begin + head[STAGED]):
        said = staged[place]
        if said[ADL_SEQ] > 0 or abs(said[LOTS]) > terms[LOTS_LIMIT, said[KEY] >> 2]:
            return False
    for slot in range(first, first + count):
        if slots[SLOT_ADL_SEQ, slot] > 0 or slots[SELL, slot] > 0 or slots[BUY, slot] > 0:
            return False
        if not head[IS_FULL]:
            key = slots[SLOT_KEY, slot]
            for place in range(begin, begin + head[STAGED]):
                other = staged[place, KEY]
                if other >> 2 == key >> 2 and other != key and (other & 3 == 0 or key & 3 == 0):
                    return False
    return True


@kernel(f"void({_CELLS}, {_CELLS}, {_CELLS}, int64, int64, int64[::1], {_CELLS})")
def change(accounts: Cells, slots: Cells, terms: Cells, row: int, slot: int, said: Cells, holdings: Cells) -> None:
    """Rewrites a position and moves its account's equity by what its cross part changed."""
    symbol = said[KEY] >> 2
    whole, rest = terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol]
    marked = whole != 0 or rest != 0
    if slots[SLOT_MARGIN, slot] < 0:
        accounts[EQUITY, row] -= slots[VALUE, slot] - slots[SLOT_ENTRY, slot] + slots[HELD_QUOTE, slot]
        accounts[UNMARKED, row] -= not marked
    value = value_minor(said[LOTS], whole, rest, terms[DEN, symbol])
    slots[SLOT_LOTS, slot] = slots[EFFECTIVE, slot] = said[LOTS]
    slots[VALUE, slot], slots[SLOT_ENTRY, slot], slots[SLOT_MARGIN, slot] = value, said[ENTRY], said[MARGIN]
    if said[MARGIN] < 0:
        accounts[EQUITY, row] += value - said[ENTRY] + slots[HELD_QUOTE, slot]
        accounts[UNMARKED, row] += not marked
    holdings[LOTS_HIGH, symbol] = max(holdings[LOTS_HIGH, symbol], abs(said[LOTS]))


@kernel(f"void({_BOOK}, {_CELLS}, int64, int64)")
def close(
    accounts: Cells, slots: Cells, heap: Cells, seats: Seats, holdings: Cells, terms: Cells, row: int, slot: int
) -> None:
    """Closes a position and takes its part out of its account's equity."""
    if slots[SLOT_MARGIN, slot] < 0:
        symbol = slots[SLOT_KEY, slot] >> 2
        accounts[EQUITY, row] -= slots[VALUE, slot] - slots[SLOT_ENTRY, slot] + slots[HELD_QUOTE, slot]
        accounts[UNMARKED, row] -= terms[MARK_WHOLE, symbol] == 0 and terms[MARK_REST, symbol] == 0
    close_slot(accounts, slots, heap, seats, holdings, slot)


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
        at = 0
        while at < accounts[COUNT, row]:
            slot = accounts[FIRST, row] + at
            place = begin
            while place < end and staged[place, KEY] != slots[SLOT_KEY, slot]:
                place += 1
            if place == end:
                close(accounts, slots, heap, seats, holdings, terms, row, slot)  # the last one is here now
            else:
                at += 1
    for place in range(begin, end):
        said = staged[place]
        slot = find_slot(slots, accounts[FIRST, row], accounts[COUNT, row], said[KEY])
        if slot >= 0 and said[LOTS] != 0:
            change(accounts, slots, terms, row, slot, said, holdings)
        elif slot >= 0:
            close(accounts, slots, heap, seats, holdings, terms, row, slot)
        elif said[LOTS] != 0:
            symbol = said[KEY] >> 2
            whole, rest = terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol]
            value = value_minor(said[LOTS], whole, rest, terms[DEN, symbol])
            open_slot(
                accounts, slots, heap, seats, holdings, row, said[KEY], said[LOTS], value, said[ENTRY], said[MARGIN], 0
            )
            if said[MARGIN] < 0:
                accounts[EQUITY, row] += value - said[ENTRY]
                accounts[UNMARKED, row] += whole == 0 and rest == 0


@kernel(f"UniTuple(int64, 2)({_BOOK}, {_CELLS}, {_CELLS}, {_CELLS}, boolean[::1], int64)")
def apply_updates(
    accounts: Cells,
    slots: Cells,
    heap: Cells,
    seats: Seats,
    holdings: Cells,
    terms: Cells,
    heads: Cells,
    staged: Cells,
    special: Flags,
    at: int,
) -> tuple[int, int]:
    """Writes updates from the place `at` on; returns the place of the first that is left, and how many were stale.

    heads: [U, HEAD_FIELDS], staged: [P, STAGED_FIELDS] (worker/book/scales.py). The caller has made room.
    """
    stale = 0
    while at < len(heads):
        head = heads[at]
        row, epoch = head[ROW], head[UPDATE_EPOCH]
        if row < 0 or head[UPDATE_ADL_SEQ] > 0:
            break
        if epoch < accounts[EPOCH, row] or (epoch == accounts[EPOCH, row] and head[UPDATE_SEQ] <= accounts[SEQ, row]):
            stale += 1
            at += 1
            continue
        renewed = epoch > accounts[EPOCH, row]
        if head[GOOD] == 0 or special[at] or (renewed and head[IS_FULL] == 0):
            break
        if not understood(accounts, slots, terms, row, head, staged):
            break
        # From here on nothing can fail.
        accounts[EPOCH, row], accounts[SEQ, row] = epoch, head[UPDATE_SEQ]
        write_positions(accounts, slots, heap, seats, holdings, terms, row, head, staged)
        if head[BALANCE_MINOR] != UNSAID:
            accounts[EQUITY, row] += head[BALANCE_MINOR] - accounts[BALANCE, row]
            accounts[BALANCE, row] = head[BALANCE_MINOR]
        if head[REQUIRED_MINOR] != UNSAID:
            accounts[MARGIN_REQUIRED, row] = head[REQUIRED_MINOR]
        at += 1
    return at, stale
