"""The leverage queue of a symbol's side: who is deleveraged first, at the current marks.

Rule 1: the order is by margin ratio (levels.py), the smallest first, equal ones by account name. Rule 2: only positions
that may be counterparties queue (ladders.py), and in a symbol without a mark nobody does.
"""

from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.isolated import Side
from worker.book.kernel import kernel
from worker.book.ladders import (
    COUNT,
    LIFTED,
    LOTS_HIGH,
    LOTS_LOW,
    LOW_BITS,
    ROW_BITS,
    empty_rungs,
    lift,
    may_be_taken,
    place,
)
from worker.book.levels import (
    LEVELS,
    bankruptcy_value,
    cross_key,
    isolated_key,
    level_of,
    leverage_from,
    leverage_of,
)
from worker.book.market import Market
from worker.book.state import State
from worker.book.table import (
    ACCOUNT,
    COLLATERAL,
    EFFECTIVE,
    ENTRY,
    EQUITY,
    FLAGS,
    GROSS,
    HELD_QUOTE,
    KEY,
    LEVEL,
    MARGIN,
)
from worker.book.table import COUNT as POSITIONS

Cells = NDArray[np.int64]

LIFTED_MAX = 4096  # accounts that wait to be placed
_ROWS_AT_ONCE = 65536
_CELLS = "int64[:, ::1]"


@dataclass(frozen=True, slots=True)
class Rung:
    """One level of a ladder."""

    level: int
    leverage_from: float  # of its positions, exclusive; infinite where they have no equity left
    positions: int
    lots: int
    notional_minor: int  # of all the lots together at the mark, rounded down


@dataclass(frozen=True, slots=True)
class Place:
    """One position in the queue."""

    account: str
    isolated: bool
    leverage: float  # |value| / equity of the account's cross positions together, or of the isolated one
    key: int  # what the queue is sorted by


@kernel(f"int64({_CELLS}, {_CELLS}, int32[::1], boolean, int64, int64, {_CELLS})")
def members(
    accounts: Cells, slots: Cells, holders: NDArray[np.int32], short: bool, level_min: int, level_max: int, found: Cells
) -> int:
    """Writes row and key of the cross positions on a side with a level in the range; returns how many."""
    size = 0
    for slot in holders:
        lots = slots[EFFECTIVE, slot]
        if lots == 0 or (lots < 0) != short or slots[MARGIN, slot] >= 0 or slots[KEY, slot] & 3 == COLLATERAL:
            continue
        row = slots[ACCOUNT, slot]
        if level_min < accounts[LEVEL, row] <= level_max + 1:
            found[0, size], found[1, size] = row, cross_key(accounts[EQUITY, row], accounts[GROSS, row])
            size += 1
    return size


