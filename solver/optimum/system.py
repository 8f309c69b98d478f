"""The Newton system of all accounts: a small symmetric block per account, tied together by one row per demand.

At a point (u, w) and levels lambda, with K_i the Hessian of account i plus diag(theta),
    K_i dx_i + dlambda = -right_i  for every account,   sum_i dx_i = what clearing lacks.
The blocks are inverted and eliminated: S dlambda = right side, S the inverses scattered onto the demands.

Rule 1: accounts are added up in their canonical order.
Rule 2: of the two legs of one asset the second, the one with more theta, stands for taking both alike. That leaves the
net position as it is: its row has no risk at the mark to cancel, and next to a first leg of steep risk the little that
decides how much of both is taken is not lost.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.model import bend
from solver.optimum.account import evaluate, hessian
from solver.optimum.dense import invert
from solver.optimum.mixture import hessian_mixture

SMALL_CHANGE = 1e-10
LEVEL_MIN = 1e-30


class System(NamedTuple):
    """Columns written by `assemble`, but theta and free; I items, K demands."""

    offset: np.ndarray  # int64[A], first entry of an account's inverse
    inverse: np.ndarray  # float[sum n^2], K_i^-1 in the unknowns of rule 2, of the free items, row by row
    marginal: np.ndarray  # float[I]
    rounding: np.ndarray  # float[I], bound on the rounding error of the marginal
    height: np.ndarray  # float[A], H of the account
    theta: np.ndarray  # float[I], what is added to the diagonal
    free: np.ndarray  # bool[I], items that may move
    second: np.ndarray  # int64[I], the first leg, where the item is a second one and both are free, else -1
    residual: np.ndarray  # float[I], lambda - m in the unknowns of rule 2
    S: np.ndarray  # float[K, K]
    least: np.ndarray  # float[K], the least that may count as a level


def system(candidates, demands):
    """Scratch columns for these candidates."""
    count = np.diff(candidates.start)
    items, K = candidates.demand.size, demands.index.size
    offset = np.zeros(count.size, np.int64)
    np.cumsum(count[:-1] ** 2, out=offset[1:])
    return System(
        offset, np.empty(int((count**2).sum())), np.zeros(items), np.zeros(items), np.zeros(count.size),
        np.zeros(items), np.ones(items, np.bool_), np.full(items, -1), np.zeros(items), np.empty((K, K)),
        np.full(K, LEVEL_MIN),
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def most_items(candidates):
    """Items of the account that has most."""
    most = 1
    for i in range(candidates.account.size):
        most = max(most, candidates.start[i + 1] - candidates.start[i])
    return most


@njit(cache=True, error_model="numpy")
def evaluate_all(candidates, demands, model, u, w, sys):
    """Fill marginals and their rounding; return the expected loss of all."""
    scratch, c = np.empty((2, demands.loading.shape[1])), np.empty(most_items(candidates))
    no_hessian = np.empty((0, 0))
    loss = 0.0
    for i in range(candidates.account.size):
        variance, shape = evaluate(
            i, candidates, demands, model, u, w, scratch, c, no_hessian, sys.marginal, sys.rounding
        )
        sys.height[i] = shape[1] * math.sqrt(variance)
        loss += shape[0]
    return loss


@njit(cache=True, error_model="numpy")
def assemble(candidates, demands, model, level, u, w, bent, sys):
    """Fill the system at (u, w).

    `bent`: the residual lambda - m is bent so that a Newton step is exact where m is a power of the variance.
    """
    most = most_items(candidates)
    scratch, c = np.empty((2, demands.loading.shape[1])), np.empty(most)
    K, sweep, free = np.empty((most, most)), np.empty((2, most)), np.empty(most, np.int64)
    mixture = model.weight.size > 0
    H = np.empty((most, most) if mixture else (0, 0))
    for k in range(level.size):
        for j in range(level.size):
            sys.S[k, j] = 0.0
    for i in range(candidates.account.size):
        variance, shape = evaluate(i, candidates, demands, model, u, w, scratch, c, H, sys.marginal, sys.rounding)
        sys.height[i] = shape[1] * math.sqrt(variance)
        power = 1.0 + shape[3] * variance / shape[1] if bent and shape[1] > 0.0 else 0.0
        n = 0
        for p in range(candidates.start[i], candidates.start[i + 1]):
            if sys.free[p]:
                free[n] = p
                n += 1
                target, m = level[candidates.demand[p]], sys.marginal[p]
                sys.residual[p] = bend(target, m, power, model.tail) if bent else target - m
                other = candidates.mirror[p]
                after = other >= 0 and sys.free[other]
                after = after and (sys.theta[other], other) < (sys.theta[p], p)
                sys.second[p] = other if after else -1
                if after:  # the legs' marginals at the mark are each other's negative
                    k, j = candidates.demand[p], candidates.demand[other]
                    both = shape[2] * (demands.haircut[k] + demands.haircut[j])
                    if mixture and demands.haircut[k] + demands.haircut[j] != 0.0:
                        both = -(sys.marginal[p] + sys.marginal[other])
                    sys.residual[p] = level[k] + level[j] + both
        if mixture:
            hessian_mixture(i, candidates, demands, shape[1], H, sys.theta, free, sys.second, n, K)
        else:
            hessian(i, candidates, demands, shape, c, sys.theta, free, sys.second, n, K)
        invert(K, n, sweep)
        _scatter(candidates.demand, free, n, K, sys.offset[i], sys)


@njit(cache=True, error_model="numpy")
def _scatter(demand, free, n, K, offset, sys):
    """Keep an account's inverse; add it to S, item by item: taking both legs is taking each."""
    for x in range(n):
        for z in range(n):
            sys.inverse[offset + x * n + z] = K[x, z]
    for x in range(n):
        k, also = demand[free[x]], sys.second[free[x]]
        for z in range(n):
            j, more = demand[free[z]], sys.second[free[z]]
            sys.S[k, j] += K[x, z]
            if also >= 0:
                sys.S[demand[also], j] += K[x, z]
            if more >= 0:
                sys.S[k, demand[more]] += K[x, z]
            if also >= 0 and more >= 0:
                sys.S[demand[also], demand[more]] += K[x, z]


