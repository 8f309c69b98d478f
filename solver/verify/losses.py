"""Expected loss of accounts and what one unit of notional less takes off it, in terms of k = E / sigma.

L = E[max(0, -(E + y . R))] of remaining notional y and equity E, after Campbell et al. 2026; the marginal of a demand
on side s of asset j with haircut d per unit of notional is m = -dL/dx = H(k) s (Sigma y)_j / sigma - S(k) d. Scenarios
are a mixture: given one, equity is E + y . R_s and sigma the kernel's. Every marginal comes with a bound on the error
that rounded exposures and rounded x leave in it.
"""

import math
from dataclasses import dataclass

import numpy as np

from solver.risk import Scenarios
from solver.verify.tails import tail

ULP = 2.0**-52
# Two marginals nearer than this, relatively, may be one: tails are good to 1e-10, that of 4 degrees to rounding.
SAME = 1e-9


@dataclass
class Exposure:
    """State of n accounts, or of the accounts of n items; `*_error` bound the rounding of each column."""

    total: np.ndarray  # float[n, C], exposure to each column of the model: a factor or a scenario's return
    variance: np.ndarray  # float[n], sum of D y^2 over net positions
    equity: np.ndarray  # float[n]
    total_error: np.ndarray
    variance_error: np.ndarray
    equity_error: np.ndarray

    def of(self, index):
        """The states of the accounts in `index`."""
        return Exposure(*(column[index] for column in vars(self).values()))


@dataclass
class Item:
    """Columns of n items as the marginals need them."""

    side: np.ndarray  # +1 longs, -1 shorts
    loading: np.ndarray  # float[n, C], the asset's
    idiosyncratic: np.ndarray  # float[n]
    position: np.ndarray  # float[n], net notional of the account in the asset
    held: np.ndarray  # float[n], the largest notional that was added up for it: x is known to an ulp of it
    haircut: np.ndarray  # float[n], per unit of notional


class Elliptical:
    """Returns of scale matrix B B' + diag(D) and tail nu."""

    def __init__(self, risk):
        self.loadings, self.idiosyncratic, self.nu = risk.loadings, risk.idiosyncratic, risk.tail
        self.same = 1e-12 if self.nu == 4.0 else SAME

    def loss(self, at):
        sigma = np.sqrt(_dot(at.total, at.total) + at.variance)
        k = _ratio(at.equity, sigma)
        _, s, h = tail(k, self.nu)
        # Without sigma the loss is what equity is short of; elsewhere sigma (H - k S), which rounding may push below 0.
        with np.errstate(invalid="ignore"):
            return np.where(np.isinf(k), np.maximum(-at.equity, 0.0), np.maximum(sigma * (h - k * s), 0.0))

    def slope(self, at, item):
        """m[n], its error[n] and the largest m[n] of any position of that risk and equity, per unit of notional."""
        variance = _dot(at.total, at.total) + at.variance
        sigma = np.sqrt(variance)
        own = item.idiosyncratic * item.position
        c = item.side * (_dot(item.loading, at.total) + own)
        squared = _dot(item.loading, item.loading) + item.idiosyncratic
        variance_error = 2.0 * _dot(np.abs(at.total), at.total_error) + at.variance_error
        c_error = _dot(np.abs(item.loading), at.total_error) + 8 * ULP * item.idiosyncratic * item.held
        k = _ratio(at.equity, sigma)
        g, s, h = tail(k, self.nu)
        with np.errstate(divide="ignore", invalid="ignore"):
            m = np.where(np.isinf(k), 0.0, h * c / sigma) - s * item.haircut
            slant = g * np.where(np.isinf(k), 0.0, k) / variance  # -d2L / dE d(sigma^2) twice over
            bend = (slant * k - h / variance) / sigma
            error = (
                h / sigma * c_error
                + 0.5 * np.abs(bend * c) * variance_error
                + np.abs(slant * c) * at.equity_error
                + 0.5 * np.abs(slant * item.haircut) * variance_error
                + g / sigma * np.abs(item.haircut) * at.equity_error
                + 64 * ULP * (np.abs(h * c / sigma) + s * np.abs(item.haircut))
            )
        # Where sigma itself is rounding, m is anything up to its value at the largest sigma that it may be.
        error[np.isnan(error)] = np.inf
        vague = np.flatnonzero(~(variance_error < 0.25 * variance))
        if vague.size:
            most = _ratio((at.equity - at.equity_error)[vague], np.sqrt(variance + variance_error)[vague])
            _, s, most = tail(most, self.nu)
            error[vague] = most * np.sqrt(squared[vague]) + s * np.abs(item.haircut[vague])
        return m, error, h * np.sqrt(squared)


