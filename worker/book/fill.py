"""Amounts of gathered entries and rows, in quote currency, read column by column as gather.py says."""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.table import (
    ADL_SHIFT,
    BALANCE,
    EFFECTIVE,
    ENTRY,
    EQUITY,
    FLAGS,
    HELD_QUOTE,
    LOOSE,
    LOTS,
    MARGIN,
    MARGIN_REQUIRED,
    VALUE,
)
from worker.book.tiers import requirement

Cells = NDArray[np.int64]
Floats = NDArray[np.float64]

_CELLS = "int64[:, ::1]"


@kernel(
    f"void({_CELLS}, int64[::1], int64[::1], int64[::1], float64[::1], int64[::1], int64[::1], float64[::1], float64, "
    "int64[::1], float64[::1], float64[::1])"
)
def fill_entries(
    slots: Cells,
    entry_slot: Cells,
    entry_row: Cells,
    entry_rank: Cells,
    fraction: Floats,
    first: Cells,
    begin: Cells,
    step: Floats,
    unit: float,
    lots: Cells,
    price: Floats,
    required: Floats,
) -> None:
    """Lots and entry price of each entry, and what each row requires, summed in entry order; tiers by symbol rank."""
    for at in range(len(entry_slot)):
        slot = entry_slot[at]
        lots[at] = slots[EFFECTIVE, slot]
        price[at] = slots[ENTRY, slot] / slots[LOTS, slot] / unit
    for at in range(len(entry_slot)):
        value = slots[VALUE, entry_slot[at]]
        required[entry_row[at]] += requirement(value, entry_rank[at], fraction, first, begin, step)


@kernel(
    f"void({_CELLS}, {_CELLS}, int64[::1], int64[::1], float64, float64[::1], float64[::1], float64[::1], int8[::1])"
)
def fill_rows(
    accounts: Cells,
    slots: Cells,
    row_account: Cells,
    row_slot: Cells,
    unit: float,
    equity: Floats,
    balance: Floats,
    required: Floats,
    adl_class: NDArray[np.int8],
) -> None:
    """Amounts of each row in quote currency, and its class; a stated maintenance margin wins over the summed one."""
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
            margin = slots[MARGIN, slot]
            equity[at] = (margin + slots[VALUE, slot] - slots[ENTRY, slot] + slots[HELD_QUOTE, slot]) / unit
            balance[at] = margin / unit