@njit(cache=True, error_model="numpy")
def answer(candidates, sys, right, dx, sums):
    """dx float[I] := K^-1 (residual + right[I]) of the free items; their sums per demand go off sums float[K]."""
    for i in range(candidates.account.size):
        first, last, at = candidates.start[i], candidates.start[i + 1], sys.offset[i]
        for p in range(first, last):
            if sys.free[p]:
                t = 0.0
                for o in range(first, last):
                    if sys.free[o]:
                        r = right[o] + right[sys.second[o]] if sys.second[o] >= 0 else right[o]
                        t += sys.inverse[at] * (sys.residual[o] + r)
                        at += 1
                dx[p] = t
        for p in range(first, last):
            if sys.free[p] and sys.second[p] >= 0:
                dx[sys.second[p]] += dx[p]
        for p in range(first, last):
            if sys.free[p]:
                sums[candidates.demand[p]] -= dx[p]


@njit(cache=True, error_model="numpy")
def clearing(candidates, demands, u, w, short):
    """Fill short float[K], the notional still to be taken, from the smaller side; return the worst, relative."""
    small = demands.asked * 2.0 <= demands.total
    for k in range(short.size):
        short[k] = demands.asked[k] if small[k] else -(demands.total[k] - demands.asked[k])
    for p in range(u.size):
        k = candidates.demand[p]
        if small[k]:
            short[k] -= candidates.available[p] * u[p]
        else:
            short[k] += candidates.available[p] * w[p]
    worst = 0.0
    for k in range(short.size):
        worst = max(worst, abs(short[k]) / demands.asked[k])
    return worst


@njit(cache=True, error_model="numpy")
def violation(candidates, sys, level, floor, u, w, snap):
    """Largest violation of the certificate, relative to max(|lambda|, floor), beyond the rounding of the marginals.

    A share of at most `snap` counts as none.
    """
    worst = 0.0
    for p in range(u.size):
        k = candidates.demand[p]
        over = sys.marginal[p] - level[k]
        if u[p] <= snap:
            over = max(0.0, over) if w[p] > snap else 0.0
        elif w[p] <= snap:
            over = min(0.0, over)
        worst = max(worst, (abs(over) - sys.rounding[p]) / max(abs(level[k]), floor[k]))
    return worst


@njit(cache=True, error_model="numpy")
def heights(candidates, demands, sys, height):
    """Fill height float[K]: the largest marginal that an account of the demand can have at the mark, H sqrt(Sigma)."""
    for k in range(height.size):
        height[k] = 0.0
    for i in range(candidates.account.size):
        for p in range(candidates.start[i], candidates.start[i + 1]):
            k = candidates.demand[p]
            height[k] = max(height[k], sys.height[i])
    for k in range(height.size):
        own = demands.idiosyncratic[k]
        for f in range(demands.loading.shape[1]):
            own += demands.loading[k, f] * demands.loading[k, f]
        height[k] *= math.sqrt(own)


@njit(cache=True, error_model="numpy")
def level_floor(candidates, demands, sys, floor):
    """Fill floor float[K]: levels below it are small change beside the marginals that accounts of the demand have."""
    heights(candidates, demands, sys, floor)
    for k in range(floor.size):
        floor[k] = max(SMALL_CHANGE * floor[k], sys.least[k])
