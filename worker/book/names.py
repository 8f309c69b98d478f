"""Names to dense rows, and the order of names.

Rows depend on arrival and stay private; whatever leaves the book goes by name hash or by name order. Names of accounts
that are gone are given up, and their rows and bytes used again. A Python dictionary would need 100 bytes a name more
and stop for 0.2 s when it grows at 3 M; so it only remembers the names that were asked for last.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.digest import Hashes
from worker.book.name_cells import (
    BUCKETS,
    BYTES_MAX,
    FIRST_SHIFT,
    FRESH,
    LENGTH,
    LIVE,
    ROWS_USED,
    SORTED,
    STATE_FIELDS,
    WORD,
    WORDS_MAX,
    WORDS_USED,
    add_row,
    add_rows,
    copy_names,
    drop_rows,
    find_row,
    find_rows,
    hash_rows,
)
from worker.book.name_order import fresh_rows, merge, sort_rows
from worker.book.table import grown, larger

Bytes = NDArray[np.uint8]
Cells = NDArray[np.int64]
Rows = NDArray[np.int32]
Words = NDArray[np.uint64]

_RECENT_MAX = 2**14  # emptying takes 1 ms
_MERGED_SHARE = 16  # more new names than one in so many: sorting all of them anew is quicker
_ROWS_MIN = 64


class Names:
    """Dense rows of at most `most` names of one kind; `kind` keys their hashes: an account never hashes as a symbol."""

    def __init__(self, kind: str, most: int = limits.ACCOUNTS_MAX) -> None:
        self.kind = int.from_bytes(kind.encode().ljust(WORD, b"\0")[:WORD], "little", signed=True)
        self.most = most
        self.state = np.zeros(STATE_FIELDS, np.int64)
        self.state[BUCKETS] = 1
        self._counts = self.state.data
        self._recent: dict[str, int] = {}
        self.given_up: list[tuple[int, str]] | None = None  # for whoever keeps rows: begins it, and empties it
        self._asked = np.zeros(BYTES_MAX, np.uint8)
        self._asked_bytes = self._asked.data
        self._hashes, self._hashed = np.zeros((0, 2), np.uint64), 0
        self._order: Rows = np.zeros(0, np.int32)
        self._rank: Rows = np.zeros(0, np.int32)
        self._gone: list[int] = []  # places in the order of names that were given up
        self._heads, self._following = np.zeros(0, np.int32), np.zeros(0, np.int32)
        self.capacity = 0
        self.spans, self.words = np.zeros(0, np.int64), np.zeros(0, np.uint64)
        self.reserve(_ROWS_MIN)

    def __len__(self) -> int:
        return self._counts[LIVE]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.row(name) >= 0

    def __iter__(self) -> Iterator[str]:
        """In the order of `order`."""
        return iter(self.names(self.order()[0].astype(np.int64)))

    def cells(self) -> tuple[int, Words, Cells]:
        """What kernels that hash names take; valid until the next `reserve`."""
        return self.kind, self.words, self.spans

    @property
    def used(self) -> int:
        """Rows ever taken: those of all names are below it."""
        return self._counts[ROWS_USED]

    def has_room(self, count: int) -> bool:
        """Whether so many names more are within the limit."""
        return len(self) + count <= self.most and self._counts[WORDS_USED] + WORDS_MAX * count <= WORDS_MAX * self.most

    def reserve(self, count: int) -> None:
        """Room for so many names more, of any length."""
        words = self._counts[WORDS_USED] + WORDS_MAX * count
        rows = max(min(self.used + count, self.most), -(-words // WORDS_MAX))
        if rows > self.capacity:
            capacity = larger(self.capacity, rows, self.most)
            self.spans = grown(self.spans, capacity)
            self.words = grown(self.words, WORDS_MAX * capacity)
            self._text = self.words.view(np.uint8)
            self._span_cells, self._text_bytes = self.spans.data, self._text.data
            self._heads, self._following = grown(self._heads, capacity), grown(self._following, capacity)
            self.capacity = capacity

    def _cells(self) -> tuple[Words, Cells, Rows, Rows, Cells]:
        return self.words, self.spans, self._heads, self._following, self.state

    def row(self, name: str) -> int:
        """The row of a name, -1 where it never appeared or was given up."""
        row = self._recent.get(name)
        if row is None:
            text = name.encode()
            size = len(text)
            if size > BYTES_MAX:
                return -1
            self._asked_bytes[:size] = text
            row = find_row(self._asked, 0, size, *self._cells())
            if row >= 0:
                self._remember(name, row)
        return row

    def _remember(self, name: str, row: int) -> None:
        if len(self._recent) >= _RECENT_MAX:
            self._recent.clear()
        self._recent[name] = row

    def name(self, row: int) -> str:
        """The name of a row that has one; `names` is quicker for many."""
        span = self._span_cells[row]
        begin = WORD * (span >> FIRST_SHIFT)
        return str(self._text_bytes[begin : begin + (span & LENGTH)], "utf-8")

    def names(self, rows: Cells) -> list[str]:
        """The names of many rows."""
        return self.pieces(rows).decode().split("\0")[:-1]

    def pieces(self, rows: Cells) -> bytes:
        """The same as bytes, a NUL behind each name."""
        text = np.empty((BYTES_MAX + 1) * len(rows), np.uint8)
        return text[: copy_names(rows, self._text, self.spans, text)].tobytes()

    def add(self, name: str) -> int:
        """The row of a name, new or not."""
        row = self.row(name)
        if row < 0:
            text = name.encode()
            self.reserve(1)
            self._asked_bytes[: len(text)] = text
            row = add_row(self._asked, 0, len(text), *self._cells())
            self._remember(name, row)
        return row

    def rows_of(self, text: Bytes, begins: Cells, ends: Cells) -> Cells:
        """The rows of the names text[begin:end], -1 where one has none."""
        rows = np.empty(len(begins), np.int64)
        find_rows(text, begins, ends, *self._cells(), rows)
        return rows

    def extend(self, text: Bytes, begins: Cells, ends: Cells) -> Cells:
        """The rows of many names of 1 to NAME_BYTES_MAX bytes, new or not."""
        self.reserve(len(begins))
        rows = np.empty(len(begins), np.int64)
        add_rows(text, begins, ends, *self._cells(), rows)
        return rows

    def drop(self, rows: Cells) -> None:
        """Gives up the names of rows; the rows will be other names'."""
        names = self.names(rows)
        if self.given_up is not None:
            self.given_up.extend(zip(rows.tolist(), names, strict=True))
        for name in names:
            self._recent.pop(name, None)
        self._gone += self._rank[rows[self.spans[rows] & SORTED > 0]].tolist()
        drop_rows(rows, *self._cells())

    def hashes(self) -> Hashes:
        """128 bits of each name, by row; of kinds whose names are never given up."""
        known, used = self._hashed, self.used
        if known < used:
            if used > len(self._hashes):
                self._hashes = grown(self._hashes.T, self.capacity).T.copy()
            hash_rows(known, self.kind, self.words, self.spans, self._hashes[:used])
            self._hashed = used
        return self._hashes

    def order(self) -> tuple[Rows, Rows]:
        """(rows in the order of their names' UTF-8 bytes, the rank of each row that has a name)."""
        if self._counts[FRESH] or self._gone:
            old, same = self._order, len(self._order)
            if self._gone:
                same, old = min(self._gone), np.delete(old, self._gone)
                self._gone = []
            new = np.empty(self._counts[FRESH], np.int32)
            fresh_rows(self.used, new, self.spans)
            if _MERGED_SHARE * len(new) > len(old):
                new, old, same = np.concatenate((old, new)), old[:0], 0
            sort_rows(new, self.words, self.spans)
            if len(self._rank) < self.used:
                self._rank = grown(self._rank, self.capacity)
            self._order = np.empty(len(self), np.int32)
            merge(same, old, new, self._order, self._rank, self.words, self.spans)
            self.state[FRESH] = 0
        return self._order, self._rank[: self.used]


def joined(names: Iterable[str]) -> tuple[Bytes, Cells, Cells]:
    """Names as `rows_of` and `extend` take them."""
    texts = [name.encode() for name in names]
    sizes = np.array([len(text) for text in texts], np.int64)
    ends = np.cumsum(sizes)
    return np.frombuffer(b"".join(texts), np.uint8), ends - sizes, ends
