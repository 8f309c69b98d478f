"""One account while it is solved: its items as rows of scratch columns, n of them.

item[ROW, m] holds a number of item m, load[m] its loadings, twin[m] the item on the other side of its asset or -1.
With v = y' Sigma y, c = s (Sigma y) and E as in `account`: marginals m = rr c - S d and the Hessian of L in x.
Rule: all of it is inlined and takes plain arrays. A NamedTuple's columns are counted at every use: six times slower.
"""

import math

from numba import njit

from solver.loss.model import bend

# Rows of `item`: level of its demand, what is available and kept, variance, haircut, sqrt(Sigma_jj) and the size of a
# residual that counts; shares taken and kept, now and after the step being tried; c, marginal; the step in notional.
LEVEL, FREE, KEPT, OWN, HAIRCUT, UNIT, SIZE, U, W, NEXT_U, NEXT_W, C, MARGINAL, STEP = range(14)
ROWS = 14
NEAR = 0.02  # of the marginal: nearer to the level than this its tail is a straight line
ROUNDING = 1e-15
PIVOT = 1e-13  # of the diagonal
PROXIMAL = 1e-11  # of level / available, on the diagonal


@njit(cache=True, error_model="numpy", inline="always")
def state(n, item, load, twin, variance, equity, g):
    """Return (v, E) at the shares being tried; fills c, and adds the items to g float[F], the factor exposures.

    equity: with every haircut above 0 paid, so that E is a sum of terms above 0.
    """
    for m in range(n):
        net = rest = item[KEPT, m] + item[FREE, m] * item[NEXT_W, m]
        other = twin[m]
        if other >= 0:
            net -= item[KEPT, other] + item[FREE, other] * item[NEXT_W, other]
        c = item[OWN, m] * net
        item[C, m] = c
        if other < m:  # the two legs of an asset are one net position
            variance += c * net
        for f in range(g.size):
            g[f] += rest * load[m, f]
        d = item[HAIRCUT, m] * item[FREE, m]
        if d != 0.0:
            equity += d * item[NEXT_W, m] if d > 0.0 else -d * item[NEXT_U, m]
    for f in range(g.size):
        variance += g[f] * g[f]
    for m in range(n):
        c = item[C, m]
        for f in range(g.size):
            c += load[m, f] * g[f]
        item[C, m] = c
    return variance, equity


@njit(cache=True, error_model="numpy", inline="always")
def accept(n, item, rr, survival, size, free):
    """The shares tried become the shares; fills marginals and `free`, items that want to move and can.

    Return (how many, largest residual relative to the size that counts). size: H, which times UNIT bounds a marginal.
    """
    count, error = 0, 0.0
    for m in range(n):
        item[U, m], item[W, m] = item[NEXT_U, m], item[NEXT_W, m]
        item[MARGINAL, m] = rr * item[C, m] - survival * item[HAIRCUT, m]
        r = item[LEVEL, m] - item[MARGINAL, m]
        if (item[U, m] <= 0.0 and r >= 0.0) or (item[W, m] <= 0.0 and r <= 0.0):
            continue
        beyond = abs(r) - ROUNDING * (size * item[UNIT, m] + survival * abs(item[HAIRCUT, m]))
        item[STEP, count] = -1.0 if beyond > 0.0 else 0.0
        error = max(error, beyond / item[SIZE, m])
        free[count] = m
        count += 1
    return count, error


@njit(cache=True, error_model="numpy", inline="always")
def newton(count, item, load, twin, free, rr, kc, kx, kd, power, tail, triangle):
    """STEP becomes the Newton step of the free items, triangle the Cholesky factor of their Hessian (one: inverse)."""
    for x in range(count):
        m = free[x]
        for z in range(x + 1):
            o = free[z]
            scale = 0.0
            for f in range(load.shape[1]):
                scale += load[m, f] * load[o, f]
            if m == o:
                scale += item[OWN, m]
            elif twin[m] == o:
                scale -= item[OWN, m]
            c, b, d, e = item[C, m], item[C, o], item[HAIRCUT, m], item[HAIRCUT, o]
            triangle[x, z] = rr * scale + kc * c * b + kx * (c * e + d * b) + kd * d * e
        triangle[x, x] = max(triangle[x, x], 0.0) + PROXIMAL * abs(item[LEVEL, m]) / item[FREE, m] + 1e-280
        r, marginal = item[LEVEL, m] - item[MARGINAL, m], item[MARGINAL, m]
        item[STEP, x] *= r if abs(r) < NEAR * marginal else bend(item[LEVEL, m], marginal, power, tail)
    if count == 1:
        triangle[0, 0] = 1.0 / triangle[0, 0]
        item[STEP, 0] *= triangle[0, 0]
    else:
        _cholesky(count, triangle)
        _solve(count, triangle, item)


