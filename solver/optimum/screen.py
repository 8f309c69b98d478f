"""Who stays untouched: an account none of whose marginals, with nothing taken, is above the level of its demand."""

from itertools import pairwise

import numpy as np
from numba import njit

from solver.loss.model import curves


@njit(cache=True, error_model="numpy", inline="always")
def at_rest(first, last, base, k_of, a, kept, mirror, variance, equity, loading, own_variance, haircut, tail, g, m):
    """Fill m with the marginals of an account, items first:last, with nothing taken.

    mirror counts from `base`; g float[F] holds the factor exposure of what is not asked for, and is added to.
    """
    for p in range(first, last):
        k, other = k_of[p], mirror[p]
        rest = kept[p] + a[p]
        net = rest
        if other >= 0:
            net -= kept[base + other] + a[base + other]
        c = own_variance[k] * net
        if base + other < p:  # the two legs of an asset are one net position
            variance += c * net
        for f in range(g.size):
            g[f] += rest * loading[k, f]
        m[p - first] = c
    for f in range(g.size):
        variance += g[f] * g[f]
    _, rr, survival, _, _, _ = curves(variance, equity, tail)
    for p in range(first, last):
        k = k_of[p]
        c = m[p - first]
        for f in range(g.size):
            c += loading[k, f] * g[f]
        m[p - first] = rr * c - survival * haircut[k]


@njit(cache=True, error_model="numpy", inline="always")
def stays(first, last, k_of, m, level):
    """Is no marginal of an account above its level?"""
    for p in range(first, last):  # noqa: SIM110  numba would make a generator of all()
        if not m[p - first] <= level[k_of[p]]:
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def _all_at_rest(candidates, loading, own_variance, haircut, tail):
    """Every item's marginal with nothing taken, float[I]."""
    start, _, k_of, _, a, kept, mirror, factor, variance, equity = candidates
    m, g = np.empty(k_of.size), np.empty(loading.shape[1])
    for i in range(variance.size):
        for f in range(g.size):
            g[f] = factor[i, f]
        first, last = start[i], start[i + 1]
        at_rest(first, last, 0, k_of, a, kept, mirror, variance[i], equity[i], loading, own_variance, haircut, tail,
                g, m[first:last])  # fmt: skip
    return m


def first_levels(candidates, demands, tail):
    """Levels to start from: the marginal, with nothing taken, above which items hold 1.6 times what is asked."""
    k = candidates.demand
    marginal = _all_at_rest(candidates, demands.loading, demands.idiosyncratic, demands.haircut, tail)
    order = np.argsort(-marginal, kind="stable")
    order = order[np.argsort(k[order], kind="stable")]
    bounds = np.searchsorted(k[order], np.arange(demands.asked.size + 1))
    level = np.zeros(demands.asked.size)
    for j, (first, last) in enumerate(pairwise(bounds)):
        if first < last:
            held = np.cumsum(candidates.available[order[first:last]])
            share = demands.asked[j] / held[-1]
            place = min(np.searchsorted(held, min(1.6 * share, 0.98) * held[-1]), last - first - 1)
            # Where much is taken, the marginals of those who were not reached first fall as well.
            level[j] = marginal[order[first + place]] * (1.0 if share < 0.3 else (1.0 - share) ** 2)
    return level
