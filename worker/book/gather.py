"""From the book to the arrays of one decision, touching only holders of the demanded sides.

The answer is in the order of names, so it is the same to the bit whatever order the book was filled in. That order is
random in memory, so the work is cut into short loops over single columns, whose cache misses overlap: one long loop
over accounts in name order, or in row order writing each row at its place, took two to three times as long.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from worker.book.fill import fill_entries, fill_rows
from worker.book.kernel import kernel
from worker.book.market import Market
from worker.book.names import Names
from worker.book.table import (
    ACCOUNT,
    ADL_SHIFT,
    COLLATERAL,
    COUNT,
    EFFECTIVE,
    FIRST,
    FLAGS,
    KEY,
    MARGIN,
    OWNER,
    PARKED,
    ROLE_BITS,
    UNMARKED,
)
from worker.book.tiers import tiers_of
from worker.book.views import Gathered

Cells = NDArray[np.int64]
Numbers = NDArray[np.int32]
Bits = NDArray[np.uint8]

_CELLS = "int64[:, ::1]"

LONGS, SHORTS = 1, 2  # bits of a demanded symbol
CROSS_ROW, ISOLATED_ROW = 1, 2  # bits of a touched account
EXCLUDED = 4
MARKED, PARKED_SYMBOL = 1, 2  # bits of a symbol's state

_EXEMPT = 2
_ISOLATED_KEY = 2**40  # sorts isolated positions behind cross ones


@kernel("boolean(int64, int64)")
def demanded(bits: int, lots: int) -> bool:
    """Whether lots are on a side that the symbol's bits ask for."""
    return (lots > 0 and bits & LONGS != 0) or (lots < 0 and bits & SHORTS != 0)


@kernel(f"int64({_CELLS}, int32[::1], int64, int32[::1], uint8[::1])")
def touch(slots: Cells, holders: Numbers, bits: int, rank: Numbers, touched: Bits) -> int:
    """Notes, at its rank, each account with a cross or isolated position on a demanded side; returns the positions."""
    found = 0
    for slot in holders:
        if demanded(bits, slots[EFFECTIVE, slot]) and slots[KEY, slot] & 3 != COLLATERAL:
            touched[rank[slots[ACCOUNT, slot]]] |= CROSS_ROW if slots[MARGIN, slot] < 0 else ISOLATED_ROW
            found += 1
    return found


@kernel(f"int64({_CELLS}, uint8[::1], int32[::1], uint8[::1], int32[::1], uint8[::1])")
def choose(
    accounts: Cells, touched: Bits, order: Numbers, owner_excluded: Bits, chosen: Numbers, chosen_bits: Bits
) -> int:
    """Writes touched accounts that may be counterparties, in name order, with their bits; returns how many."""
    size = 0
    for at in range(len(order)):  # without a branch: half of the accounts are touched, so one would be mispredicted
        chosen[size] = order[at]
        chosen_bits[size] = touched[at]
        size += 0 < touched[at] < EXCLUDED
    kept = 0
    for at in range(size):
        account, bits = chosen[at], chosen_bits[at]
        flags, owner = accounts[FLAGS, account], accounts[OWNER, account]
        chosen[kept] = account
        chosen_bits[kept] = bits
        kept += (
            flags & (ROLE_BITS | PARKED) == 0
            and flags >> ADL_SHIFT != _EXEMPT
            and (owner < 0 or owner_excluded[owner] == 0)
        )
    return kept


@kernel(f"void({_CELLS}, {_CELLS}, int32[::1], {_CELLS})")
def fetch(accounts: Cells, slots: Cells, chosen: Numbers, heads: Cells) -> None:
    """Of each account its first slot, that slot's effective lots, key and margin, its slots and unmarked positions.

    Loops so short that their cache misses overlap; `walk` alone would wait for each (24 ms for 190 k accounts, not 4).
    """
    for at in range(len(chosen)):
        heads[0, at] = accounts[FIRST, chosen[at]]
    for at in range(len(chosen)):
        heads[4, at] = accounts[COUNT, chosen[at]]
        heads[5, at] = accounts[UNMARKED, chosen[at]]
    for at in range(len(chosen)):
        slot = heads[0, at]
        heads[1, at] = slots[EFFECTIVE, slot]
        heads[2, at] = slots[KEY, slot]
        heads[3, at] = slots[MARGIN, slot]


@kernel("void(int64[::1], int64[::1], int64, int64, int64, int64)")
def insert(entry_key: Cells, entry_slot: Cells, first: int, end: int, key: int, slot: int) -> None:
    """Puts an entry in its place among those of its account, [first, end), which are sorted by key.

    The account's slots are in no order; an insertion sort, for most hold one to three positions.
    """
    place = end
    while place > first and entry_key[place - 1] > key:
        entry_key[place] = entry_key[place - 1]
        entry_slot[place] = entry_slot[place - 1]
        place -= 1
    entry_key[place] = key
    entry_slot[place] = slot


