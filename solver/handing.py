"""From the items of Candidates back to the problem's rows: how many lots each may give, and what its rows then give.

An account's entries of one demand are one item; they give one after the other, in an order of their own sizes.
"""

import numpy as np
from numba import njit

from solver.items import given_or_empty
from solver.optimum.threads import bounds


@njit(cache=True, error_model="numpy", inline="always")
def _may_give(row, quantity, available):
    """Lots of a row that may be taken."""
    return available[row] if available.size > 0 else abs(quantity[row])


@njit(cache=True, nogil=True, error_model="numpy")
def _add_up(part, limits, first, account, demand, quantity, available, free):
    """Fill free[i] with what item i, whose first row is first[i], may give."""
    for i in range(limits[part], limits[part + 1]):
        row, lots = first[i], 0
        while row < account.size and account[row] == account[first[i]]:
            if demand[row] == demand[first[i]]:
                lots += _may_give(row, quantity, available)
            row += 1
        free[i] = lots


@njit(cache=True, error_model="numpy")
def _share_out(first, amount, account, demand, quantity, available, out):
    """One after the other the rows of an item give: whoever may give more first, of equal ones whoever holds more."""
    left, before, held_before, last = amount, np.int64(-1), np.int64(-1), np.int64(-1)
    while left > 0:
        best, most, held = -1, np.int64(-1), np.int64(-1)
        row = first
        while row < account.size and account[row] == account[first]:
            size, lots = _may_give(row, quantity, available), abs(quantity[row])
            done = last >= 0 and (
                size > before or (size == before and (lots > held_before or (lots == held_before and row <= last)))
            )
            if demand[row] == demand[first] and not done and (size > most or (size == most and lots > held)):
                best, most, held = row, size, lots
            row += 1
        if best < 0:
            return
        given = min(left, most)
        out[best] += given
        left -= given
        last, before, held_before = best, most, held


@njit(cache=True, nogil=True, error_model="numpy")
def _hand_out(part, limits, first, amount, free, account, demand, quantity, available, out):
    """Add what each item gives to its rows of `out`."""
    for i in range(limits[part], limits[part + 1]):
        if amount[i] <= 0:
            continue
        if free[i] == _may_give(first[i], quantity, available):
            out[first[i]] += amount[i]
        else:
            _share_out(first[i], amount[i], account, demand, quantity, available, out)


@njit(cache=True, nogil=True, error_model="numpy")
def _take_all(part, limits, demand, whole, quantity, available, relaxed, reduction):
    """Rows of demands that take everything give all that they may."""
    for row in range(limits[part], limits[part + 1]):
        if demand[row] >= 0 and whole[demand[row]]:
            lots = _may_give(row, quantity, available)
            relaxed[row] += lots
            if reduction.size > 0:
                reduction[row] += lots


class Rows:
    """The rows of a problem that may be asked; demand int64[P] is -1 for the others."""

    def __init__(self, problem, demand, threads):
        self.threads = threads
        self.columns = (
            problem.account, demand, problem.quantity_lots, given_or_empty(problem.available_lots, np.int64)
        )  # fmt: skip

    def free(self, first):
        """Lots that items with these first rows may give, int64[I]."""
        limits, free = bounds(first.size), np.empty(first.size, np.int64)
        self.threads.run(_add_up, limits.size - 1, limits, first, *self.columns, free)
        return free

    def give(self, first, amount, free, out):
        """Add the items' amounts to their rows of out[P]."""
        limits = bounds(first.size)
        self.threads.run(_hand_out, limits.size - 1, limits, first, amount, free, *self.columns, out)

    def give_all(self, whole, relaxed, reduction):
        """Add everything that the `whole` bool[K] demands may take; reduction None: relaxed only."""
        limits, nothing = bounds(relaxed.size), np.zeros(0, np.int64)
        reduction = nothing if reduction is None else reduction
        _, demand, quantity, available = self.columns
        self.threads.run(
            _take_all, limits.size - 1, limits, demand, whole, quantity, available, relaxed, reduction
        )  # fmt: skip
