"""What reducing a position removes of its account's risk, for reports: at first, afterwards, and did it stand alone.

With remaining notional y, equity E after haircuts, Sigma = B B' + diag(D), v = y' Sigma y and side s, the expected loss
L(v, E) of Campbell et al. 2026 falls by m = rr s (Sigma y)_j - S d_j per unit of notional reduced in asset j.
"""

from functools import cache

import numpy as np
from numba import njit

from solver.loss.model import curves, tail_of

_tail = cache(tail_of)  # takes 10 ms


@njit(cache=True, error_model="numpy")
def _marginals(rows, alone, account, asset, lots, lot_price, equity, loading, idiosyncratic, tail, side, haircut, out):
    """Writes m of each entry of `rows`; entries of an account are contiguous, sums in their order."""
    factors = loading.shape[1]
    net = np.zeros(lot_price.size)
    factor = np.empty(factors)
    for n in range(rows.size):
        row = rows[n]
        first, last = row, row + 1
        if not alone:
            while first > 0 and account[first - 1] == account[row]:
                first -= 1
            while last < account.size and account[last] == account[row]:
                last += 1
        factor[:] = 0.0
        for entry in range(first, last):
            net[asset[entry]] += lots[entry] * lot_price[asset[entry]]
        variance = 0.0
        for entry in range(first, last):
            j = asset[entry]
            y = lots[entry] * lot_price[j]
            for f in range(factors):
                factor[f] += loading[j, f] * y
            variance += idiosyncratic[j] * net[j] * y  # over both legs of a hedge: D times the net squared
        j = asset[row]
        own = idiosyncratic[j] * net[j]
        for f in range(factors):
            variance += factor[f] * factor[f]
            own += loading[j, f] * factor[f]
        for entry in range(first, last):
            net[asset[entry]] = 0.0
        _, rr, survival, _, _, _ = curves(variance, equity[account[row]], tail)
        out[n] = rr * side[n] * own - survival * haircut[n]


def marginals(problem, risk, rows, reduction_lots=None, *, alone=False):
    """Risk removed per unit of notional by reducing each of the demanded entries `rows`, float of their number.

    `reduction_lots`: as the accounts stand after it. `alone`: as if the entry were all that its account holds.
    """
    demand = problem.demand_of[2 * problem.asset[rows] + (problem.quantity_lots[rows] < 0)]
    lots, equity = problem.quantity_lots, problem.equity
    if reduction_lots is not None:
        lots = lots - np.sign(lots) * reduction_lots
        taken = np.flatnonzero(reduction_lots)
        paid = problem.demand_of[2 * problem.asset[taken] + (problem.quantity_lots[taken] < 0)]
        equity = equity.copy()
        np.subtract.at(equity, problem.account[taken], problem.haircut[paid] * reduction_lots[taken])
    out = np.empty(rows.size)
    _marginals(
        rows, alone, problem.account, problem.asset, lots, problem.lot_price, equity, risk.loadings,
        risk.idiosyncratic, _tail(risk.tail), problem.demand_side[demand].astype(np.float64),
        problem.haircut[demand] / problem.lot_price[problem.asset[rows]], out,
    )  # fmt: skip
    return out
