"""Beneficial owners: names that last while an account has them; rows of those that nobody has are used again.

Rule: they are given up at cuts only. In between, which of them nobody has depends on the order of records.
"""

from array import array

import numpy as np

from schemas import limits
from worker.book.names import Names
from worker.book.table import Table


class Owners(Names):
    """Owners to dense rows; whoever keeps a row has taken it, and leaves it once."""

    def __init__(self) -> None:
        super().__init__("owner")
        self._accounts = Table(1, limits.ACCOUNTS_MAX)  # how many have the owner of a row
        self._left = array("q")  # rows that nobody had at some time since the last cut

    def take(self, name: str) -> int:
        """The row of an owner, new or not, whom one account more has."""
        row = self.add(name)
        self._accounts.reserve(row + 1)
        self._accounts.columns[0][row] += 1
        return row

    def leave(self, row: int) -> None:
        """One account less has the owner of a row."""
        self._accounts.columns[0][row] -= 1
        if not self._accounts.columns[0][row]:
            self._left.append(row)

    def let_go(self) -> None:
        """Gives up those whom nobody has; at cuts."""
        if self._left:
            rows, self._left = np.unique(np.frombuffer(self._left, np.int64)), array("q")
            self.drop(rows[self._accounts.cells[0, rows] == 0])
