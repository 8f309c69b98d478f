"""Policy `waterfill`: the highest leverages are drained to one level per demand.

One demand is exact. Several are filled in turn until nothing moves, which minimises sum E (G/E)^2 over the accounts.
"""

import numpy as np

from solver import lots as whole_lots
from solver.items import spread
from solver.policies import level as kernel
from solver.solution import NOT_CONVERGED, OPTIMAL

CYCLES_MAX = 20_000
KKT_MAX = 1e-8


def kinship(items):
    """Items of accounts that have several: (kin, from, to), an item's relatives in order of demand."""
    n = items.entry.size
    start = np.zeros(n, dtype=np.int64)
    stop = np.zeros(n, dtype=np.int64)
    rows = np.flatnonzero(items.shared)
    kin = rows[np.argsort(items.account[rows], kind="stable")]
    if kin.size:
        holder = items.account[kin]
        head = np.flatnonzero(np.append(True, holder[1:] != holder[:-1]))
        tail = np.append(head[1:], kin.size)
        start[kin] = np.repeat(head, tail - head)
        stop[kin] = np.repeat(tail, tail - head)
    return kin, start, stop


def waterfill(problem, items, asked, relaxed, reduction, available, solution):
    """Fill `asked` lots per demand from solvent `items`; adds to relaxed and reduction (None: relaxed only)."""
    demands = asked.size
    demand = np.repeat(np.arange(demands), np.diff(items.start))
    price = problem.lot_price[problem.demand_asset]
    total = np.zeros(demands, dtype=np.int64)
    np.add.at(total, demand, items.available)
    z = np.minimum(asked, total)
    live = (z > 0) & (z < total)
    full = (z > 0) & ~live
    x = np.where(full[demand], items.available, 0).astype(np.float64)
    level = np.full(demands, np.inf)
    kin, kin_from, kin_to = kinship(items)
    family = (items.shared, kin, kin_from, kin_to, demand)
    columns = (price, problem.haircut, items.others, items.equity, items.lots, items.available, *family)
    cycles = kernel.cycle(items.start, live, z, *columns, x, level, CYCLES_MAX)
    # A demand that takes everything has the smallest leverage left as its level, written here.
    worst, clearing = kernel.certificate(items.start, live, z, *columns, x, level)
    level[z == 0] = np.inf
    spread(items, x, relaxed, available)
    if reduction is not None:
        taken = whole_lots.in_lots(items, live, z, x, level, price, problem.haircut, family)
        spread(items, taken, reduction, available)
    solution.level = level
    solution.kkt_residual = worst
    solution.clearing_residual_lots = clearing
    solution.iterations = abs(int(cycles))
    solution.status = OPTIMAL if worst <= KKT_MAX else NOT_CONVERGED
    return z
