"""Levels at which what accounts give is what the demands ask: Newton's method on the concave dual function.

With x(lambda) what `response` gives, its slope is sum x - z and its second derivative -S, S the accounts' inverse free
Hessians scattered onto the demands. A step is S^-1 (sum x - z), made safe demand by demand:
* Where lambda > 0, what is kept behaves like lambda^(1/power), so the step is made in that root of lambda (for one
  asset it is the leverage): it cannot overshoot zero. Below zero what is kept is smooth in lambda, and so is the step.
* Each demand has a radius of its own, halved where its surplus changes sign without shrinking, and a bracket of levels
  that is forgotten when the other demands contradict it. One damping for all is slowed by the most stubborn.
Tried and slower near full closure, where many levels are about 0: steps in lambda itself (cycles of two), one step of
the accounts per step of the levels (unstable where Hessians vanish), the core on everybody (12 s for 150 demands).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.elementary import power as to_power
from solver.loss.table import NU
from solver.optimum.dense import factor, solve
from solver.optimum.response import Sums, respond
from solver.optimum.threads import bounds

STEPS = 60
STALL = 12  # steps without progress after which another method is tried
CLEARING, VIOLATION = 2e-11, 1e-9
ROUGH_CLEARING, ROUGH_VIOLATION = 2e-2, 1e-4  # of levels that are only a start: parts of `size`, of a marginal
ULP, GRAIN = 4e-16, 5e-10
FIRST_TOLERANCE, LAST_TOLERANCE = 1e-3, 1e-11  # of marginals: what is missing is known to first order
POWER_MOST = 50.0
# In the root of the largest marginal of a demand: levels below the first move on its scale, residuals of marginals are
# not resolved beyond the second, or of thin tails, whose levels lie further below, beyond the third.
LEAST, DUST, THIN_DUST, THIN = 0.37, 0.01, 1e-6, 10.0
# Parts of a demand: above the first brackets are heeded, above the second after an overshoot; below the third a
# bracket that a step leaves far behind is out of date.
ROUGH, SMOOTH, STALE = 2e-2, 1e-4, 0.1
OVERSHOT = 3  # steps for which it is remembered
HALVINGS = 3
# Of a demand near full closure: so many times more than is to be kept is kept at most where its level comes up from 0,
LANDING, SLOPE_KNOWN = 3.0, 8.0  # unless it is above already: then so many times the level.


class Search(NamedTuple):
    """What is remembered of a demand between steps, float[K] each."""

    low: np.ndarray  # a level that took too much
    high: np.ndarray  # a level that took too little
    radius: np.ndarray  # of a step, in the root of the level
    surplus: np.ndarray  # the last one
    overshot: np.ndarray  # steps for which an overshoot is still remembered
    halved: np.ndarray  # times in a row that the bracket was halved


class Response(NamedTuple):
    """`Sums` of all parts; K demands."""

    slope: np.ndarray  # float[K, K]
    taken: np.ndarray
    left: np.ndarray
    missing: np.ndarray
    worst: np.ndarray
    peak: np.ndarray
    below: np.ndarray
    above: np.ndarray


@njit(cache=True, error_model="numpy")
def _added(sums):
    """The parts added up in their order."""
    parts, K = sums.taken.shape
    slope, rows = np.zeros((K, K)), np.zeros((7, K))
    rows[5] = -np.inf
    rows[6] = np.inf
    for part in range(parts):
        for k in range(K):
            rows[0, k] += sums.taken[part, k]
            rows[1, k] += sums.left[part, k]
            rows[2, k] += sums.missing[part, k]
            rows[3, k] = max(rows[3, k], sums.worst[part, k])
            rows[4, k] = max(rows[4, k], sums.peak[part, k])
            rows[5, k] = max(rows[5, k], sums.below[part, k])
            rows[6, k] = min(rows[6, k], sums.above[part, k])
            for j in range(k + 1):
                slope[k, j] += sums.slope[part, k, j]
    for k in range(K):
        for j in range(k):
            slope[j, k] = slope[k, j]
    return Response(slope, rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6])


@njit(cache=True, error_model="numpy")
def _remember(k, now, surplus, flat, response, search):
    """Narrow demand k's bracket and set its radius."""
    low, high, radius, last, overshot, _ = search
    if surplus > 0.0:
        low[k] = max(now, response.above[k]) if flat else now  # until the next account moves, nothing changes
    elif surplus < 0.0:
        high[k] = min(now, response.below[k]) if flat else now
    if low[k] >= high[k]:  # the other levels moved: forget the older end
        if surplus < 0.0:
            low[k] = -np.inf
        else:
            high[k] = np.inf
    radius[k] = max(radius[k], 0.1)
    if last[k] != 0.0:
        flip = (surplus > 0.0) != (last[k] > 0.0) and abs(surplus) > 0.3 * abs(last[k])
        radius[k] = 0.5 * radius[k] if flip else min(1.6 * radius[k], 1.0)
        overshot[k] = OVERSHOT if flip else overshot[k] - 1.0
    last[k] = surplus


