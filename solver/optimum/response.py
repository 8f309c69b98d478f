"""What accounts give at given levels: each minimises its expected loss plus levels times what it gives.

For account i at levels lambda:  min over 0 <= x <= a of L_i(x) + lambda . x,  by projected Newton steps on the items
that are free, each shortened until it lowers the function.
Rule: sums over accounts are made per part, in their order.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.model import bend, curves
from solver.optimum.holding import (
    FREE,
    HAIRCUT,
    KEPT,
    LEVEL,
    MARGINAL,
    NEXT_U,
    NEXT_W,
    OWN,
    ROWS,
    SIZE,
    STEP,
    UNIT,
    C,
    U,
    W,
    accept,
    add_inverse,
    attempt,
    descends,
    newton,
    shorten,
    state,
)  # fmt: skip

STEPS = 40
# Steps after which items are solved one at a time, because Newton's method cycles: of hedged accounts near full closure
# one in 40, for which a rough answer is enough to go on from; elsewhere one in 100,000. The second time exactly.
ONE_BY_ONE, CLOSE, EXACT = (14, 28), 1e-3, 2e-16
SWEEPS = 30
SHORTER, SHORTENINGS = 0.4, 12
SURE = 1e-5  # residual from which a Newton step needs no check


class Sums(NamedTuple):
    """What `respond` adds up, per part."""

    slope: np.ndarray  # float[parts, K, K], lower triangle: inverse Hessians of the free items
    taken: np.ndarray  # float[parts, K], notional
    left: np.ndarray  # float[parts, K], of what may be taken
    missing: np.ndarray  # float[parts, K], what one more step of each account would take
    worst: np.ndarray  # float[parts, K], largest violation of the certificate
    peak: np.ndarray  # float[parts, K], largest H sqrt(Sigma_jj)
    below: np.ndarray  # float[parts, K], largest marginal of an item of which nothing is taken
    above: np.ndarray  # float[parts, K], smallest marginal of an item of which everything is


@njit(cache=True, error_model="numpy")
def _one_by_one(n, item, load, twin, variance, equity, base, g, tail, close):
    """Set each item to where its marginal is its level, the others held, again and again: safeguarded Newton.

    It ends when what is kept changes by no more than about the part `close`.
    """
    for _ in range(SWEEPS):
        moved = 0.0
        for m in range(n):
            before = item[NEXT_W, m]
            unit, guess = item[UNIT, m] * item[UNIT, m], item[NEXT_W, m]
            low, high, bound = 0.0, 1.0, False
            for trial in range(200):
                w = float(trial) if trial < 2 else guess
                item[NEXT_W, m], item[NEXT_U, m] = w, 1.0 - w
                for f in range(g.size):
                    g[f] = base[f]
                v, e = state(n, item, load, twin, variance, equity, g)
                _, rr, survival, kc, kx, kd = curves(v, e, tail)
                c, d = item[C, m], item[HAIRCUT, m]
                marginal = rr * c - survival * d
                if trial < 2:
                    bound = marginal >= item[LEVEL, m] and v > 0.0 if trial == 0 else marginal <= item[LEVEL, m]
                    guess = guess if 0.0 < guess < 1.0 else 0.5
                    if bound:
                        break
                    continue
                low, high = (low, w) if marginal > item[LEVEL, m] else (w, high)
                steep = (rr * unit + kc * c * c + 2.0 * kx * c * d + kd * d * d) * item[FREE, m]
                power = 1.0 + kc * v / rr if rr > 0.0 else 0.0
                guess = w + bend(item[LEVEL, m], marginal, power, tail) / steep if steep > 0.0 else w
                if not low < guess < high or trial % 8 == 7:
                    guess = 0.5 * (low + high) if low >= 0.01 * high else math.sqrt(max(low, 1e-30 * high) * high)
                if abs(guess - w) <= close * w:
                    break
            moved = max(moved, abs(item[NEXT_W, m] - before) - 10.0 * close * before)
        if moved <= 0.0:
            break


@njit(cache=True, error_model="numpy", inline="always")
def _count(j, free, u, w, marginal, largest, taken, left, peak, below, above):
    """Add an item to the sums of its demand j."""
    taken[j] += free * u
    left[j] += free * w
    peak[j] = max(peak[j], largest)
    if u <= 0.0:
        below[j] = max(below[j], marginal)
    elif w <= 0.0:
        above[j] = min(above[j], marginal)


@njit(cache=True, error_model="numpy", inline="always")
def _stays(first, last, k_of, level, u, w, stand):
    """Does every item of an account stay at its bound, by the marginals at which it stood there (NaN: not known)?"""
    for p in range(first, last):
        m, now = stand[p], level[k_of[p]]
        if not ((u[p] <= 0.0 and m <= now) or (w[p] <= 0.0 and m >= now)):
            return False
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def respond(part, limits, candidates, loading, own_variance, haircut, tail, level, scale, tolerance, u, w, stand, sizes,
            sums):  # fmt: skip
    """Bring the accounts of a part to what they give at the levels.

    u, w float[I] are moved; sums are added to. tolerance: of a marginal, relative to scale float[K]. stand float[I],
    sizes float[A]: marginals of accounts all of whose items are at a bound, NaN of the others, and their H.
    """
    start, _, k_of, _, a, kept, mirror, fixed, fixed_variance, equities = candidates
    slope, missing, worst = sums.slope[part], sums.missing[part], sums.worst[part]
    taken, left, peak = sums.taken[part], sums.left[part], sums.peak[part]
    below, above = sums.below[part], sums.above[part]
    factors, most = loading.shape[1], 1
    for i in range(limits[part], limits[part + 1]):
        most = max(most, start[i + 1] - start[i])
    item, load, triangle = np.empty((ROWS, most)), np.empty((most, factors)), np.empty((most, most))
    k, twin, free = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    base, g = np.empty(factors), np.empty(factors)
    unit = _units(loading, own_variance)
    for i in range(limits[part], limits[part + 1]):
        first, n, variance, equity = start[i], start[i + 1] - start[i], fixed_variance[i], equities[i]
        if _stays(first, first + n, k_of, level, u, w, stand):
            for p in range(first, first + n):
                _count(k_of[p], a[p], u[p], w[p], stand[p], sizes[i] * unit[k_of[p]], taken, left, peak, below, above)
            continue
        for f in range(factors):
            base[f] = fixed[i, f]
        for m in range(n):
            p = first + m
            j = k[m] = k_of[p]
            twin[m] = mirror[p] - first if mirror[p] >= 0 else -1
            item[LEVEL, m], item[SIZE, m], item[UNIT, m] = level[j], scale[j], unit[j]
            item[OWN, m], item[HAIRCUT, m] = own_variance[j], haircut[j]
            item[FREE, m], item[KEPT, m], item[NEXT_U, m], item[NEXT_W, m] = a[p], kept[p], u[p], w[p]
            equity -= max(haircut[j], 0.0) * a[p]
            for f in range(factors):
                load[m, f] = loading[j, f]
        step, tries, over, move, count, loss, error = 0, 0, False, 1.0, 0, 0.0, 0.0
        while True:
            for f in range(factors):
                g[f] = base[f]
            v, e = state(n, item, load, twin, variance, equity, g)
            now, rr, survival, kc, kx, kd = curves(v, e, tail)
            if step > 0 and step != ONE_BY_ONE[0] and step != ONE_BY_ONE[1]:
                if not over and shorten(count, item, free, rr, survival):
                    over = True
                    continue
                if tries < SHORTENINGS and error >= SURE and not descends(count, item, free, now - loss, loss):
                    tries, move, over = tries + 1, SHORTER * move, False
                    attempt(count, item, free, move)
                    continue
            loss, size = now, rr * math.sqrt(v)
            count, error = accept(n, item, rr, survival, size, free)
            if count == 0:
                break
            power = 1.0 + kc * v / rr if rr > 0.0 else 0.0
            newton(count, item, load, twin, free, rr, kc, kx, kd, power, tail, triangle)
            if error <= tolerance or step == STEPS:
                break
            step, tries, over, move = step + 1, 0, False, 1.0
            if step == ONE_BY_ONE[0] or step == ONE_BY_ONE[1]:
                close = CLOSE if step == ONE_BY_ONE[0] else EXACT
                _one_by_one(n, item, load, twin, variance, equity, base, g, tail, close)
            else:
                attempt(count, item, free, move)
        for m in range(n):
            j, p = k[m], first + m
            u[p], w[p], stand[p] = item[U, m], item[W, m], item[MARGINAL, m] if count == 0 else math.nan
            _count(j, a[p], u[p], w[p], item[MARGINAL, m], size * unit[j], taken, left, peak, below, above)
        sizes[i] = size
        for x in range(count):
            m = free[x]
            j = k[m]
            missing[j] += min(max(item[STEP, x], -item[U, m] * item[FREE, m]), item[W, m] * item[FREE, m])
            worst[j] = max(worst[j], abs(item[LEVEL, m] - item[MARGINAL, m]))
        if count > 0:
            add_inverse(count, triangle, free, k, slope)


@njit(cache=True, error_model="numpy")
def _units(loading, own_variance):
    """sqrt(Sigma_jj) per demand."""
    unit = own_variance.copy()
    for k in range(unit.size):
        for f in range(loading.shape[1]):
            unit[k] += loading[k, f] * loading[k, f]
        unit[k] = math.sqrt(unit[k])
    return unit
