"""Names in cells: their bytes side by side, and lists that find a name's row by what is written there.

`words` holds each name from a word's first byte on, filled up with zeros, for no name holds a NUL. `spans` has
256 * (first word) + SORTED + (bytes) for each row, at most 0 where the row is free. `heads` has the first row of each
bucket, `following` the next of each row, as row + 1, 0 at the end. With each name one bucket is split (linear hashing),
so there is a bucket for each, and never a moment at which all are hashed again.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.digest import absorb
from worker.book.kernel import kernel

Bytes = NDArray[np.uint8]
Cells = NDArray[np.int64]
Rows = NDArray[np.int32]
Words = NDArray[np.uint64]

WORD = 8  # bytes
BYTES_MAX = limits.NAME_BYTES_MAX
WORDS_MAX = BYTES_MAX // WORD

FIRST_SHIFT = 8  # of a span
SORTED = 128  # the row stands in the order
LENGTH = 127

# --- what is taken, and what was given back ---------------------------------------------------------------------------
ROWS_USED = 0  # rows ever taken
LIVE = 1  # names
WORDS_USED = 2
FRESH = 3  # names that the order does not contain yet
FREE_ROW = 4  # row + 1 of the first of those given back, each with -(the next) as its span; 0: none
BUCKETS = 5
_MASK = 6  # of a hash; at least BUCKETS - 1 and less than twice that
FREE_WORDS = 7  # and on, by number of words less one: first word + 1 of a piece given back, which holds the next
STATE_FIELDS = FREE_WORDS + WORDS_MAX

_TEXT = "Array(uint8, 1, 'C', readonly=True)"
_CELLS = "uint64[::1], int64[::1], int32[::1], int32[::1], int64[::1]"  # words, spans, heads, following, state
_MIX_1 = np.uint64(0x9E3779B97F4A7C15)
_MIX_2 = np.uint64(0xBF58476D1CE4E5B9)
_32, _29 = np.uint64(32), np.uint64(29)
_TOGETHER = 64  # names


@kernel(f"uint64({_TEXT}, uint64, int64)")
def _byte(text: Bytes, begin: np.uint64, place: int) -> np.uint64:
    return np.uint64(text[begin + np.uint64(place)]) << np.uint64(WORD * place)


@kernel(f"uint64({_TEXT}, int64, int64)")
def word_at(text: Bytes, begin: int, end: int) -> np.uint64:
    """Up to 8 bytes of text[begin:end] as a word, zeros behind them."""
    if end - begin >= WORD:  # written out, it is compiled to one load: a third of the time of looking up a name
        at = np.uint64(begin)
        low = _byte(text, at, 0) | _byte(text, at, 1) | _byte(text, at, 2) | _byte(text, at, 3)
        return low | _byte(text, at, 4) | _byte(text, at, 5) | _byte(text, at, 6) | _byte(text, at, 7)
    word = np.uint64(0)
    for place in range(end - begin):
        word |= np.uint64(text[begin + place]) << np.uint64(WORD * place)
    return word


@kernel("uint64(uint64, uint64)")
def _stir(lane: np.uint64, word: np.uint64) -> np.uint64:
    lane = (lane ^ word) * _MIX_1
    return (lane ^ (lane >> _32)) * _MIX_2


@kernel("int64(uint64, int64[::1])")
def _bucket(lane: np.uint64, state: Cells) -> int:
    """Where the names of a hash are listed."""
    bucket = np.int64(lane ^ (lane >> _29)) & state[_MASK]
    return int(bucket if bucket < state[BUCKETS] else bucket & (state[_MASK] >> 1))


@kernel(f"uint64({_TEXT}, int64, int64)")
def _hash_text(text: Bytes, begin: int, end: int) -> np.uint64:
    lane = np.uint64(end - begin)
    for at in range(begin, end, WORD):
        lane = _stir(lane, word_at(text, at, end))
    return lane


@kernel("uint64(int64, uint64[::1], int64[::1])")
def _hash_row(row: int, words: Words, spans: Cells) -> np.uint64:
    """`_hash_text` of a row's name."""
    first, size = spans[row] >> FIRST_SHIFT, spans[row] & LENGTH
    lane = np.uint64(size)
    for word in range(first, first + (size + WORD - 1) // WORD):
        lane = _stir(lane, words[word])
    return lane


@kernel(f"int64({_TEXT}, int64, int64, int64, uint64[::1], int64[::1], int32[::1])")
def _find(text: Bytes, begin: int, end: int, row: int, words: Words, spans: Cells, following: Rows) -> int:
    """The row of the name text[begin:end] in a list that begins with a row, -1 where it is not there."""
    size = end - begin
    while row >= 0:
        span = spans[row]
        if span & LENGTH == size:
            word, at = span >> FIRST_SHIFT, begin
            while at < end and words[word] == word_at(text, at, end):
                word, at = word + 1, at + WORD
            if at >= end:
                break
        row = int(following[row]) - 1
    return row


@kernel(f"int64({_TEXT}, int64, int64, {_CELLS})")
def find_row(
    text: Bytes, begin: int, end: int, words: Words, spans: Cells, heads: Rows, following: Rows, state: Cells
) -> int:
    """The row of the name text[begin:end], -1 where it has none."""
    row = -1
    if 0 < end - begin <= BYTES_MAX:
        row = int(heads[_bucket(_hash_text(text, begin, end), state)]) - 1
        row = _find(text, begin, end, row, words, spans, following)
    return row


@kernel(f"void({_TEXT}, int64[::1], int64[::1], {_CELLS}, int64[::1])")
def find_rows(
    text: Bytes, begins: Cells, ends: Cells, words: Words, spans: Cells, heads: Rows, following: Rows, state: Cells,
    rows: Cells,
) -> None:  # fmt: skip
    """`find_row` of many names.

    Where the cells are larger than the cache each name is three misses, one behind the other. Of `_TOGETHER` names the
    first ones are asked for before the next are needed: 0.4 us a name of 3 million instead of 0.7.
    """
    seen = np.zeros(1, np.uint64)
    for first in range(0, len(begins), _TOGETHER):
        after = min(first + _TOGETHER, len(begins))
        for at in range(first, after):
            size = ends[at] - begins[at]
            known = 0 < size <= BYTES_MAX
            rows[at] = int(heads[_bucket(_hash_text(text, begins[at], ends[at]), state)]) - 1 if known else -1
        read = np.uint64(0)
        for at in range(first, after):
            read ^= words[max(spans[max(rows[at], 0)], 0) >> FIRST_SHIFT]
        seen[0] ^= read  # or the compiler would leave them out
        for at in range(first, after):
            rows[at] = _find(text, begins[at], ends[at], rows[at], words, spans, following)


@kernel(f"void({_CELLS})")
def _split(words: Words, spans: Cells, heads: Rows, following: Rows, state: Cells) -> None:
    """One bucket more: of the names of another, those whose hash says so move there."""
    bucket = state[BUCKETS]
    if bucket > state[_MASK]:
        state[_MASK] = 2 * state[_MASK] + 1
    state[BUCKETS] = bucket + 1
    other = bucket & (state[_MASK] >> 1)
    link = heads[other]
    heads[other] = heads[bucket] = 0
    while link > 0:
        row = link - 1
        link = following[row]
        home = _bucket(_hash_row(row, words, spans), state)
        following[row] = heads[home]
        heads[home] = row + 1


@kernel(f"int64({_TEXT}, int64, int64, {_CELLS})")
def add_row(
    text: Bytes, begin: int, end: int, words: Words, spans: Cells, heads: Rows, following: Rows, state: Cells
) -> int:
    """The row of the name text[begin:end] of 1 to BYTES_MAX bytes, new or not; the caller has made room."""
    lane = _hash_text(text, begin, end)
    row = int(heads[_bucket(lane, state)]) - 1
    row = _find(text, begin, end, row, words, spans, following)
    if row >= 0:
        return row
    row = int(state[FREE_ROW]) - 1
    if row >= 0:
        state[FREE_ROW] = -spans[row]
    else:
        row = int(state[ROWS_USED])
        state[ROWS_USED] += 1
    size = (end - begin + WORD - 1) // WORD
    first = state[FREE_WORDS + size - 1] - 1
    if first >= 0:
        state[FREE_WORDS + size - 1] = np.int64(words[first])
    else:
        first = state[WORDS_USED]
        state[WORDS_USED] += size
    for at in range(size):
        words[first + at] = word_at(text, begin + WORD * at, end)
    spans[row] = (first << FIRST_SHIFT) + end - begin
    state[LIVE] += 1
    state[FRESH] += 1
    if state[LIVE] > state[BUCKETS]:
        _split(words, spans, heads, following, state)
    bucket = _bucket(lane, state)
    following[row] = heads[bucket]
    heads[bucket] = row + 1
    return row


@kernel(f"void({_TEXT}, int64[::1], int64[::1], {_CELLS}, int64[::1])")
def add_rows(
    text: Bytes, begins: Cells, ends: Cells, words: Words, spans: Cells, heads: Rows, following: Rows, state: Cells,
    rows: Cells,
) -> None:  # fmt: skip
    """`add_row` of many names."""
    for at in range(len(begins)):
        rows[at] = add_row(text, begins[at], ends[at], words, spans, heads, following, state)


@kernel(f"void(int64, {_CELLS})")
def drop_row(row: int, words: Words, spans: Cells, heads: Rows, following: Rows, state: Cells) -> None:
    """Gives up a name: its row and bytes are free for others."""
    bucket = _bucket(_hash_row(row, words, spans), state)
    if heads[bucket] == row + 1:
        heads[bucket] = following[row]
    else:
        other = heads[bucket] - 1
        while following[other] != row + 1:
            other = following[other] - 1
        following[other] = following[row]
    span = spans[row]
    first, size = span >> FIRST_SHIFT, ((span & LENGTH) + WORD - 1) // WORD
    words[first] = np.uint64(state[FREE_WORDS + size - 1])
    state[FREE_WORDS + size - 1] = first + 1
    state[FRESH] -= span & SORTED == 0
    spans[row] = -state[FREE_ROW]
    state[FREE_ROW] = row + 1
    state[LIVE] -= 1


@kernel(f"void(int64[::1], {_CELLS})")
def drop_rows(rows: Cells, words: Words, spans: Cells, heads: Rows, following: Rows, state: Cells) -> None:
    """`drop_row` of many names."""
    for row in rows:
        drop_row(row, words, spans, heads, following, state)


@kernel("UniTuple(uint64, 2)(int64, int64, uint64[::1], int64[::1])")
def hash_of(row: int, kind: int, words: Words, spans: Cells) -> tuple[np.uint64, np.uint64]:
    """128 bits of a row's name for the digest, keyed by what it names."""
    lanes = absorb((np.uint64(0), np.uint64(0)), kind)
    first, size = spans[row] >> FIRST_SHIFT, spans[row] & LENGTH
    for word in range(first, first + (size + WORD - 1) // WORD):
        lanes = absorb(lanes, np.int64(words[word]))
    return lanes


@kernel("void(int64, int64, uint64[::1], int64[::1], uint64[:, ::1])")
def hash_rows(begin: int, kind: int, words: Words, spans: Cells, hashes: Words) -> None:
    """`hash_of` of rows from `begin` on."""
    for row in range(begin, len(hashes)):
        hashes[row, 0], hashes[row, 1] = hash_of(row, kind, words, spans)


@kernel("int64(int64[::1], Array(uint8, 1, 'C', readonly=True), int64[::1], uint8[::1])")
def copy_names(rows: Cells, text: Bytes, spans: Cells, out: Bytes) -> int:
    """Writes the names of rows, a NUL behind each; returns how many bytes."""
    end = 0
    for row in rows:
        first = WORD * (spans[row] >> FIRST_SHIFT)
        for at in range(first, first + (spans[row] & LENGTH)):
            out[end] = text[at]
            end += 1
        out[end] = 0
        end += 1
    return end
