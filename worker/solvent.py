"""Last solvent marks: those of the newest watch cut at which a margin unit's equity was not below zero.

Rule 1: looked at in watch cuts only, so that they are a function of the cuts. Rule 2: a unit that is not there, or has
a symbol without a mark, owes nothing; what was noted of it is forgotten as soon as a watch cut finds it so, or solvent.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.book.book import Book
from worker.book.update import SIDE_CODE
from worker.ids import digest_of
from worker.takeover import Unit


class Marks(NamedTuple):
    """The marks of one watch cut by symbol row, 0 where there was none, and their digest; shared by units."""

    scaled: NDArray[np.int64]
    digest: int


class SolventMarks:
    """What is known of solvent times: marks of the last watch cut, and older ones for units below zero since."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._last = Marks(np.zeros(0, np.int64), 0)
        # Units below zero at the last watch cut, by account and key -> marks of the cut before they were, and a digest.
        self._kept: dict[tuple[str, int], tuple[Marks, int]] = {}

    def mark(self, unit: Unit, symbol: str) -> int:
        """The symbol's mark when the unit was last solvent, scaled; 0 where there is none."""
        if unit.stranger >= 0:
            return 0
        marks, _ = self._kept.get((unit.account, self._key(unit)), (self._last, 0))
        row = self._book.market(symbol).row
        return int(marks.scaled[row]) if row < len(marks.scaled) else 0

    def watch(self) -> int:
        """Takes note of a watch cut; returns by how much the digest of what is noted has changed."""
        below = self._book.units_below_zero()
        changed = 0
        for unit in self._kept.keys() - below:
            changed -= self._kept.pop(unit)[1]
        for unit in below:
            if unit not in self._kept:
                self._kept[unit] = self._last, self._digest_of(*unit)
                changed += self._kept[unit][1]
        before, self._last = self._last, self._marks()
        return changed + self._last.digest - before.digest

    def _key(self, unit: Unit) -> int:
        if unit.isolated is None:
            return 0
        symbol, side = unit.isolated
        return 1 + self._book.market(symbol).key + SIDE_CODE[side]

    def _digest_of(self, account: str, key: int) -> int:
        isolated = (self._book.markets[key - 1 >> 2].symbol, key - 1 & 3) if key else None
        return digest_of("last solvent", account, isolated, self._last.digest)

    def _marks(self) -> Marks:
        """The marks as they stand; what moved since the last watch cut is exchanged in their digest."""
        markets, (before, digest) = self._book.markets, self._last
        marks = np.fromiter((market.mark for market in markets), np.int64, len(markets))
        old = np.zeros(len(markets), np.int64)
        old[: len(before)] = before
        for row in np.flatnonzero(marks != old).tolist():
            symbol = markets[row].symbol
            digest -= digest_of("watched", symbol, int(old[row])) if old[row] else 0
            digest += digest_of("watched", symbol, int(marks[row]))
        return Marks(marks, digest)
