"""What accounts give at given levels: each minimises its expected loss plus levels times what it gives.

For account i at levels lambda:  min over 0 <= x <= a of L_i(x) + lambda . x,  by projected Newton steps on the items that
are free, each halved until it lowers the function. Marginals and curvature as in `account`.
Rule 1: an item keeps u = x / a and w = 1 - u; the one below one half is moved, the other follows.
Rule 2: sums over accounts are made per part, in order.
"""

import math

import numpy as np
from numba import njit

from solver.loss.model import bend, curves

STEPS = 40
NEAR = 0.02  # of the marginal: nearer than this its tail is a straight line
SWEEP_AT = (14, 28)  # Newton steps after which one item at a time is solved: one account in 100,000 cycles


@njit(cache=True, error_model="numpy", inline="always")
def _state(i, first, n, k_of, a, kept, mirror, fixed, variance, equity, loading, own_variance, haircut, w, g, c):
    """(variance, equity) of an account at w; fills its factor exposures g and c = s (Sigma y)."""
    factors = g.size
    for f in range(factors):
        g[f] = fixed[i, f]
    for m in range(n):
        p = first + m
        k, other = k_of[p], mirror[p]
        rest = kept[p] + a[p] * w[m]
        net = rest
        if other >= 0:
            net -= kept[other] + a[other] * w[other - first]
        c[m] = own_variance[k] * net
        if other < p:  # the two legs of an asset are one net position
            variance += c[m] * net
        for f in range(factors):
            g[f] += rest * loading[k, f]
        d = haircut[k] * a[p]
        if d != 0.0:
            equity += d * w[m] if d > 0.0 else -d * (1.0 - w[m])
    for f in range(factors):
        variance += g[f] * g[f]
    for m in range(n):
        k = k_of[first + m]
        t = c[m]
        for f in range(factors):
            t += loading[k, f] * g[f]
        c[m] = t
    return variance, equity


@njit(cache=True, error_model="numpy", inline="always")
def _curvature(first, i, j, k_of, mirror, loading, own_variance, haircut, rr, kc, kx, kd, c):
    """Second derivative of an account's expected loss in its items i and j."""
    p, k, l = first + i, k_of[first + i], k_of[first + j]
    scale = 0.0
    for f in range(loading.shape[1]):
        scale += loading[k, f] * loading[l, f]
    if i == j:
        scale += own_variance[k]
    elif mirror[p] == first + j:
        scale -= own_variance[k]
    return rr * scale + kc * c[i] * c[j] + kx * (c[i] * haircut[l] + haircut[k] * c[j]) + kd * haircut[k] * haircut[l]


@njit(cache=True, error_model="numpy", inline="always")
def _cholesky(n, triangle):
    """The lower triangle of a positive matrix becomes its Cholesky factor; pivots are floored at 1e-13 of the diagonal."""
    for i in range(n):
        for j in range(i):
            t = triangle[i, j]
            for z in range(j):
                t -= triangle[i, z] * triangle[j, z]
            triangle[i, j] = t / triangle[j, j]
        t = triangle[i, i]
        least = 1e-13 * t
        for z in range(i):
            t -= triangle[i, z] * triangle[i, z]
        triangle[i, i] = math.sqrt(max(t, least))


@njit(cache=True, error_model="numpy", inline="always")
def _solve(n, triangle, x):
    """x becomes the solution of (triangle triangle') y = x."""
    for i in range(n):
        t = x[i]
        for z in range(i):
            t -= triangle[i, z] * x[z]
        x[i] = t / triangle[i, i]
    for i in range(n - 1, -1, -1):
        t = x[i]
        for z in range(i + 1, n):
            t -= triangle[z, i] * x[z]
        x[i] = t / triangle[i, i]


@njit(cache=True, error_model="numpy", inline="always")
def _add_inverse(n, triangle, free, first, k_of, slope):
    """Add the inverse of (triangle triangle') to the rows and columns of the free items' demands (lower triangle)."""
    for j in range(n):
        triangle[j, j] = 1.0 / triangle[j, j]
        for i in range(j + 1, n):
            t = 0.0
            for z in range(j, i):
                t += triangle[i, z] * triangle[z, j]
            triangle[i, j] = -t / triangle[i, i]
    for i in range(n):
        k = k_of[first + free[i]]
        for j in range(i + 1):
            t = 0.0
            for z in range(i, n):
                t += triangle[z, i] * triangle[z, j]
            l = k_of[first + free[j]]
            slope[max(k, l), min(k, l)] += t


