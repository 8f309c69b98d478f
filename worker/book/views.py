"""What the book hands out: one account's positions, and arrays for one decision."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.messages import PositionSide

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PositionView:
    """One position, in lots, scaled prices and minor units; signs as booked (schemas/units.py)."""

    symbol: str
    symbol_row: int
    side: PositionSide
    lots: int
    effective_lots: int  # less what open legs hold
    isolated: bool
    mark: int  # scaled; 0: never had one
    entry_minor: int
    value_minor: int  # of the effective lots
    margin_minor: int  # isolated margin, else 0
    sell_lots: int
    buy_lots: int
    held_quote_minor: int
    adl_seq: int
    slot: int


@dataclass(frozen=True, slots=True)
class Gathered:
    """Counterparties of one decision, ready for `solver.Problem`: N rows, P entries, M assets.

    Everything stands in the order of names (rows: account, then cross before isolated, symbol, side; entries of a row
    and assets: symbol, side), so the arrays depend neither on arrival nor on row numbers (`slot`, `row_account` and
    `assets` hold such numbers, for looking names up). Only rows of which something may be taken are there: holding a
    demanded side, of a trader, not parked, not exempt, not of an excluded owner, every symbol marked.
    """

    account: Ints  # [P] number of the solver's row, sorted
    asset: Ints  # [P] index into `assets`
    quantity_lots: Ints  # [P] effective, never 0
    eligible: NDArray[np.bool_]  # [P] false where the symbol is parked, and of collateral
    collateral: NDArray[np.bool_]  # [P] lots that a balance in another currency is worth: no position
    entry_price: Floats  # [P] quote per lot
    slot: Ints  # [P]
    equity: Floats  # [N] quote currency, as all amounts
    balance: Floats  # [N] with the cash of legs whose position is gone; the margin where isolated
    maintenance_margin: Floats  # [N] as stated, else what the positions require by their tiers
    tie_rank: Ints  # [N]
    adl_class: NDArray[np.int8]  # [N] 0 NORMAL, 1 LAST
    row_account: Ints  # [N] account row in the book
    row_isolated: NDArray[np.bool_]  # [N]
    assets: Ints  # [M] symbol rows in the book
    unmarked_accounts: int  # accounts left out only because a symbol of theirs never had a mark
