"""An account's expected loss and how it changes, for elliptical returns: Campbell et al. (2026).

With sigma^2 = y' Sigma y, k = E / sigma, T the standard variable and g its density:
    L = sigma h(k),   h(k) = E[(T - k)+],   S(k) = P(T > k),   H(k) = E[T; T > k] = h + k S.
Per unit of notional taken, c_j = s_j (Sigma y)_j, dl_j the haircut and s_j the demanded side (0 elsewhere):
    marginal  m = (H / sigma) c - S dl
    Hessian     = (H / sigma) s Sigma s + kc c c' + kx (c dl' + dl c') + kd dl dl',
    kc = (g k^2 - H) / sigma^3,   kx = -g k / sigma^2,   kd = g / sigma.
Rule 1: never NaN, whatever the account holds: variance 0 is its limit from above.
Rule 2: where H is below 1e-150 a Student tail of weight 1e-200 is added: marginals that would underflow (Gaussian, many
degrees of freedom) keep their order by leverage, and a Hessian. Above 1e-190 it is below 1e-10 of any value, and where
it sets in, 1e-50 of it.
"""

import math

from numba import njit

from solver.loss import student
from solver.loss.elementary import exp, expm1, log, log1p
from solver.loss.table import EXPONENT, NU, PEAK, ratios, tail_of

__all__ = ["bend", "curves", "curves_at_mark", "logarithms", "tail_of"]

FAINT, FAINT_WEIGHT = 1e-150, 1e-200
FARTHEST = 1e-60  # smallest sigma^2 / E^2
SMALLEST_VARIANCE = 1e-120


@njit(cache=True, error_model="numpy", inline="always")
def _head(variance, equity, tail):
    """(1 / sigma^2, sigma, H, g / H, g k^2 / H - 1)."""
    square = equity * equity
    v = max(variance, FARTHEST * square, SMALLEST_VARIANCE)
    per_variance = 1.0 / v
    nu = tail[NU]
    if nu == math.inf:
        k2 = square * per_variance
        return per_variance, math.sqrt(v), tail[PEAK] * exp(-0.5 * k2), 1.0, k2 - 1.0
    inverse = 1.0 / (nu * v + square)
    heavy = square * inverse  # k^2 / (nu + k^2)
    fall = log1p(-heavy) if heavy < 0.25 else log(nu * v * inverse)
    return (
        per_variance,
        math.sqrt(v),
        tail[PEAK] * exp(tail[EXPONENT] * fall),
        (nu - 1.0) * v * inverse,
        ((nu - 2.0) * square - nu * v) * inverse,
    )


@njit(cache=True, error_model="numpy")
def _general_at_mark(variance, equity, tail):
    """curves_at_mark for any tail."""
    per_variance, sigma, H, _, excess = _head(variance, equity, tail)
    rr = H * (sigma * per_variance)
    kc = rr * excess * per_variance
    if H < FAINT:
        rr4, kc4 = student.curves_at_mark(sigma * sigma, equity)
        rr += FAINT_WEIGHT * rr4
        kc += FAINT_WEIGHT * kc4
    return rr, kc


@njit(cache=True, error_model="numpy")
def _general(variance, equity, tail):
    """curves for any tail."""
    per_variance, sigma, H, density, excess = _head(variance, equity, tail)
    survival, shortfall = ratios(sigma / (sigma + abs(equity)), tail)
    survival *= H
    loss = sigma * (H * shortfall)
    rr = H * (sigma * per_variance)
    kc = rr * excess * per_variance
    kd = rr * density
    kx = -kd * equity * per_variance
    if H < FAINT:
        loss4, rr4, survival4, kc4, kx4, kd4 = student.curves(sigma * sigma, abs(equity))
        loss += FAINT_WEIGHT * loss4
        rr += FAINT_WEIGHT * rr4
        survival += FAINT_WEIGHT * survival4
        kc += FAINT_WEIGHT * kc4
        kx += math.copysign(FAINT_WEIGHT, equity) * kx4
        kd += FAINT_WEIGHT * kd4
    if equity < 0.0:
        return loss - equity, rr, 1.0 - survival, kc, kx, kd
    return loss, rr, survival, kc, kx, kd


@njit(cache=True, error_model="numpy", inline="always")
def curves(variance, equity, tail):
    """Return (loss, H / sigma, S, kc, kx, kd) of an account; `tail` from tail_of."""
    if tail[NU] == 4.0:
        return student.curves(variance, equity)
    return _general(variance, equity, tail)


@njit(cache=True, error_model="numpy", inline="always")
def curves_at_mark(variance, equity, tail):
    """Return (H / sigma, kc), to the bit those of `curves`: all there is to know where no demand has a haircut."""
    if tail[NU] == 4.0:
        return student.curves_at_mark(variance, equity)
    return _general_at_mark(variance, equity, tail)


@njit(cache=True, error_model="numpy")
def logarithms(k, tail):
    """Return (log S, log H, log h) of the standard variable at k >= 0, also where the values are below all doubles."""
    if tail[NU] == 4.0:
        shortfall, H, survival, _, _, _ = student.curves(1.0, k)
        return log(survival), log(H), log(shortfall)
    k2 = k * k
    fall = 0.5 * k2 if tail[NU] == math.inf else tail[EXPONENT] * log1p(k2 / tail[NU])
    log_H = log(tail[PEAK]) - fall
    survival, shortfall = ratios(1.0 / (1.0 + k), tail)
    return log(survival) + log_H, log_H, log(shortfall) + log_H


@njit(cache=True, error_model="numpy")
def bend(level, marginal, power, tail):
    """Residual level - marginal, bent so that Newton is exact in one step on a tail.

    power = g k^2 / H = d ln H / d ln sigma, which is 1 + kc variance / rr. Same sign, root and slope as the difference;
    exact where the marginal is a power of sigma (Student) or falls like a Gaussian in 1 / sigma.
    """
    if power < 1.2 or marginal <= 0.0 or level <= 0.0:
        return level - marginal
    near = 0.5 * marginal < level < 2.0 * marginal
    apart = log1p((level - marginal) / marginal) if near else log(level / marginal)
    if tail[NU] == math.inf:
        return power * marginal * (1.0 / math.sqrt(max(1.0 - 2.0 * apart / power, 0.04)) - 1.0)
    return power * marginal * expm1(min(apart / power, 30.0))
