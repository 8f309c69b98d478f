"""Policy `waterfill`: the highest leverages are drained to one level per demand.

One demand is exact. Several are filled in turn until nothing moves, which minimises sum E (G/E)^2 over the accounts.
"""

import numpy as np

from solver import lots as whole_lots
from solver.items import picked, spread
from solver.policies import cycle as kernel
from solver.solution import NOT_CONVERGED, OPTIMAL

CYCLES_MAX = 20_000
KKT_MAX = 1e-8
SCREENED_MIN = 20_000  # items below which a screen does not pay
SCREEN = 0.9


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


class Pool:
    """Items with the arguments that the kernels take."""

    def __init__(self, problem, items):
        self.items = items
        self.demand = np.repeat(np.arange(items.start.size - 1), np.diff(items.start))
        self.price = problem.lot_price[problem.demand_asset]
        self.haircut = problem.haircut
        self.family = (items.shared, *kinship(items), self.demand)
        held = (items.others, items.equity, items.lots, items.available)
        self.columns = (self.price, self.haircut, *held, *self.family)

    def fill(self, live, z, x, level, cycles_max):
        return abs(int(kernel.cycle(self.items.start, live, z, *self.columns, x, level, cycles_max)))

    def above(self, level):
        """Items of accounts that some demand's `level` may reach: with everything held one item is above it."""
        gross, equity = kernel.outside(np.zeros(self.demand.size), self.items.lots, *self.columns[2:4], self.price,
                                       self.haircut, *self.family)  # fmt: skip
        high = gross + self.price[self.demand] * self.items.lots > level[self.demand] * equity
        account = np.zeros(int(self.items.account.max(initial=-1)) + 1, dtype=bool)
        account[self.items.account[high]] = True
        return account[self.items.account]


def waterfill(problem, items, asked, relaxed, reduction, available, solution):
    """Fill `asked` lots per demand from solvent `items`; adds to relaxed and reduction (None: relaxed only)."""
    pool = Pool(problem, items)
    total = np.zeros(asked.size, dtype=np.int64)
    np.add.at(total, pool.demand, items.available)
    z = np.minimum(asked, total)
    live = (z > 0) & (z < total)
    full = (z > 0) & ~live
    x = np.where(full[pool.demand], items.available, 0).astype(np.float64)
    level = np.full(asked.size, np.inf)
    cycles = 0
    part, place = pool, slice(None)
    screened = items.entry.size >= SCREENED_MIN and np.count_nonzero(live) > 1
    if screened:
        # Levels only fall from their first fill on, and not far: most accounts are never asked for anything.
        cycles = pool.fill(live, z, x, level, 1)
        screen = np.where(live, SCREEN * level, 0.0)
        place = pool.above(screen)
        part = Pool(problem, picked(items, place))
    inner = x[place]
    cycles += part.fill(live, z, inner, level, CYCLES_MAX)
    x[place] = inner
    if screened and (level[live] < screen[live]).any():
        part, place = pool, slice(None)
        cycles += pool.fill(live, z, x, level, CYCLES_MAX)
    # A demand that takes everything has the smallest leverage left as its level, written here.
    worst, clearing = kernel.certificate(items.start, live, z, *pool.columns, x, level)
    level[z == 0] = np.inf
    spread(items, x, relaxed, available)
    if reduction is not None:
        taken = np.zeros(x.size, dtype=np.int64)
        taken[place] = whole_lots.in_lots(part.items, live, z, x[place], level, part.price, part.haircut, part.family)
        spread(items, taken, reduction, available)
    solution.level = level
    solution.kkt_residual = worst
    solution.clearing_residual_lots = clearing
    solution.iterations = cycles
    solution.status = OPTIMAL if worst <= KKT_MAX else NOT_CONVERGED
    return z
