"""Whole lots of policy `risk`: one demand by `lots_marginal_one`; several by floor, then the missing lots one by one.

A missing lot goes to the largest present marginal of all demands that miss one, ties by tie rank and demand, never past
what is available.
Where lots are finer than the rounding of x the floors may exceed a demand: then they are taken of reductions lessened
in proportion to what is available.
"""

import numpy as np
from numba import njit

from solver.lots_envelope import One
from solver.lots_held import Held
from solver.lots_marginal_one import one_demand
from solver.lots_missing import one_by_one, queues
from solver.optimum.threads import bounds

# Part of a demand, and lots: a converged solution does not miss as much, and one by one there would be no end of them.
UNCLEARED, ENDLESS = 2e-9, 10_000_000


@njit(cache=True, error_model="numpy")
def _floors(relaxed, demand, free, less, x, sums):
    """Write to x the whole lots of relaxed reductions, of demand k lessened by the part less[k]; add them to sums."""
    for i in range(x.size):
        k = demand[i]
        x[i] = min(np.int64(np.floor(relaxed[i] * (1.0 - less[k]))), free[i])
        sums[k] += x[i]


def whole_parts(relaxed, demand, free, asked):
    """Lots that every item gives whatever comes, and how many each demand misses then."""
    x, sums = np.empty(relaxed.size, np.int64), np.zeros(asked.size, np.int64)
    _floors(relaxed, demand, free, np.zeros(asked.size), x, sums)
    if (sums > asked).any():
        count = np.bincount(demand, minlength=asked.size)
        less = np.where(sums > asked, np.minimum((sums - asked + count) / np.maximum(sums, 1), 1.0), 0.0)
        sums[:] = 0
        _floors(relaxed, demand, free, less, x, sums)
    missing = asked - sums
    for k in np.flatnonzero(missing > np.maximum(UNCLEARED * asked, ENDLESS)):
        missing[k] -= _in_proportion(int(missing[k]), np.flatnonzero(demand == k), free, x)
    return x, missing


def _in_proportion(missing, mine, free, x):
    """Of the lots that items `mine` are far from giving, nearly all, in proportion to what each has left; how many."""
    left = (free - x)[mine]
    share = max(0.0, missing * (1.0 - 1e-9) - mine.size) / max(float(left.sum()), 1.0)
    more = np.minimum(np.floor(left * share).astype(np.int64), left)
    x[mine] += more
    return more.sum()


@njit(cache=True, nogil=True, error_model="numpy")
def _in_whole_lots(part, limits, start, demand, kept, price, holder, lots):
    """Fill holder[i] and lots[i], what is kept of item i, for the accounts of a part."""
    for a in range(limits[part], limits[part + 1]):
        for i in range(start[a], start[a + 1]):
            holder[i] = a
            lots[i] = np.int64(np.rint(kept[i] / price[demand[i]]))


def in_lots(candidates, demands, price, model, relaxed, free, asked, level, threads):
    """Whole lots per item of Candidates, exactly `asked` int64[K] of every demand.

    price float[K]: notional of a lot; relaxed float[I] and free int64[I] in lots; level float[K] of the relaxed ones.
    """
    limits, kept = bounds(candidates.account.size), np.empty_like(free)
    holder = np.empty(free.size, np.int32)
    threads.run(
        _in_whole_lots, limits.size - 1, limits, candidates.start, candidates.demand, candidates.kept, price, holder,
        kept,
    )  # fmt: skip
    if asked.size == 1:
        one = One(
            candidates.factor, candidates.variance, candidates.equity, kept + free, free, demands.loading[0],
            float(demands.idiosyncratic[0]), float(price[0]), float(demands.haircut[0]), model,
        )  # fmt: skip
        x = np.empty(free.size, np.int64)
        one_demand(one, relaxed, float(level[0]), int(asked[0]), x)
        return x
    x, missing = whole_parts(relaxed, candidates.demand, free, asked)
    held = Held(
        candidates.start, holder, candidates.demand, kept, free, candidates.mirror, candidates.factor,
        candidates.variance, candidates.equity, demands.loading, demands.idiosyncratic, price, demands.haircut, model,
    )  # fmt: skip
    if missing.any():
        one_by_one(level.copy(), held, missing, x, *queues(level, held, missing, x, threads))
    return x
