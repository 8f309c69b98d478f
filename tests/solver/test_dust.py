"""Accounts a hair above zero beside a whale: their equities differ by up to 2**60, and both are taken to the lot."""

from dataclasses import replace

import numpy as np
import pytest

from solver import Problem, solve, verify
from solver.items import collect
from solver.lots import in_lots
from solver.policies.waterfill import book_of
from tests.solver.books import isolated, several_one_at_a_time
from tests.solver.thinning import thin

WHALES = [1e7, 1e9, 1e12]
DUSTS = [1.0, 1e-2, 1e-6]
PRICES = np.array([0.00001, 0.5, 60.0])  # per lot


def crowd(seed, whale, dust, demands, haircut=0.0, accounts=300):
    """Shorts of three assets: a whale, and three accounts of equity near `dust` that can fill the demands alone."""
    rng = np.random.default_rng(seed)
    account, asset = np.repeat(np.arange(accounts), 3), np.tile(np.arange(3), accounts)
    quantity = -np.maximum(1, np.rint(np.exp(rng.normal(9, 1.5, 3 * accounts)) / PRICES[asset])).astype(np.int64)
    gross = np.bincount(account, np.abs(quantity) * PRICES[asset], accounts)
    equity = gross / np.exp(rng.normal(1, 0.7, accounts))
    equity[0] = whale
    tiny = rng.choice(np.arange(1, accounts), 3, replace=False)
    equity[tiny] = dust * rng.uniform(1, 9, 3)
    held = np.array([np.abs(quantity[(asset == k) & np.isin(account, tiny)]).sum() for k in range(demands)])
    return Problem(
        account, asset, quantity, equity, PRICES, demand_asset=np.arange(demands), demand_side=[-1] * demands,
        demand_lots=np.maximum(1, held * rng.uniform(0.05, 0.9, demands)).astype(np.int64),
        demand_price=PRICES[:demands] * (1 + haircut), tie_rank=rng.permutation(accounts),
    )  # fmt: skip


@pytest.mark.parametrize("haircut", [0.0, 0.01, -0.01])
@pytest.mark.parametrize("demands", [1, 2, 3])
@pytest.mark.parametrize("whale", WHALES)
@pytest.mark.parametrize("dust", DUSTS)
def test_a_whale_rounds_nobody_away(whale, dust, demands, haircut):
    """The certificate holds where the demand is smaller than what the tiny accounts hold."""
    for seed in range(5):
        problem = crowd(seed, whale, dust, demands, haircut)
        solution = solve(problem, policy="waterfill")
        assert verify(problem, solution).failures == []
        assert solution.status == "OPTIMAL"
        assert solution.residual_lots.tolist() == [0] * demands


@pytest.mark.parametrize("whale", WHALES)
@pytest.mark.parametrize("dust", DUSTS)
@pytest.mark.parametrize("partly", [False, True])
def test_a_whale_rounds_nobody_away_on_the_fast_road(whale, dust, partly):
    """One entry each, 20,000 accounts, everything available or a part of it; the same bits in any order of rows."""
    rng = np.random.default_rng(7)
    size = 20_000
    quantity = np.maximum(1, np.rint(np.exp(rng.normal(20, 1.5, size)))).astype(np.int64)
    equity = quantity * 1e-5 / np.exp(rng.normal(1, 0.7, size))
    equity[0] = whale
    equity[1:4] = dust * rng.uniform(1, 9, 3)
    available = (quantity * rng.uniform(0.3, 1, size)).astype(np.int64) if partly else quantity
    problem = isolated(quantity, equity, int(available[1:4].sum() * 0.6), price=1e-5, available_lots=available)
    solution = solve(problem, policy="waterfill")
    assert verify(problem, solution).failures == []
    order = rng.permutation(size)
    turned = isolated(quantity[order], equity[order], int(problem.demand_lots[0]), price=1e-5,
                      available_lots=available[order], tie_rank=order)  # fmt: skip
    again = solve(turned, policy="waterfill")
    assert again.reduction_lots.tolist() == solution.reduction_lots[order].tolist()
    assert again.relaxed_lots.tobytes() == solution.relaxed_lots[order].tobytes()


