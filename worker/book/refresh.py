"""What the digest holds of an account: what its updates say, its role, class and owner, and each of its positions.

The sum of those hashes is kept with the account (16 bytes; one for each position would be 160 MB at 10 M), so a change
costs its account's positions once, however often it changed since the digest was asked for.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.digest import absorb, add
from worker.book.kernel import kernel
from worker.book.name_cells import FIRST_SHIFT, hash_of
from worker.book.table import (
    ACCOUNT_HASH,
    ADL_SEQ,
    BALANCE,
    BUY,
    COUNT,
    ENTRY,
    EPOCH,
    FIRST,
    FLAGS,
    FULL_ADL_SEQ,
    HELD_QUOTE,
    KEY,
    LOOSE,
    LOTS,
    MARGIN,
    MARGIN_REQUIRED,
    OWNER,
    PARKED,
    SELL,
    SEQ,
    SLOT_ADL_SEQ,
)

Cells = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Lanes = tuple[np.uint64, np.uint64]

_TOGETHER = 32  # accounts
_SLOT, _UPDATE, _ROLE = 1, 2, 3  # what a hash of numbers is of

_NAMES = "int64, uint64[::1], int64[::1]"  # kind, words and spans


@kernel(f"UniTuple(uint64, 2)(int64, int64[:, ::1], int64[:, ::1], {_NAMES}, {_NAMES}, uint64[:, ::1], uint64[::1])")
def hash_account(
    row: int,
    accounts: Cells,
    slots: Cells,
    kind: int,
    words: Hashes,
    spans: Cells,
    owner_kind: int,
    owner_words: Hashes,
    owner_spans: Cells,
    symbols: Hashes,
    total: Hashes,
) -> Lanes:
    """The sum of the hashes of a row's cells; defaults hash to nothing. `total`: [2], room for the sum."""
    total[:] = 0
    name = hash_of(row, kind, words, spans)
    if accounts[EPOCH, row] >= 0 or accounts[LOOSE, row] != 0:
        lanes = absorb(name, _UPDATE)
        for field in (EPOCH, SEQ, BALANCE, LOOSE, ADL_SEQ, FULL_ADL_SEQ, MARGIN_REQUIRED):
            lanes = absorb(lanes, accounts[field, row])
        add(total, lanes[0], lanes[1], False)
    flags, owner = accounts[FLAGS, row] & (PARKED - 1), accounts[OWNER, row]
    if flags != 0 or owner >= 0:
        lanes = absorb(absorb(name, _ROLE), flags)
        if owner >= 0:
            said = hash_of(owner, owner_kind, owner_words, owner_spans)
            lanes = absorb(absorb(lanes, np.int64(said[0])), np.int64(said[1]))
        add(total, lanes[0], lanes[1], False)
    first = accounts[FIRST, row]
    for slot in range(first, first + accounts[COUNT, row]):
        key = slots[KEY, slot]
        symbol = symbols[key >> 2]
        lanes = absorb(absorb(absorb(absorb(name, _SLOT), np.int64(symbol[0])), np.int64(symbol[1])), key & 3)
        for field in (LOTS, ENTRY, MARGIN, SLOT_ADL_SEQ, HELD_QUOTE, SELL, BUY):
            lanes = absorb(lanes, slots[field, slot])
        add(total, lanes[0], lanes[1], False)
    return total[0], total[1]


@kernel("int64(int64[::1], int64[:, ::1], int64[:, ::1], uint64[::1], int64[::1])")
def fetch_cells(rows: Cells, accounts: Cells, slots: Cells, words: Hashes, spans: Cells) -> int:
    """Reads what accounts are hashed from, so that it is in the cache and misses do not wait for each other."""
    read = 0
    for row in rows:
        read += accounts[FIRST, row] + accounts[COUNT, row] + spans[row]
        for field in (EPOCH, SEQ, BALANCE, LOOSE, ADL_SEQ, FULL_ADL_SEQ, MARGIN_REQUIRED, FLAGS, OWNER, ACCOUNT_HASH):
            read += accounts[field, row]
    for row in rows:
        slot = max(accounts[FIRST, row], 0)
        read += np.int64(words[max(spans[row], 0) >> FIRST_SHIFT]) + slots[KEY, slot]
        for field in (LOTS, ENTRY, MARGIN, SLOT_ADL_SEQ, HELD_QUOTE, SELL, BUY):
            read += slots[field, slot]
    return read


@kernel(f"void(uint64[::1], boolean, int64[::1], int64[:, ::1], int64[:, ::1], {_NAMES}, {_NAMES}, uint64[:, ::1])")
def refresh_accounts(
    total: Hashes,
    anew: bool,
    rows: Cells,
    accounts: Cells,
    slots: Cells,
    kind: int,
    words: Hashes,
    spans: Cells,
    owner_kind: int,
    owner_words: Hashes,
    owner_spans: Cells,
    symbols: Hashes,
) -> None:
    """Brings the total up to date with accounts that changed, doubles allowed; `anew`: adds them, and keeps nothing."""
    room, read = np.empty(2, np.uint64), np.zeros(1, np.int64)
    for at in range(len(rows)):
        if at % _TOGETHER == 0:
            part = rows[at : at + _TOGETHER]
            read[0] += fetch_cells(part, accounts, slots, words, spans)  # kept, or the compiler would leave it out
        row = rows[at]
        if spans[row] <= 0:
            continue
        hi, lo = hash_account(
            row, accounts, slots, kind, words, spans, owner_kind, owner_words, owner_spans, symbols, room
        )
        if not anew:
            kept_hi, kept_lo = np.uint64(accounts[ACCOUNT_HASH, row]), np.uint64(accounts[ACCOUNT_HASH + 1, row])
            add(total, kept_hi, kept_lo, True)
            accounts[ACCOUNT_HASH, row] = np.int64(hi)
            accounts[ACCOUNT_HASH + 1, row] = np.int64(lo)
        add(total, hi, lo, False)
