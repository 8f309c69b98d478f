"""Exposures of accounts after some lots were taken, and the marginals of what may be asked, block by block of accounts.

Plain sums in the order of rows; whole lots of one account and asset are added up before they are multiplied by a price.
"""

from dataclasses import dataclass

import numpy as np

from solver.verify.losses import ULP, Exposure, Item

CELLS = 2**21  # of a block: rows times columns of the model


@dataclass
class Survey:
    """Columns of the items, and the expected loss of every account where it was asked for."""

    slope: np.ndarray  # m, per unit of notional
    error: np.ndarray  # bound on its rounding
    steepest: np.ndarray
    loss: np.ndarray | None  # float[N]


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
        self.pair, self.to_pair = key, np.arange(key.size)
        if (key[1:] <= key[:-1]).any():
            self.pair, self.to_pair = np.unique(key, return_inverse=True)
        self.pair_account, self.pair_asset = np.divmod(self.pair, max(problem.mark_price.size, 1))
        held = np.bincount(self.to_pair, np.abs(self.lots), self.pair.size)
        self.held = held * problem.lot_price[self.pair_asset]

    def state(self, taken):
        """Exposure of the accounts, and net notional per pair, with `taken` lots (float or int[P], or None) gone."""
        p, law, pairs = self.problem, self.law, self.pair.size
        left, equity = self.lots.astype(np.float64), p.equity[self.first : self.first + self.size]
        gone = np.zeros(self.size)
        if taken is not None:
            lots = taken[self.rows]
            left = left - np.sign(self.lots) * lots
            k = p.demand_of[2 * self.asset + (self.lots < 0)]
            given = np.where(k >= 0, p.haircut[k] if p.haircut.size else 0.0, 0.0) * lots
            gone = np.bincount(self.account, np.abs(given), self.size)
            equity = equity - np.bincount(self.account, given, self.size)
        net = np.bincount(self.to_pair, left, pairs) * p.lot_price[self.pair_asset]
        total = np.empty((self.size, law.loadings.shape[1]))
        total_error = np.empty_like(total)
        for c in range(total.shape[1]):
            weight = law.loadings[self.pair_asset, c]
            total[:, c] = np.bincount(self.pair_account, net * weight, self.size)
            total_error[:, c] = 8 * ULP * np.bincount(self.pair_account, self.held * np.abs(weight), self.size)
        idiosyncratic = law.idiosyncratic[self.pair_asset]
        variance = np.bincount(self.pair_account, idiosyncratic * net * net, self.size)
        noise = 16 * ULP * np.bincount(self.pair_account, idiosyncratic * np.abs(net) * self.held, self.size)
        at_rest = (8 * ULP) ** 2 * np.bincount(self.pair_account, idiosyncratic * self.held**2, self.size)
        equity_error = 8 * ULP * (np.abs(p.equity[self.first : self.first + self.size]) + gone)
        return Exposure(total, variance, equity, total_error, noise + at_rest, equity_error), net

    def items(self, asked, chosen, net, back):
        """(Exposure index, Item) of the positions `chosen`, each with `back` lots of its own not taken."""
        p, k = self.problem, asked.k[chosen]
        asset, account = p.demand_asset[k], asked.account[chosen] - self.first
        pair = np.searchsorted(self.pair, account * np.int64(p.mark_price.size) + asset)
        side = p.demand_side[k].astype(np.float64)
        position = net[pair] + side * back * p.lot_price[asset]
        haircut = p.haircut[k] / p.lot_price[asset]
        return account, pair, Item(
            side, self.law.loadings[asset], self.law.idiosyncratic[asset], position, self.held[pair], haircut
        )  # fmt: skip


def surveys(problem, law, asked, takes):
    """A Survey of the positions `asked` for each of `takes`: (lots that are gone or None, lots of its own given back).

    Every item is looked at with the second number of lots of itself, and of nothing else, not taken. `steepest` is of
    the surveys without lots given back, slopes of those with lots; the loss is of the first survey of the same lots.
    """
    count, size = asked.k.size, problem.equity.size
    first_of = [all(other is not taken for other, _ in takes[:at]) for at, (taken, _) in enumerate(takes)]
    found = [Survey(*(np.zeros(count) for _ in range(3)), np.zeros(size) if new else None) for new in first_of]
    for first, last in blocks(problem, law.loadings.shape[1]):
        block = Block(problem, law, first, last)
        chosen = slice(*np.searchsorted(asked.account, [first, last]).tolist())
        for out, (taken, back) in zip(found, takes, strict=True):
            if out.loss is not None:
                state, net = block.state(taken)
                out.loss[first:last] = law.loss(state)
            if chosen.start < chosen.stop and taken is None:
                account, _, item = block.items(asked, chosen, net, 0.0)
                out.steepest[chosen] = law.steepest(state.of(account), item)
            elif chosen.start < chosen.stop:
                _items(block, asked, chosen, state, net, back, out)
    return found


def _items(block, asked, chosen, state, net, back, out):
    """Fill the stretch `chosen` of a Survey."""
    account, pair, item = block.items(asked, chosen, net, float(back))
    at = state.of(account)
    if back:
        moved = item.position - net[pair]
        at.total = at.total + item.loading * moved[:, None]
        change = item.idiosyncratic * (item.position**2 - net[pair] ** 2)
        at.variance = np.maximum(at.variance + change, 0.0)
        at.equity = at.equity + item.haircut * np.abs(moved)
    else:
        out.steepest[chosen] = block.law.steepest(at, item)
    out.slope[chosen], out.error[chosen] = block.law.slope(at, item)
