"""Lots of several demands against a naive twin that takes one at a time, and what the level in lots promises."""

from dataclasses import replace

import numpy as np
import pytest

from solver import Problem, leverage, solve, verify
from tests.bench_solver import burst_book
from tests.solver.books import random_arguments, several_one_at_a_time
from tests.solver.thinning import thin


def small_book(seed):
    """Few lots, prices and equities that make leverages tie exactly, at the mark."""
    rng = np.random.default_rng(seed)
    given = random_arguments(seed)
    given.pop("demand_price", None)
    given["mark_price"] = rng.choice([0.5, 1.0, 2.0, 4.0, 8.0], len(given["mark_price"]))
    given["equity"] = np.rint(given["equity"] * 64) / 64
    lots = given["quantity_lots"] = np.sign(given["quantity_lots"]) * (np.abs(given["quantity_lots"]) % 11)
    if "available_lots" in given:
        given["available_lots"] = np.minimum(given["available_lots"], np.abs(lots))
    pairs = zip(given["demand_asset"], given["demand_side"], strict=True)
    held = [np.abs(lots[(given["asset"] == asset) & (np.sign(lots) == side)]).sum() for asset, side in pairs]
    given["demand_lots"] = (np.array(held) * rng.random(len(held))).astype(int)
    return given


@pytest.mark.parametrize("block", range(8))
def test_missing_lots_are_given_one_at_a_time(block):
    """The heaps give what a loop over lots with exact fractions gives, to the tie; 100 books a block."""
    compared, seeds = 0, thin(range(100 * block, 100 * block + 100))
    for seed in seeds:
        given = small_book(seed)
        solution = solve(Problem(**given), policy="waterfill")
        if np.count_nonzero(np.isfinite(solution.level)) < 2:
            continue
        # What insolvent accounts give is outside the optimisation.
        given["demand_lots"] = given["demand_lots"] - solution.insolvent_lots
        problem = Problem(**given)
        solvent = problem.equity[problem.account] > 0
        expected = several_one_at_a_time(problem, np.where(solvent, solution.relaxed_lots, 0.0))
        assert np.where(solvent, solution.reduction_lots, 0).tolist() == expected.tolist()
        compared += 1
    assert compared > 0.1 * len(seeds)


def test_an_account_in_two_demands_gives_to_the_first_listed():
    """Both its positions stand at its one leverage: the tie falls by demand, not by rounding."""
    problem = Problem([0, 0, 1, 1], [0, 1, 0, 1], [3, 3, 3, 3], [0.7, 0.7], [0.1, 0.3], demand_asset=[0, 1],
                      demand_side=[1, 1], demand_lots=[1, 1])  # fmt: skip
    solution = solve(problem, policy="waterfill")
    assert solution.reduction_lots.tolist() == [1, 0, 0, 1]


def problems():
    """Random books, with hedges, haircuts, partial availability and insolvent accounts, and a small burst."""
    for seed in range(150):
        yield Problem(**random_arguments(seed))
    yield Problem(**burst_book(3_000, 5_000))


def test_nobody_with_lots_left_stands_above_the_level():
    """The promise, from the problem and the lots alone: also no account that was taken, not by part of a lot."""
    seen = 0
    for problem in problems():
        solution = solve(problem, policy="waterfill")
        after = leverage(problem, solution.reduction_lots)
        demand = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
        free = np.abs(problem.quantity_lots) if problem.available_lots is None else problem.available_lots
        left = (demand >= 0) & (free > solution.reduction_lots) & (problem.equity[problem.account] > 0)
        if problem.eligible is not None:
            left &= problem.eligible
        if (problem.haircut > 0).any():
            continue  # who cannot pay is not eligible: tests/solver/test_verify.py
        level = solution.level[demand[left]]
        stands = after[problem.account[left]]
        assert (stands <= level * (1 + 1e-12))[np.isfinite(level)].all()
        seen += np.count_nonzero(np.isfinite(level))
    assert seen > 1_000


@pytest.mark.parametrize("factor", [1 - 1e-6, 1 + 1e-6, 0.0, np.inf])
def test_any_other_level_is_found(factor):
    """A level that is not the largest leverage left is refused, for one demand and for several."""
    found = tried = 0
    for problem in problems():
        solution = solve(problem, policy="waterfill")
        finite = np.isfinite(solution.level) & (solution.level > 0)
        if finite.any():
            with np.errstate(invalid="ignore"):
                wrong = np.where(finite, solution.level * factor, solution.level)
            tried += 1
            found += not verify(problem, replace(solution, level=wrong)).ok
    assert tried > 50
    assert found >= tried - (2 if factor > 1 else 0)  # a demand with an entry at the edge of eligibility


@pytest.mark.parametrize("seed", thin(range(20)))
def test_a_lot_moved_to_the_lowest_account_is_found(seed):
    """A burst of shared accounts: a lot taken from the least levered account instead of another is noticed."""
    problem = Problem(**burst_book(400, 900, assets=6, demands=6, seed=seed))
    solution = solve(problem, policy="waterfill")
    assert verify(problem, solution).failures == []
    after = leverage(problem, solution.reduction_lots)
    demand = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
    mine = np.flatnonzero(demand == 0)
    untouched = mine[solution.reduction_lots[mine] == 0]
    lowest = untouched[np.argmin(after[problem.account[untouched]])]
    source = mine[np.argmax(solution.reduction_lots[mine])]
    lots = solution.reduction_lots.copy()
    lots[source] -= 1
    lots[lowest] += 1
    assert not verify(problem, replace(solution, reduction_lots=lots)).ok
