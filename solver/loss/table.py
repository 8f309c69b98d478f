"""What a loss model carries with it: its constants, and S and h as ratios to H in pieces of polynomials.

H needs one power; S and h are integrals without a short form. In x = 1 / (1 + k), k >= 0,
    S = H x A(x),    h = H (x^2 + 1/nu) C(x),
with A and C smooth, between 1/nu and 3, for every nu > 1 and for the Gaussian (1/nu = 0). Pieces divide each octave
of x by eight, so that an error is relative wherever the scale of the change lies (1 / sqrt(nu) for large nu).
"""

import math
from functools import lru_cache

import numpy as np
from numba import njit

from solver.loss.elementary import exp, log1p

# tail[0] = nu, H(0), 1/nu, (nu - 1)/2, then one row per piece: coefficients of A, then of C.
NU, PEAK, INVERSE, EXPONENT, FIRST = 0, 1, 2, 3, 4
DEGREE = 8
WIDTH = 2 * (DEGREE + 1)
OCTAVES, PARTS = 12, 8
ROWS = 2 + OCTAVES * PARTS  # row 0: x below 2**-12; the last: x = 1
PART_BITS = 49  # of a double, below the exponent and three bits of the mantissa
PART_MASK = (1 << PART_BITS) - 1
BASE = (int(np.float64(2.0**-OCTAVES).view(np.int64)) >> PART_BITS) - 1
# Zeros of the Chebyshev polynomial of degree 9, outer ones first: divided differences stay small.
NODES = np.array([0.984807753012208, -0.984807753012208, 0.0, 0.866025403784439, -0.866025403784439,
                  0.642787609686539, -0.642787609686539, 0.342020143329669, -0.342020143329669])  # fmt: skip
STEP, REACH = 1 / 20, 80  # of the integrals: exp-sinh rule, from 1e-17 to 1e17 times the scale


@njit(cache=True, error_model="numpy")
def _integrals(k, nu):
    """Integrals over y > 0 of g(k + y) / g(k) and of y g(k + y) / g(k)."""
    inverse = 1.0 / nu
    spread = 1.0 + k * k * inverse
    scale = spread / (abs(k) * (1.0 + inverse) + math.sqrt(spread))
    mass = moment = 0.0
    for j in range(-REACH, REACH + 1):
        up = exp(j * STEP)
        y = scale * exp(0.25 * math.pi * (up - 1.0 / up))
        d = y * (2.0 * k + y)
        density = exp(-0.5 * d) if inverse == 0.0 else exp(-0.5 * (nu + 1.0) * log1p(d / (nu + k * k)))
        weight = density * y * (0.25 * math.pi * STEP) * (up + 1.0 / up)
        mass += weight
        moment += weight * y
    return mass, moment


@njit(cache=True, error_model="numpy")
def _ratios(x, nu):
    """(A, C) at x."""
    inverse = 1.0 / nu
    k = 1.0 / x - 1.0
    mass, moment = _integrals(k, nu)
    over = (1.0 - inverse) / (1.0 + k * k * inverse)  # g / H
    survival = mass * over
    # Below nu = 2 the second integral runs past the doubles; there 1 - k S/H loses no digits.
    shortfall = moment * over if nu > 2.0 else 1.0 - k * survival
    return survival / x, shortfall / (x * x + inverse)


@njit(cache=True, error_model="numpy")
def _polynomial(values, out):
    """Coefficients, from the constant on, of the polynomial with these values at NODES."""
    n = values.size
    difference = values.copy()
    for order in range(1, n):
        for j in range(n - 1, order - 1, -1):
            difference[j] = (difference[j] - difference[j - 1]) / (NODES[j] - NODES[j - order])
    out[:] = 0.0
    for j in range(n - 1, -1, -1):
        for power in range(n - 1, 0, -1):
            out[power] = out[power - 1] - NODES[j] * out[power]
        out[0] = difference[j] - NODES[j] * out[0]


@njit(cache=True, error_model="numpy")
def _filled(nu):
    """The whole array."""
    tail = np.empty(FIRST + ROWS * WIDTH)
    mass = _integrals(0.0, nu)[0]
    tail[NU], tail[INVERSE], tail[EXPONENT] = nu, 1.0 / nu, 0.5 * (nu - 1.0)
    tail[PEAK] = 0.5 / (mass * (1.0 - 1.0 / nu))
    a, c = np.empty(DEGREE + 1), np.empty(DEGREE + 1)
    for row in range(ROWS):
        low = np.int64((row + BASE) << PART_BITS).view(np.float64) if row else 0.0
        high = np.int64((row + BASE + 1) << PART_BITS).view(np.float64)
        for j in range(DEGREE + 1):
            a[j], c[j] = _ratios(low + (high - low) * (0.5 + 0.5 * NODES[j]), nu)
        at = FIRST + row * WIDTH
        _polynomial(a, tail[at : at + DEGREE + 1])
        _polynomial(c, tail[at + DEGREE + 1 : at + WIDTH])
    return tail


@lru_cache(maxsize=8)
def tail_of(nu):
    """Return float64[], what the kernels of solver.loss take: nu > 1 degrees of freedom, math.inf for the Gaussian.

    Not to be written to: one array serves all callers.
    """
    if nu == 4.0:
        return np.array([4.0])  # algebraic: no table
    return _filled(float(nu))


@njit(cache=True, error_model="numpy", inline="always")
def ratios(x, tail):
    """(S / H, h / H) at x = 1 / (1 + k), 0 < x <= 1."""
    bits = np.float64(x).view(np.int64)
    row = (bits >> PART_BITS) - BASE
    if row > 0:
        t = float(bits & PART_MASK) * 2.0 ** (1 - PART_BITS) - 1.0
    else:
        row, t = np.int64(0), x * 2.0 ** (OCTAVES + 1) - 1.0
    at = FIRST + row * WIDTH
    a = _value(tail, at, t)
    c = _value(tail, at + DEGREE + 1, t)
    return x * a, (x * x + tail[INVERSE]) * c


@njit(cache=True, error_model="numpy", inline="always")
def _value(tail, at, t):
    """The polynomial of degree 8 at t, even and odd terms side by side."""
    q = t * t
    even = tail[at + 6] + q * tail[at + 8]
    even = tail[at + 4] + q * even
    even = tail[at + 2] + q * even
    even = tail[at] + q * even
    odd = tail[at + 5] + q * tail[at + 7]
    odd = tail[at + 3] + q * odd
    odd = tail[at + 1] + q * odd
    return even + t * odd
