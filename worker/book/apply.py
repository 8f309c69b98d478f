"""Updates as columns, written by one kernel: balances and positions of many accounts, each update one atomic step.

Rule 1: it takes them in their order and stops at the first that it does not understand: that one is left to
`Book.apply_update`, which alone knows how to refuse. Rule 2: both ways leave the same cells.
Not understood are updates of accounts that show forced legs or whose row is `special`, and whatever might be refused.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.positions import write_positions
from worker.book.scales import (
    ADL_SEQ,
    BALANCE_MINOR,
    FIRST_STAGED,
    GOOD,
    IS_FULL,
    KEY,
    LOTS,
    REQUIRED_MINOR,
    ROW,
    STAGED,
    UNSAID,
    UPDATE_ADL_SEQ,
    UPDATE_EPOCH,
    UPDATE_SEQ,
)
from worker.book.table import ADL_SEQ as ACCOUNT_ADL_SEQ
from worker.book.table import (
    BALANCE,
    BUY,
    COUNT,
    EFFECTIVE,
    EPOCH,
    EQUITY,
    FIRST,
    FLAGS,
    FULL_ADL_SEQ,
    HELD_QUOTE,
    LOTS_LIMIT,
    MARGIN_REQUIRED,
    OWNER,
    PARKED,
    PLACE,
    SELL,
    SEQ,
    SLOT_ADL_SEQ,
    UNMARKED,
)
from worker.book.table import ENTRY as SLOT_ENTRY
from worker.book.table import KEY as SLOT_KEY
from worker.book.table import LOOSE as LOOSE_QUOTE
from worker.book.table import LOTS as SLOT_LOTS
from worker.book.table import MARGIN as SLOT_MARGIN

Cells = NDArray[np.int64]
Seats = NDArray[np.int64]
Flags = NDArray[np.bool_]

_TOGETHER = 32  # updates

_CELLS = "int64[:, ::1]"
_BOOK = f"{_CELLS}, {_CELLS}, int64[::1], int64[::1], {_CELLS}"  # as `Slots.cells` gives it


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


@kernel(f"int64({_CELLS}, {_CELLS}, {_CELLS}, int64, int64)")
def fetch_cells(accounts: Cells, slots: Cells, heads: Cells, at: int, end: int) -> int:
    """Reads what the updates [at, end) will be compared with, so that it is in the cache; the sum means nothing.

    An account is a dozen misses, which wait for each other when its update is applied, and not here.
    """
    read = 0
    for place in range(at, end):
        row = max(heads[place, ROW], 0)
        read += accounts[EPOCH, row] + accounts[SEQ, row] + accounts[ACCOUNT_ADL_SEQ, row]
        read += accounts[FULL_ADL_SEQ, row] + accounts[FLAGS, row] + accounts[LOOSE_QUOTE, row]
        read += accounts[FIRST, row] + accounts[COUNT, row] + accounts[EQUITY, row] + accounts[BALANCE, row]
        read += accounts[MARGIN_REQUIRED, row] + accounts[UNMARKED, row]
    for place in range(at, end):
        slot = max(accounts[FIRST, max(heads[place, ROW], 0)], 0)
        read += slots[SLOT_KEY, slot] + slots[EFFECTIVE, slot] + slots[PLACE, slot] + slots[SLOT_ENTRY, slot]
        read += slots[HELD_QUOTE, slot] + slots[SLOT_MARGIN, slot] + slots[SLOT_LOTS, slot]
        read += slots[SLOT_ADL_SEQ, slot] + slots[SELL, slot] + slots[BUY, slot]
    return read


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
    stale, fetched = 0, at
    read = np.zeros(1, np.int64)
    while at < len(heads):
        if at == fetched:
            fetched = min(at + _TOGETHER, len(heads))
            read[0] += fetch_cells(accounts, slots, heads, at, fetched)  # kept, or the compiler would leave it out
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
