"""Tails of the standard variable T by formulas of their own: g(k) its density, S(k) = P(T > k), H(k) = E[T; T > k].

Student t of nu degrees of freedom, or the normal distribution (nu = inf). S is g times an integral of the ratio of
densities (exp-sinh quadrature), so nothing cancels or underflows before g itself does; for the normal distribution that
integral is tabulated: scenarios need it once for each of them. Plain arithmetic only: library exponentials differ
between machines.
"""

import math

import numpy as np

LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # their sum is ln 2; whole multiples of the first exact
BLOCK = 1024  # values times nodes stay in a cache


def exponential(x):
    """e to the x <= 700, elementwise."""
    x = np.maximum(x, -745.0)
    n = np.rint(x * 1.4426950408889634)
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    total = np.ones_like(r)
    for order in range(14, 0, -1):
        total = 1.0 + total * r / order
    return np.ldexp(total, n.astype(np.int64))


def logarithm_of_one_plus(x):
    """ln(1 + x) for x >= 0, elementwise and relative to itself."""
    mantissa, exponent = np.frexp(1.0 + x)
    small = x < 0.4
    low = mantissa < math.sqrt(0.5)
    mantissa = np.where(low, 2.0 * mantissa, mantissa)
    exponent = np.where(small, 0, exponent - low)
    s = np.where(small, x / (2.0 + x), (mantissa - 1.0) / (mantissa + 1.0))
    total = np.zeros_like(s)
    for order in range(25, 0, -2):
        total = 1.0 / order + total * s * s
    return exponent * LN2_HIGH + (2.0 * s * total + exponent * LN2_LOW)


def _nodes():
    """Points exp(pi/2 sinh t) of the half line and their weights, t in equal steps."""
    step = 0.075
    t = np.arange(-52, 58) * step
    up = exponential(t)
    point = exponential(0.25 * math.pi * (up - 1.0 / up))
    return point, step * 0.25 * math.pi * (up + 1.0 / up) * point


POINT, WEIGHT = _nodes()


def _mills(k, nu):
    """S(k) / g(k) for k >= 0: the integral of g(k + s) / g(k) over s > 0."""
    out = np.empty_like(k)
    for first in range(0, k.size, BLOCK):
        at = k[first : first + BLOCK, None]
        spread = nu + at * at
        scale = 1.0 / (at + 1.0) if math.isinf(nu) else 1.0 / ((nu + 1.0) * at / spread + np.sqrt(nu / spread))
        s = scale * POINT
        if math.isinf(nu):
            ratio = exponential(-np.minimum(s * (at + 0.5 * s), 800.0))
        else:
            ratio = exponential(-0.5 * (nu + 1.0) * logarithm_of_one_plus(s * (2.0 * at + s) / spread))
        out[first : first + BLOCK] = (ratio * scale) @ WEIGHT
    return out


def _taylor(order):
    """Coefficients around multiples of 1 / PER_ONE of M = S / g, the normal distribution's: M' = k M - 1."""
    k = np.arange(int(NORMAL_MAX * PER_ONE) + 1) / PER_ONE
    rows = [_mills(k, math.inf)]
    rows.append(k * rows[0] - 1.0)
    for n in range(1, order):
        rows.append((k * rows[n] + rows[n - 1]) / (n + 1))
    return rows


PER_ONE, NORMAL_MAX = 16, 40.0  # beyond it g is 0
NORMAL = _taylor(10)


def _normal_mills(k):
    """_mills of the normal distribution, from its table."""
    k = np.minimum(k, NORMAL_MAX)
    nearest = np.rint(PER_ONE * k).astype(np.int64)
    apart = k - nearest / PER_ONE
    total = np.zeros_like(k)
    for row in reversed(NORMAL):
        total = row[nearest] + total * apart
    return total


def density(k, nu):
    """g(k); its constant is the one that makes S(0) one half."""
    if math.isinf(nu):
        return exponential(-0.5 * np.minimum(k * k, 2000.0)) / math.sqrt(2.0 * math.pi)
    top = 0.5 / _mills(np.zeros(1), nu)[0]
    return top * exponential(-0.5 * (nu + 1.0) * logarithm_of_one_plus(k * k / nu))


def tail(k, nu):
    """(g, S, H) elementwise, at any k including infinite ones."""
    size = np.abs(k)
    far = ~(size < 1e150)
    size = np.where(far, 0.0, size)
    if nu == 4.0:
        # P(T > k) of Student 4 in closed form with u = k / sqrt(4 + k^2), 1 - u without cancellation.
        root = np.sqrt(4.0 + size * size)
        g = 12.0 / root**5
        above = 4.0 / (root * (root + size))
        s = above * above * (3.0 - above) / 4.0
    else:
        g = density(size, nu)
        s = g * (_normal_mills(size) if math.isinf(nu) else _mills(size, nu))
    h = g if math.isinf(nu) else g * (nu + size * size) / (nu - 1.0)
    g, s, h = (np.where(far, 0.0, value) for value in (g, s, h))
    return g, np.where(k < 0.0, 1.0 - s, s), h
