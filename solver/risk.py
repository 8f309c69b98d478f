"""Risk models a caller may pass: plain containers, checked for shape and finiteness at the door.

`default_risk_model` is what is used when nothing is known but the maintenance margin fractions, `smoothed_scenarios`
what makes scenarios of past returns.
"""

import math

import numpy as np

from solver.problem import numbers

LOADING_MAX = 1e6  # a million times the price, and its square as a variance: squares of exposures stay numbers
SHARED = 0.7  # of an asset's variance, in the default model's one factor
WEIGHTS_TOLERANCE = 1e-9


class RiskModel:
    """Elliptical returns: scale matrix loadings @ loadings.T + diag(idiosyncratic), tail degrees of freedom."""

    def __init__(self, loadings, idiosyncratic, tail=4.0):
        self.loadings = numbers("loadings", loadings, LOADING_MAX)
        self.idiosyncratic = numbers("idiosyncratic", idiosyncratic, LOADING_MAX**2)
        self.tail = _number("tail", tail)
        if self.loadings.ndim != 2 or self.idiosyncratic.shape != (self.loadings.shape[0],):
            raise ValueError("loadings must be (assets, factors) and idiosyncratic (assets,)")
        if (self.idiosyncratic < 0).any():
            raise ValueError("idiosyncratic are variances and must not be negative")
        if math.isnan(self.tail) or self.tail <= 1:
            raise ValueError(f"tail must be above 1 degree of freedom, was {self.tail}")


class Scenarios:
    """Scenarios of returns with their probabilities, each blurred by a Gaussian kernel of the given variance per asset.

    Without a kernel the expected loss is piecewise linear: its optimum is seldom unique, and often not found
    (NOT_CONVERGED). `smoothed_scenarios` chooses one.
    """

    def __init__(self, returns, weights, kernel_variance):
        self.returns = numbers("returns", returns, LOADING_MAX)
        self.weights = numbers("weights", weights)
        self.kernel_variance = numbers("kernel_variance", kernel_variance, LOADING_MAX**2)
        shape = self.returns.shape
        if len(shape) != 2 or self.weights.shape != shape[:1] or self.kernel_variance.shape != shape[1:]:
            raise ValueError("returns must be (scenarios, assets), weights (scenarios,), kernel_variance (assets,)")
        if (self.weights < 0).any() or (self.kernel_variance < 0).any():
            raise ValueError("weights and kernel_variance must not be negative")
        if not abs(self.weights.sum() - 1) <= WEIGHTS_TOLERANCE:
            raise ValueError(f"weights are probabilities and must sum to 1, were {self.weights.sum()}")


def _number(name, value):
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be a number, was {value!r}") from None


def default_risk_model(maintenance_margin_fraction):
    """Return the RiskModel of float[M] maintenance margin fractions: they are what the venue knows about returns.

    Scale c = half the fraction; 0.7 of the variance c^2 in one factor all assets share (in a crash they fall together),
    0.3 in each asset alone; Student's t with 4 degrees of freedom. Raises ValueError for negative or non-finite ones.
    """
    fraction = numbers("maintenance margin fractions", maintenance_margin_fraction, LOADING_MAX)
    if fraction.ndim != 1 or (fraction < 0).any():
        raise ValueError("maintenance margin fractions must be one finite number per asset, none negative")
    scale = 0.5 * fraction
    return RiskModel(math.sqrt(SHARED) * scale[:, None], (1.0 - SHARED) * scale * scale, tail=4.0)


def smoothed_scenarios(returns, weights=None, width=0.1):
    """Return Scenarios of past returns float[S, M] over the horizon, all alike or weighted by float[S] of any sum.

    The kernel is `width` of each asset's standard deviation; returns are drawn towards their mean so that means and
    variances stay (West 1993) and correlations lose width^2 of themselves. Below 0.05 every scenario is a bend of its
    own, which takes longer and is not always solved. Raises ValueError where the numbers do not fit.
    """
    given = np.asarray(returns, dtype=np.float64)
    if given.ndim != 2 or not given.shape[0]:
        raise ValueError("returns must be (scenarios, assets), at least one")
    if not 0 <= width < 1:
        raise ValueError(f"width is a part of the standard deviation, from 0 to below 1, was {width}")
    part = np.ones(given.shape[0]) if weights is None else np.asarray(weights, dtype=np.float64)
    if part.shape != given.shape[:1] or not (np.isfinite(part).all() and (part >= 0).all() and part.any()):
        raise ValueError("weights must be (scenarios,), finite, none negative and not all 0")
    part = part / math.fsum(part)
    if not np.isfinite(given).all():
        raise ValueError("scenarios must be finite")
    mean = _means(part, given)
    variance = _means(part, (given - mean) ** 2)
    return Scenarios(mean + math.sqrt(1 - width * width) * (given - mean), part, width * width * variance)


def _means(weights, columns):
    """Weighted mean of each column, exact before it is rounded: the same bits on every machine."""
    return np.array([math.fsum(weights * column) for column in columns.T])
