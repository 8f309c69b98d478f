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

from solver.loss.model import bend
from solver.optimum.account import evaluate, hessian, legs_apart, second_legs
from solver.optimum.dense import invert

SMALL_CHANGE = 1e-10


class System(NamedTuple):
    """Columns written by `assemble`; I items, K demands."""

    offset: np.ndarray  # int64[A], first entry of an account's inverse
    inverse: np.ndarray  # float[sum n^2], K_i^-1 of the free items, row by row
    marginal: np.ndarray  # float[I]
    rounding: np.ndarray  # float[I], bound on the rounding error of the marginal
    height: np.ndarray  # float[A], H of the account
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
        offset, np.empty(int((count**2).sum())), columns[0], columns[1], np.zeros(count.size), columns[2], np.ones(items, np.bool_),
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
def evaluate_all(candidates, demands, model, u, w, sys):
    """Fill marginals and their rounding; return the expected loss of all."""
    scratch, c = np.empty((2, demands.loading.shape[1])), np.empty(most_items(candidates))
    loss = 0.0
    for i in range(candidates.account.size):
        variance, shape = evaluate(i, candidates, demands, model, u, w, scratch, c, sys.marginal, sys.rounding)
        sys.height[i] = shape[1] * math.sqrt(variance)
        loss += shape[0]
    return loss


@njit(cache=True, error_model="numpy")
def assemble(candidates, demands, model, level, u, w, bent, sys):
    """Fill every column of the system at (u, w) but theta, free and pull, which it reads.

    `bent`: the residual lambda - m is bent so that a Newton step is exact where m is a power of the variance.
    """
    most = most_items(candidates)
    scratch, c, residual = np.empty((2, demands.loading.shape[1])), np.empty(most), np.empty(most)
    K, sweep, free = np.empty((most, most)), np.empty((2, most)), np.empty(most, np.int64)
    leg = np.empty(most, np.int64)
    _clear(sys)
    for i in range(candidates.account.size):
        variance, shape = evaluate(i, candidates, demands, model, u, w, scratch, c, sys.marginal, sys.rounding)
        sys.height[i] = shape[1] * math.sqrt(variance)
        n = 0
        for p in range(candidates.start[i], candidates.start[i + 1]):
            if sys.free[p]:
                free[n] = p
                n += 1
        if n == 0:
            continue
        second_legs(free, n, candidates.mirror, sys.theta, leg)
        hessian(i, candidates, demands, shape, c, sys.theta, free, leg, n, K)
        power = 1.0 + shape[3] * variance / shape[1] if bent and shape[1] > 0.0 else 0.0
        for x in range(n):
            p = free[x]
            target, m = level[candidates.demand[p]], sys.marginal[p]
            residual[x] = bend(target, m, power, model.tail) if bent else target - m
        if n == 1:
            K[0, 0] = 1.0 / max(K[0, 0], 1e-290)
        else:
            invert(K, n, sweep)
            legs_apart(K, leg, n)
        _scatter(candidates.demand, free, n, K, residual, sys.offset[i], sys)


@njit(cache=True, error_model="numpy")
def _clear(sys):
    for k in range(sys.sum_pull.size):
        sys.sum_answer[k] = sys.sum_pull[k] = 0.0
        for j in range(sys.sum_pull.size):
            sys.S[k, j] = 0.0


@njit(cache=True, error_model="numpy")
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
def level_floor(candidates, demands, sys, floor):
    """Fill floor float[K]: levels below it are small change beside the marginals that accounts of the demand can have.

    H sqrt(Sigma_jj) bounds an account's marginal in asset j at the mark.
    """
    for k in range(floor.size):
        floor[k] = 0.0
    for i in range(candidates.account.size):
        for p in range(candidates.start[i], candidates.start[i + 1]):
            k = candidates.demand[p]
            floor[k] = max(floor[k], sys.height[i])
    for k in range(floor.size):
        own = demands.idiosyncratic[k]
        for f in range(demands.loading.shape[1]):
            own += demands.loading[k, f] * demands.loading[k, f]
        floor[k] = max(SMALL_CHANGE * math.sqrt(own) * floor[k], 1e-30)
