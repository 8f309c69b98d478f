"""Polish: Newton's method on a guess of which items stand at a bound; from near the optimum it ends at rounding.

Rule: three guesses are needed. One believes the ratio of share and multiplier, one only clear cases, and one, where
the loss is so flat that Newton's method only does harm, takes the inside point as it is but for what is at a bound.
"""

import numpy as np
from numba import njit

from solver.optimum.dense import factor, solve
from solver.optimum.system import answer, assemble, clearing, evaluate_all, heights, level_floor, violation

STEPS_MAX = 14
# A guess is given up after `patience` steps in a row that do not halve what is wrong: it stands still or circles.
PATIENCE, HALVED = 3, 0.5
TOLERANCE, CLEARING = 1e-9, 1e-12
PROXIMAL = 1e-10  # of lambda / a, on the diagonal: where the loss is flat the items stay
NONE, FREE, ALL = -1, 0, 1
BOLD, CLEAR, CERTAIN = 0, 1, 2  # guesses


@njit(cache=True, error_model="numpy")
def guess(candidates, demands, point, kind):
    """Return side int8[I] of an inside Point: NONE (nothing taken), FREE or ALL."""
    side = np.empty(point.u.size, np.int8)
    for p in range(point.u.size):
        k = candidates.demand[p]
        level = abs(point.level[k]) + 1e-300
        u, w, low, high = point.u[p], point.w[p], point.low[p], point.high[p]
        if kind == BOLD:
            none, whole = u < w and u < 1e-3 and u * level < low, w < u and w < 1e-3 and w * level < high
        elif kind == CLEAR:
            none, whole = u < 1e-4 and low > 1e-3 * level, w < 1e-4 and high > 1e-3 * level
        else:
            share = demands.asked[k] / demands.total[k]
            none, whole = u < 1e-12 * share and low > high, w < 1e-12 * (1.0 - share) and high > low
        side[p] = NONE if none else ALL if whole else FREE
    return side


@njit(cache=True, error_model="numpy")
def _release(candidates, sys, level, floor, inside, side, u, w):
    """Items at a bound whose marginal has the wrong sign become free, where they were inside: there is curvature."""
    count = 0
    for p in range(u.size):
        k = candidates.demand[p]
        over = sys.marginal[p] - level[k]
        least = 0.5 * TOLERANCE * max(abs(level[k]), floor[k]) + sys.rounding[p]
        if (side[p] == NONE and over > least) or (side[p] == ALL and -over > least):
            side[p] = FREE
            u[p], w[p] = inside.u[p], inside.w[p]
            count += 1
    return count


@njit(cache=True, error_model="numpy")
def _level_between(candidates, sys, side, level):
    """Where a demand has no free item, every level between the marginals of its two bounds is optimal."""
    low, high = np.full(level.size, -np.inf), np.full(level.size, np.inf)
    for p in range(side.size):
        k = candidates.demand[p]
        if side[p] == NONE:
            low[k] = max(low[k], sys.marginal[p])
        elif side[p] == ALL:
            high[k] = min(high[k], sys.marginal[p])
    for k in range(level.size):
        if sys.S[k, k] == 0.0:
            if low[k] > high[k]:
                level[k] = 0.5 * (low[k] + high[k])
            else:
                level[k] = min(max(level[k], low[k]), high[k])


@njit(cache=True, error_model="numpy")
def _free_nearest(candidates, demands, sys, level, short, side):
    """A demand that does not clear and has no free item: the one nearest to its level becomes free."""
    count = 0
    for k in range(level.size):
        if sys.S[k, k] == 0.0 and abs(short[k]) > CLEARING * demands.asked[k]:
            nearest, distance = -1, np.inf
            for p in range(side.size):
                here = candidates.demand[p] == k and side[p] == (NONE if short[k] > 0.0 else ALL)
                if here and abs(sys.marginal[p] - level[k]) < distance:
                    nearest, distance = p, abs(sys.marginal[p] - level[k])
            if nearest >= 0:
                side[nearest] = FREE
                count += 1
    return count


@njit(cache=True, error_model="numpy", inline="always")
def _shift(u, w, p, d):
    """Take a share d more of item p; the smaller of u and w is the one that moves, so that neither loses digits."""
    if u[p] < 0.5:
        u[p] += d
        w[p] = 1.0 - u[p]
    else:
        w[p] -= d
        u[p] = 1.0 - w[p]


@njit(cache=True, error_model="numpy")
def _step(candidates, sys, dx, side, u, w):
    """Move the free items by -dx; who leaves the box stays at its bound."""
    for p in range(u.size):
        if not sys.free[p]:
            continue
        _shift(u, w, p, -dx[p] / candidates.available[p])
        if u[p] <= 0.0:
            u[p], w[p], side[p] = 0.0, 1.0, NONE
        elif w[p] <= 0.0:
            u[p], w[p], side[p] = 1.0, 0.0, ALL


