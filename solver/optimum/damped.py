"""Levels where Newton's method on the dual function stalls: damped, and searched along each step.

Accounts that hold many demanded positions nearly hedged give much of them for little, so that the demands' levels hang
together and x(lambda) bends sharply: a bracket of one level is contradicted by the next step of another. Here
    (S + mu diag(size / reach)) d = sum x - z,   reach: how far a level may be expected to move,
is the step of all levels together (Levenberg 1944, Marquardt 1963), and it is cut where the slope along it,
d . (sum x - z), which falls all the way because the dual function is concave, has changed its sign.
"""

import numpy as np
from numba import njit

from solver.loss.elementary import power as to_power
from solver.optimum.dense import factor, solve

STEPS, STEPS_ROUGH = 150, 60
# Of marginals: rougher answers of accounts that give much for little do not fit their own slopes.
TOLERANCE, LAST_TOLERANCE = 1e-8, 1e-11
LEAST, LANDING = 0.37, 3.0  # reach of levels about 0, in the root of the largest marginal, as of `dual`
FALLEN, CUTS, WHOLE = 0.3, 6, 1e-6  # parts of the first slope along a step; cuts; surpluses below which none is made
FIRST, LESS, MORE, LITTLE, MOST = 1.0, 0.2, 4.0, 1e-4, 1e6  # mu


@njit(cache=True, error_model="numpy")
def _step(level, surplus, response, reach, size, mu, A, U, scale, d):
    """Fill d float[K] with the damped step; return whether it is finite, and the slope along it."""
    K = level.size
    for k in range(K):
        for j in range(K):
            A[k, j] = response.slope[k, j]
        A[k, k] += max(mu * size[k] / reach[k], 1e-300)
    factor(A, U, scale)
    finite = solve(A, U, scale, surplus, d)
    along = 0.0
    for k in range(K):
        if response.slope[k, k] <= 0.0:  # nobody moves until the level passes the next marginal
            edge = response.above[k] if surplus[k] > 0.0 else response.below[k]
            if abs(edge) < np.inf:
                past = 1e-4 * abs(edge) if edge != 0.0 else reach[k]
                d[k] = edge + (past if surplus[k] > 0.0 else -past) - level[k]
                if d[k] * surplus[k] <= 0.0:  # rounding has put the next marginal behind the level
                    d[k] = reach[k] if surplus[k] > 0.0 else -reach[k]
        along += surplus[k] * d[k]
    return finite, along


def _along(surplus, d):
    """The slope of the dual function along a step, added up in the order of the demands."""
    total = 0.0
    for gap, by in zip(surplus.tolist(), d.tolist(), strict=True):
        total += gap * by
    return total


def _search(gradient, level, d, slope, tolerance):
    """Move along d, cut by secants where the slope along it turns; return (Response, part of d)."""
    low, high, part = (0.0, slope), None, 1.0
    response = gradient.at(level + d, tolerance)
    for _ in range(CUTS if slope > 0.0 else 0):
        now = _along(gradient.surplus, d)
        if now < -FALLEN * slope:
            high = part, now
        elif high is None or now <= FALLEN * slope:
            break
        else:
            low = part, now
        secant = low[1] / (low[1] - high[1])
        part = low[0] + (high[0] - low[0]) * min(max(secant, 0.1), 0.9)
        response = gradient.at(level + part * d, tolerance)
    return response, part


def settle(gradient, level, rough):
    """Move the levels of a Gradient until it is converged, or rough, or further steps are not worth it."""
    K, end, mu = level.size, gradient.steps + (STEPS_ROUGH if rough else STEPS), FIRST
    A, U, scale, d = np.empty((K, K)), np.empty((K, K)), np.empty(K), np.empty(K)
    near = np.array([to_power(min(LANDING * kept, 1.0) * LEAST, gradient.power) for kept in gradient.kept])
    response = gradient.at(level, TOLERANCE)
    while not (gradient.converged or (rough and gradient.rough) or gradient.steps >= end):
        level, off = gradient.level, gradient.off.max()
        reach = gradient.power * np.maximum(np.abs(level), near * np.maximum(gradient.peak, 1e-300))
        finite, slope = _step(level, gradient.surplus, response, reach, gradient.size, mu, A, U, scale, d)
        if not finite:
            return
        tolerance = max(LAST_TOLERANCE, min(TOLERANCE, 0.01 * off * off))
        if off > WHOLE:
            response, part = _search(gradient, level, d, slope, tolerance)
        else:
            response, part = gradient.at(level + d, tolerance), 1.0
        if part == 1.0:
            mu *= LESS
        elif part < 0.5:
            mu = min(max(mu, LITTLE) * MORE, MOST)
