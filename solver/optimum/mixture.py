"""One account under scenarios: what account.py computes from two curves, here from the sums over all scenarios.

The Hessian comes item by item from `solver.loss.scenarios`; the second leg of an asset, which stands for taking both,
is put in its place afterwards: without haircuts nothing happens to the account then, with haircuts digits are lost.
"""

import math

import numpy as np
from numba import njit

from solver.loss.model import curves
from solver.loss.scenarios import evaluate

ULP = 2.3e-16
NARROW = 300.0  # what was added up, over sigma: above it the rounding of the sums is more than that of the marginals


@njit(cache=True, error_model="numpy")
def evaluate_mixture(i, candidates, demands, model, w, variance, equity, exposure, gross, c, H, m, bound):
    """As account.evaluate; H float[n, n] is filled, or has no elements; gross float[S] is scratch."""
    first, last = candidates.start[i], candidates.start[i + 1]
    haircut = np.empty(last - first)
    for p in range(first, last):
        haircut[p - first] = demands.haircut[candidates.demand[p]]
    loss, rr = evaluate(
        equity, variance, exposure, model.weight, demands.loading, candidates.demand[first:last], c[: last - first],
        haircut, model.tail, m[first:last], bound[first:last], H,
    )  # fmt: skip
    for p in range(first, last):
        bound[p] *= 32 * ULP
    _add_rounding(i, candidates, demands, model, w, variance, equity, exposure, gross, c, rr, bound)
    return variance, (loss, rr, 0.0, 0.0, 0.0, 0.0)


@njit(cache=True, error_model="numpy")
def _add_rounding(i, candidates, demands, model, w, variance, equity, exposure, gross, c, rr, bound):
    """Add to bound float[I] what rounded sums of positions do to the marginals, where these are much of sigma."""
    first, last = candidates.start[i], candidates.start[i + 1]
    most = of_variance = 0.0
    for s in range(gross.size):
        gross[s] = abs(candidates.factor[i, s])
    for p in range(first, last):
        k, other = candidates.demand[p], candidates.mirror[p]
        size = abs(candidates.kept[p]) + candidates.available[p] * w[p]
        for s in range(gross.size):
            gross[s] += size * abs(demands.loading[k, s])
        if other >= 0:
            size += abs(candidates.kept[other]) + candidates.available[other] * w[other]
        of_variance += size * abs(c[p - first])
        bound[p] += 8 * ULP * rr * demands.idiosyncratic[k] * size
    for s in range(gross.size):
        most = max(most, gross[s])
    if not variance > 0.0 or abs(equity) + most < NARROW * math.sqrt(variance):
        return
    for s in range(gross.size):
        _, _, _, kc, kx, kd = curves(variance, equity + exposure[s], model.tail)
        off, off_variance = model.weight[s] * (abs(equity) + gross[s]), model.weight[s] * of_variance
        for p in range(first, last):
            gives = abs(demands.haircut[candidates.demand[p]] + demands.loading[candidates.demand[p], s])
            pull = abs(c[p - first])
            bound[p] += 2 * ULP * (abs(kx) * pull + kd * gives) * off
            bound[p] += 2 * ULP * (abs(kc) * pull + abs(kx) * gives) * off_variance


@njit(cache=True, error_model="numpy")
def hessian_mixture(i, candidates, demands, rr, H, theta, free, second, n, K):
    """As account.hessian, from H of `evaluate_mixture`."""
    first = candidates.start[i]
    for x in range(n):
        p = free[x]
        for z in range(n):
            o = free[z]
            K[x, z] = H[p - first, o - first]
            if p == o:
                K[x, x] = max(K[x, x] + rr * demands.idiosyncratic[candidates.demand[p]], 0.0)
            elif candidates.mirror[p] == o:
                K[x, z] -= rr * demands.idiosyncratic[candidates.demand[p]]
    for x in range(n):
        p = free[x]
        for z in range(n):
            if second[p] == free[z]:
                flat = demands.haircut[candidates.demand[p]] + demands.haircut[candidates.demand[second[p]]] == 0.0
                for y in range(n):
                    K[x, y] = 0.0 if flat else K[x, y] + K[z, y]
                for y in range(n):
                    K[y, x] = 0.0 if flat else K[y, x] + K[y, z]
                K[x, z] += theta[second[p]]
                K[z, x] += theta[second[p]]
                K[x, x] += theta[second[p]]
        K[x, x] += theta[p]
