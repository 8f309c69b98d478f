"""From the book to the arrays of one decision, touching only holders of the demanded sides.

Two kernels: the first notes the accounts that hold a demanded side, the second walks them in the order of names and writes
their rows. In name order every answer is the same to the bit, whatever order the book was filled in.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.market import Market
from worker.book.names import Names
from worker.book.table import (
    ACCOUNT, ADL_SHIFT, BALANCE, COUNT, EFFECTIVE, ENTRY, EQUITY, FIRST, FLAGS, HELD_QUOTE, KEY, LOOSE, LOTS, MARGIN,
    MARGIN_REQUIRED, NEXT, OWNER, PARKED, ROLE_BITS, UNMARKED, VALUE,
)  # fmt: skip
from worker.book.views import Gathered

_TABLE = "int64[:, ::1]"

LONGS, SHORTS = 1, 2  # bits of a demanded symbol
CROSS_ROW, ISOLATED_ROW = 1, 2  # bits of a touched account
EXCLUDED = 4

_POSITIONS = limits.POSITIONS_PER_ACCOUNT_MAX
_EXEMPT = 2


@kernel("boolean(int64, int64)")
def demanded(bits: int, lots: int) -> bool:
    """Whether lots are on a side that the symbol's bits ask for."""
    return (lots > 0 and bits & LONGS != 0) or (lots < 0 and bits & SHORTS != 0)


@kernel(f"UniTuple(int64, 2)({_TABLE}, {_TABLE}, int32[::1], int8[::1], int32[::1], uint8[::1])")
def touch(
    accounts: NDArray[np.int64],
    slots: NDArray[np.int64],
    holders: NDArray[np.int32],
    demand: NDArray[np.int8],
    rank: NDArray[np.int32],
    touched: NDArray[np.uint8],
) -> tuple[int, int]:
    """Notes at its rank each account that holds a demanded side; returns bounds for rows and entries.

    `demand`: bits by symbol row. Excluded accounts come with their bit set and keep it alone.
    """
    rows = entries = 0
    for slot in holders:
        if not demanded(demand[slots[KEY, slot] >> 2], slots[EFFECTIVE, slot]):
            continue
        account = slots[ACCOUNT, slot]
        at = rank[account]
        before = touched[at]
        if before == EXCLUDED:
            continue
        if before == 0:
            entries += accounts[COUNT, account]
        if slots[MARGIN, slot] >= 0:
            touched[at] = before | ISOLATED_ROW
            rows += 1
        elif before & CROSS_ROW == 0:
            touched[at] = before | CROSS_ROW
            rows += 1
    return rows, entries


@kernel(
    f"UniTuple(int64, 3)({_TABLE}, {_TABLE}, int8[::1], uint8[::1], int32[::1], uint8[::1], int32[::1], uint8[::1], "
    "float64[::1], float64, int64[:, ::1], uint8[::1], float64[::1], int64[:, ::1], float64[:, ::1], int8[::1], uint8[::1])"
)
def emit(
    accounts: NDArray[np.int64],
    slots: NDArray[np.int64],
    demand: NDArray[np.int8],
    touched: NDArray[np.uint8],
    order: NDArray[np.int32],
    owner_excluded: NDArray[np.uint8],
    symbol_rank: NDArray[np.int32],
    symbol_state: NDArray[np.uint8],
    mmf: NDArray[np.float64],
    unit: float,
    entry_ints: NDArray[np.int64],
    entry_eligible: NDArray[np.uint8],
    entry_price: NDArray[np.float64],
    row_ints: NDArray[np.int64],
    row_floats: NDArray[np.float64],
    row_class: NDArray[np.int8],
    used: NDArray[np.uint8],
) -> tuple[int, int, int]:
    """Writes rows and entries of touched accounts in name order; returns (rows, entries, unmarked accounts).

    `symbol_state`: bit 1 marked, bit 2 parked. `entry_ints`: account, asset (symbol rank), lots, slot. `row_ints`: account
    row, isolated. `row_floats`: equity, balance, maintenance margin. `used`: symbols, by rank, that stand in an entry.
    """
    sort_key = np.empty(_POSITIONS, np.int64)
    sorted_slot = np.empty(_POSITIONS, np.int64)
    rows = entries = unmarked_accounts = 0
    for at in range(len(touched)):
        bits = touched[at]
        if bits == 0 or bits == EXCLUDED:
            continue
        account = order[at]
        flags = accounts[FLAGS, account]
        owner = accounts[OWNER, account]
        if flags & (ROLE_BITS | PARKED) != 0 or flags >> ADL_SHIFT == _EXEMPT or (owner >= 0 and owner_excluded[owner]):
            continue

        # The account's list is in order of arrival; an insertion sort, for most accounts hold one to three positions.
        count = 0
        slot = accounts[FIRST, account]
        while slot >= 0:
            if slots[EFFECTIVE, slot] != 0:
                key = slots[KEY, slot]
                key = np.int64(symbol_rank[key >> 2]) * 4 + (key & 3)
                place = count
                while place > 0 and sort_key[place - 1] > key:
                    sort_key[place] = sort_key[place - 1]
                    sorted_slot[place] = sorted_slot[place - 1]
                    place -= 1
                sort_key[place] = key
                sorted_slot[place] = slot
                count += 1
            slot = slots[NEXT, slot]

        unmarked = False
        if bits & CROSS_ROW:
            if accounts[UNMARKED, account] > 0:
                unmarked = True
            else:
                required = 0.0
                for place in range(count):
                    slot = sorted_slot[place]
                    if slots[MARGIN, slot] < 0:
                        symbol = slots[KEY, slot] >> 2
                        entry_ints[0, entries] = rows
                        entry_ints[1, entries] = sort_key[place] >> 2
                        entry_ints[2, entries] = slots[EFFECTIVE, slot]
                        entry_ints[3, entries] = slot
                        entry_eligible[entries] = symbol_state[symbol] & 2 == 0
                        entry_price[entries] = slots[ENTRY, slot] / slots[LOTS, slot] / unit
                        used[sort_key[place] >> 2] = 1
                        required += abs(slots[VALUE, slot]) * mmf[symbol]
                        entries += 1
                if accounts[MARGIN_REQUIRED, account] >= 0:
                    required = np.float64(accounts[MARGIN_REQUIRED, account])
                row_ints[0, rows] = account
                row_ints[1, rows] = 0
                row_floats[0, rows] = accounts[EQUITY, account] / unit
                row_floats[1, rows] = (accounts[BALANCE, account] + accounts[LOOSE, account]) / unit
                row_floats[2, rows] = required / unit
                row_class[rows] = flags >> ADL_SHIFT
                rows += 1
        if bits & ISOLATED_ROW:
            for place in range(count):
                slot = sorted_slot[place]
                symbol = slots[KEY, slot] >> 2
                if slots[MARGIN, slot] < 0 or not demanded(demand[symbol], slots[EFFECTIVE, slot]):
                    continue
                if symbol_state[symbol] & 1 == 0:
                    unmarked = True
                    continue
                value, entry = slots[VALUE, slot], slots[ENTRY, slot]
                entry_ints[0, entries] = rows
                entry_ints[1, entries] = sort_key[place] >> 2
                entry_ints[2, entries] = slots[EFFECTIVE, slot]
                entry_ints[3, entries] = slot
                entry_eligible[entries] = symbol_state[symbol] & 2 == 0
                entry_price[entries] = entry / slots[LOTS, slot] / unit
                used[sort_key[place] >> 2] = 1
                row_ints[0, rows] = account
                row_ints[1, rows] = 1
                row_floats[0, rows] = (slots[MARGIN, slot] + value - entry + slots[HELD_QUOTE, slot]) / unit
                row_floats[1, rows] = slots[MARGIN, slot] / unit
                row_floats[2, rows] = abs(value) * mmf[symbol] / unit
                row_class[rows] = flags >> ADL_SHIFT
                entries += 1
                rows += 1
        unmarked_accounts += unmarked
    return rows, entries, unmarked_accounts


