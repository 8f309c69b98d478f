"""Policies `queue:NAME`: positions are closed one after the other by a score, best first, as exchanges print it.

Whole positions, ties by tie rank, the last one in part. `effective_leverage` is G/E of the account; `pnl_leverage` is
the return of the position times (gaining) or over (losing) that leverage.
"""

import numpy as np
from numba import njit

from solver.items import gross_of, spread
from solver.solution import OPTIMAL

NAMES = ("pnl_leverage", "effective_leverage")


@njit(cache=True, error_model="numpy")
def account_leverage(account, asset, quantity, lot_price, equity):
    """G/E per account, independent of the order of its entries; 0 where equity is not positive."""
    out = np.zeros(equity.size)
    nothing = np.full(account.size, -1, np.int64)
    first = 0
    while first < account.size:
        holder = account[first]
        last = first + 1
        while last < account.size and account[last] == holder:
            last += 1
        if equity[holder] > 0.0:
            out[holder] = gross_of(first, last, asset, quantity, lot_price, nothing) / equity[holder]
        first = last
    return out


@njit(cache=True, error_model="numpy")
def return_times_leverage(account, asset, quantity, mark_price, entry_price, lev):
    """The score of BitMEX per entry; without an entry price a gain is infinite."""
    out = np.zeros(account.size)
    for row in range(account.size):
        q = quantity[row]
        power = lev[account[row]]
        gain = mark_price[asset[row]] - entry_price[row]
        if q < 0:
            gain = -gain
        if q == 0 or power == 0.0 or gain == 0.0:
            continue
        base = abs(entry_price[row])
        if base == 0.0:
            out[row] = np.inf if gain > 0.0 else -np.inf
        elif gain > 0.0:
            out[row] = gain / base * power
        else:
            out[row] = gain / base / power
    return out


def scores(problem, name):
    """Score per entry, float[P]; 0 for entries of accounts without equity."""
    lev = account_leverage(problem.account, problem.asset, problem.quantity_lots, problem.lot_price, problem.equity)
    if name == "effective_leverage":
        return lev[problem.account]
    return return_times_leverage(
        problem.account, problem.asset, problem.quantity_lots, problem.mark_price, problem.entry_price, lev
    )


@njit(cache=True, error_model="numpy")
def greedy(order, free, left, taken):
    """Take items in the given order until `left` lots are found; what is missing comes back."""
    for j in order:
        if left == 0:
            break
        part = min(left, free[j])
        taken[j] = part
        left -= part
    return left


def queue(problem, name, items, asked, relaxed, reduction, available, solution):
    """Fill `asked` lots per demand from solvent `items` by score; adds to relaxed and reduction."""
    score = scores(problem, name)
    filled = np.zeros(asked.size, dtype=np.int64)
    taken = np.zeros(items.entry.size, dtype=np.int64)
    for k in range(asked.size):
        if asked[k] == 0:
            continue
        s, t = items.start[k], items.start[k + 1]
        # Entries of one account and score are told apart by their lots, never by their row.
        own = (-items.lots[s:t], -items.available[s:t], items.account[s:t])
        order = np.lexsort((*own, items.rank[s:t], -score[items.entry[s:t]])) + s
        filled[k] = asked[k] - greedy(order, items.available, asked[k], taken)
    spread(items, taken.astype(np.float64), relaxed, available)
    if reduction is not None:
        spread(items, taken, reduction, available)
    solution.score = score
    solution.clearing_residual_lots = 0.0
    solution.iterations = 1
    solution.status = OPTIMAL
    return filled