@njit(cache=True, error_model="numpy")
def _root(m, i, first, n, k_of, a, kept, mirror, fixed, variance, equity, loading, own_variance, haircut, tail, level, uu, ww, g, c):
    """Set item m to where its marginal is its level, the others held: safeguarded Newton, to the last bits of w."""
    low, high, k = 0.0, 1.0, k_of[first + m]
    unit = own_variance[k]
    for f in range(loading.shape[1]):
        unit += loading[k, f] * loading[k, f]
    guess = ww[m]
    for at in (0.0, 1.0):
        ww[m] = at
        v, e = _state(i, first, n, k_of, a, kept, mirror, fixed, variance, equity, loading, own_variance, haircut, ww, g, c)
        _, rr, survival, _, _, _ = curves(v, e, tail)
        r = level[k] - (rr * c[m] - survival * haircut[k])
        if (r <= 0.0 and at == 0.0 and v > 0.0) or (r >= 0.0 and at == 1.0):
            uu[m] = 1.0 - at
            return
    ww[m] = guess if 0.0 < guess < 1.0 else 0.5
    for trial in range(200):
        v, e = _state(i, first, n, k_of, a, kept, mirror, fixed, variance, equity, loading, own_variance, haircut, ww, g, c)
        _, rr, survival, kc, kx, kd = curves(v, e, tail)
        x = rr * c[m] - survival * haircut[k]
        low, high = (low, ww[m]) if x > level[k] else (ww[m], high)
        steep = (rr * unit + kc * c[m] * c[m] + 2.0 * kx * c[m] * haircut[k] + kd * haircut[k] * haircut[k]) * a[first + m]
        power = 1.0 + kc * v / rr if rr > 0.0 else 0.0
        w = ww[m] + bend(level[k], x, power, tail) / steep if steep > 0.0 else ww[m]
        if not low < w < high or trial % 8 == 7:
            w = 0.5 * (low + high) if low >= 0.01 * high else math.sqrt(max(low, 1e-30 * high) * high)
        done = abs(w - ww[m]) <= 2e-16 * w
        ww[m] = w
        if done:
            break
    uu[m] = 1.0 - ww[m]


@njit(cache=True, error_model="numpy", inline="always")
def _trial(move, items, free, first, a, d, uu, ww, un, wn):
    """un, wn: the point after a part `move` of the step d of the free items, kept in the box."""
    for x in range(items):
        m = free[x]
        t = move * d[x] / a[first + m]
        if uu[m] < 0.5:
            un[m] = min(max(uu[m] + t, 0.0), 1.0)
            wn[m] = 1.0 - un[m]
        else:
            wn[m] = min(max(ww[m] - t, 0.0), 1.0)
            un[m] = 1.0 - wn[m]


