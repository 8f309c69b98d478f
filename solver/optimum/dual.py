"""Levels at which what accounts give is what the demands ask: Newton's method on the concave dual function.

With x(lambda) what `response` gives, its slope is sum x - z and its second derivative -S, S the accounts' inverse free
Hessians scattered onto the demands. A step is S^-1 (sum x - z), made safe demand by demand:
* Where lambda > 0, what is kept behaves like lambda^(1/power), so the step is made in that root of lambda (for one
  asset it is the leverage): it cannot overshoot zero. Below zero what is kept is smooth in lambda, and so is the step.
* Each demand has a radius of its own, halved where its surplus changes sign without shrinking, and a bracket of levels
  that is forgotten when the other demands contradict it. One damping for all is slowed by the most stubborn: where
  this stalls, it is what is left (`damped`).
Tried and slower near full closure, where many levels are about 0: steps in lambda itself (cycles of two), one step of
the accounts per step of the levels (unstable where Hessians vanish), the core on everybody (12 s for 150 demands).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.elementary import power as to_power
from solver.optimum.damped import settle
from solver.optimum.dense import factor, solve
from solver.optimum.gradient import THIN, Gradient

STEPS = 60
STALL = 12  # steps without progress after which another method is tried
FIRST_TOLERANCE, LAST_TOLERANCE = 1e-3, 1e-11  # of marginals: what is missing is known to first order
LEAST = 0.37  # in the root of the largest marginal of a demand: levels below it move on its scale
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
            new = landing if up and edge == 0.0 else new  # no part of 0 leaves it
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


def ascend(candidates, demands, model, level, u, w, threads, outside=0.0, rough=False):
    """Return (converged, level, peak, largest violation, largest clearing error, steps); u, w float[I] are moved.

    outside float[K]: of each total, what is not among the candidates and stays untouched. rough: levels to start from.
    """
    gradient = Gradient(candidates, demands, model, u, w, threads, outside)
    # Thin tails' levels lie too many orders of magnitude apart for one slope along a step of all.
    if not _newton(gradient, level.copy(), rough) and gradient.power < THIN:
        settle(gradient, gradient.level, rough)
    found = gradient
    return found.converged, found.level, found.peak, found.violation, found.error, found.steps


def _newton(gradient, level, rough):
    """Newton's method, demand by demand made safe; whether it came to an end."""
    K = level.size
    search = Search(np.full(K, -np.inf), np.full(K, np.inf), np.full(K, 0.5), *np.zeros((3, K)))
    U, diagonal, newton = np.empty((K, K)), np.empty(K), np.empty(K)
    tolerance, best, stall = FIRST_TOLERANCE, np.inf, 0
    for _ in range(STEPS):
        response = gradient.at(level, tolerance)
        if gradient.converged or (rough and gradient.rough):
            return True
        largest = gradient.off.max()
        progress = (gradient.off > 1e-3).sum() + min(largest, 1.0)
        stall = 0 if progress < 0.9 * best else stall + 1
        best = progress if stall == 0 else best
        factor(response.slope, U, diagonal)
        if not solve(response.slope, U, diagonal, gradient.surplus, newton) or stall > STALL:
            break
        _move(level, gradient.surplus, newton, gradient.kept, gradient.size, response, gradient.power, search)
        # Where next to nothing is asked, what one more step of an account would take may be more than all that is.
        tolerance = max(
            LAST_TOLERANCE, min(0.01 * tolerance if gradient.hidden else tolerance, 0.01 * largest * largest)
        )
    return False