class Mixture:
    """Scenarios of returns, each with a normal kernel of variance D."""

    def __init__(self, risk):
        self.loadings, self.idiosyncratic = np.ascontiguousarray(risk.returns.T), risk.kernel_variance
        self.weights, self.same = risk.weights, SAME

    def _tails(self, at):
        left = at.equity[:, None] + at.total
        k = _ratio(left, np.broadcast_to(np.sqrt(at.variance)[:, None], left.shape))
        return left, k, *(part.reshape(k.shape) for part in tail(k.ravel(), math.inf))

    def loss(self, at):
        sigma = np.sqrt(at.variance)[:, None]
        left, k, _, s, h = self._tails(at)
        with np.errstate(invalid="ignore"):
            each = np.where(np.isinf(k), np.maximum(-left, 0.0), np.maximum(sigma * (h - k * s), 0.0))
        return each @ self.weights

    def slope(self, at, item):
        """m[n], its error[n] and the largest m[n] of any position of that risk and equity, per unit of notional."""
        sigma = np.sqrt(at.variance)
        left, k, g, s, h = self._tails(at)
        left_error = at.equity_error[:, None] + at.total_error
        gives = item.haircut[:, None] + item.side[:, None] * item.loading
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = np.where(sigma > 0, item.side * item.idiosyncratic * item.position / sigma, 0.0)
            relative = np.where(sigma > 0, at.variance_error / at.variance, np.inf)
            m = (h * pull[:, None] - s * gives) @ self.weights
            # d(H pull - S gives) = g (pull, gives) of dk and of d(pull), dk = d(left) / sigma - k d(sigma) / sigma.
            dk = left_error / sigma[:, None] + 0.5 * np.abs(k) * relative[:, None]
            error = (
                g * (np.abs(k * pull[:, None]) + np.abs(gives)) * dk
                + h * np.abs(pull[:, None]) * (relative[:, None] + 64 * ULP)
                + h * (8 * ULP * item.idiosyncratic * item.held / sigma)[:, None]
                + 64 * ULP * s * np.abs(gives)
            )
        # Without a kernel a scenario in which equity is nothing counts for any part of its weight.
        kink = ~(dk < 0.5) & (np.abs(left) <= left_error + 8 * np.sqrt(at.variance + at.variance_error)[:, None])
        most = np.abs(gives) + np.sqrt(item.idiosyncratic)[:, None]
        error = np.where(kink, most, np.where(np.isfinite(error), error, 0.0)) @ self.weights
        return m, error, (h * np.sqrt(item.idiosyncratic)[:, None] + s * np.abs(item.loading)) @ self.weights


def _dot(a, b):
    """Row by row; a sum over a short last axis takes many times as long."""
    return np.einsum("ij,ij->i", a, b)


def _ratio(equity, sigma):
    """E / sigma; infinite, with the sign of E, where there is no sigma."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.where(sigma > 0, equity / sigma, np.where(equity < 0, -np.inf, np.inf))


def law(risk):
    """The model of a RiskModel or of Scenarios."""
    return Mixture(risk) if isinstance(risk, Scenarios) else Elliptical(risk)
