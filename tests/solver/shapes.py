"""Seeded random problems of every awkward shape, with a risk model, in whole lots.

Rule: a shape is one name in SHAPES and what the name changes in `draw`; seeds run through the shapes in turn.
"""

import numpy as np

from solver import Problem, RiskModel

SHAPES = (
    "plain", "wide_scale", "hedged", "identical", "equal_leverage", "tiny_equity", "huge_equity", "haircut",
    "big_haircut", "bonus", "whole_positions", "near_full", "one_lot", "some_full", "some_none", "partial_available",
    "single_position", "market_makers", "no_factor", "one_factor", "few", "coarse_lots", "both_sides", "two_legs",
    "leg_stays", "perfectly_hedged", "insolvent", "twins", "mix",
)  # fmt: skip

LOTS = 1e12  # of the largest position, before copies and hedges


def draw(seed, shape=None, times=1):
    """Return (arguments of a Problem, loadings, idiosyncratic); times as many accounts as usual, which are 2 to 300."""
    rng = np.random.default_rng(seed)
    shape = shape or SHAPES[seed % len(SHAPES)]
    n, m, factors = _sizes(rng, shape)
    n *= times
    account, asset = _entries(rng, shape, n, m)
    loadings, idiosyncratic = _risk(rng, shape, m, factors)
    price = np.exp(rng.normal(0, 2, m))
    notional = _notional(rng, shape, account, n)
    fine = 1.0 if shape == "coarse_lots" else 10.0 ** rng.uniform(0, 8)
    fine = min(fine, LOTS / (np.abs(notional) / price[asset]).max())
    quantity = np.sign(notional) * np.maximum(1, np.rint(np.abs(notional) / price[asset] * fine))
    price = price / fine
    if shape == "hedged":
        loadings, quantity = _hedge(rng, loadings, account, asset, quantity, price)
    if shape in ("two_legs", "leg_stays", "mix"):
        account, asset, quantity = _second_leg(rng, account, asset, quantity, exact=False)
    if shape == "perfectly_hedged":
        account, asset, quantity = _second_leg(rng, account, asset, quantity, exact=True)
        idiosyncratic = idiosyncratic * (rng.random() < 0.5)
    gross = np.bincount(account, np.abs(quantity) * price[asset], n)
    equity = _equity(rng, shape, gross)
    if shape in ("identical", "twins"):
        account, asset, quantity, equity = _copies(rng, shape, account, asset, quantity, equity)
    arguments = {
        "account": account, "asset": asset, "quantity_lots": quantity.astype(np.int64), "equity": equity,
        "mark_price": price, "tie_rank": rng.permutation(equity.size),
    }  # fmt: skip
    arguments |= _demanded(rng, shape, arguments)
    return arguments, loadings, idiosyncratic


def problem(seed, tail=4.0, shape=None):
    """Return (Problem, RiskModel)."""
    arguments, loadings, idiosyncratic = draw(seed, shape)
    return Problem(**arguments), RiskModel(loadings, idiosyncratic, tail)


def _sizes(rng, shape):
    n, m = int(np.exp(rng.uniform(np.log(2), np.log(300)))), int(np.exp(rng.uniform(0, np.log(40))))
    if shape == "few":
        n, m = int(rng.integers(2, 30)), int(rng.integers(1, 6))
    factors = {"no_factor": 0, "one_factor": 1}.get(shape, int(rng.integers(0, 6)))
    return n, m, max(factors, 1) if shape == "hedged" else factors