@kernel(
    f"UniTuple(int64, 3)({_CELLS}, int32[::1], {_CELLS}, uint8[::1], uint8[::1], uint8[::1], int32[::1], "
    "int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], boolean)"
)
def walk(
    slots: Cells,
    chosen: Numbers,
    heads: Cells,
    chosen_bits: Bits,
    demand: Bits,
    symbol_state: Bits,
    symbol_rank: Numbers,
    entry_key: Cells,
    entry_slot: Cells,
    entry_row: Cells,
    row_account: Cells,
    row_slot: Cells,
    with_collateral: bool,
) -> tuple[int, int, int]:
    """Lists the entries and rows of the chosen accounts, sorted; returns (rows, entries, unmarked accounts).

    `entry_key`: 4 * symbol rank + side. `row_slot`: -1 for a cross row. The outputs have room for every slot.
    """
    rows = entries = unmarked_accounts = 0
    for at in range(len(chosen)):
        account, bits = np.int64(chosen[at]), chosen_bits[at]
        cross = bits & CROSS_ROW != 0
        unmarked = cross and heads[5, at] > 0
        cross = cross and not unmarked
        first = entries
        slot, lots, key, margin = heads[0, at], heads[1, at], heads[2, at], heads[3, at]
        last = slot + heads[4, at] - 1
        while True:
            wanted = cross and lots != 0 and (with_collateral or key & 3 != COLLATERAL)
            sort_key = np.int64(symbol_rank[key >> 2]) * 4 + (key & 3)
            if margin >= 0:
                wanted = demanded(demand[key >> 2], lots)
                if wanted and symbol_state[key >> 2] & MARKED == 0:
                    wanted, unmarked = False, True
                sort_key += _ISOLATED_KEY
            if wanted:
                insert(entry_key, entry_slot, first, entries, sort_key, slot)
                entries += 1
            if slot == last:
                break
            slot += 1
            lots, key, margin = slots[EFFECTIVE, slot], slots[KEY, slot], slots[MARGIN, slot]
        for place in range(first, entries):
            isolated = entry_key[place] >= _ISOLATED_KEY
            if isolated or place == first:
                row_account[rows] = account
                row_slot[rows] = entry_slot[place] if isolated else -1
                rows += 1
            if isolated:
                entry_key[place] -= _ISOLATED_KEY
            entry_row[place] = rows - 1
        unmarked_accounts += unmarked
    return rows, entries, unmarked_accounts


def _touched(
    slots: Cells, rank: Numbers, markets: Sequence[Market], symbol_sides: Iterable[tuple[int, int]],
    excluded_accounts: Iterable[int],
) -> tuple[Bits, Bits, int]:  # fmt: skip
    """Demanded sides of each symbol, what `touch` notes of each rank, and the positions on those sides."""
    demand, touched, found = np.zeros(len(markets), np.uint8), np.zeros(len(rank), np.uint8), 0
    for symbol, side in symbol_sides:
        demand[symbol] |= LONGS if side > 0 else SHORTS
    for symbol in np.flatnonzero(demand).tolist():
        found += touch(slots, markets[symbol].slots(), int(demand[symbol]), rank, touched)
    for account in excluded_accounts:
        touched[rank[account]] = EXCLUDED
    return demand, touched, found


def gather(
    accounts: Cells,
    slots: Cells,
    terms: Cells,
    names: Names,
    symbols: Names,
    markets: Sequence[Market],
    slots_used: int,
    symbol_sides: Iterable[tuple[int, int]],
    excluded_accounts: Iterable[int],
    owner_excluded: Bits,
    with_collateral: bool,
    unit: float,
) -> Gathered:
    """The counterparties of the demanded (symbol row, +1 or -1); accounts to leave out as rows, owners as flags."""
    order, rank = names.order()
    symbol_order, symbol_rank = symbols.order()
    state = np.array([MARKED * (market.mark > 0) + PARKED_SYMBOL * market.parked for market in markets], np.uint8)
    demand, touched, found = _touched(slots, rank, markets, symbol_sides, excluded_accounts)
    chosen, chosen_bits = np.empty(len(order) + 1, np.int32), np.empty(len(order) + 1, np.uint8)
    size = choose(accounts, touched, order, owner_excluded, chosen, chosen_bits)
    chosen = chosen[:size]
    heads = np.empty((6, size), np.int64)
    fetch(accounts, slots, chosen, heads)
    entry_key, entry_slot, entry_row = (np.empty(slots_used, np.int64) for _ in range(3))
    row_account, row_slot = np.empty(found, np.int64), np.empty(found, np.int64)
    rows, entries, unmarked = walk(
        slots, chosen, heads, chosen_bits, demand, state, symbol_rank, entry_key, entry_slot, entry_row, row_account,
        row_slot, with_collateral,
    )  # fmt: skip
    slot, row, key = entry_slot[:entries], entry_row[:entries], entry_key[:entries]
    by_rank, collateral = key >> 2, key & 3 == COLLATERAL
    row_account, row_slot = row_account[:rows], row_slot[:rows]

    used = np.zeros(len(markets), np.bool_)
    used[by_rank] = True
    asset_of = np.cumsum(used, dtype=np.int64) - 1
    eligible_of = (state & PARKED_SYMBOL == 0)[symbol_order]
    tiers = tiers_of(markets[symbol].scale for symbol in symbol_order)

    lots, price = np.empty(entries, np.int64), np.empty(entries, np.float64)
    equity, balance, required = np.empty(rows, np.float64), np.empty(rows, np.float64), np.zeros(rows, np.float64)
    adl_class = np.empty(rows, np.int8)
    terms_of = np.ascontiguousarray(terms[:, symbol_order])
    fill_entries(slots, terms_of, slot, row, key, *tiers, unit, lots, price, required)
    fill_rows(accounts, slots, terms, row_account, row_slot, unit, equity, balance, required, adl_class)
    return Gathered(
        account=row,
        asset=asset_of.take(by_rank),
        quantity_lots=lots,
        eligible=eligible_of.take(by_rank) & ~collateral,
        collateral=collateral,
        entry_price=price,
        slot=slot,
        equity=equity,
        balance=balance,
        maintenance_margin=required,
        tie_rank=np.arange(rows, dtype=np.int64),
        adl_class=adl_class,
        row_account=row_account,
        row_isolated=row_slot >= 0,
        assets=symbol_order[used].astype(np.int64),
        unmarked_accounts=int(unmarked),
    )