class Queues(State):
    """Ladders kept by small changes, and the questions that they answer; `side` is +1 for longs, -1 for shorts.

    Longs of an inverse contract are those who win when its price rises, booked as shorts of the reciprocal.
    """

    def __init__(self, currency: str, currency_decimals: int, converting: Mapping[str, str] | None = None) -> None:
        super().__init__(currency, currency_decimals, converting)
        self._rungs = empty_rungs(1)
        self._sides: dict[int, Side] = {}
        self._lifted = array("q")
        self._placed = 0  # account rows beyond were never placed
        self._one, self._lifted_one = np.zeros(1, np.int64), np.zeros(1, np.int64)
        self._notes_one = np.zeros(limits.POSITIONS_PER_ACCOUNT_MAX, np.int64)

    # --- keeping them -------------------------------------------------------------------------------------------------

    def _reserve_rungs(self) -> None:
        size = len(self._rungs)
        if 2 * len(self.markets) > size:
            rungs = empty_rungs(max(len(self.markets), size))
            rungs[:size] = self._rungs
            self._rungs = rungs

    def _lift(self, row: int) -> None:
        """Takes one account out of the ladders; to be called before anything of it changes."""
        accounts = self._table.columns
        if accounts[LEVEL][row] == LIFTED:
            return
        if accounts[POSITIONS][row]:
            self._one[0] = row  # arrays that are there save 6 of 8 us
            _, noted = lift(
                self._table.cells, self._slots.table.cells, self._rungs, self._one, self._lifted_one, self._notes_one
            )
            if noted:
                self._note(self._notes_one[:noted])
        else:
            accounts[LEVEL][row] = LIFTED
        self._lifted.append(row)

    def _lift_many(self, rows: Cells) -> None:
        """The same for many accounts, doubles allowed."""
        accounts, slots = self._table.cells, self._slots.table.cells
        lifted, notes = np.empty(len(rows), np.int64), np.empty(accounts[POSITIONS, rows].sum(), np.int64)
        size, noted = lift(accounts, slots, self._rungs, rows, lifted, notes)
        self._lifted.frombytes(lifted[:size].tobytes())
        if noted:
            self._note(notes[:noted])

    def _note(self, notes: Cells) -> None:
        notes = np.unique(notes)
        sides = notes >> ROW_BITS
        for part in np.split(notes, np.flatnonzero(np.diff(sides)) + 1):
            number = int(part[0] >> ROW_BITS)
            side = self._sides.get(number)
            if side is None:
                side = self._sides[number] = Side(number)
            if side.note(part & (2**ROW_BITS - 1)):
                side.merge(self._table.cells, self._slots.table.cells)

    def _place_when_many(self) -> None:
        if len(self._lifted) + self.accounts.used - self._placed >= LIFTED_MAX:
            self.place_lifted()

    def place_lifted(self) -> None:
        """Puts every account where it belongs now."""
        if not self._lifted and self._placed == self.accounts.used:
            return
        rows = np.concatenate(
            [np.frombuffer(self._lifted, np.int64), np.arange(self._placed, self.accounts.used, dtype=np.int64)]
        )
        self._lifted, self._placed = array("q"), self.accounts.used
        accounts, slots = self._table.cells, self._slots.table.cells
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[begin : begin + _ROWS_AT_ONCE]
            notes = np.empty(accounts[POSITIONS, part].sum(), np.int64)
            noted = place(accounts, slots, self._terms.cells, self._rungs, part, notes)
            if noted:
                self._note(notes[:noted])

    def prepare(self) -> None:
        """Also puts those who were lifted where they belong."""
        self.place_lifted()
        super().prepare()

    # --- asking them --------------------------------------------------------------------------------------------------

    def _side(self, symbol: str, side: int) -> tuple[Market, int, Side, float]:
        """The symbol, number and isolated positions of a side, and what a lot is worth at the mark; all up to date."""
        self.place_lifted()
        market = self._market[symbol]
        number = 2 * market.row + (side * market.scale.sign < 0)
        isolated = self._sides.get(number) if market.mark else None
        if isolated is None:
            isolated = Side(number)
        return market, number, isolated.merge(self._table.cells, self._slots.table.cells), market.mark_num / market.den

    def depth(self, symbol: str, side: int) -> list[Rung]:
        """The levels with a position on the side, the first to be deleveraged first."""
        market, number, isolated, value = self._side(symbol, side)
        rungs = self._rungs[number].copy()
        if len(isolated):
            isolated.fill(value, rungs)
        found = []
        for level in np.flatnonzero(rungs[:, COUNT]).tolist():
            cells = rungs[level].tolist()
            lots = (cells[LOTS_HIGH] << LOW_BITS) + cells[LOTS_LOW]
            notional = lots * market.mark_num // market.den
            found.append(Rung(level, leverage_from(level), cells[COUNT], lots, notional))
        return found

    def top(self, symbol: str, side: int, count: int) -> list[Place]:
        """The first so many positions of the queue."""
        market, number, isolated, value = self._side(symbol, side)
        enough = np.flatnonzero(np.cumsum(self._rungs[number, :, COUNT]) >= count)
        rows, keys = self._members(market, number, 0, int(enough[0]) if len(enough) else LEVELS - 1)
        more_rows, more_keys = isolated.first(value, count)
        every, key = np.concatenate([rows, more_rows]), np.concatenate([keys, more_keys])
        first = np.lexsort((self.accounts.order()[1][every], key))[:count]
        return [
            Place(self.accounts.name(every[at]), bool(at >= len(rows)), leverage_of(key[at]), int(key[at]))
            for at in first.tolist()
        ]

    def rank(self, account: str, symbol: str, side: int) -> tuple[int, int] | None:
        """The place of an account's position in the queue, 1 for the first, and how many queue; None if it does not."""
        market, number, isolated, value = self._side(symbol, side)
        row = self.accounts.row(account)
        slot = self._slot_on(row, market, side) if row >= 0 else -1
        accounts, slots = self._table.columns, self._slots.table.columns
        if slot < 0 or not market.mark or not may_be_taken(accounts[FLAGS][row]):
            return None
        counts = self._rungs[number, :, COUNT]
        if slots[MARGIN][slot] >= 0:
            cash = slots[MARGIN][slot] - slots[ENTRY][slot] + slots[HELD_QUOTE][slot]
            key = isolated_key(bankruptcy_value(slots[EFFECTIVE][slot], cash), value, bool(number & 1))
        elif accounts[LEVEL][row] > 0:
            key = cross_key(accounts[EQUITY][row], accounts[GROSS][row])
        else:
            return None
        level = level_of(key)
        rows, keys = self._members(market, number, level, level)
        equals = np.concatenate([rows[keys == key], isolated.equal(value, key)])
        by_name = self.accounts.order()[1]
        ahead = counts[:level].sum() + np.count_nonzero(keys < key) + isolated.before(value, key)
        ahead += np.count_nonzero(by_name[equals] < by_name[row])
        return int(ahead) + 1, int(counts.sum()) + len(isolated)

    def _members(self, market: Market, number: int, level_min: int, level_max: int) -> tuple[Cells, Cells]:
        """Rows and keys of the cross positions on these levels."""
        found = np.empty((2, self._rungs[number, level_min : level_max + 1, COUNT].sum()), np.int64)
        if found.size:
            accounts, slots = self._table.cells, self._slots.table.cells
            members(accounts, slots, market.slots(), bool(number & 1), level_min, level_max, found)
        return found[0], found[1]

    def _slot_on(self, row: int, market: Market, side: int) -> int:
        """The account's position on a side of a symbol, less what legs hold; -1 where there is none."""
        for code in range(COLLATERAL):
            slot = self._slots.find(row, market.key + code)
            if slot >= 0 and self._slots.table.columns[EFFECTIVE][slot] * market.scale.sign * side > 0:
                return slot
        return -1
