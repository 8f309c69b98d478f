"""Columns of int64 that grow: accounts and slots.

Kernels see one int64[fields, capacity] array, a field a row of it, so a scan of scattered rows stays within few small
columns: measured on 40 k of 221 k positions, a mark cost 12 ns a holder so, and 70 ns with a cache line a position.
Python reads and writes single cells through `columns[FIELD][row]` (a numpy scalar costs twice as much).
"""

import math
import mmap
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Kind = TypeVar("_Kind", bound=np.generic)
# MAP_NORESERVE, which Python does not name: what is not written counts as no memory, or no process with more of it than
# the machine has memory could be copied (worker/edge/snapshots.py).
_NO_RESERVE = 0x4000 if hasattr(mmap, "MAP_POPULATE") else 0  # on Linux

# --- an account -------------------------------------------------------------------------------------------------------
EQUITY = 0  # derived: balance + loose + sum over cross slots of value - entry + held quote
FIRST = 1  # of its slots, which stand side by side, or -1
FLAGS = 2  # role + 4 * adl class + 16 * parked
OWNER = 3  # row of the beneficial owner or -1
UNMARKED = 4  # derived: cross slots whose symbol never had a mark
COUNT = 5  # derived: slots, cross and isolated
BALANCE = 6
LOOSE = 7  # quote held by legs whose slot is gone
EPOCH = 8  # -1: no update yet
SEQ = 9
ADL_SEQ = 10  # newest leg contained in the balances
FULL_ADL_SEQ = 11  # newest leg contained in every symbol
MARGIN_REQUIRED = 12  # stated maintenance margin or -1
ACCOUNT_HASH = 13  # and 14: what the digest holds of this account and its positions
GROSS = 15  # derived, by the ladders: sum of |value| over cross slots; not kept while the account is lifted
LEVEL = 16  # derived, by the ladders: its level + 1, LIFTED or OUT
ACCOUNT_FIELDS = 17

NO_UPDATE = ((EPOCH, -1), (SEQ, -1), (ADL_SEQ, 0), (FULL_ADL_SEQ, 0), (MARGIN_REQUIRED, -1), (BALANCE, 0), (LOOSE, 0))

ROLE_BITS = 3
ADL_SHIFT = 2
PARKED = 16

# --- a slot: one position (account, symbol, side) ---------------------------------------------------------------------
ACCOUNT = 0  # or NOBODY, or FREE
KEY = 1  # 4 * symbol row + side
EFFECTIVE = 2  # derived: lots less what open legs hold; their value follows from the mark (worker/book/value.py)
ENTRY = 3
HELD_QUOTE = 4
MARGIN = 5  # isolated margin, or -1 for cross
LOTS = 6
PLACE = 7  # in the symbol's holders
SLOT_ADL_SEQ = 8  # newest leg contained in this position
SELL = 9  # lots that open legs sell
BUY = 10
SLOT_FIELDS = 11

NOBODY = -1  # a slot of an account's block that holds nothing
FREE = -2  # the first or the last slot of a free block

COLLATERAL = (
    3  # instead of a position side: lots that nobody can take, a balance in a currency that the symbol converts
)

# --- a symbol's terms: what reading and valuing its positions needs ---------------------------------------------------
LOT_DECIMALS = 0
LOT_SCALED = 1
LOTS_LIMIT = 2
PRICE_DECIMALS = 3
PRICE_MAX = 4
VALUE_NUM = 5
DEN = 6
MARK_WHOLE = 7  # mark_num // den, and the rest of it; both 0: never had a mark
MARK_REST = 8
TERM_FIELDS = 9

CAPACITY_MIN = 64  # rows
_COPIED_ROWS_MAX = 2**13  # copying so many takes 2 ms where the machine gives memory slowly
_SMALL_BYTES = 2**20
# Rows beyond the most, a page and a line: columns a power of two apart meet in one set of each cache, and a mark then
# costs up to a third more.
_SKEW_ROWS = 520


def larger(capacity: int, rows: int, most: int | None = None) -> int:
    """The next capacity for `rows`: fourfold while copying is quick, then all that will ever be needed.

    Zeros are address space, and take memory only where they are written: so what is large never stops to be copied.
    """
    if most is None:
        return max(4 * capacity, rows, CAPACITY_MIN)
    if rows > most:
        raise OverflowError(f"at most {most} rows, would be {rows}")
    capacity = max(4 * capacity, rows, CAPACITY_MIN)
    return capacity if capacity <= min(most, _COPIED_ROWS_MAX) else most + _SKEW_ROWS


def grown(cells: NDArray[_Kind], size: int) -> NDArray[_Kind]:
    """The cells, and zeros behind them."""
    shape = (*cells.shape[:-1], size)
    count = math.prod(shape)
    if count * cells.itemsize <= _SMALL_BYTES:
        longer = np.zeros(shape, cells.dtype)
    else:
        # numpy asks for huge pages, and each stops a step until 2 MB are cleared: for 0.2 ms, or for 6 ms on a virtual
        # machine whose memory is given when it is first touched. Decisions were no quicker with them.
        room = mmap.mmap(-1, count * cells.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE)
        longer = np.frombuffer(room, cells.dtype, count).reshape(shape)
    longer[..., : cells.shape[-1]] = cells
    return longer


class Table:
    """A growing int64[fields, capacity]; whoever keeps `columns` or `cells` in a local must `reserve` first."""

    def __init__(self, fields: int, most: int | None = None) -> None:
        self.cells: NDArray[np.int64] = np.zeros((fields, 0), np.int64)
        self.capacity = 0
        self._most = most
        self.reserve(CAPACITY_MIN)

    def reserve(self, size: int) -> None:
        """Room for `size` rows; what was there stays, new cells are 0."""
        if size > self.capacity:
            self.capacity = larger(self.capacity, size, self._most)
            self.cells = grown(self.cells, self.capacity)
            self.columns = tuple(memoryview(column) for column in self.cells)
