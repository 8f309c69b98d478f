"""Accounts without equity give first, where that costs them nothing; most under water per unit held is first.

They stand outside the optimisation of every policy.
"""

import numpy as np


def take_insolvent(problem, rows, demand, gross):
    """Return (rows, lots taken from them, lots taken per demand) of insolvent entries, whole positions in order."""
    taken = np.zeros(rows.size, dtype=np.int64)
    filled = np.zeros(problem.demand_lots.size, dtype=np.int64)
    if not rows.size:
        return rows, taken, filled
    held = np.abs(problem.quantity_lots[rows])
    free = held if problem.available_lots is None else problem.available_lots[rows]
    account = problem.account[rows]
    worst = problem.equity[account] / gross
    order = np.lexsort((-held, -free, account, problem.rank()[account], worst, demand))
    rows, free, demand = rows[order], free[order], demand[order]
    for k in np.unique(demand):
        here = np.flatnonzero(demand == k)
        before = np.cumsum(free[here]) - free[here]
        taken[here] = np.clip(problem.demand_lots[k] - before, 0, free[here])
        filled[k] = taken[here].sum()
    return rows, taken, filled
