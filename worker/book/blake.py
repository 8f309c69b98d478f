"""BLAKE2b of 16 bytes (RFC 7693) of many short texts: `hashlib.blake2b(text, digest_size=16)` of each, in one pass.

hashlib takes 0.7 us a text, most of it for the objects around the hash; this 0.3.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.name_cells import WORD, word_at

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint64]

HEX_BYTES = 32
_BLOCK = 128
_START = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
_PARAMETERS = np.uint64(0x01010010)  # 16 bytes, no key, one leaf
_ORDER = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ],
    np.int64,
)
_16, _24, _32, _40, _48, _63, _1 = (np.uint64(bits) for bits in (16, 24, 32, 40, 48, 63, 1))
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_DIGITS = np.frombuffer(b"0123456789abcdef", np.uint8)
_QUARTER = "UniTuple(uint64, 4)(uint64, uint64, uint64, uint64, uint64, uint64)"
_Four = tuple[np.uint64, np.uint64, np.uint64, np.uint64]


@kernel(_QUARTER)
def _mixed(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, x: np.uint64, y: np.uint64) -> _Four:
    """The function G of the RFC."""
    a = a + b + x
    d = d ^ a
    d = (d >> _32) | (d << _32)
    c = c + d
    b = b ^ c
    b = (b >> _24) | (b << _40)
    a = a + b + y
    d = d ^ a
    d = (d >> _16) | (d << _48)
    c = c + d
    b = b ^ c
    return a, (b >> _63) | (b << _1), c, d


@kernel("void(uint64[::1], uint64[::1], uint64, uint64)")
def _compress(h: Words, m: Words, size: np.uint64, last: np.uint64) -> None:
    """The function F of the RFC: `size` bytes up to the end of the block `m`, `last` all bits in the last block."""
    v0, v1, v2, v3, v4, v5, v6, v7 = h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7]
    v8, v9, v10, v11 = _START[0], _START[1], _START[2], _START[3]
    v12, v13, v14, v15 = _START[4] ^ size, _START[5], _START[6] ^ last, _START[7]
    for at in range(len(_ORDER)):
        s = _ORDER[at]
        v0, v4, v8, v12 = _mixed(v0, v4, v8, v12, m[s[0]], m[s[1]])
        v1, v5, v9, v13 = _mixed(v1, v5, v9, v13, m[s[2]], m[s[3]])
        v2, v6, v10, v14 = _mixed(v2, v6, v10, v14, m[s[4]], m[s[5]])
        v3, v7, v11, v15 = _mixed(v3, v7, v11, v15, m[s[6]], m[s[7]])
        v0, v5, v10, v15 = _mixed(v0, v5, v10, v15, m[s[8]], m[s[9]])
        v1, v6, v11, v12 = _mixed(v1, v6, v11, v12, m[s[10]], m[s[11]])
        v2, v7, v8, v13 = _mixed(v2, v7, v8, v13, m[s[12]], m[s[13]])
        v3, v4, v9, v14 = _mixed(v3, v4, v9, v14, m[s[14]], m[s[15]])
    h[0], h[1], h[2], h[3] = h[0] ^ v0 ^ v8, h[1] ^ v1 ^ v9, h[2] ^ v2 ^ v10, h[3] ^ v3 ^ v11
    h[4], h[5], h[6], h[7] = h[4] ^ v4 ^ v12, h[5] ^ v5 ^ v13, h[6] ^ v6 ^ v14, h[7] ^ v7 ^ v15


@kernel("void(Array(uint8, 1, 'C', readonly=True), uint8[:, ::1])")
def write_hex(texts: Bytes, out: Bytes) -> None:
    """Writes the 32 hex digits of each text's hash; a NUL behind each text, and none in it."""
    h, m = np.empty(8, np.uint64), np.empty(16, np.uint64)
    begin = 0
    for row in range(len(out)):
        end = begin
        while texts[end] != 0:
            end += 1
        h[:] = _START
        h[0] ^= _PARAMETERS
        at = begin
        while True:
            for word in range(16):
                m[word] = word_at(texts, at + WORD * word, end)
            at += _BLOCK
            is_last = at >= end
            _compress(h, m, np.uint64(min(at, end) - begin), _ALL if is_last else np.uint64(0))
            if is_last:
                break
        for digit in range(HEX_BYTES):
            word, place = digit // 16, digit % 16  # little-endian bytes, the upper half of each first
            shift = np.uint64(8 * (place // 2) + 4 * (1 - place % 2))
            out[row, digit] = _DIGITS[np.int64((h[word] >> shift) & np.uint64(15))]
        begin = end + 1


def hex_digests(texts: Bytes, count: int) -> NDArray[np.bytes_]:
    """The hash of each of `count` texts, which end with a NUL, as hex digits."""
    out = np.empty((count, HEX_BYTES), np.uint8)
    write_hex(texts, out)
    return out.view(f"S{HEX_BYTES}")[:, 0]
