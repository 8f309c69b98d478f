"""Names to dense rows, append-only, and the order of names.

Rows depend on arrival and stay private; whatever leaves the book goes by name hash or by name order. Adding a name is
a dictionary entry; its bytes, hash and place are made for all new names together, by whoever asks first.
"""

from collections.abc import Iterable
from itertools import count

import numpy as np
from numpy.typing import NDArray

from worker.book.digest import Hashes, absorb
from worker.book.kernel import kernel

Rows = NDArray[np.int32]

_WORD = 8  # bytes


class Names:
    """Dense rows of names of one kind; `kind` keys their hashes, so an account never hashes like a symbol."""

    def __init__(self, kind: str) -> None:
        self._kind = int.from_bytes(kind.encode().ljust(_WORD, b"\0")[:_WORD], "little", signed=True)
        self.rows: dict[str, int] = {}
        self._names: list[str] = []
        self._known = 0  # names whose bytes and hashes are there
        self._bytes = np.zeros(64, f"S{_WORD}")
        self._hashes = np.zeros((64, 2), np.uint64)
        self._order: Rows = np.zeros(0, np.int32)
        self._rank: Rows = np.zeros(0, np.int32)

    def __len__(self) -> int:
        return len(self._names)

    def row(self, name: str) -> int:
        """The row of a name, -1 where it never appeared."""
        return self.rows.get(name, -1)

    def name(self, row: int) -> str:
        return self._names[row]

    def add(self, name: str) -> int:
        """The row of a name, new or not."""
        row = self.rows.setdefault(name, len(self._names))
        if row == len(self._names):
            self._names.append(name)
        return row

    def extend(self, names: Iterable[str]) -> None:
        """Adds names that have no row, each given once."""
        known = len(self._names)
        self._names.extend(names)
        self.rows.update(zip(self._names[known:], count(known), strict=False))

    def hashes(self) -> Hashes:
        """128 bits of each name, by row."""
        if self._known < len(self._names):
            self._read_new()
        return self._hashes

    def order(self) -> tuple[Rows, Rows]:
        """(rows in the order of their names' UTF-8 bytes, the rank of each row).

        Sorting 437 k names anew costs 0.2 s, so the few names that are new are merged into the order we have.
        """
        if len(self._order) < len(self._names):
            self._merge()
        return self._order, self._rank

    def _read_new(self) -> None:
        """Bytes and hashes of the names added since the last time."""
        known, size = self._known, len(self._names)
        fresh = np.array([name.encode() for name in self._names[known:]], "S")
        width = max(self._bytes.itemsize, -(-fresh.itemsize // _WORD) * _WORD)
        if width > self._bytes.itemsize or size > len(self._bytes):
            capacity = max(size, 2 * len(self._bytes)) if size > len(self._bytes) else len(self._bytes)
            grown, hashes = np.zeros(capacity, f"S{width}"), np.zeros((capacity, 2), np.uint64)
            grown[:known], hashes[:known] = self._bytes[:known], self._hashes[:known]
            self._bytes, self._hashes = grown, hashes
        self._bytes[known:size] = fresh
        words = self._bytes[known:size].view("<i8").reshape(size - known, width // _WORD)
        hash_names(words.astype(np.int64, copy=False), self._kind, self._hashes[known:size])
        self._known = size

    def _merge(self) -> None:
        self.hashes()
        known, size = len(self._order), len(self._names)
        new = np.argsort(self._bytes[known:size], kind="stable").astype(np.int32) + np.int32(known)
        if known:
            places = np.searchsorted(self._bytes[:known], self._bytes[new], sorter=self._order)
            new = np.insert(self._order, places, new)
        self._order = new
        self._rank = np.empty(size, np.int32)
        self._rank[self._order] = np.arange(size, dtype=np.int32)


@kernel("void(int64[:, ::1], int64, uint64[:, ::1])")
def hash_names(words: NDArray[np.int64], kind: int, hashes: Hashes) -> None:
    """128 bits of each name, keyed by what it names; no name holds a NUL, so a word of zeros is behind its end."""
    for row in range(len(words)):
        lanes = absorb((np.uint64(0), np.uint64(0)), kind)
        for word in words[row]:
            if word == 0:
                break
            lanes = absorb(lanes, word)
        hashes[row, 0], hashes[row, 1] = lanes
