"""Exposures of accounts after some lots were taken, and the marginals of what may be asked, block by block of accounts.

Plain sums in the order of rows; whole lots of one account and asset are added up before they are multiplied by a price.
"""

import copy
from dataclasses import dataclass

import numpy as np

from solver.verify.losses import ULP, Exposure, Item

CELLS = 2**21  # of a block: rows times columns of the model


@dataclass
class Survey:
    """Columns of the positions asked for, and the expected loss of every account where it was asked for."""

    slope: np.ndarray  # m, per unit of notional
    error: np.ndarray  # bound on its rounding
    steepest: np.ndarray  # the largest m that any position of that risk and equity could have
    loss: np.ndarray | None  # float[N]


@dataclass
class Asked:
    """Positions that may be asked for, in order of account."""

    k: np.ndarray  # demand
    account: np.ndarray
    row: np.ndarray  # the first of the rows that make it up


class Part:
    """The accounts of a mask with all their rows and positions, numbered anew, as a problem of its own."""

    def __init__(self, problem, asked, chosen):
        number = np.cumsum(chosen) - 1
        self.rows, self.positions = np.flatnonzero(chosen[problem.account]), np.flatnonzero(chosen[asked.account])
        self.problem = copy.copy(problem)
        self.problem.account = number[problem.account[self.rows]]
        self.problem.asset = problem.asset[self.rows]
        self.problem.quantity_lots = problem.quantity_lots[self.rows]
        self.problem.equity = problem.equity[chosen]
        at = asked.account[self.positions], asked.row[self.positions]
        self.asked = Asked(asked.k[self.positions], number[at[0]], np.searchsorted(self.rows, at[1]))


def blocks(problem, columns):
    """Ranges of accounts whose rows and columns make up about CELLS cells."""
    rows = max(CELLS // max(columns, 1), 1)
    accounts = problem.equity.size
    cuts = problem.account[rows::rows] if problem.account.size else np.zeros(0, dtype=np.int64)
    # Accounts without rows are many only where rows are few; they cost a line each.
    ends = np.unique(np.concatenate([[0], cuts, np.arange(rows, accounts, rows), [accounts]]))
    return list(zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True))


class Block:
    """Rows of the accounts first..last-1, and the net positions they make up."""

    def __init__(self, problem, law, first, last):
        self.problem, self.law, self.first, self.size = problem, law, first, last - first
        self.rows = slice(*np.searchsorted(problem.account, [first, last]).tolist())
        self.account = problem.account[self.rows] - first
        self.asset = problem.asset[self.rows]
        self.lots = problem.quantity_lots[self.rows]
        key = self.account * np.int64(problem.mark_price.size) + self.asset
        self.pair, self.to_pair = key, None
        if (key[1:] <= key[:-1]).any():
            self.pair, self.to_pair = np.unique(key, return_inverse=True)
        self.pair_account, self.pair_asset = self.account, self.asset
        if self.to_pair is not None:
            self.pair_account, self.pair_asset = np.divmod(self.pair, max(problem.mark_price.size, 1))
        self.held = self.added_up(np.abs(self.lots)) * problem.lot_price[self.pair_asset]

    def added_up(self, lots):
        """Lots of rows as lots of pairs."""
        return lots if self.to_pair is None else np.bincount(self.to_pair, lots, self.pair.size)

    def of_accounts(self, column):
        """Sums of a column of pairs."""
        return np.bincount(self.pair_account, column, self.size)

    def state(self, taken):
        """Exposure of the accounts, and net notional per pair, with `taken` lots (float or int[P], or None) gone."""
        p, law = self.problem, self.law
        left, equity, gone = self.lots, p.equity[self.first : self.first + self.size], 0.0
        if taken is not None:
            lots = taken[self.rows]
            left = left - np.sign(self.lots) * lots
            if p.haircut.any():
                k = p.demand_of[2 * self.asset + (self.lots < 0)]
                given = np.where(k >= 0, p.haircut[k], 0.0) * lots
                gone = np.bincount(self.account, np.abs(given), self.size)
                equity = equity - np.bincount(self.account, given, self.size)
        net = self.added_up(left) * p.lot_price[self.pair_asset]
        total = np.empty((self.size, law.loadings.shape[1]))
        total_error = np.empty_like(total)
        for c in range(total.shape[1]):
            weight = law.loadings[self.pair_asset, c]
            total[:, c] = self.of_accounts(net * weight)
            total_error[:, c] = 8 * ULP * self.of_accounts(self.held * np.abs(weight))
        idiosyncratic = law.idiosyncratic[self.pair_asset]
        variance = self.of_accounts(idiosyncratic * net * net)
        noise = 16 * ULP * np.abs(net) * self.held + (8 * ULP * self.held) ** 2
        equity_error = 8 * ULP * (np.abs(p.equity[self.first : self.first + self.size]) + gone)
        return Exposure(
            total, variance, equity, total_error, self.of_accounts(idiosyncratic * noise), equity_error
        ), net  # fmt: skip

    def items(self, asked, chosen, net):
        """(account of the block, Item) of the positions `chosen`."""
        p, k = self.problem, asked.k[chosen]
        asset, pair = p.demand_asset[k], asked.row[chosen] - self.rows.start
        pair = pair if self.to_pair is None else self.to_pair[pair]
        side = p.demand_side[k].astype(np.float64)
        haircut = p.haircut[k] / p.lot_price[asset]
        return asked.account[chosen] - self.first, Item(
            side, self.law.loadings[asset], self.law.idiosyncratic[asset], net[pair], self.held[pair], haircut
        )  # fmt: skip


def survey(problem, law, asked, taken, *, loss=False):
    """The Survey of the positions `asked` where `taken` lots of every row (float or int[P], or None) are gone."""
    columns = (np.zeros(asked.k.size) for _ in range(3))
    found = Survey(*columns, np.zeros(problem.equity.size) if loss else None)
    for first, last in blocks(problem, law.loadings.shape[1]):
        block = Block(problem, law, first, last)
        state, net = block.state(taken)
        if loss:
            found.loss[first:last] = law.loss(state)
        chosen = slice(*np.searchsorted(asked.account, [first, last]).tolist())
        account, item = block.items(asked, chosen, net)
        found.slope[chosen], found.error[chosen], found.steepest[chosen] = law.slope(state.of(account), item)
    return found
