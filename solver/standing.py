"""What a policy orders positions by, at the mark and before anything is taken: the figure behind a rank, per entry.

    risk, factor                     risk removed per unit of notional reduced, m of marginals.py without a haircut
    queue:NAME                       the score of that exchange's queue, queues.py
    waterfill                        G / E, for the largest leverage is lowered first
    pro_rata:contracts               part of the side's lots: all give together, this much of every lot
    pro_rata:profit, min_max_haircut part of the side's profit, likewise

Accounts without equity stand before all others where it costs them nothing, which it does at the mark: the most under
water per unit held is first (insolvent.py). Sums go in the order of the entries, so these must stand in one that does
not depend on arrival.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.items import gross_of
from solver.loss.model import curves_at_mark
from solver.policies.factor import one_factor
from solver.policies.queues import scores
from solver.policies.risk import tail
from solver.policies.shares import PROFIT_MIN

TIERS = 4  # in which the entries of one side are asked: normal accounts, then those marked last; insolvent ones first


class Held(NamedTuple):
    """The columns of a problem of which scores are made, without what is demanded; entries sorted by account."""

    account: np.ndarray  # int64[P]
    asset: np.ndarray  # int64[P]
    quantity_lots: np.ndarray  # int64[P], none 0
    mark_price: np.ndarray  # float64[M], as lot_price where lot_size is 1
    lot_price: np.ndarray  # float64[M]
    lot_size: np.ndarray  # float64[M]
    entry_price: np.ndarray  # float64[P]
    equity: np.ndarray  # float64[N]
    balance: np.ndarray  # float64[N]
    maintenance_margin: np.ndarray  # float64[N]


def tiers(held, last):
    """The tier of every entry, int64[P]; `last` bool[N]: accounts that are asked behind all others."""
    return (2 * last + (held.equity > 0.0))[held.account]


def figures(held, policy, risk, bucket):
    """The figure of every solvent entry, and what stands in its place for others, float64[P]; the larger is first.

    bucket int64[P]: entries of one number share what is taken from them. risk: the RiskModel of `risk` and `factor`.
    """
    if policy in ("risk", "factor"):
        model = one_factor(risk) if policy == "factor" else risk
        figure = marginals_at_mark(
            held.account, held.asset, held.quantity_lots, held.lot_price, held.equity, model.loadings,
            model.idiosyncratic, tail(model.tail),
        )  # fmt: skip
    elif policy.startswith("queue:"):
        figure = scores(held, policy[6:])
    elif policy == "waterfill":
        figure = scores(held, "effective_leverage")
    elif policy == "pro_rata:contracts":
        figure = parts(np.abs(held.quantity_lots).astype(np.float64), bucket)
    else:
        gain = np.sign(held.quantity_lots) * (held.mark_price[held.asset] - held.entry_price)
        profit = gain * (np.abs(held.quantity_lots) * held.lot_size[held.asset])
        figure = parts(np.where(profit > PROFIT_MIN, profit, 0.0), bucket)
    under_water(held.account, held.asset, held.quantity_lots, held.lot_price, held.equity, figure)
    return figure


@njit(cache=True, error_model="numpy")
def marginals_at_mark(account, asset, quantity, lot_price, equity, loading, idiosyncratic, tail_table):
    """m of every entry, one pass over each account: as `marginals.marginals` without haircuts, sums in its order."""
    out = np.empty(account.size)
    factors = loading.shape[1]
    net, factor = np.zeros(lot_price.size), np.empty(factors)
    first = 0
    while first < account.size:
        last = first
        while last < account.size and account[last] == account[first]:
            net[asset[last]] += quantity[last] * lot_price[asset[last]]
            last += 1
        factor[:] = 0.0
        variance = 0.0
        for entry in range(first, last):
            j = asset[entry]
            y = quantity[entry] * lot_price[j]
            for f in range(factors):
                factor[f] += loading[j, f] * y
            variance += idiosyncratic[j] * net[j] * y
        for f in range(factors):
            variance += factor[f] * factor[f]
        rr, _ = curves_at_mark(variance, equity[account[first]], tail_table)
        for entry in range(first, last):
            j = asset[entry]
            own = idiosyncratic[j] * net[j]
            for f in range(factors):
                own += loading[j, f] * factor[f]
            out[entry] = rr * own if quantity[entry] > 0 else -(rr * own)
        for entry in range(first, last):
            net[asset[entry]] = 0.0
        first = last
    return out


@njit(cache=True, error_model="numpy")
def parts(weight, bucket):
    """Each entry's part of the sum of its bucket's weights; 0 where that is 0."""
    total = np.zeros(bucket.max() + 1 if bucket.size else 0)
    for row in range(weight.size):
        total[bucket[row]] += weight[row]
    out = np.zeros(weight.size)
    for row in range(weight.size):
        if weight[row] > 0.0:
            out[row] = weight[row] / total[bucket[row]]
    return out


@njit(cache=True, error_model="numpy")
def under_water(account, asset, quantity, lot_price, equity, figure):
    """Writes -E / G over the figures of accounts without equity."""
    nothing = np.empty(0, np.int64)
    first = 0
    while first < account.size:
        last = first + 1
        while last < account.size and account[last] == account[first]:
            last += 1
        if not equity[account[first]] > 0.0:
            gross = gross_of(first, last, asset, quantity, lot_price, nothing)
            for entry in range(first, last):
                figure[entry] = -equity[account[first]] / gross
        first = last
