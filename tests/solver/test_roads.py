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
    assert quick.level.tolist() == plain.level.tolist()
    monkeypatch.undo()
    relaxed = solve(problem, policy="waterfill", lots=False).level
    monkeypatch.setattr(fast, "ROWS_MIN", 10**9)
    assert relaxed == pytest.approx(solve(problem, policy="waterfill", lots=False).level, rel=1e-12)


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


@pytest.mark.parametrize("bracket", [1e-9, 1e-3, 0.5, 1e9])
def test_any_bracket_reaches_the_same_levels(bracket, monkeypatch):
    """44 demands: who is looked at again is a matter of speed, not of the result."""
    problem = Problem(**burst_book(40_000, 55_000))
    right = solve(problem, policy="waterfill", lots=False)
    monkeypatch.setattr(several, "BRACKET", bracket)
    again = solve(problem, policy="waterfill", lots=False)
    assert verify(problem, again).failures == []
    assert again.level == pytest.approx(right.level, rel=1e-9)


@pytest.mark.parametrize("guess", [0.0, 1e-3, 0.97, 1.03, 1e3])
def test_a_wrong_guess_is_noticed(guess, monkeypatch):
    """With a sample that misleads the work is done again on everybody."""
    book = Problem(**isolated_case(0))
    right = solve(book, policy="waterfill")
    monkeypatch.setattr(fast, "guessed", lambda *_: guess * right.level[0])
    again = solve(book, policy="waterfill")
    assert verify(book, again).failures == []
    assert again.reduction_lots.tolist() == right.reduction_lots.tolist()
    assert again.level.tolist() == right.level.tolist()


@pytest.mark.parametrize("place", [0.0, 0.999, 1.001, 1e3])
def test_a_bracket_without_the_last_lot_is_noticed(place, monkeypatch):
    """Lots are the same wherever the search for the last one begins."""
    book = Problem(**isolated_case(0))
    right = solve(book, policy="waterfill")
    begin = right.level[0] * place
    monkeypatch.setattr(fast, "likely_bracket", lambda *_: (begin, begin * (1 + 1e-6) + 1e-6))
    assert solve(book, policy="waterfill").reduction_lots.tolist() == right.reduction_lots.tolist()


def test_the_bench_runs_small_and_repeats_itself():
    """Two runs of the bench give the same digests."""
    first, second = bench(small=True, runs=1), bench(small=True, runs=1)
    assert [row["digest"] for row in first] == [row["digest"] for row in second]
    assert all(row["median_ms"] > 0 for row in first)
