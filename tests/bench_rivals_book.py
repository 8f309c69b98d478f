"""A relaxed problem in notional, as general-purpose solvers want it, and what an allocation is worth, by scipy.

Rule: an allocation is judged only after it was made feasible, ours and theirs alike: a rival that leaves a little of a
demand open would else look better than the optimum. Nothing of the solver's kernels is used.
"""

import math

import numpy as np

from solver import Scenarios
from tests.solver.rival import tail


class Book:
    """Columns of a problem whose accounts are solvent and hold an asset once; n items may be taken, K demands."""

    def __init__(self, problem, risk):
        self.risk = risk
        p, price = problem, problem.lot_price
        of_row = p.demand_of[2 * p.asset + (p.quantity_lots < 0)]
        self.rows = np.flatnonzero(of_row >= 0)
        wanted, number = np.unique(of_row[self.rows], return_inverse=True)  # demands that anybody can meet
        asset, y = p.asset, p.quantity_lots * price[p.asset]
        held, self.account = np.unique(p.account[self.rows], return_inverse=True)
        self.demand, self.asset = number, asset[self.rows]
        self.side, self.available = np.sign(y[self.rows]), np.abs(y[self.rows])
        self.haircut = (p.haircut / price[p.demand_asset])[wanted][number]
        self.price = price[self.asset]
        self.equity, self.accounts = p.equity[held], held.size
        gross = np.bincount(p.account, np.abs(y), p.equity.size)
        self.unit = gross[held]  # what an account is measured in: the loss is homogeneous
        total = np.bincount(self.demand, self.available, wanted.size)
        self.asked = np.minimum((p.demand_lots * price[p.demand_asset])[wanted], total)
        loading, own = (risk.returns.T, risk.kernel_variance) if isinstance(risk, Scenarios) else (
            risk.loadings, risk.idiosyncratic
        )  # fmt: skip
        self.loading, self.own = self.side[:, None] * loading[self.asset], own[self.asset]
        self.factor = np.zeros((p.equity.size, loading.shape[1]))
        np.add.at(self.factor, p.account, y[:, None] * loading[asset])
        self.factor = self.factor[held]  # before anything is taken
        rest = of_row < 0
        self.variance = np.bincount(p.account[rest], own[asset[rest]] * y[rest] ** 2, p.equity.size)[held]

    def feasible(self, x):
        """x float[n] inside its bounds, every demand met: what is missing from all alike, by their room."""
        x = np.clip(np.nan_to_num(x), 0.0, self.available)
        taken = np.bincount(self.demand, x, self.asked.size)
        room = np.bincount(self.demand, self.available - x, self.asked.size)
        over = np.divide(self.asked, taken, out=np.ones_like(taken), where=taken > self.asked)
        under = np.divide(self.asked - taken, room, out=np.zeros_like(taken), where=taken < self.asked)
        return x * over[self.demand] + (self.available - x) * np.minimum(under, 1.0)[self.demand]

    def state(self, x):
        """(factor exposures or worth in scenarios, idiosyncratic variance, equity) per account after x was taken."""
        factor = self.factor.copy()
        np.subtract.at(factor, self.account, x[:, None] * self.loading)
        variance = self.variance + np.bincount(self.account, self.own * (self.available - x) ** 2, self.accounts)
        return factor, variance, self.equity - np.bincount(self.account, self.haircut * x, self.accounts)

    def losses(self, x, kernel=True):
        """Expected loss per account; scenarios without `kernel`: of the scenarios as they are."""
        factor, variance, equity = self.state(x)
        if not isinstance(self.risk, Scenarios):
            sigma = np.sqrt(np.maximum(variance + (factor * factor).sum(axis=1), 1e-300))
            survival, height = tail(equity / sigma, self.risk.tail)
            return sigma * height - equity * survival
        worth = equity[:, None] + factor
        if not kernel:
            return np.maximum(-worth, 0.0) @ self.risk.weights
        sigma = np.sqrt(np.maximum(variance, 1e-300))[:, None]
        survival, height = tail(worth / sigma, math.inf)
        return (sigma * height - worth * survival) @ self.risk.weights

    def loss(self, x, kernel=True):
        """Their sum once x was made feasible."""
        return float(self.losses(self.feasible(x), kernel).sum())

    def taken(self, solution):
        """x float[n] of a Solution."""
        return solution.relaxed_lots[self.rows] * self.price
