"""A general-purpose optimiser on the same problem, with losses by scipy: slow, and nothing of the solver's in it."""

import math

import numpy as np
from scipy import optimize, stats

from solver import Scenarios


def tail(k, nu):
    """(S, H) of the standard variable."""
    t = stats.norm if math.isinf(nu) else stats.t(nu)
    return t.sf(k), t.pdf(k) if math.isinf(nu) else t.pdf(k) * (nu + k * k) / (nu - 1)


class Book:
    """A problem of solvent accounts with one entry per account and asset, as a function of what is taken."""

    def __init__(self, problem, risk):
        self.problem, self.risk = problem, risk
        p = problem
        k = p.demand_of[2 * p.asset + (p.quantity_lots < 0)]
        self.rows = np.flatnonzero((k >= 0) & (p.equity[p.account] > 0))
        self.k = k[self.rows]
        self.free = np.abs(p.quantity_lots[self.rows]) * p.lot_price[p.asset[self.rows]]
        self.asked = p.demand_lots * p.lot_price[p.demand_asset]
        self.haircut = p.haircut / p.lot_price[p.demand_asset]
        self.y = np.zeros((p.equity.size, p.mark_price.size))
        np.add.at(self.y, (p.account, p.asset), p.quantity_lots * p.lot_price[p.asset])

    def loss(self, x):
        """(sum of expected losses, its gradient) after x notional of every row was taken."""
        p, rows = self.problem, self.rows
        y, e = self.y.copy(), p.equity.copy()
        side = np.sign(p.quantity_lots[rows])
        np.subtract.at(y, (p.account[rows], p.asset[rows]), side * x)
        np.subtract.at(e, p.account[rows], self.haircut[self.k] * x)
        total, pull, give = (self._scenarios if isinstance(self.risk, Scenarios) else self._elliptical)(y, e)
        slope = give[p.account[rows]] * self.haircut[self.k] - side * pull[p.account[rows], p.asset[rows]]
        return total[p.equity > 0].sum(), slope

    def _elliptical(self, y, e):
        sigma = self.risk.loadings @ self.risk.loadings.T + np.diag(self.risk.idiosyncratic)
        spread = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", y, sigma, y), 1e-300))
        s, h = tail(e / spread, self.risk.tail)
        return spread * h - e * s, (h / spread)[:, None] * (y @ sigma), s

    def _scenarios(self, y, e):
        width = self.risk.kernel_variance
        spread = np.sqrt(np.maximum((y * y) @ width, 1e-300))
        worth = e[:, None] + y @ self.risk.returns.T
        s, h = tail(worth / spread[:, None], math.inf)
        w = self.risk.weights
        loss = (spread[:, None] * h - worth * s) @ w
        pull = ((h @ w) / spread)[:, None] * (y * width) - (s * w) @ self.risk.returns
        return loss, pull, s @ w


def optimum(problem, risk, start=None):
    """(smallest expected loss that scipy finds, its allocation in notional per row of the Book)."""
    book = Book(problem, risk)
    total = np.bincount(book.k, book.free, book.asked.size)
    asked = np.minimum(book.asked, total)
    share = np.divide(asked, total, out=np.zeros_like(asked), where=total > 0)
    begin = book.free * share[book.k] if start is None else start
    height = max(book.loss(begin)[0], 1e-300)
    width = np.maximum(book.free, 1e-300)
    member = (book.k[None, :] == np.arange(asked.size)[:, None]) * book.free / np.maximum(asked, 1e-300)[:, None]
    found = optimize.minimize(
        lambda u: (lambda f, g: (f / height, g * width / height))(*book.loss(u * width)),
        begin / width, jac=True, method="SLSQP", bounds=[(0.0, 1.0)] * width.size,
        constraints=[{"type": "eq", "fun": lambda u: member[asked > 0] @ u - 1.0, "jac": lambda _: member[asked > 0]}],
        options={"maxiter": 500, "ftol": 1e-15},
    )  # fmt: skip
    return found.fun * height, found.x * width, float(np.abs(member[asked > 0] @ found.x - 1.0).max(initial=0.0))
