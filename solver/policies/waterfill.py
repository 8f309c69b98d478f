"""Policy `waterfill`: the highest leverages are drained to one level per demand.

One demand is exact. Several are filled in turn until nothing moves, which minimises sum E (G/E)^2 over the accounts.
"""

import numpy as np
from numba import njit

from solver.items import spread
from solver.lots import in_lots, per_demand
from solver.policies.book import Book
from solver.policies.cycle import certificate, cycle
from solver.solution import NOT_CONVERGED, OPTIMAL

CYCLES_MAX = 20_000
KKT_MAX = 1e-8
BRACKET = 0.1  # around a level, relative: accounts that cross it are looked at in every cycle


@njit(cache=True, error_model="numpy")
def kinship(account, shared, accounts):
    """Items of accounts that have several: (kin, from, to), an item's relatives in order of demand."""
    place = np.zeros(accounts + 1, np.int64)
    for j in range(account.size):
        place[account[j] + 1] += np.int64(shared[j])
    place = np.cumsum(place)
    begin, end = np.zeros(account.size, np.int64), np.zeros(account.size, np.int64)
    for j in range(account.size):
        if shared[j]:
            begin[j], end[j] = place[account[j]], place[account[j] + 1]
    kin = np.empty(place[-1], np.int64)
    for j in range(account.size):
        if shared[j]:
            kin[place[account[j]]] = j
            place[account[j]] += 1
    return kin, begin, end


def book_of(problem, items):
    """Items as the columns that the kernels read."""
    demand = np.repeat(np.arange(items.start.size - 1), np.diff(items.start))
    return Book(
        items.start, problem.lot_price[problem.demand_asset], problem.haircut, items.others, items.equity, items.lots,
        items.available, items.shared, *kinship(items.account, items.shared, problem.equity.size), demand,
    )  # fmt: skip


def waterfill(problem, items, asked, relaxed, reduction, available, solution):
    """Fill `asked` lots per demand from solvent `items`; adds to relaxed and reduction (None: relaxed only)."""
    book = book_of(problem, items)
    total = per_demand(items.start, items.available)
    z = np.minimum(asked, total)
    live = (z > 0) & (z < total)
    full = (z > 0) & ~live
    x = np.where(full[book.demand], items.available, 0).astype(np.float64)
    level = np.full(asked.size, np.inf)
    solution.iterations = cycle(book, live, z, BRACKET, x, level, CYCLES_MAX)
    solution.kkt_residual, solution.clearing_residual_lots = certificate(book, live, z, x, level)
    spread(items, x, relaxed, available)
    if reduction is not None:
        taken, level = in_lots(book, items.rank, items.account, live, z, x, level)
        spread(items, taken, reduction, available)
    level[z == 0] = np.inf
    solution.level = level
    solution.status = OPTIMAL if solution.kkt_residual <= KKT_MAX else NOT_CONVERGED
    return z
