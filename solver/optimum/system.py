"""The Newton system of all accounts: a small symmetric block per account, tied together by one row per demand.

At a point (u, w) and levels lambda the blocks K_i = Hessian + diag(theta) are inverted, and eliminated from
    K_i dx_i + dlambda = -(residual_i)  for every account,   sum_i dx_i = what clearing lacks
so that S dlambda = right side, S the blocks' inverses scattered onto the demands.

Rule: accounts are added up in their canonical order, chunk by chunk; the chunks depend on nothing but the sizes.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.model import bend, curves
from solver.optimum.account import curvature, exposure, marginals, rounding
from solver.optimum.dense import invert


class Model(NamedTuple):
    """A loss model as the kernels take it."""

    tail: np.ndarray  # of `solver.loss.model.tail_of`
    weight: np.ndarray  # float[S] of scenarios, whose returns are then the loadings; empty for an elliptical model


class System(NamedTuple):
    """Columns written by `assemble`; I items, K demands."""

    offset: np.ndarray  # int64[A], first entry of an account's inverse
    inverse: np.ndarray  # float[sum n^2], K_i^-1 of the free items, row by row
    marginal: np.ndarray  # float[I]
    rounding: np.ndarray  # float[I], bound on the rounding error of the marginal
    theta: np.ndarray  # float[I], what is added to the diagonal
    free: np.ndarray  # bool[I], items that may move
    pull: np.ndarray  # float[I], a second right side
    answer: np.ndarray  # float[I], K^-1 residual
    answer_pull: np.ndarray  # float[I], K^-1 pull
    S: np.ndarray  # float[K, K]
    sum_answer: np.ndarray  # float[K], of the answers per demand
    sum_pull: np.ndarray  # float[K]


def system(candidates, demands):
    """Scratch columns for these candidates."""
    count = np.diff(candidates.start)
    items, K = candidates.demand.size, demands.index.size
    offset = np.zeros(count.size, np.int64)
    np.cumsum(count[:-1] ** 2, out=offset[1:])
    columns = [np.zeros(items) for _ in range(6)]
    return System(
        offset, np.empty(int((count**2).sum())), columns[0], columns[1], columns[2], np.ones(items, np.bool_),
        columns[3], columns[4], columns[5], np.empty((K, K)), np.empty(K), np.empty(K),
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def most_items(candidates):
    """Items of the account that has most."""
    most = 1
    for i in range(candidates.account.size):
        most = max(most, candidates.start[i + 1] - candidates.start[i])
    return most


@njit(cache=True, error_model="numpy")
def evaluate(candidates, demands, model, u, w, sys):
    """Fill marginals and their rounding; return the expected loss of all."""
    factors = demands.loading.shape[1]
    factor, gross, c = np.empty(factors), np.empty(factors), np.empty(most_items(candidates))
    loss = 0.0
    for i in range(candidates.account.size):
        variance, equity = exposure(i, candidates, demands, u, w, factor, c)
        shape = curves(variance, equity, model.tail)
        marginals(i, candidates, demands, shape[1], shape[2], c, sys.marginal)
        rounding(i, candidates, demands, u, w, equity, shape, factor, gross, c, sys.rounding)
        loss += shape[0]
    return loss


@njit(cache=True, error_model="numpy")
def assemble(candidates, demands, model, level, u, w, bent, sys):
    """Fill every column of the system at (u, w) but theta, free and pull, which it reads.

    `bent`: the residual lambda - m is bent so that a Newton step is exact where m is a power of the variance.
    """
    factors, most = demands.loading.shape[1], most_items(candidates)
    factor, gross, c = np.empty(factors), np.empty(factors), np.empty(most)
    K, scratch, free = np.empty((most, most)), np.empty((2, most)), np.empty(most, np.int64)
    residual = np.empty(most)
    sys.S[:] = 0.0
    sys.sum_answer[:] = 0.0
    sys.sum_pull[:] = 0.0
    for i in range(candidates.account.size):
        first, last = candidates.start[i], candidates.start[i + 1]
        variance, equity = exposure(i, candidates, demands, u, w, factor, c)
        shape = curves(variance, equity, model.tail)
        _, rr, survival, kc, kx, kd = shape
        marginals(i, candidates, demands, rr, survival, c, sys.marginal)
        rounding(i, candidates, demands, u, w, equity, shape, factor, gross, c, sys.rounding)
        power = 1.0 + kc * variance / rr if bent and rr > 0.0 else 0.0
        n = 0
        for p in range(first, last):
            if sys.free[p]:
                free[n] = p
                n += 1
        for x in range(n):
            p = free[x]
            for z in range(x, n):
                K[x, z] = curvature(p, free[z], first, candidates, demands, rr, kc, kx, kd, c)
            K[x, x] = max(K[x, x], 0.0) + sys.theta[p]
            short = level[candidates.demand[p]] - sys.marginal[p]
            residual[x] = bend(level[candidates.demand[p]], sys.marginal[p], power, model.tail) if bent else short
        if n == 1:
            K[0, 0] = 1.0 / max(K[0, 0], 1e-290)
        else:
            invert(K, n, scratch)
        _scatter(candidates.demand, free, n, K, residual, sys.offset[i], sys)


@njit(cache=True, error_model="numpy", inline="always")
def _scatter(demand, free, n, K, residual, offset, sys):
    """Keep an account's inverse, its answers, and their sums per demand."""
    for x in range(n):
        p = free[x]
        k = demand[p]
        answer = answer_pull = 0.0
        for z in range(n):
            o = free[z]
            sys.inverse[offset + x * n + z] = K[x, z]
            answer += K[x, z] * residual[z]
            answer_pull += K[x, z] * sys.pull[o]
            sys.S[k, demand[o]] += K[x, z]
        sys.answer[p], sys.answer_pull[p] = answer, answer_pull
        sys.sum_answer[k] += answer
        sys.sum_pull[k] += answer_pull


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
def level_floor(candidates, demands, model, u, w):
    """Levels smaller than this float[K] are rounding beside the marginals that accounts of the demand can have.

    H sqrt(Sigma_jj) bounds an account's marginal in asset j at the mark.
    """
    K, factors = demands.index.size, demands.loading.shape[1]
    factor, c = np.empty(factors), np.empty(most_items(candidates))
    largest = np.zeros(K)
    for i in range(candidates.account.size):
        variance, equity = exposure(i, candidates, demands, u, w, factor, c)
        height = curves(variance, equity, model.tail)[1] * math.sqrt(variance)
        for p in range(candidates.start[i], candidates.start[i + 1]):
            largest[candidates.demand[p]] = max(largest[candidates.demand[p]], height)
    for k in range(K):
        own = demands.idiosyncratic[k]
        for f in range(factors):
            own += demands.loading[k, f] * demands.loading[k, f]
        largest[k] = max(1e-10 * math.sqrt(own) * largest[k], 1e-30)
    return largest
