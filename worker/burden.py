"""Who bore a policy's decisions: sums over all of them, by account row of the book. For reports; decides nothing."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from solver.metrics import Tally, gini
from worker.curves import Curves

Floats = NDArray[np.float64]
Number = TypeVar("Number", bound=np.generic)


class Burden:
    """Sums by account, of a book whose accounts grow."""

    def __init__(self) -> None:
        self._paid: Floats = np.zeros(0)
        self._notional: Floats = np.zeros(0)
        self._remaining: Floats = np.zeros(0)
        self._hits: NDArray[np.int64] = np.zeros(0, np.int64)  # decisions that took something
        self._could_pay: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._before: list[Floats] = [np.zeros(0)]
        self._after: list[Floats] = [np.zeros(0)]

    def add(self, tally: Tally, row_account: NDArray[np.int64], accounts: int) -> None:
        """A decision; `row_account`: the book's row of each account of the tally, out of `accounts`."""
        paid, taken, remaining = (_longer(column, accounts) for column in (self._paid, self._notional, self._remaining))
        self._paid, self._notional, self._remaining = paid, taken, remaining
        self._hits, self._could_pay = _longer(self._hits, accounts), _longer(self._could_pay, accounts)
        notional = tally.notional()
        touched = notional > 0
        self._before.append(tally.leverage(before=True)[touched])
        self._after.append(tally.leverage()[touched])
        np.add.at(paid, row_account, tally.paid)
        np.add.at(taken, row_account, notional)
        self._hits[np.unique(row_account[touched])] += 1
        self._could_pay[row_account[tally.could_pay()]] = True
        profit = tally.profit()
        if profit is not None:
            remaining[row_account] = 0.0
            np.add.at(remaining, row_account, profit - tally.paid)

    def hit(self, row_account: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether accounts, by their rows in the book, gave something before."""
        known = row_account < self._hits.size
        return known & (self._hits[np.where(known, row_account, 0)] > 0 if self._hits.size else known)

    def accounts(self, hits_min: int = 1) -> int:
        """Accounts that gave something in so many decisions."""
        return int((self._hits >= hits_min).sum())

    def notional(self) -> float:
        """All that was taken, at the marks."""
        return float(self._notional.sum())

    def remaining_profit_max(self) -> float:
        """Largest profit that an account kept of the demanded sides, as it last stood."""
        return float(self._remaining.max(initial=0.0))

    def gini(self) -> float | None:
        """Of haircuts, over all accounts that could be asked in any decision."""
        found: float | None = gini(np.maximum(self._paid[self._could_pay], 0.0))
        return found

    def curves(self, policy: str) -> Curves:
        """What is drawn of it."""
        could = self._could_pay
        before, after = np.concatenate(self._before), np.concatenate(self._after)
        return Curves(policy, before, after, np.maximum(self._paid[could], 0.0), self._notional[could])


def _longer(column: NDArray[Number], size: int) -> NDArray[Number]:
    return np.concatenate((column, np.zeros(size - column.size, column.dtype)))
