"""Which rows may be asked for something: side, permission, solvency and what a haircut leaves. One pass, in parts.

Rule: what is said of a row depends on the rows of its account alone, so parts of the rows may be of any size.
"""

import numpy as np
from numba import njit

from solver.items import given_or_empty, gross_of
from solver.optimum.threads import bounds

NOBODY = -1
BROKE = -2  # and below: BROKE - k is a row of an insolvent account that demand k may ask


@njit(cache=True, error_model="numpy")
def _gross(row, account, asset, quantity, lot_price):
    """Gross notional of the account of a row."""
    first, last = row, row + 1
    while first > 0 and account[first - 1] == account[row]:
        first -= 1
    while last < account.size and account[last] == account[row]:
        last += 1
    return gross_of(first, last, asset, quantity, lot_price, np.empty(0, np.int64))


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(part, limits, account, asset, quantity, available, eligible, entry_price, mark_price, equity, lot_price,
          demand_of, wanted, side, haircut, haircut_mark, protect, demand):  # fmt: skip
    """Fill demand[row] of a part's rows; how many of them are insolvent."""
    broke, holder, gross = 0, np.int64(-1), 0.0
    for row in range(limits[part], limits[part + 1]):
        q = quantity[row]
        k = demand_of[2 * asset[row] + (1 if q < 0 else 0)]
        if k < 0 or q == 0 or not wanted[k]:
            demand[row] = NOBODY
            continue
        asked = eligible.size == 0 or eligible[row]
        asked = asked and (available.size == 0 or available[row] > 0)
        asked = asked and (not protect or haircut_mark[k] <= side[k] * (mark_price[asset[row]] - entry_price[row]))
        own, d = equity[account[row]], haircut[k]
        if asked and not own > 0.0:
            asked = d <= 0.0
            k = BROKE - k
            broke += np.int64(asked)
        elif asked and d > 0.0:
            if account[row] != holder:
                holder = account[row]
                gross = _gross(row, account, asset, quantity, lot_price)
            asked = d * gross < own * lot_price[asset[row]]
        demand[row] = k if asked else NOBODY
    return broke


@njit(cache=True, error_model="numpy")
def _gross_of_rows(rows, account, asset, quantity, lot_price):
    """Gross notional of the accounts of some rows, float[rows]."""
    gross = np.empty(rows.size)
    for i in range(rows.size):
        gross[i] = _gross(rows[i], account, asset, quantity, lot_price)
    return gross


def askable(problem, protect_principal, threads):
    """Return (demand int64[P] of rows that may be asked, else -1; rows, demands, gross of insolvent accounts' rows)."""
    limits = bounds(problem.account.size)
    demand = np.empty(problem.account.size, np.int64)
    broke = threads.run(
        _mark, limits.size - 1, limits, problem.account, problem.asset, problem.quantity_lots,
        given_or_empty(problem.available_lots, np.int64), given_or_empty(problem.eligible, np.bool_),
        given_or_empty(problem.entry_price, np.float64), problem.mark_price, problem.equity, problem.lot_price,
        problem.demand_of, problem.demand_lots > 0, problem.demand_side, problem.haircut,
        problem.haircut / problem.lot_size[problem.demand_asset], protect_principal, demand,
    )  # fmt: skip
    rows = np.flatnonzero(demand <= BROKE) if sum(broke) else np.zeros(0, np.int64)
    wanted = BROKE - demand[rows]
    demand[rows] = NOBODY
    gross = _gross_of_rows(rows, problem.account, problem.asset, problem.quantity_lots, problem.lot_price)
    return demand, (rows, wanted, gross)