@njit(cache=True, error_model="numpy")
def _keep(level, u, w, to_level, to_u, to_w):
    for k in range(level.size):
        to_level[k] = level[k]
    for p in range(u.size):
        to_u[p], to_w[p] = u[p], w[p]


@njit(cache=True, error_model="numpy")
def _spread(candidates, short, u, w):
    """Give what clearing lacks to whoever is inside the box, by room."""
    room = np.zeros(short.size)
    for p in range(u.size):
        room[candidates.demand[p]] += candidates.available[p] * min(u[p], w[p])
    for p in range(u.size):
        k = candidates.demand[p]
        if abs(short[k]) < room[k]:
            _shift(u, w, p, short[k] / room[k] * min(u[p], w[p]))


@njit(cache=True, error_model="numpy")
def _cleared(candidates, demands, model, level, u, w, sys):
    """Clear (u, w) where all risk can go: the loss is flat there, S singular, and Newton's method does not see a lot.

    Return (violation, clearing); the violation relative to the marginals before anything was taken, as it is defined.
    """
    short, floor = np.empty(level.size), np.empty(level.size)
    evaluate_all(candidates, demands, model, np.zeros(u.size), np.ones(u.size), sys)
    heights(candidates, demands, sys, floor)
    for k in range(level.size):
        floor[k] = max(floor[k], 1e-30)
    clearing(candidates, demands, u, w, short)
    _spread(candidates, short, u, w)
    evaluate_all(candidates, demands, model, u, w, sys)
    return violation(candidates, sys, level, floor, u, w, 0.0), clearing(candidates, demands, u, w, short)


@njit(cache=True, error_model="numpy", inline="always")
def _newton_system(candidates, demands, model, floor, level, u, w, side, sys):
    for p in range(u.size):
        k = candidates.demand[p]
        sys.free[p] = side[p] == FREE
        sys.theta[p] = PROXIMAL * max(abs(level[k]), 1e-10 * floor[k]) / candidates.available[p]
    assemble(candidates, demands, model, level, u, w, True, sys)


@njit(cache=True, error_model="numpy")
def polish(candidates, demands, model, inside, side, sys, patience):
    """Return (violation, clearing, level, u, w) of Newton's method from an inside Point; side is kept up."""
    level, u, w = inside.level.copy(), inside.u.copy(), inside.w.copy()
    for p in range(u.size):
        if side[p] == NONE:
            u[p], w[p] = 0.0, 1.0
        elif side[p] == ALL:
            u[p], w[p] = 1.0, 0.0
    K = level.size
    floor = sys.least.copy()
    U, scale, short, dlevel = np.empty((K, K)), np.empty(K), np.empty(K), np.empty(K)
    dx, right = np.empty(u.size), np.empty(u.size)
    worst = uncleared = np.inf
    best_level, best_u, best_w = level.copy(), u.copy(), w.copy()
    aim, waited = np.inf, 0
    for _ in range(STEPS_MAX):
        _newton_system(candidates, demands, model, floor, level, u, w, side, sys)
        missing = clearing(candidates, demands, u, w, short)
        _level_between(candidates, sys, side, level)
        level_floor(candidates, demands, sys, floor)
        wrong = violation(candidates, sys, level, floor, u, w, 0.0)
        if max(wrong, 10.0 * missing) < max(worst, 10.0 * uncleared):
            worst, uncleared = wrong, missing
            _keep(level, u, w, best_level, best_u, best_w)
        if max(wrong, 10.0 * missing) < aim:
            aim, waited = HALVED * max(wrong, 10.0 * missing), 0
        else:
            waited += 1
        if (wrong <= TOLERANCE and missing <= CLEARING) or waited >= patience:
            break
        freed = _release(candidates, sys, level, floor, inside, side, u, w)
        freed += _free_nearest(candidates, demands, sys, level, short, side)
        if freed > 0:
            _newton_system(candidates, demands, model, floor, level, u, w, side, sys)
            clearing(candidates, demands, u, w, short)
        for k in range(K):
            short[k] = -short[k]
        for p in range(u.size):
            right[p] = 0.0
        answer(candidates, sys, right, dx, short)
        factor(sys.S, U, scale)
        if not solve(sys.S, U, scale, short, dlevel):
            break
        for p in range(u.size):
            right[p] = dlevel[candidates.demand[p]]
        answer(candidates, sys, right, dx, short)
        _step(candidates, sys, dx, side, u, w)
        for k in range(K):
            level[k] += dlevel[k]
    if worst <= TOLERANCE and uncleared > CLEARING:
        _keep(best_level, best_u, best_w, level, u, w)
        wrong, missing = _cleared(candidates, demands, model, level, u, w, sys)
        if wrong <= TOLERANCE:
            return wrong, missing, level, u, w
    return worst, uncleared, best_level, best_u, best_w