@njit(cache=True, error_model="numpy")
def _stepped(now, step, radius, least, power, landing):
    """The level after a Newton step, in the root of the level where that is above 0, within its radius.

    At 0 whatever is closed opens at once, of which the slope below knows nothing: coming up, steps end at `landing`.
    """
    if abs(step) < ROUGH * abs(now):
        return now + step
    reach = power * radius * max(abs(now), least)
    straight = now + min(max(step, -reach), reach)
    if now <= 0.0:
        return min(straight, landing)
    t = step / (power * now)
    if now < least:
        return straight if t <= -1.0 else min(
            now * to_power(1.0 + min(max(t, -0.95), 1e3), power), now + reach, max(landing, SLOPE_KNOWN * now)
        )  # fmt: skip
    return min(now * to_power(1.0 + min(max(t, -0.9 * radius), radius), power), now + reach)


@njit(cache=True, error_model="numpy")
def _between(a, b, power):
    """The middle of two levels, in the root of the level."""
    x, y = to_power(abs(a), 1.0 / power), to_power(abs(b), 1.0 / power)
    middle = 0.5 * ((x if a > 0.0 else -x) + (y if b > 0.0 else -y))
    size = to_power(abs(middle), power)
    return size if middle > 0.0 else -size


@njit(cache=True, error_model="numpy")
def _move(level, surplus, step, kept, size, response, power, search):
    """Move the levels, given surplus = sum x - z and the Newton step S^-1 surplus.

    size: of a demand, the smaller of what is asked and what stays; kept: the share that stays.
    """
    low, high, radius, _, overshot, halved = search
    least = to_power(LEAST, power)
    for k in range(level.size):
        up, off, flat, now = surplus[k] > 0.0, abs(surplus[k]) / size[k], response.slope[k, k] <= 0.0, level[k]
        _remember(k, now, surplus[k], flat, response, search)
        landing = to_power(min(LANDING * kept[k], 1.0), power) * response.peak[k]
        new = _stepped(now, step[k], radius[k], least * response.peak[k], power, landing)
        if flat:
            edge = response.above[k] if up else response.below[k]
            inside = np.isfinite(edge)
            by = 1e-4 * abs(edge) if inside else 0.5 * max(abs(now), least * response.peak[k])
            new = (edge if inside else now) + (by if up else -by)
        width, near, far = high[k] - low[k], low[k] if up else high[k], high[k] if up else low[k]
        heeded = flat or (overshot[k] > 0.0 and off > SMOOTH)
        slack = (1e-4 if heeded else -0.1 if off > ROUGH else -np.inf) * width
        beyond = width < np.inf and (new > far - slack if up else new < far + slack)
        if beyond and not flat and (halved[k] >= HALVINGS or (off < STALE and abs(step[k]) > 2.0 * width)):
            low[k], high[k] = (low[k], np.inf) if up else (-np.inf, high[k])  # the other levels moved
            beyond = False
        halved[k] = halved[k] + 1.0 if beyond else 0.0
        if beyond:
            new = _between(near, far, power)
        level[k] = new