@pytest.mark.parametrize("haircut", [0.0, 0.0078125, -0.0078125])
@pytest.mark.parametrize("demands", [1, 2, 3])
@pytest.mark.parametrize("whale", WHALES)
@pytest.mark.parametrize("dust", DUSTS)
def test_lots_are_those_of_the_rule(whale, dust, demands, haircut):
    """Few lots: the same as one at a time with exact fractions, the tiny accounts being taken first and to the tie."""
    for seed in thin(range(4)):
        rng = np.random.default_rng(seed)
        held = rng.integers(1, 9, (8, 3))
        equity = rng.integers(4, 60, 8) * 64.0
        equity[0], equity[3:5] = whale, dust
        problem = Problem(
            np.repeat(np.arange(8), 3), np.tile(np.arange(3), 8), held.ravel(), equity, [16.0, 32.0, 64.0],
            demand_asset=np.arange(demands), demand_side=[1] * demands,
            demand_lots=np.maximum(1, (held.sum(axis=0)[:demands] * rng.uniform(0.1, 0.7, demands)).astype(int)),
            demand_price=np.array([16.0, 32.0, 64.0])[:demands] * (1 - haircut), tie_rank=rng.permutation(8),
        )  # fmt: skip
        solution = solve(problem, policy="waterfill")
        assert verify(problem, solution).failures == []
        relaxed = solution.relaxed_lots if demands > 1 else np.zeros(24)
        assert solution.reduction_lots.tolist() == several_one_at_a_time(problem, relaxed).tolist()


@pytest.mark.parametrize("haircut", [0.0, 0.0078125])
@pytest.mark.parametrize("seed", thin(range(20)))
def test_lots_beyond_a_demand_are_given_back(seed, haircut):
    """Whole parts that exceed a demand: the last lots go back, as a loop with exact fractions returns them."""
    rng = np.random.default_rng(seed)
    held = rng.integers(1, 9, (6, 2))
    problem = Problem(
        np.repeat(np.arange(6), 2), np.tile(np.arange(2), 6), held.ravel(), rng.integers(8, 30, 6) * 8.0, [16.0, 32.0],
        demand_asset=[0, 1], demand_side=[1, 1], demand_lots=held.sum(axis=0) // 2,
        demand_price=np.array([16.0, 32.0]) * (1 - haircut), tie_rank=rng.permutation(6),
    )  # fmt: skip
    solution = solve(problem, policy="waterfill")
    items, _ = collect(problem, protect_principal=False)
    x = np.minimum(np.floor(solution.relaxed_lots[items.entry]) + rng.integers(0, 3, items.entry.size), items.available)
    lots, _ = in_lots(book_of(problem, items), items.rank, items.account, np.array([True, True]),
                      problem.demand_lots, x, solution.level)  # fmt: skip
    relaxed = np.zeros(12)
    relaxed[items.entry] = x
    assert (np.add.reduceat(x, items.start[:-1]) > problem.demand_lots).any()
    assert lots.tolist() == several_one_at_a_time(problem, relaxed)[items.entry].tolist()


def fine_lots(seed):
    """Lots so small that a level's last bit moves many of them, in three demands."""
    rng = np.random.default_rng(seed)
    quantity = rng.integers(2**48, 2**52, (60, 3))
    return Problem(
        np.repeat(np.arange(60), 3), np.tile(np.arange(3), 60), quantity.ravel(),
        quantity @ np.array([1e-9, 3e-9, 1e-8]) / rng.uniform(1, 20, 60), [1e-9, 3e-9, 1e-8], demand_asset=[0, 1, 2],
        demand_side=[1, 1, 1], demand_lots=(quantity.sum(axis=0) * rng.uniform(0.1, 0.6, 3)).astype(np.int64),
    )  # fmt: skip


def test_lots_finer_than_rounding():
    """Demands are met to the lot; giving back others than the last ones, or where nothing was too many, is found."""
    exceeded = out_of_order = 0
    for seed in range(20):
        problem = fine_lots(seed)
        solution = solve(problem, policy="waterfill")
        assert verify(problem, solution).failures == []
        whole = np.floor(solution.relaxed_lots).astype(np.int64)
        returned = np.flatnonzero(solution.reduction_lots < whole)
        exceeded += returned.size > 0
        for row in range(6):
            # Far more than rounding: 2**30 lots more from one account, 2**30 fewer from another.
            lots = solution.reduction_lots.copy()
            other = row + 3 * (1 + np.argmax(lots[row + 3 :: 3]))
            lots[row] += 2**30 if lots[row] < 2**47 else -(2**30)
            lots[other] -= lots[row] - solution.reduction_lots[row]
            failures = verify(problem, replace(solution, reduction_lots=lots)).failures
            assert failures
            out_of_order += any("others than the last lots were given back" in sentence for sentence in failures)
    assert exceeded > 3
    assert out_of_order > 3


@pytest.mark.parametrize("rows", [400, 20_000])
def test_one_demand_of_lots_finer_than_rounding(rows):
    """The search for the last lot ends also where a level's last bit is worth many lots."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        quantity = rng.integers(2**44, 2**52 if rows == 400 else 2**47, rows)
        demand = int(quantity.sum() * rng.uniform(0.1, 0.6))
        problem = isolated(quantity, quantity * 1e-9 / rng.uniform(1, 20, rows), demand, price=1e-9)
        solution = solve(problem, policy="waterfill")
        assert verify(problem, solution).failures == []
