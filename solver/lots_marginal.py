"""Whole lots of policy `risk`: one demand by `lots_marginal_one`; several by floor, then the missing lots one by one.

A missing lot goes to the largest present marginal of all demands that miss one, ties by tie rank and demand, never past
what is available. Marginals are computed from remaining lots, so equal accounts have equal bits.
Where lots are finer than the rounding of x the floors may exceed a demand: then they are taken of reductions lessened
in proportion to what is available.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.heap import enter, leave, sink
from solver.loss.model import curves
from solver.loss.scenarios import evaluate
from solver.lots_envelope import One
from solver.lots_marginal_one import one_demand
from solver.optimum.account import Model


class Held(NamedTuple):
    """Items as whole lots: accounts in order of tie rank, an account's items in order of demand."""

    start: np.ndarray  # int64[A+1]
    holder: np.ndarray  # int64[I], account
    demand: np.ndarray  # int64[I]
    kept: np.ndarray  # int64[I], net lots with everything available taken, on the item's side; 0 on one of two mirrors
    free: np.ndarray  # int64[I]
    mirror: np.ndarray  # int64[I]
    factor: np.ndarray  # float[A, F]
    variance: np.ndarray  # float[A]
    equity: np.ndarray  # float[A]
    loading: np.ndarray  # float[K, F]
    idiosyncratic: np.ndarray  # float[K]
    price: np.ndarray  # float[K], notional of a lot
    haircut: np.ndarray  # float[K], per unit of notional
    model: Model


@njit(cache=True, error_model="numpy")
def present(a, held, x, total, m):
    """Write to m the marginals of account a's items, x lots of each being taken; total float[F] is scratch."""
    start, demand, free, price, loading = held.start, held.demand, held.free, held.price, held.loading
    variance, equity = held.variance[a], held.equity[a]
    for f in range(total.size):
        total[f] = held.factor[a, f]
    for i in range(start[a], start[a + 1]):
        k, other = demand[i], held.mirror[i]
        left = held.kept[i] + free[i] - x[i]
        if other >= 0:
            left -= held.kept[other] + free[other] - x[other]
        y = left * price[k]
        m[i] = held.idiosyncratic[k] * y
        if other < i:  # the two legs of an asset are one net position
            variance += m[i] * y
            for f in range(total.size):
                total[f] += loading[k, f] * y
        equity -= held.haircut[k] * (x[i] * price[k])
    if held.model.weight.size > 0:
        in_scenarios(a, held, variance, equity, total, m)
        return
    for f in range(total.size):
        variance += total[f] * total[f]
    _, rr, survival, _, _, _ = curves(variance, equity, held.model.tail)
    for i in range(start[a], start[a + 1]):
        k = demand[i]
        for f in range(total.size):
            m[i] += loading[k, f] * total[f]
        m[i] = rr * m[i] - survival * held.haircut[k]


@njit(cache=True, error_model="numpy")
def in_scenarios(a, held, variance, equity, total, m):
    """What `present` writes, for scenarios, whose returns are the loadings; m holds s (D y) of each item."""
    items = slice(held.start[a], held.start[a + 1])
    demand = held.demand[items]
    evaluate(
        equity, variance, total, held.model.weight, held.loading, demand, m[items].copy(), held.haircut[demand],
        held.model.tail, m[items], np.empty(demand.size), np.empty((0, 0)),
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def build(bar, held, missing, x, m, heap, where, waiting):
    """Fill the heap with the items above the bar of their demand that may give a lot it misses; its size."""
    waiting[:] = 0
    size = 0
    for i in range(x.size):
        k = held.demand[i]
        where[i] = -1
        if missing[k] > 0 and x[i] < held.free[i] and m[i] > bar[k]:
            heap[size] = i
            where[i] = size
            waiting[k] += 1
            size += 1
    for root in range(size // 2 - 1, -1, -1):
        sink(root, size, heap, where, m)
    return size


@njit(cache=True, error_model="numpy")
def one_by_one(bar, held, missing, x):
    """Give the missing lots; `missing` counts down, x up. `bar` is a level above which they are likely found."""
    m, total = np.empty(x.size), np.empty(held.loading.shape[1])
    for a in range(held.start.size - 1):
        present(a, held, x, total, m)
    heap, where, waiting = np.empty(x.size, np.int64), np.empty(x.size, np.int64), np.zeros(missing.size, np.int64)
    size = build(bar, held, missing, x, m, heap, where, waiting)
    left = missing.sum()
    while left > 0:
        dry = False
        for k in range(missing.size):
            if missing[k] > 0 and waiting[k] == 0:
                bar[k] = -np.inf
                dry = True
        if dry:
            size = build(bar, held, missing, x, m, heap, where, waiting)
        dry = False
        while left > 0 and not dry:
            i = heap[0]
            x[i] += 1
            left -= 1
            missing[held.demand[i]] -= 1
            a = held.holder[i]
            # All of the account's marginals change at once: with two keys out of order a heap cannot be mended.
            for j in range(held.start[a], held.start[a + 1]):
                if where[j] >= 0:
                    size = leave(j, size, heap, where, m)
                    waiting[held.demand[j]] -= 1
            present(a, held, x, total, m)
            for j in range(held.start[a], held.start[a + 1]):
                k = held.demand[j]
                if missing[k] > 0 and x[j] < held.free[j] and m[j] > bar[k]:
                    size = enter(j, size, heap, where, m)
                    waiting[k] += 1
                dry = dry or (missing[k] > 0 and waiting[k] == 0)
            while size > 0 and missing[held.demand[heap[0]]] == 0:
                size = leave(heap[0], size, heap, where, m)


def whole_parts(relaxed, demand, free, asked):
    """Lots that every item gives whatever comes, and how many each demand misses then."""
    x = np.minimum(np.floor(relaxed).astype(np.int64), free)
    sums = np.zeros(asked.size, np.int64)
    np.add.at(sums, demand, x)
    if (sums > asked).any():
        count = np.bincount(demand, minlength=asked.size)
        less = np.where(sums > asked, np.minimum((sums - asked + count) / np.maximum(sums, 1), 1.0), 0.0)
        x = np.minimum(np.floor(relaxed * (1.0 - less[demand])).astype(np.int64), free)
        sums[:] = 0
        np.add.at(sums, demand, x)
    return x, asked - sums


def in_lots(candidates, demands, price, model, relaxed, free, asked, level):
    """Whole lots per item of Candidates, exactly `asked` int64[K] of every demand.

    price float[K]: notional of a lot; relaxed float[I] and free int64[I] in lots; level float[K] of the relaxed ones.
    """
    kept = np.rint(candidates.kept / price[candidates.demand]).astype(np.int64)
    if asked.size == 1:
        one = One(
            candidates.factor, candidates.variance, candidates.equity, kept + free, free, demands.loading[0],
            float(demands.idiosyncratic[0]), float(price[0]), float(demands.haircut[0]), model,
        )  # fmt: skip
        x = np.empty(free.size, np.int64)
        one_demand(one, relaxed, float(level[0]), int(asked[0]), x)
        return x
    x, missing = whole_parts(relaxed, candidates.demand, free, asked)
    holder = np.repeat(np.arange(candidates.account.size), np.diff(candidates.start))
    held = Held(
        candidates.start, holder, candidates.demand, kept, free, candidates.mirror, candidates.factor,
        candidates.variance, candidates.equity, demands.loading, demands.idiosyncratic, price, demands.haircut, model,
    )  # fmt: skip
    one_by_one(level.copy(), held, missing, x)
    return x
