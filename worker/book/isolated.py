"""Isolated positions on one side of a symbol, in the order of their bankruptcy prices.

Rule 1: that order is the order of leverage at every mark, so a tick costs nothing; a mark turns it into leverage where
somebody asks. Rule 2: who changed is noted by account row, and merged in when the side is next asked for.
"""

from array import array

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.ladders import COUNT, LOTS_HIGH, LOTS_LOW, LOW_BITS, may_be_taken
from worker.book.levels import KEY_WORTHLESS, LEVELS, bankruptcy_value, isolated_key, key_from, number_of, ordered
from worker.book.table import COUNT as POSITIONS
from worker.book.table import EFFECTIVE, ENTRY, FIRST, FLAGS, HELD_QUOTE, KEY, MARGIN

Cells = NDArray[np.int64]

CHANGED_MAX = 1024  # notes that may wait on a small side; a larger one bears as many as it is long

_KEYS = np.array([key_from(level) for level in range(1, LEVELS)], np.int64)
_CELLS = "int64[:, ::1]"


@kernel(f"int64({_CELLS}, {_CELLS}, int64[::1], int64, {_CELLS})")
def find_isolated(accounts: Cells, slots: Cells, rows: Cells, side: int, found: Cells) -> int:
    """Writes order, row and |lots| of the isolated positions that the accounts have on a side; returns how many.

    The order is that of bankruptcy prices per lot, for longs from the highest, for shorts from the lowest.
    """
    size = 0
    symbol, sign = side >> 1, 1 - 2 * (side & 1)
    for row in rows:
        first = accounts[FIRST, row]
        for slot in range(first, first + accounts[POSITIONS, row] * may_be_taken(accounts[FLAGS, row])):
            lots, margin = slots[EFFECTIVE, slot], slots[MARGIN, slot]
            if margin >= 0 and lots * sign > 0 and slots[KEY, slot] >> 2 == symbol:
                price = bankruptcy_value(lots, margin - slots[ENTRY, slot] + slots[HELD_QUOTE, slot])
                found[0, size], found[1, size], found[2, size] = -sign * ordered(price), row, abs(lots)
                size += 1
    return size


@kernel("int64(int64, float64, boolean)")
def key_at(order: int, value: float, short: bool) -> int:
    """The key of a position at the mark's value of a lot."""
    return isolated_key(number_of(order if short else -order), value, short)


@kernel("int64(int64[::1], float64, boolean, int64)")
def before(order: Cells, value: float, short: bool, key: int) -> int:
    """How many positions have a smaller key at the mark."""
    begin, end = 0, len(order)
    while begin < end:
        middle = (begin + end) >> 1
        if key_at(order[middle], value, short) < key:
            begin = middle + 1
        else:
            end = middle
    return begin


@kernel(f"void(int64[::1], {_CELLS}, float64, boolean, int64[::1], {_CELLS})")
def fill_levels(order: Cells, sums: Cells, value: float, short: bool, keys: Cells, rungs: Cells) -> None:
    """Adds positions and lots of each level at the mark to rungs [LEVELS, 3]; `keys`: the first of levels 1 and up."""
    begin = 0
    for level in range(len(rungs)):
        end = before(order, value, short, keys[level]) if level < len(keys) else len(order)
        rungs[level, COUNT] += end - begin
        rungs[level, LOTS_HIGH] += sums[0, end] - sums[0, begin]
        rungs[level, LOTS_LOW] += sums[1, end] - sums[1, begin]
        begin = end


@kernel("void(int64[::1], float64, boolean, int64[::1])")
def fill_keys(order: Cells, value: float, short: bool, keys: Cells) -> None:
    """Writes each position's key at the mark."""
    for place in range(len(order)):
        keys[place] = key_at(order[place], value, short)


class Side:
    """The isolated positions of one side: `order`, `row` and `lots`, [size] each and sorted by `order`."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._short = bool(number & 1)
        self._found: Cells = np.empty((3, 0), np.int64)
        self._sums: Cells = np.zeros((2, 1), np.int64)  # of the two parts of lots, up to each position
        self._changed = array("q")

    def note(self, rows: Cells) -> bool:
        """Notes accounts whose position here may have changed; true where so many wait that it is time to merge."""
        self._changed.frombytes(rows.tobytes())
        return len(self._changed) > max(CHANGED_MAX, len(self))

    def merge(self, accounts: Cells, slots: Cells) -> "Side":
        """Itself, with the positions that the accounts noted have now instead of those they had."""
        if self._changed:
            rows = np.unique(np.frombuffer(self._changed, np.int64))
            new = np.empty((3, len(rows)), np.int64)
            new = new[:, : find_isolated(accounts, slots, rows, self._number, new)]
            kept = self._found[:, ~np.isin(self._found[1], rows, assume_unique=True)]
            both = np.concatenate([kept, new[:, np.argsort(new[0])]], axis=1)
            self._found = both.take(np.argsort(both[0], kind="stable"), axis=1)
            self._sums = np.zeros((2, self._found.shape[1] + 1), np.int64)
            np.cumsum(self._found[2] >> LOW_BITS, out=self._sums[0, 1:])
            np.cumsum(self._found[2] & (2**LOW_BITS - 1), out=self._sums[1, 1:])
            self._changed = array("q")
        return self

    def __len__(self) -> int:
        return len(self._found[0])

    def fill(self, value: float, rungs: Cells) -> None:
        """Adds positions and lots of each level, at the mark's value of a lot, to rungs [LEVELS, 3]."""
        fill_levels(self._found[0], self._sums, value, self._short, _KEYS, rungs)

    def before(self, value: float, key: int) -> int:
        """How many positions have a smaller key at the mark's value of a lot."""
        return before(self._found[0], value, self._short, key)

    def first(self, value: float, count: int) -> tuple[Cells, Cells]:
        """Rows and keys of the first so many positions at the mark's value of a lot, and of all that equal the last."""
        end = min(count, len(self))
        if end:
            last = key_at(int(self._found[0, end - 1]), value, self._short)
            end = self.before(value, last + 1)
        keys = np.empty(end, np.int64)
        fill_keys(self._found[0, :end], value, self._short, keys)
        return self._found[1, :end], keys

    def equal(self, value: float, key: int) -> Cells:
        """Rows of the positions that have this key at the mark's value of a lot."""
        end = len(self) if key == KEY_WORTHLESS else self.before(value, key + 1)  # no key is larger
        return self._found[1, self.before(value, key) : end]
