"""Large books of cross-margined accounts for tests and benchmarks, with the risk model that was used to measure.

Sizes of accounts and leverages are lognormal, assets of falling popularity, most of an account on one side; one factor
that all assets share and small ones.
"""

import numpy as np

from solver import RiskModel


def cross_margin(
    accounts, assets=200, factors=3, demands=50, share=0.1, *, tail=4.0, haircut=0.0, partial=False, both=False, seed=0
):
    """Return (arguments of a Problem, RiskModel).

    share: of the open interest on the demanded sides; haircut: the largest, per notional; partial: half of the rows
    may be taken only in part; both: every second demand is the other side of the one before.
    """
    rng = np.random.default_rng(seed)
    count = np.minimum(1 + rng.poisson(2.0, accounts), assets)
    account = np.repeat(np.arange(accounts), count)
    popularity = np.arange(1, assets + 1) ** -0.8
    asset = rng.choice(assets, account.size, p=popularity / popularity.sum())
    key = np.unique(account * assets + asset)
    account, asset = key // assets, key % assets
    size = np.exp(rng.normal(7, 1.8, accounts))[account] * np.exp(rng.normal(0, 0.5, account.size))
    side = rng.choice([-1, 1], accounts)[account] * np.where(rng.random(account.size) < 0.7, 1, -1)
    mark = 10 ** rng.uniform(-1, 3, assets)
    lot = 0.01 / mark
    quantity = side * np.maximum(1, np.rint(size / 0.01)).astype(np.int64)
    gross = np.bincount(account, np.abs(quantity) * 0.01, accounts)
    which = np.arange(demands) // 2 if both else np.arange(demands)
    sides = np.where(np.arange(demands) % (2 if both else 3) == 0, -1, 1)
    available = np.abs(quantity)
    if partial:
        available = np.where(rng.random(account.size) < 0.5, available, (available * rng.random(account.size)))
        available = available.astype(np.int64)
    of = np.full((assets, 2), -1)
    of[which, (sides > 0).astype(int)] = np.arange(demands)
    k = of[asset, (side > 0).astype(int)]
    total = np.bincount(k[k >= 0], available[k >= 0], demands).astype(np.int64)
    arguments = {
        "account": account, "asset": asset, "quantity_lots": quantity,
        "equity": gross / np.clip(np.exp(rng.normal(1.0, 0.9, accounts)), 0.1, 60), "mark_price": mark,
        "lot_size": lot, "demand_asset": which, "demand_side": sides,
        "demand_lots": np.maximum(1, (total * share).astype(np.int64)),
        "available_lots": available if partial else None,
    }  # fmt: skip
    if haircut:
        arguments["demand_price"] = mark[which] * (1 - sides * haircut * rng.uniform(-0.1, 1, demands))
    loadings = 0.02 * rng.normal(size=(assets, factors))
    if factors:
        loadings[:, 0] = 0.05 * (0.8 + 0.5 * rng.random(assets))
    return arguments, RiskModel(loadings, (0.02 + 0.04 * rng.random(assets)) ** 2, tail)


def permuted(arguments, seed=1):
    """The same book with its accounts numbered otherwise and an account's rows in another order; tie ranks follow.

    Returns (arguments, the row of the given book that each row was).
    """
    rng = np.random.default_rng(seed)
    new_of = rng.permutation(arguments["equity"].size)
    order = np.lexsort((rng.random(arguments["account"].size), new_of[arguments["account"]]))
    moved = dict(arguments)
    for name in ("asset", "quantity_lots", "available_lots"):
        if arguments.get(name) is not None:
            moved[name] = arguments[name][order]
    moved["account"] = new_of[arguments["account"]][order]
    old_of = np.argsort(new_of)
    moved["equity"] = arguments["equity"][old_of]
    moved["tie_rank"] = old_of
    return moved, order