@njit(cache=True, nogil=True, error_model="numpy")
def respond(part, limits, candidates, loading, own_variance, haircut, tail, level, scale, tolerance, u, w, sums):
    """Bring the accounts of a part to what they give at the levels.

    u, w float[I] are moved; sums as `Sums` says. tolerance: of a marginal, relative to scale float[K].
    """
    start, _, k_of, _, a, kept, mirror, fixed, fixed_variance, equities = candidates
    slope, taken, left, missing, worst, peak, steps = (
        sums.slope[part], sums.taken[part], sums.left[part], sums.missing[part], sums.worst[part], sums.peak[part],
        sums.steps[part],
    )  # fmt: skip
    most = 1
    for i in range(limits[part], limits[part + 1]):
        most = max(most, start[i + 1] - start[i])
    g, c, m_of, d = np.empty(loading.shape[1]), np.empty(most), np.empty(most), np.empty(most)
    uu, ww, un, wn = np.empty(most), np.empty(most), np.empty(most), np.empty(most)
    triangle, free = np.empty((most, most)), np.empty(most, np.int64)
    unit = np.empty(haircut.size)
    for k in range(unit.size):
        t = own_variance[k]
        for f in range(loading.shape[1]):
            t += loading[k, f] * loading[k, f]
        unit[k] = math.sqrt(t)
    for i in range(limits[part], limits[part + 1]):
        first = start[i]
        n = start[i + 1] - first
        equity = equities[i]
        for m in range(n):
            un[m], wn[m] = u[first + m], w[first + m]
            equity -= max(haircut[k_of[first + m]], 0.0) * a[first + m]
        step, halvings, short, loss, error, size, move, free_items = 0, 0, False, 0.0, 0.0, 0.0, 1.0, 0
        while True:
            v, e = _state(i, first, n, k_of, a, kept, mirror, fixed, fixed_variance[i], equity, loading, own_variance, haircut, wn, g, c)
            new, rr, survival, kc, kx, kd = curves(v, e, tail)
            if step > 0 and step != SWEEP_AT[0] and step != SWEEP_AT[1]:
                over, along, paid = False, 0.0, 0.0
                for x in range(free_items):
                    m = free[x]
                    k = k_of[first + m]
                    # Closed although its marginal there is below the level: the step went past, stop short of the end.
                    if not short and wn[m] <= 0.0 and ww[m] > 0.0 and rr * c[m] - survival * haircut[k] < level[k]:
                        wn[m] = 0.1 * ww[m]
                        un[m] = 1.0 - wn[m]
                        over = True
                    t = a[first + m] * (un[m] - uu[m] if uu[m] < 0.5 else ww[m] - wn[m])
                    paid += level[k] * t
                    along += (level[k] - m_of[m]) * t
                if over:
                    short = True
                    continue
                if not (new - loss + paid <= 1e-4 * along + 1e-14 * loss or error < 1e-5) and halvings < 12:
                    halvings += 1
                    move *= 0.4
                    _trial(move, free_items, free, first, a, d, uu, ww, un, wn)
                    short = False
                    continue
            loss, size = new, rr * math.sqrt(v)
            free_items, error = 0, 0.0
            for m in range(n):
                uu[m], ww[m] = un[m], wn[m]
                k = k_of[first + m]
                m_of[m] = rr * c[m] - survival * haircut[k]
                r = level[k] - m_of[m]
                if (uu[m] <= 0.0 and r >= 0.0) or (ww[m] <= 0.0 and r <= 0.0):
                    continue
                free[free_items] = m
                free_items += 1
                t = abs(r) - 1e-15 * (size * unit[k] + survival * abs(haircut[k]))  # beyond the rounding of the marginal
                error = max(error, t / scale[k])
                d[free_items - 1] = 0.0 if t <= 0.0 else 1.0
            if free_items == 0:
                break
            power = 1.0 + kc * v / rr if rr > 0.0 else 0.0
            for x in range(free_items):
                m = free[x]
                k = k_of[first + m]
                for z in range(x + 1):
                    triangle[x, z] = _curvature(first, m, free[z], k_of, mirror, loading, own_variance, haircut, rr, kc, kx, kd, c)
                triangle[x, x] = max(triangle[x, x], 0.0) + 1e-11 * abs(level[k]) / a[first + m] + 1e-280
                r = level[k] - m_of[m]
                d[x] *= -r if abs(r) < NEAR * m_of[m] else -bend(level[k], m_of[m], power, tail)
            if free_items == 1:
                triangle[0, 0] = 1.0 / triangle[0, 0]
                d[0] *= triangle[0, 0]
            else:
                _cholesky(free_items, triangle)
                _solve(free_items, triangle, d)
            if error <= tolerance or step == STEPS:
                break
            step += 1
            halvings, short, move = 0, False, 1.0
            if step == SWEEP_AT[0] or step == SWEEP_AT[1]:
                steps[1] += 1
                for _ in range(30):
                    for m in range(n):
                        _root(m, i, first, n, k_of, a, kept, mirror, fixed, fixed_variance[i], equity, loading, own_variance, haircut, tail,
                              level, un, wn, g, c)  # fmt: skip
                continue
            _trial(move, free_items, free, first, a, d, uu, ww, un, wn)
        steps[0] += step
        steps[2] += np.int64(error > tolerance)
        for m in range(n):
            k = k_of[first + m]
            u[first + m], w[first + m] = uu[m], ww[m]
            taken[k] += a[first + m] * uu[m]
            left[k] += a[first + m] * ww[m]
            peak[k] = max(peak[k], size * unit[k])
        for x in range(free_items):
            m = free[x]
            k = k_of[first + m]
            missing[k] += min(max(d[x], -uu[m] * a[first + m]), ww[m] * a[first + m])
            worst[k] = max(worst[k], abs(level[k] - m_of[m]))
        if free_items == 1:
            k = k_of[first + free[0]]
            slope[k, k] += triangle[0, 0]
        elif free_items > 1:
            _add_inverse(free_items, triangle, free, first, k_of, slope)
