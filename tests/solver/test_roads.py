"""Fast roads give what the plain road gives: large books, screens and the isolated case."""

import numpy as np
import pytest

from solver import Problem, solve, verify
from solver.policies import isolated as fast
from solver.policies import waterfill as several
from tests.bench_solver import bench, burst_book, isolated_book


def isolated_case(seed, size=30_000):
    """One entry per account with tie ranks, another asset and side, exclusions, haircut and partial availability."""
    rng = np.random.default_rng(seed)
    book = isolated_book(size, share=rng.choice([0.001, 0.1, 0.6]), seed=seed)
    book["tie_rank"] = rng.permutation(size)
    if seed % 2:
        book["eligible"] = rng.random(size) < 0.9
        book["asset"] = (rng.random(size) < 0.2).astype(int)
        book["mark_price"] = [100.0, 7.0]
        book["quantity_lots"] = book["quantity_lots"] * np.where(rng.random(size) < 0.3, -1, 1)
        book["demand_lots"] = [book["demand_lots"][0] // 3]
    if seed % 3 == 1:
        book["demand_price"] = [100.0 * (1 + 0.004 * (seed - 4))]
    if seed % 4 == 2:
        book["available_lots"] = (np.abs(book["quantity_lots"]) * rng.random(size)).astype(int)
        book["demand_lots"] = [book["demand_lots"][0] // 3]
    if seed % 5 == 3:  # whole leverages, one size: thousands of exact ties
        book["quantity_lots"] = np.sign(book["quantity_lots"]) * 12
        book["equity"] = 100.0 * 12 / rng.integers(1, 7, size)
        book["demand_lots"] = [size // 2]
    if seed % 7 == 5:
        book["equity"] = np.where(rng.random(size) < 0.01, -1.0, book["equity"])
    return book


@pytest.mark.parametrize("seed", range(12))
def test_the_isolated_road_gives_the_same_lots(seed, monkeypatch):
    """Same lots to the tie and the same level as the general road; the verifier agrees."""
    problem = Problem(**isolated_case(seed))
    quick = solve(problem, policy="waterfill")
    monkeypatch.setattr(fast, "ROWS_MIN", 10**9)
    plain = solve(problem, policy="waterfill")
    assert verify(problem, quick).failures == []
    assert quick.reduction_lots.tolist() == plain.reduction_lots.tolist()
    assert quick.level == pytest.approx(plain.level, rel=1e-12)


def test_the_isolated_road_ignores_the_order_of_rows():
    """Accounts renumbered: the same bits, because sample, sums and ties go by tie rank."""
    book = isolated_case(0)
    order = np.random.default_rng(1).permutation(book["equity"].size)
    moved = dict(book, quantity_lots=book["quantity_lots"][order], equity=book["equity"][order],
                 tie_rank=book["tie_rank"][order])  # fmt: skip
    a, b = solve(Problem(**book), policy="waterfill"), solve(Problem(**moved), policy="waterfill")
    assert a.level.tolist() == b.level.tolist()
    assert a.relaxed_lots[order].tolist() == b.relaxed_lots.tolist()
    assert a.reduction_lots[order].tolist() == b.reduction_lots.tolist()


def test_a_screened_burst_reaches_the_levels_of_the_whole_book(monkeypatch):
    """44 demands: the screen drops accounts, not accuracy."""
    problem = Problem(**burst_book(40_000, 55_000))
    quick = solve(problem, policy="waterfill")
    monkeypatch.setattr(several, "SCREENED_MIN", 10**9)
    plain = solve(problem, policy="waterfill")
    assert verify(problem, quick).failures == []
    assert quick.level == pytest.approx(plain.level, rel=1e-9)


def test_a_screen_that_was_too_high_is_noticed(monkeypatch):
    """With a screen above the levels the work is done again on everybody."""
    problem = Problem(**burst_book(40_000, 55_000))
    right = solve(problem, policy="waterfill")
    monkeypatch.setattr(several, "SCREEN", 1.05)
    again = solve(problem, policy="waterfill")
    assert verify(problem, again).failures == []
    assert again.level == pytest.approx(right.level, rel=1e-9)
    book = Problem(**isolated_case(0))
    right = solve(book, policy="waterfill")
    monkeypatch.setattr(fast, "SCREEN", 1.2)
    assert solve(book, policy="waterfill").reduction_lots.tolist() == right.reduction_lots.tolist()


def test_the_bench_runs_small_and_repeats_itself():
    """Two runs of the bench give the same digests."""
    first, second = bench(small=True, runs=1), bench(small=True, runs=1)
    assert [row["digest"] for row in first] == [row["digest"] for row in second]
    assert all(row["median_ms"] > 0 for row in first)