def _entries(rng, shape, n, m):
    most = 1 if shape == "single_position" else int(rng.integers(1, 9))
    count = np.minimum(rng.integers(1, most + 1, n), m)
    if shape == "market_makers":
        count[: max(1, n // 10)] = m
    asset = np.concatenate([rng.choice(m, c, replace=False) for c in count])
    return np.repeat(np.arange(n), count), asset


def _risk(rng, shape, m, factors):
    loadings = 0.02 * rng.normal(size=(m, factors))
    loadings[:, :1] = 0.05 * (0.8 + 0.5 * rng.random((m, min(factors, 1))))
    idiosyncratic = (0.02 + 0.04 * rng.random(m)) ** 2
    if shape == "one_factor":
        idiosyncratic[:] = 0.0
    if shape == "hedged":
        idiosyncratic *= 10.0 ** rng.uniform(-8, 0)
    return loadings, idiosyncratic


def _notional(rng, shape, account, n):
    spread = 4.0 if shape == "wide_scale" else rng.choice([0.3, 1.5, 2.5])
    size = np.exp(rng.normal(7, spread, n))[account] * np.exp(rng.normal(0, 0.7, account.size))
    tilt = rng.choice([-1, 1], n)[account]
    return size * np.where(rng.random(account.size) < rng.choice([0.5, 0.7, 0.95]), tilt, -tilt)


def _hedge(rng, loadings, account, asset, quantity, price):
    """Last positions that take away the first factor of the account, as exactly as whole lots allow."""
    for i in np.unique(account):
        rows = np.flatnonzero(account == i)
        if rows.size > 1 and rng.random() < 0.8:
            beta = loadings[asset[rows], 0] * price[asset[rows]]
            lots = -(beta[:-1] @ quantity[rows[:-1]]) / beta[-1] * (1 if rng.random() < 0.5 else rng.normal(1, 1e-3))
            quantity[rows[-1]] = np.rint(np.clip(lots, -100 * LOTS, 100 * LOTS)) or 1
    return loadings, quantity


def _second_leg(rng, account, asset, quantity, exact):
    """Some positions get a leg on the other side, of the same size where `exact`."""
    twice = np.flatnonzero(rng.random(account.size) < 0.5)
    share = np.ones(twice.size) if exact else rng.choice([0.01, 0.5, 1.0, 3.0], twice.size)
    other = -np.sign(quantity[twice]) * np.maximum(1, np.rint(np.abs(quantity[twice]) * share))
    account, asset = np.append(account, account[twice]), np.append(asset, asset[twice])
    quantity = np.append(quantity, other)
    order = np.argsort(account, kind="stable")
    return account[order], asset[order], quantity[order]


def _equity(rng, shape, gross):
    leverage = np.exp(rng.normal(1.0, rng.choice([0.1, 0.9, 2.0]), gross.size))
    if shape == "equal_leverage":
        leverage[:] = leverage[0]
    equity = gross / np.clip(leverage, 1e-6, 1e4)
    if shape in ("tiny_equity", "mix"):
        some = rng.random(gross.size) < 0.4
        equity[some] *= 10.0 ** rng.uniform(-12, -3, some.sum())
    if shape in ("huge_equity", "mix"):
        some = rng.random(gross.size) < rng.choice([0.9, 0.4])
        equity[some] *= 10.0 ** rng.uniform(2, 6, some.sum())
    if shape in ("insolvent", "mix"):
        some = rng.random(gross.size) < 0.3
        equity[some] *= -rng.integers(0, 2, some.sum())
    return equity


def _copies(rng, shape, account, asset, quantity, equity):
    """Several accounts alike (twins), or alike but for a power of ten."""
    count = int(rng.integers(2, 8))
    rows = account < max(1, equity.size // count)
    account, asset, quantity, equity = (
        account[rows],
        asset[rows],
        quantity[rows],
        equity[: max(1, equity.size // count)],
    )
    powers = 10.0 ** rng.integers(0, 4, count) if shape == "identical" else np.ones(count)
    return (
        np.concatenate([account + c * equity.size for c in range(count)]), np.tile(asset, count),
        np.concatenate([quantity * power for power in powers]), np.concatenate([equity * power for power in powers]),
    )  # fmt: skip


def _demanded(rng, shape, arguments):
    """What is asked, at which price, and of how much of each entry."""
    account, asset, quantity = arguments["account"], arguments["asset"], arguments["quantity_lots"]
    price, m = arguments["mark_price"], arguments["mark_price"].size
    sides = rng.choice([-1, 1], m)
    wanted = np.flatnonzero(rng.random(m) >= rng.choice([0.0, 0.3, 0.8]))
    wanted = wanted if wanted.size else np.array([0])
    pairs = [(j, sides[j]) for j in wanted]
    if shape in ("both_sides", "two_legs", "perfectly_hedged", "mix"):
        pairs += [(j, -sides[j]) for j in wanted if rng.random() < 0.7]
    of, side = np.array(pairs).T
    more = {"demand_asset": of, "demand_side": side}
    free = np.abs(quantity)
    if shape in ("partial_available", "mix"):
        free = np.where(rng.random(free.size) < 0.5, (free * rng.random(free.size)).astype(np.int64), free)
        free[rng.random(free.size) < 0.1] = 0
        more["available_lots"] = free
    cut = np.zeros(of.size)
    if shape in ("haircut", "mix"):
        cut = np.where(rng.random(of.size) < 0.7, rng.uniform(0, 0.05, of.size), 0.0)
    if shape == "big_haircut":
        cut = rng.uniform(0, 0.6, of.size)
    if shape == "bonus":
        cut = -rng.uniform(0, 0.1, of.size)
    if cut.any():
        more["demand_price"] = price[of] * (1 - side * cut)
    solvent = arguments["equity"][account] > 0
    total = np.array([free[(asset == j) & (np.sign(quantity) == s) & solvent].sum() for j, s in pairs])
    if shape == "whole_positions":
        given = np.where(rng.random(free.size) < rng.choice([0.1, 0.5, 0.9]), free, 0) * solvent
        lots = np.array([given[(asset == j) & (np.sign(quantity) == s)].sum() for j, s in pairs])
    else:
        lots = np.rint(_share(rng, shape, of.size) * total)
        lots = np.clip(lots, np.minimum(1, total), total)
    if shape in ("some_none", "mix"):
        lots[rng.random(lots.size) < 0.3] = 0
    more["demand_lots"] = lots.astype(np.int64)
    return more


def _share(rng, shape, count):
    if shape == "near_full":
        return 1 - 10.0 ** rng.uniform(-10, -1, count)
    if shape == "one_lot":
        return 10.0 ** rng.uniform(-12, -4, count)
    kinds = (
        10.0 ** rng.uniform(-9, -3, count), rng.uniform(0.001, 0.1, count), rng.uniform(0.1, 0.6, count),
        rng.uniform(0.6, 0.99, count), 1 - 10.0 ** rng.uniform(-6, -2, count), np.full(count, 0.5),
    )  # fmt: skip
    share = np.choose(rng.integers(0, 6, count) if rng.random() < 0.5 else np.full(count, rng.integers(0, 6)), kinds)
    return np.where(rng.random(count) < 0.5, 1.0, share) if shape == "some_full" else share
