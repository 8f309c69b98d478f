"""Who holds something that is asked for: accounts by tie rank, as ranges of rows, and the lots that all may give.

Rule: counts and whole lots are all that is added up here, so parts of the rows may be of any size.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.optimum.threads import bounds


class Holders(NamedTuple):
    """Accounts with a row that is asked for something, by tie rank, as ranges of rows."""

    first: np.ndarray  # int64[H]
    last: np.ndarray  # int64[H]


@njit(cache=True, error_model="numpy", inline="always")
def _whole(row, account):
    """The first row from `row` on that begins an account."""
    while 0 < row < account.size and account[row] == account[row - 1]:
        row += 1
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def _scan(part, limits, account, quantity, demand, available, asked, total, first_of, last_of):
    """Note accounts with a row that is asked, from place limits[part]; add up lots per demand; how many there are."""
    row, end = _whole(limits[part], account), _whole(limits[part + 1], account)
    count = limits[part]
    while row < end:
        while row < end and demand[row] < 0:
            row += 1
        if row == end:
            break
        holder, first, last, some = account[row], row, row, False
        while first > 0 and account[first - 1] == holder:
            first -= 1
        while last < end and account[last] == holder:
            k = demand[last]
            if k >= 0 and asked[k] > 0:
                total[part, k] += available[last] if available.size > 0 else abs(quantity[last])
                some = True
            last += 1
        if some:
            first_of[count], last_of[count] = first, last
            count += 1
        row = last
    return count - limits[part]


def holders(problem, demand, asked_lots, available, threads):
    """Return (Holders, lots that may be taken per demand int64[demands], 0 where nothing is asked)."""
    size = problem.account.size
    limits = bounds(size)
    parts = limits.size - 1
    first, last = np.empty(size, np.int64), np.empty(size, np.int64)
    total = np.zeros((parts, asked_lots.size), np.int64)
    free = np.zeros(0, np.int64) if available is None else available
    counts = threads.run(
        _scan, parts, limits, problem.account, problem.quantity_lots, demand, free, asked_lots, total, first, last
    )
    first, last = (
        np.concatenate([column[at : at + n] for at, n in zip(limits[:-1], counts, strict=True)])
        for column in (first, last)
    )
    if problem.tie_rank is not None:
        rank = problem.tie_rank[problem.account[first]]
        if (rank[1:] < rank[:-1]).any():
            order = np.argsort(rank, kind="stable")
            first, last = first[order], last[order]
    return Holders(first, last), total.sum(axis=0)
