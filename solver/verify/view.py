"""A problem and a solution as `verify` sees them: rows that may be asked, and the positions of solvent accounts."""

import numpy as np

PROFIT_MIN = 1e-150  # quote currency: less is none
EDGE = 1e-12  # an entry nearer than this to the edge of eligibility counts if it was asked, and need not be


class Demands:
    """Sums, maxima and minima per demand of values that belong to the demands k."""

    def __init__(self, k, size):
        self.size = size
        # Sorting small integers is a radix sort; a sum per demand is then the sum of a stretch.
        self.order = np.argsort(k.astype(np.int16) if size < 2**15 else k, kind="stable")
        k = k[self.order]
        self.first = np.flatnonzero(np.append(True, k[1:] != k[:-1])) if k.size else np.zeros(0, dtype=np.int64)
        self.present = k[self.first]

    def reduce(self, function, values, empty):
        """`function` (np.add, np.maximum, np.minimum) of the values of every demand, int or float[K]."""
        out = np.full(self.size, empty, dtype=values.dtype)
        if self.first.size:
            out[self.present] = function.reduceat(values[self.order], self.first)
        return out


class View:
    """Rows of a demanded (asset, side) that the caller allows."""

    def __init__(self, problem, solution):
        p = self.problem = problem
        demand = p.demand_of[2 * p.asset + (p.quantity_lots < 0)]
        asked = (demand >= 0) & (p.quantity_lots != 0)
        if p.eligible is not None:
            asked &= p.eligible
        self.rows = np.flatnonzero(asked)
        self.k = demand[self.rows]
        self.demands = Demands(self.k, p.demand_lots.size)
        self.account = p.account[self.rows]
        self.equity = p.equity[self.account]
        self.lots = np.abs(p.quantity_lots[self.rows])
        self.free = self.lots if p.available_lots is None else p.available_lots[self.rows]
        self.price = p.lot_price[p.demand_asset][self.k]
        self.haircut = p.haircut[self.k]
        self.reduction_lots = solution.reduction_lots
        self.taken = None if self.reduction_lots is None else self.reduction_lots[self.rows]
        self.relaxed = solution.relaxed_lots[self.rows]
        self.given = self.relaxed if self.taken is None else self.taken
        self.solvent = self.equity > 0
        rest = np.flatnonzero(~asked)
        notional = np.abs(p.quantity_lots[rest]) * p.lot_price[p.asset[rest]]
        self.others = np.bincount(p.account[rest], weights=notional, minlength=p.equity.size)
        self.gross, _ = self.after(0)
        self.must, self.may = self._filtered(solution.options)
        if solution.policy in ("pro_rata:profit", "min_max_haircut"):
            self._earning(solution.policy)

    def _filtered(self, options):
        p = self.problem
        must = (self.solvent | (self.haircut <= 0)) & (self.free > 0)
        may = must
        if (p.haircut > 0).any():
            give, own = self.haircut * self.gross[self.account], self.equity * self.price
            may = must & ((self.haircut <= 0) | (give < own * (1 + EDGE)))
            must = must & ((self.haircut <= 0) | (give < own * (1 - EDGE)) | (may & (self.relaxed > 0)))
        if options["protect_principal"]:
            side, asset = p.demand_side[self.k], p.asset[self.rows]
            gives = self.haircut / p.lot_size[asset]
            has = side * (p.mark_price[asset] - p.entry_price[self.rows])
            must, may = must & (gives <= has), may & (gives <= has)
        return must, may

    def _earning(self, policy):
        """Solvent accounts give of their profits only: `profit` per row, `owned` by the account in rows it may give."""
        p, asset = self.problem, self.problem.asset[self.rows]
        gain = np.sign(p.quantity_lots[self.rows]) * (p.mark_price[asset] - p.entry_price[self.rows])
        profit = gain * (self.lots * p.lot_size[asset])
        self.profit = np.where(self.must & (p.demand_lots[self.k] > 0) & (profit > PROFIT_MIN), profit, 0.0)
        self.owned = np.bincount(self.account, self.profit, p.equity.size)[self.account]
        earns = self.profit > 0
        if policy == "min_max_haircut":
            earns = np.where(self.haircut > 0, self.owned > 0, earns)
        self.must, self.may = self.must & (earns | ~self.solvent), self.may & (earns | ~self.solvent)

    def rank(self, account):
        return account if self.problem.tie_rank is None else self.problem.tie_rank[account]

    def after(self, lots):
        """Gross notional and equity per account after `lots` of the rows; gross is built from what remains."""
        p = self.problem
        left = np.bincount(self.account, weights=self.price * (self.lots - lots), minlength=p.equity.size)
        if not p.haircut.any():
            return self.others + left, p.equity
        return self.others + left, p.equity - np.bincount(self.account, self.haircut * lots, p.equity.size)


def leverage_of(gross, equity):
    """Leverage per account; 0 where nothing is held."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lev = gross / equity
    if equity.size and equity.min() <= 0:
        lev[(equity <= 0) & (gross > 0)] = np.inf
        lev[gross <= 0] = 0.0
    return lev


class Positions:
    """Rows of a mask, where several rows of one account and demand are one position; in order of account."""

    def __init__(self, view, mask):
        self.rows = slice(None) if mask.all() else np.flatnonzero(mask)
        k, account = view.k[self.rows], view.account[self.rows]
        self.demands = view.demands if mask.all() else Demands(k, view.demands.size)
        twin_k, twin_account = k[self.demands.order], account[self.demands.order]
        self.first = None
        if ((twin_k[1:] == twin_k[:-1]) & (twin_account[1:] == twin_account[:-1])).any():
            key = account * np.int64(view.demands.size) + k
            self.order = np.argsort(key, kind="stable")
            key = key[self.order]
            self.start = np.flatnonzero(np.append(True, key[1:] != key[:-1]))
            self.first = self.order[self.start]
            self.demands = Demands(k[self.first], view.demands.size)
        self.k, self.account, self.price, self.haircut, self.row = (
            self.one(column) for column in (view.k, view.account, view.price, view.haircut, view.rows)
        )
        self.lots, self.free, self.relaxed = (self.total(column) for column in (view.lots, view.free, view.relaxed))
        self.taken = None if view.taken is None else self.total(view.taken)

    def one(self, column):
        """A column of rows that all rows of a position have in common, or its first row's."""
        column = column[self.rows]
        return column if self.first is None else column[self.first]

    def total(self, column):
        """Sums of a column of rows."""
        column = column[self.rows]
        return column if self.first is None else np.add.reduceat(column[self.order], self.start)
