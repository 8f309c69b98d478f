"""Interior point: Newton steps on the expected loss plus a barrier that keeps every share inside its box.

    minimise  sum_i L_i - mu sum_p a_p (log u_p + log w_p)   subject to clearing,   mu -> 0
A primal-dual method (Mehrotra 1992) from u = z / total, which is feasible and the exact centre of the barrier.

Rule 1: of u and w = 1 - u the one below 1/2 is moved and the other derived, so that neither loses digits.
Rule 2: a step is judged by the slope of the barrier function: differences of its value drown small accounts.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.optimum.dense import factor, solve
from solver.optimum.system import answer, assemble, clearing, evaluate_all, level_floor

STEPS_MAX = 200
HALVINGS = 11
REFINEMENTS, ROUNDED = 4, 1e-13
# Multipliers farther than this factor from mu / u stop steps: with 1e8 one problem in a hundred failed.
SPREAD = 100.0
ULP = 4e-16
# Shares do not run ahead of the marginals: where these fall like a Gaussian's, Newton divides them by e a step.
BALANCE = 1e3


class Point(NamedTuple):
    """Shares and multipliers, moved in place."""

    level: np.ndarray  # float[K], lambda
    u: np.ndarray  # float[I], share taken
    w: np.ndarray  # float[I], share kept
    low: np.ndarray  # float[I], multiplier of u >= 0
    high: np.ndarray  # float[I], multiplier of w >= 0


class Work(NamedTuple):
    """Scratch of `approach`."""

    floor: np.ndarray  # float[K], the least that counts as a level at the point, kept up
    U: np.ndarray  # float[K, K], factor of S
    scale: np.ndarray  # float[K]
    short: np.ndarray  # float[K], what clearing lacks
    aim: np.ndarray  # float[K]
    more: np.ndarray  # float[K]
    dlevel: np.ndarray  # float[K], the step of the levels
    right: np.ndarray  # float[I]
    dx: np.ndarray  # float[I]
    affine: np.ndarray  # float[3, I], steps of u, low and high towards mu = 0
    step: np.ndarray  # float[3, I], the same towards the mu chosen


def scratch(items, K):
    """Work for I items and K demands."""
    return Work(
        np.full(K, 1e-30), np.empty((K, K)), *(np.empty(K) for _ in range(5)), *(np.empty(items) for _ in range(2)),
        np.zeros((3, items)), np.zeros((3, items)),
    )  # fmt: skip


def start(candidates, demands, model, sys):
    """The centre of the box, with levels and multipliers to match."""
    share, kept = demands.asked / demands.total, (demands.total - demands.asked) / demands.total
    k = candidates.demand
    u, w = share[k], np.maximum(kept, 1e-17)[k]
    evaluate_all(candidates, demands, model, u, w, sys)
    size = demands.index.size
    level = np.bincount(k, candidates.available * sys.marginal, size) / np.bincount(k, candidates.available, size)
    room = np.minimum(u, w)
    mu = max((np.abs(sys.marginal - level[k]) * room).max(), 1e-3 * (np.abs(sys.marginal) * room).max(), 1e-200)
    return Point(level, u, w, mu / u, mu / w)


@njit(cache=True, error_model="numpy")
def _right_side(candidates, point, mu, second, old, dlevel, right):
    """right float[I] := what stationarity lacks beside the residual once the levels have moved by dlevel.

    second: 1.0 where Mehrotra's second-order term of the step `old` is wanted, else 0.0.
    """
    for p in range(point.u.size):
        u, w = point.u[p], point.w[p]
        products = second * old[0][p] * (old[1][p] / u + old[2][p] / w)
        right[p] = dlevel[candidates.demand[p]] + mu * (1.0 / w - 1.0 / u) + products


@njit(cache=True, error_model="numpy")
def _direction(candidates, point, mu, second, old, dx, new):
    """Fill new = (du, dlow, dhigh) from dx; return the longest steps inside the box, primal and dual."""
    primal = dual = 1.0
    for p in range(point.u.size):
        d = -dx[p] / candidates.available[p]
        u, w, low, high = point.u[p], point.w[p], point.low[p], point.high[p]
        to_low = (mu - second * old[0][p] * old[1][p]) / u - low - low / u * d
        to_high = (mu + second * old[0][p] * old[2][p]) / w - high + high / w * d
        new[0][p], new[1][p], new[2][p] = d, to_low, to_high
        if -d * primal > u:
            primal = u / -d
        if d * primal > w:
            primal = w / d
        if -to_low * dual > low:
            dual = low / -to_low
        if -to_high * dual > high:
            dual = high / -to_high
    return primal, dual


@njit(cache=True, error_model="numpy")
def _complementarity(point, step, primal, dual):
    """Mean product of shares and multipliers after a step."""
    total = 0.0
    for p in range(point.u.size):
        total += (point.u[p] + primal * step[0][p]) * (point.low[p] + dual * step[1][p])
        total += (point.w[p] - primal * step[0][p]) * (point.high[p] + dual * step[2][p])
    return total / (2 * point.u.size)


@njit(cache=True, error_model="numpy")
def _move(point, origin, step, dlevel, primal, dual):
    """point := origin + step."""
    for p in range(point.u.size):
        if origin.u[p] < 0.5:
            point.u[p] = origin.u[p] + primal * step[0][p]
            point.w[p] = 1.0 - point.u[p]
        else:
            point.w[p] = origin.w[p] - primal * step[0][p]
            point.u[p] = 1.0 - point.w[p]
        point.low[p] = origin.low[p] + dual * step[1][p]
        point.high[p] = origin.high[p] + dual * step[2][p]
    for k in range(dlevel.size):
        point.level[k] = origin.level[k] + dual * dlevel[k]


@njit(cache=True, error_model="numpy")
def _imbalance(candidates, sys, point):
    """Largest |dL/dx + lambda - multipliers| times the room of the share: in the units of mu."""
    worst = 0.0
    for p in range(point.u.size):
        r = point.level[candidates.demand[p]] - sys.marginal[p] - point.low[p] + point.high[p]
        worst = max(worst, (abs(r) - sys.rounding[p]) * min(point.u[p], point.w[p]))
    return worst


@njit(cache=True, error_model="numpy")
def _slope(candidates, sys, point, mu, du):
    """Slope of the barrier function along du, and what of it is rounding."""
    slope = noise = 0.0
    for p in range(point.u.size):
        level = point.level[candidates.demand[p]]
        low, high = mu / point.u[p], mu / point.w[p]
        way = candidates.available[p] * du[p]
        slope += (level - sys.marginal[p] - low + high) * way
        noise += (sys.rounding[p] + ULP * (abs(level) + low + high)) * abs(way)
    return slope, noise


@njit(cache=True, error_model="numpy")
def _clip(point, mu):
    """Multipliers no farther from mu / share than a factor of SPREAD."""
    for p in range(point.u.size):
        low, high = mu / point.u[p], mu / point.w[p]
        point.low[p] = min(max(point.low[p], low / SPREAD), low * SPREAD)
        point.high[p] = min(max(point.high[p], high / SPREAD), high * SPREAD)


@njit(cache=True, error_model="numpy")
def _copy(point, to):
    """to := point."""
    for k in range(point.level.size):
        to.level[k] = point.level[k]
    for p in range(point.u.size):
        to.u[p], to.w[p], to.low[p], to.high[p] = point.u[p], point.w[p], point.low[p], point.high[p]


@njit(cache=True, error_model="numpy")
def _gap(point, floor):
    """(mean product of shares and multipliers, that relative to the smallest level)."""
    mean = 0.0
    for p in range(point.u.size):
        mean += point.u[p] * point.low[p] + point.w[p] * point.high[p]
    mean /= 2 * point.u.size
    smallest = np.inf
    for k in range(floor.size):
        smallest = min(smallest, max(abs(point.level[k]), floor[k]))
    return mean, mean / smallest


@njit(cache=True, error_model="numpy")
def _theta(candidates, sys, point):
    """What the barrier adds to the Hessian."""
    for p in range(point.u.size):
        sys.free[p] = True
        sys.theta[p] = (point.low[p] / point.u[p] + point.high[p] / point.w[p]) / candidates.available[p]


@njit(cache=True, error_model="numpy")
def _newton(candidates, demands, sys, point, work, mu, second, new):
    """Newton step towards mu: fill work.dlevel and new; return the longest steps inside the box, or zeros: not finite.

    Where blocks are nearly singular S is, too, and its solution is refined until the step clears.
    """
    for k in range(work.dlevel.size):
        work.dlevel[k], work.aim[k] = 0.0, -work.short[k]
    _right_side(candidates, point, mu, second, work.affine, work.dlevel, work.right)
    answer(candidates, sys, work.right, work.dx, work.aim)
    for _ in range(REFINEMENTS):
        if not solve(sys.S, work.U, work.scale, work.aim, work.more):
            return 0.0, 0.0
        for k in range(work.dlevel.size):
            work.dlevel[k] += work.more[k]
            work.aim[k] = -work.short[k]
        _right_side(candidates, point, mu, second, work.affine, work.dlevel, work.right)
        answer(candidates, sys, work.right, work.dx, work.aim)
        worst = 0.0
        for k in range(work.dlevel.size):
            worst = max(worst, abs(work.aim[k]) / demands.asked[k])
        if worst <= ROUNDED:
            break
    return _direction(candidates, point, mu, second, work.affine, work.dx, new)


@njit(cache=True, error_model="numpy", inline="always")
def _search(candidates, demands, model, point, origin, sys, work, mu, primal, dual):
    """Move by the step, halved until the barrier function no longer rises steeply there; return the part taken."""
    before, _ = _slope(candidates, sys, point, mu, work.step[0])
    _copy(point, origin)
    length = 1.0
    for halving in range(HALVINGS + 1):
        _move(point, origin, work.step, work.dlevel, length * primal, length * dual)
        if halving == HALVINGS or not before < 0.0:
            break
        evaluate_all(candidates, demands, model, point.u, point.w, sys)
        after, noise = _slope(candidates, sys, point, mu, work.step[0])
        if after <= 0.7 * abs(before) + noise:
            break
        length *= 0.5
    return length


@njit(cache=True, error_model="numpy")
def approach(candidates, demands, model, point, origin, sys, work, own, lent, steps, until):
    """Take steps until the mean product of shares and multipliers is below `until` times the smallest level.

    Returns (steps taken so far, that gap). Ends as well, with a gap above `until`, after STEPS_MAX or where a step is
    not finite. own are the candidates as they are, lent float[A] is what they have more here, as of `core.blunting`;
    origin is scratch.
    """
    stuck = 0
    while True:
        mean, gap = _gap(point, work.floor)
        if gap < until or steps >= STEPS_MAX or not mean > 1e-250:
            return steps, gap
        for i in range(lent.size):
            if model.weight.size > 0:
                candidates.variance[i] = own.variance[i] + lent[i] * mean * (lent[i] * mean)
            else:
                candidates.equity[i] = own.equity[i] + lent[i] * mean
        _theta(candidates, sys, point)
        assemble(candidates, demands, model, point.level, point.u, point.w, False, sys)
        level_floor(candidates, demands, sys, work.floor)
        clearing(candidates, demands, point.u, point.w, work.short)
        factor(sys.S, work.U, work.scale)
        primal, dual = _newton(candidates, demands, sys, point, work, 0.0, 0.0, work.affine)
        after = _complementarity(point, work.affine, primal, dual) / mean
        hurry = lent[0] == 0.0 and stuck == 0 and _imbalance(candidates, sys, point) <= BALANCE * mean
        least = 1e-3 if hurry else 0.3 if lent[0] == 0.0 else 0.5
        mu = mean * (1.0 if stuck >= 2 else min(max(after * after * after, least), 0.8))
        second = 1.0 if stuck == 0 and primal > 0.1 else 0.0
        primal, dual = _newton(candidates, demands, sys, point, work, mu, second, work.step)
        if primal == 0.0:
            return steps, np.inf
        reach = min(max(0.99, 1.0 - gap), 0.9995) if steps > 3 else 0.95
        primal, dual = min(1.0, reach * primal), min(1.0, reach * dual)
        primal *= _search(candidates, demands, model, point, origin, sys, work, mu, primal, dual)
        _clip(point, mu)
        # With kinks blunted short steps are as good as it gets: to centre more does not lengthen them.
        stuck = stuck + 1 if primal < 0.1 and lent[0] == 0.0 else 0
        steps += 1
