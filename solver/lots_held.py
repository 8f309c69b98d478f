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
    holder: np.ndarray  # int32[I], account
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


@njit(cache=True, error_model="numpy", inline="always")
def marginals(a, start, demand, kept, free, mirror, factor, variance, equity, loading, own_variance, price, haircut,
              model, x, total, m):  # fmt: skip
    """Write to m the marginals of account a's items, x lots of each being taken; total float[F] is scratch.

    Plain columns and inlined: those of a NamedTuple are counted at every use, which takes longer than the sums.
    """
    v, own = variance[a], equity[a]
    for f in range(total.size):
        total[f] = factor[a, f]
    for i in range(start[a], start[a + 1]):
        k, other = demand[i], mirror[i]
        left = kept[i] + free[i] - x[i]
        if other >= 0:
            left -= kept[other] + free[other] - x[other]
        y = left * price[k]
        m[i] = own_variance[k] * y
        if other < i:  # the two legs of an asset are one net position
            v += m[i] * y
            for f in range(total.size):
                total[f] += loading[k, f] * y
        own -= haircut[k] * (x[i] * price[k])
    if model.weight.size > 0:
        _in_scenarios(start[a], start[a + 1], demand, loading, haircut, model, v, own, total, m)
    else:
        for f in range(total.size):
            v += total[f] * total[f]
        _, rr, survival, _, _, _ = curves(v, own, model.tail)
        for i in range(start[a], start[a + 1]):
            k = demand[i]
            for f in range(total.size):
                m[i] += loading[k, f] * total[f]
            m[i] = rr * m[i] - survival * haircut[k]


@njit(cache=True, error_model="numpy")
def _in_scenarios(first, last, demand, loading, haircut, model, variance, equity, total, m):
    """What `marginals` writes, for scenarios, whose returns are the loadings; m holds s (D y) of each item."""
    of = demand[first:last]
    evaluate(
        equity, variance, total, model.weight, loading, of, m[first:last].copy(), haircut[of], model.tail,
        m[first:last], np.empty(of.size), np.empty((0, 0)),
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def present(a, held, x, total, m):
    """`marginals` of an account of `held`."""
    marginals(
        a, held.start, held.demand, held.kept, held.free, held.mirror, held.factor, held.variance, held.equity,
        held.loading, held.idiosyncratic, held.price, held.haircut, held.model, x, total, m,
    )  # fmt: skip
