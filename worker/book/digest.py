"""The state digest: the sum modulo 2**128 of one hash per cell, so it does not depend on order or row numbers.

A cell's hash starts from the hashes of its names and absorbs its numbers in two 64-bit lanes. Rows that changed are
noted, and their hashes exchanged when the digest is asked for or DIRTY_MAX rows wait: hashing many in one kernel costs
0.1 us a row, one call a row 1.2 us. Rare things (marks, instruments, parked names, closed positions) are hashed by
blake2b.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.table import (
    ACCOUNT,
    ACCOUNT_HASH,
    ADL_SEQ,
    BALANCE,
    BUY,
    ENTRY,
    EPOCH,
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
    SLOT_HASH,
)

DIRTY_MAX = 4096
MODULUS = 2**128

Cells = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_SLOT, _UPDATE, _ROLE = 1, 2, 3  # what a hash of numbers is of

_ADD = np.uint64(0x9E3779B97F4A7C15)
_MUL_1 = np.uint64(0xBF58476D1CE4E5B9)
_MUL_2 = np.uint64(0x94D049BB133111EB)
_KEY_HI = np.uint64(0x5851F42D4C957F2D)
_KEY_LO = np.uint64(0x14057B7EF767814F)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)


@kernel("uint64(uint64)")
def mix(x: np.uint64) -> np.uint64:
    """splitmix64's finaliser: every bit of x moves every bit of the result."""
    x = (x ^ (x >> _30)) * _MUL_1
    x = (x ^ (x >> _27)) * _MUL_2
    return x ^ (x >> _31)


@kernel("UniTuple(uint64, 2)(UniTuple(uint64, 2), int64)")
def absorb(lanes: tuple[np.uint64, np.uint64], number: int | np.int64) -> tuple[np.uint64, np.uint64]:
    """Both lanes after one more number; in two lanes of different keys a collision must happen twice."""
    word = np.uint64(number)
    return mix((lanes[0] ^ word) + _ADD), mix((lanes[1] + (word ^ _KEY_LO)) ^ _KEY_HI)


@kernel("UniTuple(uint64, 2)(uint64[::1], int64)")
def begin(name: Hashes, kind: int) -> tuple[np.uint64, np.uint64]:
    return absorb((name[0], name[1]), kind)


@kernel("void(uint64[::1], uint64, uint64, boolean)")
def add(total: Hashes, hi: np.uint64, lo: np.uint64, minus: bool) -> None:
    """total (hi, lo) plus or minus (hi, lo), modulo 2**128."""
    if minus:
        total[0] -= hi + np.uint64(lo > total[1])
        total[1] -= lo
    else:
        total[1] += lo
        total[0] += hi + np.uint64(total[1] < lo)


@kernel("void(uint64[::1], int64[:, ::1], int64, int64, uint64, uint64)")
def exchange(total: Hashes, cells: Cells, field: int, row: int, hi: np.uint64, lo: np.uint64) -> None:
    """Takes the hash that a row keeps in `field` and the next out of the total, and puts the new one into both."""
    add(total, np.uint64(cells[field, row]), np.uint64(cells[field + 1, row]), True)
    add(total, hi, lo, False)
    cells[field, row] = np.int64(hi)
    cells[field + 1, row] = np.int64(lo)


@kernel("void(uint64[::1], int64[::1], int64[:, ::1], uint64[:, ::1], uint64[:, ::1])")
def refresh_slots(total: Hashes, dirty: Cells, cells: Cells, accounts: Hashes, symbols: Hashes) -> None:
    """Brings the total up to date with the slots named in `dirty`, doubles allowed."""
    for slot in dirty:
        hi = lo = np.uint64(0)
        account, key = cells[ACCOUNT, slot], cells[KEY, slot]
        if account >= 0:
            lanes = begin(accounts[account], _SLOT)
            symbol = symbols[key >> 2]
            lanes = absorb(absorb(absorb(lanes, np.int64(symbol[0])), np.int64(symbol[1])), key & 3)
            for field in (LOTS, ENTRY, MARGIN, SLOT_ADL_SEQ, HELD_QUOTE, SELL, BUY):
                lanes = absorb(lanes, cells[field, slot])
            hi, lo = lanes
        exchange(total, cells, SLOT_HASH, slot, hi, lo)


@kernel("void(uint64[::1], int64[::1], int64[:, ::1], uint64[:, ::1], uint64[:, ::1])")
def refresh_accounts(total: Hashes, dirty: Cells, cells: Cells, names: Hashes, owners: Hashes) -> None:
    """The same for accounts: what updates say, and role, class and owner; defaults hash to nothing."""
    for row in dirty:
        hi = lo = np.uint64(0)
        if cells[EPOCH, row] >= 0 or cells[LOOSE, row] != 0:
            lanes = begin(names[row], _UPDATE)
            for field in (EPOCH, SEQ, BALANCE, LOOSE, ADL_SEQ, FULL_ADL_SEQ, MARGIN_REQUIRED):
                lanes = absorb(lanes, cells[field, row])
            hi, lo = lanes
        flags, owner = cells[FLAGS, row] & (PARKED - 1), cells[OWNER, row]
        if flags != 0 or owner >= 0:
            lanes = absorb(begin(names[row], _ROLE), flags)
            if owner >= 0:
                lanes = absorb(absorb(lanes, np.int64(owners[owner, 0])), np.int64(owners[owner, 1]))
            lo += lanes[1]
            hi += lanes[0] + np.uint64(lo < lanes[1])
        exchange(total, cells, ACCOUNT_HASH, row, hi, lo)


def cell_hash(*parts: str | int | None) -> int:
    """The hash of a rare cell: its kind, its names, its numbers."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=16, person=b"cell").digest(), "big")
