"""A problem and a solution as `verify` sees them: demanded rows only, with who must, may and cannot be asked."""

import numpy as np

EDGE = 1e-12  # an entry nearer than this to the edge of eligibility may count either way


class View:
    """The problem as the checks see it: demanded rows only, with who must, may and cannot be asked."""

    def __init__(self, problem, solution):
        p = self.problem = problem
        side = p.demand_of[2 * p.asset + (p.quantity_lots < 0)]
        may = (side >= 0) & (p.quantity_lots != 0)
        if p.eligible is not None:
            may &= p.eligible
        self.rows = np.flatnonzero(may)
        self.k = side[self.rows]
        self.account = p.account[self.rows]
        self.equity = p.equity[self.account]
        self.lots = np.abs(p.quantity_lots[self.rows])
        self.free = self.lots if p.available_lots is None else p.available_lots[self.rows]
        self.price = p.lot_price[p.asset[self.rows]]
        self.rank = (np.arange(p.equity.size) if p.tie_rank is None else p.tie_rank)[self.account]
        self.taken = solution.reduction_lots[self.rows] if solution.reduction_lots is not None else None
        self.relaxed = solution.relaxed_lots[self.rows]
        self.haircut = p.haircut[self.k]
        notional = np.abs(p.quantity_lots) * p.lot_price[p.asset]
        self.gross = np.bincount(p.account, weights=notional, minlength=p.equity.size)
        self.solvent = self.equity > 0
        self.must, self.may = self._filtered(solution.options)

    def _filtered(self, options):
        p = self.problem
        must = (self.solvent | (self.haircut <= 0)) & (self.free > 0)
        may = must.copy()
        if (self.haircut > 0).any():
            give, own = self.haircut * self.gross[self.account], self.equity * self.price
            must &= (self.haircut <= 0) | (give < own * (1 - EDGE))
            may &= (self.haircut <= 0) | (give < own * (1 + EDGE))
        if options["protect_principal"]:
            side, asset = p.demand_side[self.k], p.asset[self.rows]
            gives = self.haircut / p.lot_size[asset]
            has = side * (p.mark_price[asset] - p.entry_price[self.rows])
            must &= gives <= has
            may &= gives <= has
        return must, may

    def per_demand(self, values, where):
        """Exact integer sum per demand."""
        out = np.zeros(self.problem.demand_lots.size, dtype=np.int64)
        np.add.at(out, self.k[where], values[where])
        return out

    def per_account(self, values):
        return np.bincount(self.account, weights=values, minlength=self.problem.equity.size)