def gather(
    accounts: NDArray[np.int64],
    slots: NDArray[np.int64],
    names: Names,
    symbols: Names,
    markets: Sequence[Market],
    symbol_sides: Iterable[tuple[int, int]],
    excluded_accounts: Iterable[int],
    owner_excluded: NDArray[np.uint8],
    unit: float,
) -> Gathered:
    """The counterparties of the demanded (symbol row, +1 or -1); accounts and owners to leave out as rows and as flags."""
    order, rank = names.order()
    symbol_order, symbol_rank = symbols.order()
    demand = np.zeros(len(markets), np.int8)
    for symbol, side in symbol_sides:
        demand[symbol] |= LONGS if side > 0 else SHORTS
    holders = [markets[symbol].slots() for symbol in np.flatnonzero(demand)]
    touched = np.zeros(len(order), np.uint8)
    for account in excluded_accounts:
        touched[rank[account]] = EXCLUDED
    state = np.array([(market.mark > 0) + 2 * market.parked for market in markets], np.uint8)
    mmf = np.array([float(market.scale.mmf) for market in markets], np.float64)
    used = np.zeros(len(markets), np.uint8)

    rows, entries = touch(
        accounts, slots, np.concatenate(holders) if holders else np.zeros(0, np.int32), demand, rank, touched
    )
    entry_ints = np.empty((4, entries), np.int64)
    entry_eligible = np.empty(entries, np.uint8)
    entry_price = np.empty(entries, np.float64)
    row_ints = np.empty((2, rows), np.int64)
    row_floats = np.empty((3, rows), np.float64)
    row_class = np.empty(rows, np.int8)
    rows, entries, unmarked = emit(
        accounts, slots, demand, touched, order, owner_excluded, symbol_rank, state, mmf, unit,
        entry_ints, entry_eligible, entry_price, row_ints, row_floats, row_class, used,
    )  # fmt: skip
    asset_of_rank = np.cumsum(used, dtype=np.int64) - 1
    return Gathered(
        account=entry_ints[0, :entries],
        asset=asset_of_rank[entry_ints[1, :entries]],
        quantity_lots=entry_ints[2, :entries],
        eligible=entry_eligible[:entries].view(np.bool_),
        entry_price=entry_price[:entries],
        slot=entry_ints[3, :entries],
        equity=row_floats[0, :rows],
        balance=row_floats[1, :rows],
        maintenance_margin=row_floats[2, :rows],
        tie_rank=np.arange(rows, dtype=np.int64),
        adl_class=row_class[:rows],
        row_account=row_ints[0, :rows],
        row_isolated=row_ints[1, :rows].astype(np.bool_),
        assets=symbol_order[used.view(np.bool_)].astype(np.int64),
        unmarked_accounts=unmarked,
    )