@njit(cache=True, error_model="numpy", inline="always")
def _cholesky(n, triangle):
    """The lower triangle of a positive matrix becomes its Cholesky factor."""
    for i in range(n):
        for j in range(i):
            t = triangle[i, j]
            for z in range(j):
                t -= triangle[i, z] * triangle[j, z]
            triangle[i, j] = t / triangle[j, j]
        t = triangle[i, i]
        least = PIVOT * t
        for z in range(i):
            t -= triangle[i, z] * triangle[i, z]
        triangle[i, i] = math.sqrt(max(t, least))


@njit(cache=True, error_model="numpy", inline="always")
def _solve(n, triangle, item):
    """STEP becomes the solution of (triangle triangle') x = STEP."""
    for i in range(n):
        t = item[STEP, i]
        for z in range(i):
            t -= triangle[i, z] * item[STEP, z]
        item[STEP, i] = t / triangle[i, i]
    for i in range(n - 1, -1, -1):
        t = item[STEP, i]
        for z in range(i + 1, n):
            t -= triangle[z, i] * item[STEP, z]
        item[STEP, i] = t / triangle[i, i]


@njit(cache=True, error_model="numpy", inline="always")
def attempt(count, item, free, move):
    """Try the shares after a part `move` of the step, kept in the box: the smaller of u and w moves."""
    for x in range(count):
        m = free[x]
        t = move * item[STEP, x] / item[FREE, m]
        if item[U, m] < 0.5:
            item[NEXT_U, m] = min(max(item[U, m] + t, 0.0), 1.0)
            item[NEXT_W, m] = 1.0 - item[NEXT_U, m]
        else:
            item[NEXT_W, m] = min(max(item[W, m] - t, 0.0), 1.0)
            item[NEXT_U, m] = 1.0 - item[NEXT_W, m]


@njit(cache=True, error_model="numpy", inline="always")
def shorten(count, item, free, rr, survival):
    """Items closed although their marginal there is below the level went too far: try a tenth of what they kept.

    Return whether there were any. At w = 0 the Hessian may be 0, and from there is no way back.
    """
    any_over = False
    for x in range(count):
        m = free[x]
        short = rr * item[C, m] - survival * item[HAIRCUT, m] < item[LEVEL, m]
        if short and item[NEXT_W, m] <= 0.0 and item[W, m] > 0.0:
            item[NEXT_W, m] = 0.1 * item[W, m]
            item[NEXT_U, m] = 1.0 - item[NEXT_W, m]
            any_over = True
    return any_over


@njit(cache=True, error_model="numpy", inline="always")
def descends(count, item, free, gain, loss):
    """Does L + level . x fall enough (Armijo)? gain: of L."""
    along = 0.0
    for x in range(count):
        m = free[x]
        moved = item[NEXT_U, m] - item[U, m] if item[U, m] < 0.5 else item[W, m] - item[NEXT_W, m]
        moved *= item[FREE, m]
        gain += item[LEVEL, m] * moved
        along += (item[LEVEL, m] - item[MARGINAL, m]) * moved
    return gain <= 1e-4 * along + 1e-14 * loss


@njit(cache=True, error_model="numpy", inline="always")
def add_inverse(count, triangle, free, k, slope):
    """Add the inverse Hessian of the free items to the rows and columns of their demands (lower triangle)."""
    if count == 1:
        slope[k[free[0]], k[free[0]]] += triangle[0, 0]
        return
    for j in range(count):
        triangle[j, j] = 1.0 / triangle[j, j]
        for i in range(j + 1, count):
            t = 0.0
            for z in range(j, i):
                t += triangle[i, z] * triangle[z, j]
            triangle[i, j] = -t / triangle[i, i]
    for i in range(count):
        for j in range(i + 1):
            t = 0.0
            for z in range(i, count):
                t += triangle[z, i] * triangle[z, j]
            p, q = k[free[i]], k[free[j]]
            slope[max(p, q), min(p, q)] += t
