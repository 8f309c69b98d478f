"""What accounts hold of several demands in whole lots, and the marginals at which they stand.

Rule: marginals are computed from remaining lots, so equal accounts have equal bits.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.model import curves
from solver.loss.scenarios import evaluate
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
