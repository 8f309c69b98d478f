"""Lots as large as whole positions, several demands: who gives a lot moves the marginals of all he holds."""

import numpy as np
import pytest

from solver import Problem, solve, verify
from tests.solver.cross_books import cross_margin


@pytest.mark.parametrize("seed", [0, 1, 4, 5, 6])
@pytest.mark.parametrize(("demands", "share"), [(10, 0.05), (20, 0.3)])
def test_missing_lots_go_to_the_largest_present_marginal(seed, demands, share):
    """The certificate holds where hundreds of lots a demand are left by the whole parts."""
    book, risk = cross_margin(8_000, assets=30, demands=demands, share=share, seed=seed)
    coarse = 2000.0
    lots = np.maximum(1, np.rint(np.abs(book["quantity_lots"]) * 0.01 / coarse)).astype(np.int64)
    book["quantity_lots"] = np.sign(book["quantity_lots"]) * lots
    book["lot_size"] = book["lot_size"] * 100 * coarse
    gross = np.bincount(book["account"], lots * coarse, 8_000)
    book["equity"] = gross / np.random.default_rng(seed).uniform(1, 30, 8_000)
    row = Problem(**book).demand_of[2 * book["asset"] + (book["quantity_lots"] < 0)]
    held = np.bincount(row[row >= 0], lots[row >= 0], demands)
    book["demand_lots"] = np.maximum(1, (held * share).astype(np.int64))
    problem = Problem(**book)
    solution = solve(problem, risk=risk)
    assert verify(problem, solution, risk=risk).failures == []
    assert (solution.relaxed_lots % 1 > 0).sum() > 10 * demands
