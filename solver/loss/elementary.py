"""Elementary functions that give the same bits on every machine.

Rule 1: only + - * / and views of a float's bits, in a written-out order. The C library's exp, log and pow differ in
the last bit between processor generations, and a decision must not.
Rule 2: no fused multiply-add: numba contracts only with fastmath, which is off everywhere.
Errors against the true values: exp, log, expm1, log1p below 1.5 units in the last place; power about
1 + |exponent log(base)| units.
"""

import numpy as np
from numba import njit

LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")  # 32 bits: a whole number below 2**20 times it is exact
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
LN2_INVERSE = float.fromhex("0x1.71547652b82fep+0")
ROUND = 6755399441055744.0  # 1.5 * 2**52: adding and subtracting it rounds to a whole number
EXPONENT_BITS = 52
SQRT_HALF_BITS = int(np.float64(0.5**0.5).view(np.int64))
SMALLEST_NORMAL = 2.0**-1022
OVERFLOW, UNDERFLOW = 709.782712893384, -745.1332191019412


@njit(cache=True, error_model="numpy", inline="always")
def _two_to(n):
    """2.0**n for -1022 <= n <= 1023."""
    return np.int64((n + 1023) << EXPONENT_BITS).view(np.float64)


@njit(cache=True, error_model="numpy", inline="always")
def _scaled(x, n):
    """x * 2.0**n for |n| < 2046, rounded once where it is subnormal."""
    half = n >> 1
    if -1022 <= n <= 1023:
        return x * _two_to(n)
    if n > 0:
        return x * _two_to(half) * _two_to(n - half)
    return x * _two_to(-1022 + 54) * _two_to(n + 1022 - 54)


@njit(cache=True, error_model="numpy", inline="always")
def _reduced(x):
    """(n, high, low): x = n log(2) + high + low with |high + low| <= log(2) / 2."""
    whole = (x * LN2_INVERSE + ROUND) - ROUND
    high = x - whole * LN2_HIGH
    low = -whole * LN2_LOW
    return np.int64(whole), high, low


@njit(cache=True, error_model="numpy", inline="always")
def _expm1_series(high, low):
    """exp(high + low) - 1 for |high + low| <= 0.35: Taylor series, four sums side by side."""
    r = high + low
    lost = (high - r) + low
    q = r * r
    w = q * q
    a = 1 / 6.0 + w * (1 / 5040.0 + w * (1 / 39916800.0))
    b = 1 / 120.0 + w * (1 / 362880.0 + w * (1 / 6227020800.0))
    c = 1 / 24.0 + w * (1 / 40320.0 + w * (1 / 479001600.0))
    d = 1 / 720.0 + w * (1 / 3628800.0 + w * (1 / 87178291200.0))
    return r + (0.5 * q + (q * r * ((a + q * b) + r * (c + q * d)) + lost * (1.0 + r)))


@njit(cache=True, error_model="numpy")
def exp(x):
    """e**x; 0 and inf beyond the doubles."""
    if x != x:
        return x
    if x > OVERFLOW:
        return np.inf
    if x < UNDERFLOW:
        return 0.0
    n, high, low = _reduced(x)
    return _scaled(1.0 + _expm1_series(high, low), n)


@njit(cache=True, error_model="numpy")
def expm1(x):
    """e**x - 1 without cancellation near 0."""
    if -0.34 <= x <= 0.34:
        return _expm1_series(x, 0.0)
    if x > 37.0:
        return exp(x)
    if x < -37.5:
        return -1.0
    n, high, low = _reduced(x)
    p = _expm1_series(high, low)
    return ((1.0 - _two_to(-n)) + p) * _two_to(n)


@njit(cache=True, error_model="numpy", inline="always")
def _log_near_one(f, lost):
    """log(1 + f + lost) for 1 + f between the square roots of 1/2 and 2: series of the inverse hyperbolic tangent."""
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    v = w * w
    a = 2 / 3.0 + v * (2 / 11.0 + v * (2 / 19.0))
    b = 2 / 5.0 + v * (2 / 13.0 + v * (2 / 21.0))
    c = 2 / 7.0 + v * (2 / 15.0 + v * (2 / 23.0))
    d = 2 / 9.0 + v * (2 / 17.0)
    half = 0.5 * f * f
    return half, s * (half + z * ((a + z * b) + w * (c + z * d))) + lost


@njit(cache=True, error_model="numpy", inline="always")
def _split(bits):
    """(n, m): the positive normal double of these bits is m 2**n, m between the square roots of 1/2 and 2."""
    n = (bits - SQRT_HALF_BITS) >> EXPONENT_BITS
    return n, np.int64(bits - (n << EXPONENT_BITS)).view(np.float64)


@njit(cache=True, error_model="numpy")
def log(x):
    """Natural logarithm; -inf at 0, NaN below."""
    if not 0.0 < x < np.inf:
        return -np.inf if x == 0.0 else (x if x > 0.0 else np.nan)
    shift = 0
    if x < SMALLEST_NORMAL:
        x, shift = x * 2.0**54, 54
    n, m = _split(np.float64(x).view(np.int64))
    f = m - 1.0
    whole = float(n - shift)
    half, rest = _log_near_one(f, 0.0)
    return whole * LN2_HIGH - ((half - (rest + whole * LN2_LOW)) - f)


@njit(cache=True, error_model="numpy")
def log1p(x):
    """log(1 + x) without cancellation near 0."""
    if -0.29 < x < 0.41:
        half, rest = _log_near_one(x, 0.0)
        return x - (half - rest)
    if not -1.0 < x < np.inf:
        return -np.inf if x == -1.0 else (x if x > -1.0 else np.nan)
    u = 1.0 + x
    lost = (1.0 - (u - x)) if u >= 2.0 else (x - (u - 1.0))
    n, m = _split(np.float64(u).view(np.int64))
    f = m - 1.0
    half, rest = _log_near_one(f, lost / u)
    whole = float(n)
    return whole * LN2_HIGH - ((half - (rest + whole * LN2_LOW)) - f)


@njit(cache=True, error_model="numpy")
def power(base, exponent):
    """base**exponent for base >= 0."""
    if exponent == 0.0:
        return 1.0
    return exp(exponent * log(base))
