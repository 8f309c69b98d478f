"""Columns of int64 that grow: accounts and slots.

Kernels see one int64[fields, capacity] array, a field a row of it, so a scan of scattered rows stays within few small
columns: measured on 40 k of 221 k positions, a mark cost 12 ns a holder so, and 70 ns with a cache line a position.
Python reads and writes single cells through `columns[FIELD][row]` (a numpy scalar costs twice as much).
"""

import numpy as np
from numpy.typing import NDArray

# --- an account -------------------------------------------------------------------------------------------------------
EQUITY = 0  # derived: balance + loose + sum over cross slots of value - entry + held quote
FIRST = 1  # its first slot or -1
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
ACCOUNT_HASH = 13  # and 14: what the digest holds of this row
ACCOUNT_FIELDS = 15

NO_UPDATE = ((EPOCH, -1), (SEQ, -1), (ADL_SEQ, 0), (FULL_ADL_SEQ, 0), (MARGIN_REQUIRED, -1), (BALANCE, 0), (LOOSE, 0))

ROLE_BITS = 3
ADL_SHIFT = 2
PARKED = 16

# --- a slot: one position (account, symbol, side) ---------------------------------------------------------------------
ACCOUNT = 0  # -1: free
KEY = 1  # 4 * symbol row + side
EFFECTIVE = 2  # derived: lots less what open legs hold
VALUE = 3  # derived: of the effective lots at the mark
ENTRY = 4
HELD_QUOTE = 5
MARGIN = 6  # isolated margin, or -1 for cross
NEXT = 7  # in the account's list, -1 at the end
LOTS = 8
PREVIOUS = 9
PLACE = 10  # in the symbol's holders
SLOT_ADL_SEQ = 11  # newest leg contained in this position
SELL = 12  # lots that open legs sell
BUY = 13
SLOT_HASH = 14  # and 15
SLOT_FIELDS = 16

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


class Table:
    """A growing int64[fields, capacity]; whoever keeps `columns` or `cells` in a local must `reserve` first."""

    def __init__(self, fields: int) -> None:
        self.cells: NDArray[np.int64] = np.zeros((fields, 0), np.int64)
        self.capacity = 0
        self.reserve(CAPACITY_MIN)

    def reserve(self, size: int) -> None:
        """Room for `size` rows; what was there stays, new cells are 0."""
        capacity = self.capacity
        if size > capacity:
            # Fourfold: zeros take no memory before they are written, and each growth copies everything.
            cells: NDArray[np.int64] = np.zeros((len(self.cells), max(size, 4 * capacity)), np.int64)
            cells[:, :capacity] = self.cells
            self.cells = cells
            self.capacity = cells.shape[1]
            self.columns = tuple(memoryview(column) for column in cells)
