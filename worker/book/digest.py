"""The state digest: the sum modulo 2**128 of one hash per cell, so it does not depend on order or row numbers.

A cell's hash starts from the hash of its name and absorbs its numbers in two 64-bit lanes. Accounts that changed are
noted, and their hashes exchanged when the digest is asked for or DIRTY_MAX wait (`refresh.py`): hashing many in one
kernel costs 0.1 us a row, one call a row 1.2 us. Rare things (marks, instruments, parked names, closed positions) are
hashed by blake2b.
"""

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel

DIRTY_MAX = 4096
MODULUS = 2**128

Hashes = NDArray[np.uint64]

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


@kernel("void(uint64[::1], uint64, uint64, boolean)")
def add(total: Hashes, hi: np.uint64, lo: np.uint64, minus: bool) -> None:
    """total (hi, lo) plus or minus (hi, lo), modulo 2**128."""
    if minus:
        total[0] -= hi + np.uint64(lo > total[1])
        total[1] -= lo
    else:
        total[1] += lo
        total[0] += hi + np.uint64(total[1] < lo)


def cell_hash(*parts: str | int | None) -> int:
    """The hash of a rare cell: its kind, its names, its numbers."""
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=16, person=b"cell").digest(), "big")
