"""Equity over maintenance requirement of every margin: which are so thin that somebody must look exactly.

A margin is a trader's cross account, or one isolated position of his. Rule: what is found here is a superset, by
floats with room for their rounding; whoever acts on it compares exact numbers.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.messages import PositionSide
from worker.book.kernel import kernel
from worker.book.market import Market
from worker.book.state import SIDES, State
from worker.book.table import (
    COLLATERAL,
    COUNT,
    ENTRY,
    EQUITY,
    FIRST,
    FLAGS,
    HELD_QUOTE,
    KEY,
    MARGIN,
    MARGIN_REQUIRED,
    PARKED,
    ROLE_BITS,
)
from worker.book.tiers import requirement, tiers_of
from worker.book.value import slot_value
from worker.book.views import PositionView

Cells = NDArray[np.int64]
Floats = NDArray[np.float64]
Bits = NDArray[np.uint8]
IsKnown = Callable[[Market], bool]

_CELLS = "int64[:, ::1]"
_TIERS = "float64[::1], int64[::1], int64[::1], float64[::1]"  # as `tiers_of` gives them
CROSS, GONE = -1, -2  # instead of an isolated position's slot
# A requirement is a sum of at most 1,024 products, and some more per tier, so its relative error stays far below.
ROOM = 1e-9
# Exact requirements are whole parts of a minor unit: no margin fraction has more decimals than a number may have
# characters. Fractions in their place took three times as long.
PARTS = 10**limits.NUMBER_CHARS_MAX


class Thin(NamedTuple):
    """Margins that may be at or below a ratio, in no order that means anything."""

    account: Cells  # row
    slot: Cells  # of the isolated position, or CROSS
    ratio: Floats  # to within ROOM
    urgency: Floats  # the same with requirements rounded up to minor units, so that no order of positions changes a bit


@kernel(
    f"int64({_CELLS}, {_CELLS}, {_CELLS}, uint8[::1], {_TIERS}, int64, float64, int64[::1], int64[::1], "
    "float64[::1], float64[::1], int64)"
)
def look(
    accounts: Cells,
    slots: Cells,
    terms: Cells,
    known: Bits,
    fraction: Floats,
    tier: Cells,
    begin: Cells,
    step: Floats,
    account: int,
    limit: float,
    found_account: Cells,
    found_slot: Cells,
    found_ratio: Floats,
    found_urgency: Floats,
    found: int,
) -> int:
    """Appends those of an account's margins that are at or below the limit; returns how many there are now.

    Left out are margins with nothing that could be reduced, and those with a position whose mark is not `known`.
    """
    required = 0.0
    rounded = 0
    cross = True
    first = accounts[FIRST, account]
    for slot in range(first, first + accounts[COUNT, account]):
        value = slot_value(slots, terms, slot)
        own = 0.0
        if slots[KEY, slot] & 3 != COLLATERAL:
            own = requirement(value, slots[KEY, slot] >> 2, fraction, tier, begin, step)
        there = known[slots[KEY, slot] >> 2] != 0
        if slots[MARGIN, slot] < 0:
            required += own
            rounded += math.ceil(own)
            cross = cross and there
        elif there and own > 0.0:
            equity = slots[MARGIN, slot] + value - slots[ENTRY, slot] + slots[HELD_QUOTE, slot]
            if equity <= limit * own:
                found_account[found], found_slot[found], found_ratio[found] = account, slot, equity / own
                found_urgency[found] = equity / math.ceil(own)
                found += 1
    if cross and required > 0.0:
        stated = accounts[MARGIN_REQUIRED, account]
        if stated >= 0:
            required, rounded = np.float64(stated), stated
        equity = accounts[EQUITY, account]
        if required > 0.0 and equity <= limit * required:
            found_account[found], found_slot[found], found_ratio[found] = account, CROSS, equity / required
            found_urgency[found] = equity / rounded
            found += 1
    return found


@kernel(
    f"int64({_CELLS}, {_CELLS}, {_CELLS}, uint8[::1], {_TIERS}, int64[::1], float64, int64[::1], int64[::1], "
    "float64[::1], float64[::1])"
)
def look_all(
    accounts: Cells,
    slots: Cells,
    terms: Cells,
    known: Bits,
    fraction: Floats,
    tier: Cells,
    begin: Cells,
    step: Floats,
    rows: Cells,
    limit: float,
    found_account: Cells,
    found_slot: Cells,
    found_ratio: Floats,
    found_urgency: Floats,
) -> int:
    """`look` at those accounts that are traders and not parked; returns how many margins were found."""
    found = 0
    for account in rows:
        if accounts[COUNT, account] > 0 and accounts[FLAGS, account] & (ROLE_BITS | PARKED) == 0:
            found = look(
                accounts, slots, terms, known, fraction, tier, begin, step, account, limit, found_account, found_slot,
                found_ratio, found_urgency, found,
            )  # fmt: skip
    return found


class Margin(NamedTuple):
    """One margin exactly, all but equity in PARTS; `required` is what the exchange stated, where it did, else `own`."""

    equity_minor: int
    required: int
    own: int  # the sum over `positions`
    positions: list[PositionView]  # that need margin, in the order of (symbol, side)


def requirement_parts(market: Market, value_minor: int) -> int:
    """Maintenance requirement of a position of this value, exactly, in PARTS of a minor unit: `Scale.requirement`."""
    value, mmf = abs(value_minor), market.scale.mmf
    required: int = value * mmf.numerator * (PARTS // mmf.denominator)
    for begin, step in market.scale.tiers:
        if value > begin:
            required += (value - begin) * step.numerator * (PARTS // step.denominator)
    return required


def _isolated_equity_minor(view: PositionView) -> int:
    return view.margin_minor + view.value_minor - view.entry_minor + view.held_quote_minor


class Margins(State):
    """The book asked for thin margins, and for one margin exactly."""

    def thin(self, ratio: float, is_known: IsKnown, rows: Cells | None = None) -> Thin:
        """Every margin of these account rows (None: of all, a scan) that may be at or below a margin ratio.

        `is_known`: whether a symbol's mark can be relied on; margins with a position where it cannot are left out, as
        are accounts that are parked or no traders.
        """
        rows = np.arange(self.accounts.used, dtype=np.int64) if rows is None else rows
        known = np.array([is_known(market) for market in self.markets], np.uint8)
        tiers = tiers_of(market.scale for market in self.markets)
        room = self._slots.used + len(rows)  # memory that is not written costs nothing
        account, slot = np.empty(room, np.int64), np.empty(room, np.int64)
        ratio_found, urgency = np.empty(room, np.float64), np.empty(room, np.float64)
        size = look_all(
            self._table.cells, self._slots.table.cells, self._terms.cells, known, *tiers, rows, ratio * (1.0 + ROOM),
            account, slot, ratio_found, urgency,
        )  # fmt: skip
        return Thin(account[:size], slot[:size], ratio_found[:size], urgency[:size])

    def margin_order(self, thin: Thin) -> Cells:
        """Places of thin margins in the order of urgency, of two alike by (account, cross first, symbol, side)."""
        key = self._slots.table.cells[KEY, thin.slot]
        symbol_rank = self.symbols.order()[1]
        part = np.where(thin.slot < 0, -1, 4 * symbol_rank[key >> 2].astype(np.int64) + (key & 3))
        return np.lexsort((part, self.accounts.order()[1][thin.account], thin.urgency))

    def symbol_side(self, slot: int) -> tuple[str, PositionSide]:
        """Symbol and side of a position."""
        key = self._slots.table.columns[KEY][slot]
        return self.markets[key >> 2].symbol, SIDES[key & 3]

    def isolated_slot(self, account: str, symbol: str, position_side: PositionSide) -> int:
        """The slot of an isolated position, GONE where there is none."""
        slot = self._find(account, symbol, position_side)
        return slot if slot >= 0 and self._slots.table.columns[MARGIN][slot] >= 0 else GONE

    def margin(self, account: str, slot: int, is_known: IsKnown) -> Margin | None:
        """A margin less what legs hold, by its isolated position's slot, CROSS or GONE; None where it is not known."""
        if self._is_parked(account, "AccountUpdate", "Account"):
            return None
        views = self.positions(account) if slot != GONE else []
        mine = [view for view in views if (view.slot == slot if slot >= 0 else not view.isolated)]
        converting = [self._market[symbol] for symbol, _ in self.collateral(account)] if slot == CROSS else []
        if not all(is_known(market) for market in (*(self.markets[view.symbol_row] for view in mine), *converting)):
            return None
        own = sum(requirement_parts(self.markets[view.symbol_row], view.value_minor) for view in mine)
        stated = self.maintenance_margin(account) if slot == CROSS else None
        equity = self.equity_minor(account) if slot == CROSS else sum(map(_isolated_equity_minor, mine))
        needing = [view for view in mine if view.value_minor]
        return Margin(equity, own if stated is None else stated * PARTS, own, needing)
