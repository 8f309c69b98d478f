"""Amounts of gathered entries and rows, in quote currency, read column by column as gather.py says."""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.table import (
    ADL_SHIFT,
    BALANCE,
    COLLATERAL,
    DEN,
    EFFECTIVE,
    ENTRY,
    EQUITY,
    FLAGS,
    HELD_QUOTE,
    KEY,
    LOOSE,
    LOTS,
    MARGIN,
    MARGIN_REQUIRED,
    MARK_REST,
    MARK_WHOLE,
)
from worker.book.tiers import requirement
from worker.book.value import value_minor

Cells = NDArray[np.int64]
Floats = NDArray[np.float64]

_CELLS = "int64[:, ::1]"


@kernel(
    f"void({_CELLS}, {_CELLS}, int64[::1], int64[::1], int64[::1], float64[::1], int64[::1], int64[::1], float64[::1], "
    "float64, int64[::1], float64[::1], float64[::1])"
)
def fill_entries(
    slots: Cells,
    terms: Cells,
    entry_slot: Cells,
    entry_row: Cells,
    entry_key: Cells,
    fraction: Floats,
    first: Cells,
    begin: Cells,
    step: Floats,
    unit: float,
    lots: Cells,
    price: Floats,
    required: Floats,
) -> None:
    """Lots and entry price of each entry, and what each row requires, summed in entry order; collateral: nothing.

    `entry_key`: 4 * symbol rank + side, as `terms` and tiers are by rank. Values are made anew, for those of
    isolated slots are not kept.
    """
    for at in range(len(entry_slot)):
        slot = entry_slot[at]
        lots[at] = slots[EFFECTIVE, slot]
        price[at] = slots[ENTRY, slot] / slots[LOTS, slot] / unit
    for at in range(len(entry_slot)):
        rank = entry_key[at] >> 2
        if entry_key[at] & 3 == COLLATERAL:
            continue
        value = value_minor(lots[at], terms[MARK_WHOLE, rank], terms[MARK_REST, rank], terms[DEN, rank])
        required[entry_row[at]] += requirement(value, rank, fraction, first, begin, step)


@kernel(
    f"void({_CELLS}, {_CELLS}, {_CELLS}, int64[::1], int64[::1], float64, float64[::1], float64[::1], float64[::1], "
    "int8[::1])"
)
def fill_rows(
    accounts: Cells,
    slots: Cells,
    terms: Cells,
    row_account: Cells,
    row_slot: Cells,
    unit: float,
    equity: Floats,
    balance: Floats,
    required: Floats,
    adl_class: NDArray[np.int8],
) -> None:
    """Amounts of each row in quote currency, and its class; a stated maintenance margin wins over the summed one.

    `terms` are by symbol row.
    """
    size = len(row_account)
    for at in range(size):
        adl_class[at] = accounts[FLAGS, row_account[at]] >> ADL_SHIFT
    for at in range(size):
        equity[at] = accounts[EQUITY, row_account[at]] / unit
    for at in range(size):
        balance[at] = (accounts[BALANCE, row_account[at]] + accounts[LOOSE, row_account[at]]) / unit
    for at in range(size):
        slot, stated = row_slot[at], accounts[MARGIN_REQUIRED, row_account[at]]
        required[at] = (required[at] if stated < 0 or slot >= 0 else stated) / unit
        if slot >= 0:
            margin, symbol = slots[MARGIN, slot], slots[KEY, slot] >> 2
            value = value_minor(
                slots[EFFECTIVE, slot], terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol], terms[DEN, symbol]
            )
            equity[at] = (margin + value - slots[ENTRY, slot] + slots[HELD_QUOTE, slot]) / unit
            balance[at] = margin / unit
