"""One account under scenarios: what account.py computes from two curves, here from the sums over all scenarios.

The Hessian comes item by item from `solver.loss.scenarios`; the second leg of an asset, which stands for taking both,
is put in its place afterwards: without haircuts nothing happens to the account then, with haircuts digits are lost.
"""

import numpy as np
from numba import njit

from solver.loss.scenarios import evaluate

ULP = 2.3e-16


@njit(cache=True, error_model="numpy")
def evaluate_mixture(i, candidates, demands, model, variance, equity, exposure, c, H, m, bound):
    """As account.evaluate; H float[n, n] is filled, or has no elements."""
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
    return variance, (loss, rr, 0.0, 0.0, 0.0, 0.0)


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
