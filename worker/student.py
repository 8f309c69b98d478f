"""How fat the tails of returns are, and how wide they are: Student's t by maximum likelihood.

Returns r of a symbol are s T, T with nu degrees of freedom, one nu for all symbols and a scale s for each:
    log density = log Gamma((nu+1)/2) - log Gamma(nu/2) - log(nu pi)/2 - log s - (nu+1)/2 log(1 + (r/s)^2/nu).
For a given nu the best scale is a fixed point, s^2 = mean of (nu+1) r^2 / (nu + (r/s)^2), so nu alone is searched for.
Rule: scales come from the likelihood, not from the covariance, which is s^2 nu/(nu-2): near nu = 2 that says nothing.
"""

from collections.abc import Iterable
from math import inf, lgamma, pi, sqrt
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from solver.loss.elementary import log, log1p

Floats = NDArray[np.float64]

TAIL_MIN: Final = 2.05  # below 2 there is no variance that a volatility could be shown of
TAIL_GAUSSIAN: Final = 60.0  # tails so thin that no number of returns here tells them from a Gaussian's
FIXED_POINT_STEPS: Final = 60
SEARCH_STEPS: Final = 30
GOLDEN: Final = (sqrt(5.0) - 1.0) / 2.0


@njit(cache=True)
def _sum_of_logs(squares: Floats, nu: float) -> float:
    """Sum of log(1 + square / nu)."""
    total = 0.0
    for square in squares:
        total += log1p(square / nu)
    return total


def scale_of(returns: Floats, nu: float) -> float:
    """The likeliest scale of returns of which most are not 0; infinite `nu`: Gaussian."""
    squares = returns * returns
    if nu == inf:
        return sqrt(float(squares.mean()))
    square = float(np.median(squares)) or float(squares.mean())
    for _ in range(FIXED_POINT_STEPS):
        before, square = square, float(((nu + 1.0) * squares / (nu + squares / square)).mean())
        if abs(square - before) <= 1e-12 * square:
            break
    return sqrt(square)


def log_likelihood(returns: Floats, nu: float) -> float:
    """Of one symbol's returns, at their likeliest scale."""
    scale = scale_of(returns, nu)
    constant = lgamma((nu + 1.0) / 2.0) - lgamma(nu / 2.0) - 0.5 * float(log(nu * pi)) - float(log(scale))
    return len(returns) * constant - 0.5 * (nu + 1.0) * float(_sum_of_logs((returns / scale) ** 2, nu))


def tail_of(series: Iterable[Floats]) -> float:
    """The likeliest degrees of freedom of all symbols together, to two decimals; infinite from TAIL_GAUSSIAN on.

    Golden section on 1 / nu: the likelihood has one maximum in it, and what is likely lies evenly in it.
    """
    series = list(series)

    def likelihood(inverse: float) -> float:
        return sum(log_likelihood(returns, 1.0 / inverse) for returns in series)

    low, high = 0.5 / TAIL_GAUSSIAN, 1.0 / TAIL_MIN
    inner, outer = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_inner, at_outer = likelihood(inner), likelihood(outer)
    for _ in range(SEARCH_STEPS):
        if at_inner > at_outer:
            high, outer, at_outer = outer, inner, at_inner
            inner = high - GOLDEN * (high - low)
            at_inner = likelihood(inner)
        else:
            low, inner, at_inner = inner, outer, at_outer
            outer = low + GOLDEN * (high - low)
            at_outer = likelihood(outer)
    nu = 2.0 / (low + high)
    return inf if nu >= TAIL_GAUSSIAN else round(nu, 2)
