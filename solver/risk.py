"""Risk models a caller may pass: plain containers, checked for shape and finiteness at the door."""

import math

import numpy as np


class RiskModel:
    """Elliptical returns: scale matrix loadings @ loadings.T + diag(idiosyncratic), tail degrees of freedom."""

    def __init__(self, loadings, idiosyncratic, tail=4.0):
        self.loadings = np.ascontiguousarray(loadings, dtype=np.float64)
        self.idiosyncratic = np.ascontiguousarray(idiosyncratic, dtype=np.float64)
        self.tail = float(tail)
        if self.loadings.ndim != 2 or self.idiosyncratic.shape != (self.loadings.shape[0],):
            raise ValueError("loadings must be (assets, factors) and idiosyncratic (assets,)")
        if not (np.isfinite(self.loadings).all() and np.isfinite(self.idiosyncratic).all()):
            raise ValueError("loadings and idiosyncratic must be finite")
        if (self.idiosyncratic < 0).any():
            raise ValueError("idiosyncratic are variances and must not be negative")
        if math.isnan(self.tail) or self.tail <= 1:
            raise ValueError(f"tail must be above 1 degree of freedom, was {self.tail}")


class Scenarios:
    """Weighted scenarios of returns with a Gaussian kernel of the given variance per asset."""

    def __init__(self, returns, weights, kernel_variance):
        self.returns = np.ascontiguousarray(returns, dtype=np.float64)
        self.weights = np.ascontiguousarray(weights, dtype=np.float64)
        self.kernel_variance = np.ascontiguousarray(kernel_variance, dtype=np.float64)
        shape = self.returns.shape
        if len(shape) != 2 or self.weights.shape != shape[:1] or self.kernel_variance.shape != shape[1:]:
            raise ValueError("returns must be (scenarios, assets), weights (scenarios,), kernel_variance (assets,)")
        if not all(np.isfinite(a).all() for a in (self.returns, self.weights, self.kernel_variance)):
            raise ValueError("scenarios must be finite")
        if (self.weights < 0).any() or (self.kernel_variance < 0).any():
            raise ValueError("weights and kernel_variance must not be negative")