def _sums(parts, K):
    """Room for the sums of all parts."""
    return Sums(
        np.zeros((parts, K, K)), *np.zeros((5, parts, K)), np.full((parts, K), -np.inf), np.full((parts, K), np.inf),
    )  # fmt: skip


def root_power(tail):
    """The power of the level's root in which what is kept is nearly straight: of a Student tail, its degrees less 1."""
    return min(tail[NU] - 1.0, POWER_MOST)


def ascend(candidates, demands, model, level, u, w, threads, outside=0.0, rough=False):
    """Return (converged, level, peak, largest violation, largest clearing error, steps); u, w float[I] are moved.

    outside float[K]: of each total, what is not among the candidates and stays untouched. rough: levels to start from.
    """
    K, limits, power = level.size, bounds(candidates.account.size), root_power(model.tail)
    level, peak, dust = level.copy(), np.abs(level), to_power(DUST if power < THIN else THIN_DUST, power)
    search = Search(np.full(K, -np.inf), np.full(K, np.inf), np.full(K, 0.5), *np.zeros((3, K)))
    U, diagonal, newton = np.empty((K, K)), np.empty(K), np.empty(K)
    small, rest = demands.asked <= 0.5 * demands.total, demands.total - demands.asked - outside
    size = np.minimum(demands.asked, rest)
    stand, sizes = np.full(u.size, np.nan), np.zeros(candidates.account.size)
    tolerance, best, stall = FIRST_TOLERANCE, np.inf, 0
    for step in range(STEPS):
        sums = _sums(limits.size - 1, K)
        scale = np.maximum(np.abs(level), dust * peak + 1e-300)
        threads.run(
            respond, limits.size - 1, limits, candidates, demands.loading, demands.idiosyncratic, demands.haircut,
            model.tail, level, scale, tolerance, u, w, stand, sizes, sums,
        )  # fmt: skip
        response = _added(sums)
        peak = response.peak
        surplus = np.where(small, response.taken - demands.asked, rest - response.left)
        error = (np.abs(surplus) / demands.asked).max()
        violation = (response.worst / np.maximum(np.abs(level), np.maximum(peak, 1e-300))).max()
        # What the last bits of a level move cannot be asked for.
        grain = np.minimum(ULP * np.abs(level) * np.diag(response.slope), GRAIN * demands.asked)
        if (np.abs(surplus) <= CLEARING * demands.asked + grain).all() and violation <= VIOLATION:
            return True, level, peak, violation, error, step + 1
        if rough and (np.abs(surplus) <= ROUGH_CLEARING * size).all() and violation <= ROUGH_VIOLATION:
            return False, level, peak, violation, error, step + 1
        half = 0.5 * np.abs(surplus)
        surplus = surplus + np.clip(response.missing, -half, half)
        off = np.abs(surplus) / size
        progress = (off > 1e-3).sum() + min(off.max(), 1.0)
        stall = 0 if progress < 0.9 * best else stall + 1
        best = progress if stall == 0 else best
        factor(response.slope, U, diagonal)
        if not solve(response.slope, U, diagonal, surplus, newton) or stall > STALL:
            break
        _move(level, surplus, newton, rest / demands.total, size, response, power, search)
        # Where next to nothing is asked, what one more step of an account would take may be more than all that is.
        hidden = ((np.abs(response.missing) > half) & (off > 0.1 * off.max())).any()
        tolerance = max(LAST_TOLERANCE, min(0.01 * tolerance if hidden else tolerance, 0.01 * off.max() * off.max()))
    return False, level, peak, violation, error, step + 1
