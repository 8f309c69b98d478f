"""Levels at which what accounts give is what the demands ask: Newton's method on the concave dual function.

With x(lambda) what `response` gives, its slope is sum x - z and its second derivative -S, S the inverses of the accounts'
free curvatures scattered onto the demands. A step is S^-1 (sum x - z), made safe demand by demand:
* Where lambda > 0, what is kept behaves like lambda^(1/power), so the step is made in that root of lambda (for one asset
  it is the leverage): it cannot overshoot zero. Below zero what is kept is smooth in lambda, and so is the step.
* Each demand has a radius of its own, halved where its surplus changes sign without shrinking, and a bracket of levels
  that is forgotten when the other demands contradict it. One damping for all is slowed by the most stubborn.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.elementary import power as to_power
from solver.loss.table import NU
from solver.optimum.dense import factor, solve
from solver.optimum.response import respond
from solver.optimum.threads import bounds

STEPS = 60
STALL = 12  # steps without progress after which another method is tried
CLEARING, VIOLATION = 2e-11, 1e-9
TRACE = None
LEAST = 0.05  # of the largest marginal: levels below it move on that scale


class Sums(NamedTuple):
    """What `respond` adds up, per part."""

    slope: np.ndarray  # float[parts, K, K], lower triangle: inverses of the free curvatures
    taken: np.ndarray  # float[parts, K], notional
    left: np.ndarray  # float[parts, K], of what may be taken
    missing: np.ndarray  # float[parts, K], what one more step of each account would take
    worst: np.ndarray  # float[parts, K], largest violation of the certificate
    peak: np.ndarray  # float[parts, K], largest H sqrt(Sigma_jj)
    steps: np.ndarray  # int64[parts, 3]: steps, accounts solved item by item, accounts not solved


class Search(NamedTuple):
    """What is remembered of a demand between steps, float[K] each."""

    low: np.ndarray  # a level that took too much
    high: np.ndarray  # a level that took too little
    radius: np.ndarray
    surplus: np.ndarray  # the last one
    halved: np.ndarray  # times in a row that the bracket was halved
    cycling: np.ndarray  # steps since which it is not forgotten that a step overshot


@njit(cache=True, error_model="numpy")
def _added(sums):
    """The parts added up in order: (slope, taken, left, missing, worst, peak)."""
    K = sums.taken.shape[1]
    slope, rows = np.zeros((K, K)), np.zeros((5, K))
    for part in range(sums.taken.shape[0]):
        for k in range(K):
            rows[0, k] += sums.taken[part, k]
            rows[1, k] += sums.left[part, k]
            rows[2, k] += sums.missing[part, k]
            rows[3, k] = max(rows[3, k], sums.worst[part, k])
            rows[4, k] = max(rows[4, k], sums.peak[part, k])
            for l in range(k + 1):
                slope[k, l] += sums.slope[part, k, l]
    for k in range(K):
        for l in range(k):
            slope[l, k] = slope[k, l]
    return slope, rows[0], rows[1], rows[2], rows[3], rows[4]


@njit(cache=True, error_model="numpy")
def _between(a, b, power):
    """The middle of two levels, in the root of the level."""
    x, y = to_power(abs(a), 1.0 / power), to_power(abs(b), 1.0 / power)
    middle = 0.5 * ((x if a > 0.0 else -x) + (y if b > 0.0 else -y))
    size = to_power(abs(middle), power)
    return size if middle > 0.0 else -size


@njit(cache=True, error_model="numpy")
def _move(level, surplus, step, asked, peak, slope, power, search):
    """Move the levels, given surplus = sum x - z and the plain Newton step."""
    low, high, radius, last, halved, cycling = search
    for k in range(level.size):
        s, old, now = surplus[k], last[k], level[k]
        off = abs(s) / asked[k]
        if s > 0.0:
            low[k] = now
        elif s < 0.0:
            high[k] = now
        if low[k] >= high[k]:  # the other levels moved: forget the older end
            if s < 0.0:
                low[k] = -np.inf
            else:
                high[k] = np.inf
        width = high[k] - low[k]
        if width < 0.03 * max(abs(low[k]), abs(high[k])) and off > 2e-2:  # closed on the wrong value
            low[k], high[k], radius[k], width = -np.inf, np.inf, 0.3, np.inf
        radius[k] = max(radius[k], 0.1)
        if old != 0.0:
            flip = (s > 0.0) != (old > 0.0) and abs(s) > 0.3 * abs(old)
            radius[k] = 0.5 * radius[k] if flip else min(1.6 * radius[k], 1.0)
            cycling[k] = 3.0 if flip else cycling[k] - 1.0
        last[k] = s
        least = LEAST * peak[k]
        size = max(abs(now), least)
        d = step[k]
        if slope[k, k] <= 0.0:
            d = 0.5 * size if s > 0.0 else -0.5 * size
        reach = power * radius[k] * size
        new = now + min(max(d, -reach), reach)
        t = d / (power * now) if now > 0.0 else -2.0
        if abs(d) < 0.02 * abs(now):
            new = now + d
        elif now > 0.0 and (t > -1.0 or now >= least):
            t = max(t, -0.9 * radius[k]) if now >= least else max(t, -0.95)
            root = 1.0 + min(t, radius[k] if now >= least else 1e3)
            new = min(now * to_power(root, power), now + reach)
        far = high[k] if s > 0.0 else low[k]
        slack = 0.02 if cycling[k] > 0.0 or slope[k, k] <= 0.0 else -0.1 if off > 2e-2 else -np.inf
        if width < np.inf and (new > high[k] - slack * width if s > 0.0 else new < low[k] + slack * width):
            new = _between(now, far, power)
            halved[k] += 1
            if halved[k] > 3:  # the other levels moved
                low[k], high[k], halved[k] = (low[k], np.inf, 0) if s > 0.0 else (-np.inf, high[k], 0)
        else:
            halved[k] = 0
        level[k] = new


def ascend(candidates, demands, model, level, u, w, threads, clearing=CLEARING, outside=0.0):
    """Return (converged, level, peak, largest violation, largest clearing error, steps); u, w float[I] are moved.

    outside float[K]: of each total, what is not among the candidates and stays untouched.
    """
    K = level.size
    limits = bounds(candidates.account.size)
    parts = limits.size - 1
    power = min(model.tail[NU] - 1.0, 3.0)
    level, peak = level.copy(), np.abs(level)
    search = Search(np.full(K, -np.inf), np.full(K, np.inf), np.full(K, 0.5), np.zeros(K), np.zeros(K), np.zeros(K))
    U, scale, newton = np.empty((K, K)), np.empty(K), np.empty(K)
    small, rest = demands.asked <= 0.5 * demands.total, demands.total - demands.asked - outside
    tolerance, best, stall = 1e-3, np.inf, 0
    columns = (demands.loading, demands.idiosyncratic, demands.haircut)
    for step in range(STEPS):
        sums = Sums(np.zeros((parts, K, K)), *np.zeros((5, parts, K)), np.zeros((parts, 3), np.int64))
        size = np.maximum(np.abs(level), 1e-6 * peak + 1e-300)
        threads.run(respond, parts, limits, candidates, *columns, model.tail, level, size, tolerance, u, w, sums)
        slope, taken, left, missing, worst, peak = _added(sums)
        surplus = np.where(small, taken - demands.asked, rest - left)
        error = (np.abs(surplus) / demands.asked).max()
        violation = (worst / np.maximum(np.abs(level), np.maximum(peak, 1e-300))).max()
        if TRACE is not None:
            TRACE(step, level, surplus / demands.asked, missing / demands.asked, violation, tolerance, sums.steps.sum(axis=0))
        if error <= clearing and violation <= VIOLATION:
            return True, level, peak, violation, error, step + 1
        surplus = surplus + np.clip(missing, -0.5 * np.abs(surplus), 0.5 * np.abs(surplus))
        off = np.abs(surplus) / demands.asked
        progress = (off > 1e-3).sum() + min(off.max(), 1.0)
        stall = 0 if progress < 0.9 * best else stall + 1
        best = min(best, progress) if stall == 0 else best
        factor(slope, U, scale)
        if not solve(slope, U, scale, surplus, newton) or stall > STALL:
            break
        _move(level, surplus, newton, demands.asked, peak, slope, power, search)
        tolerance = max(1e-11, min(tolerance, 0.01 * off.max() * off.max()))
    return False, level, peak, violation, error, step + 1
