"""Seeded books with risk models for the tests of policies that minimise an expected loss."""

import math

import numpy as np

from solver import Problem, RiskModel
from tests.solver.books import random_arguments


def random_model(rng, assets, tail=None):
    """Up to three factors, with or without idiosyncratic risk, of any tail."""
    factors = rng.integers(0, 4)
    own = rng.uniform(0.0005, 0.01, assets) if factors == 0 or rng.random() < 0.8 else np.zeros(assets)
    tail = rng.choice([4.0, 4.0, 2.5, math.inf]) if tail is None else tail
    return RiskModel(rng.normal(0, 0.05, (assets, factors)), own, tail)


def awkward(seed):
    """(Problem, RiskModel) with hedges, twins, insolvent accounts, partial availability and haircuts."""
    rng = np.random.default_rng(seed)
    arguments = random_arguments(seed)
    arguments["demand_lots"] = (arguments["demand_lots"] * rng.choice([0.5, 0.9])).astype(int)
    problem = Problem(**arguments)
    return problem, random_model(rng, problem.mark_price.size)


def cross_book(seed, accounts=10, assets=4, demands=None, tail=None, rank=None, times=1, haircut=0.0):
    """(Problem, RiskModel): solvent accounts, one entry per account and asset.

    haircut: the largest, per notional, of a haircut or a bonus; below 1/30 every account can pay it.
    """
    rng = np.random.default_rng(seed)
    held = rng.random((accounts, assets)) < 0.7
    held[0] = True
    account, asset = np.nonzero(held)
    quantity = rng.integers(1, 1001, account.size) * rng.choice([-1, 1], account.size)
    mark = 10 ** rng.uniform(-1, 2, assets)
    gross = np.bincount(account, np.abs(quantity) * mark[asset], accounts)
    equity = np.maximum(gross, 1.0) / rng.uniform(1, 30, accounts)
    pairs = [(j, s) for j in range(assets) for s in (1, -1) if ((asset == j) & (np.sign(quantity) == s)).any()]
    rng.shuffle(pairs)
    pairs = pairs[: demands or rng.integers(1, len(pairs) + 1)]
    total = [np.abs(quantity[(asset == j) & (np.sign(quantity) == s)]).sum() for j, s in pairs]
    lots = np.maximum(1, np.array(total) * rng.uniform(0.05, 0.9, len(pairs))).astype(int)
    of, side = np.array(pairs).T
    model = random_model(rng, assets, tail)
    problem = Problem(
        account, asset, times * quantity, times * equity, mark, demand_asset=of, demand_side=side,
        demand_lots=times * lots, tie_rank=rank,
        demand_price=mark[of] * (1 - side * rng.uniform(-haircut, haircut, side.size)) if haircut else None,
    )  # fmt: skip
    return problem, model
