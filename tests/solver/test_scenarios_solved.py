"""Books solved under scenarios: certified, the same bits whatever the order of rows, and the limits that are known."""

import hashlib
import math
import os
import subprocess
import sys

import numpy as np
import pytest

from solver import Problem, RiskModel, Scenarios, solve, verify
from tests.solver.cross_books import cross_margin, permuted


def history(assets, scenarios=250, kernel=0.1, seed=0):
    """Heavy-tailed returns with a common factor; the kernel as a part of each asset's deviation."""
    rng = np.random.default_rng(seed)
    shared = 0.04 * rng.standard_t(4, (scenarios, 1)) * (0.6 + 0.8 * rng.random(assets))
    returns = np.clip(shared + 0.03 * rng.standard_t(4, (scenarios, assets)), -0.95, 3)
    return Scenarios(returns, rng.dirichlet(np.ones(scenarios)), (kernel * returns.std(axis=0)) ** 2)


def book():
    """Both sides of three assets demanded, with haircuts."""
    return cross_margin(60, assets=6, demands=6, share=0.3, haircut=0.01, both=True)[0]


def digest(arguments, risk):
    """Of levels, relaxed reductions and lots, in order of tie rank and asset."""
    problem = Problem(**arguments)
    solution = solve(problem, risk=risk)
    assert solution.status == "OPTIMAL"
    order = np.lexsort((problem.quantity_lots, problem.asset, problem.rank()[problem.account]))
    parts = (solution.shadow_price, solution.relaxed_lots[order], solution.reduction_lots[order])
    return hashlib.blake2b(b"".join(part.tobytes() for part in parts), digest_size=8).hexdigest()


def test_the_order_of_accounts_changes_no_bit():
    """Sums over scenarios have one order, and so have accounts: that of their tie ranks."""
    assert digest(permuted(book())[0], history(6)) == digest(permuted(book(), seed=2)[0], history(6))


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_fresh_process_finds_the_same_bits(threads):
    """With another hash seed and any number of threads."""
    code = "from tests.solver.test_scenarios_solved import *; print(digest(book(), history(6)))"
    environment = os.environ | {"PYTHONHASHSEED": "7", "NUMBA_NUM_THREADS": threads}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == digest(book(), history(6))


@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
@pytest.mark.parametrize("kernel", [0.02, 0.1, 1.0])
def test_a_history_of_returns_is_solved_and_certified(kernel, share):
    """From nearly nothing to nearly all, with kernels of a fiftieth of an asset's deviation to the whole of it."""
    arguments, _ = cross_margin(40, assets=6, demands=5, share=share, haircut=0.01, seed=3)
    problem, risk = Problem(**arguments), history(6, kernel=kernel)
    solution = solve(problem, risk=risk)
    assert solution.status == "OPTIMAL"
    assert verify(problem, solution, risk=risk).failures == []


def test_an_asset_without_a_kernel_is_blurred_by_the_others():
    """A stable coin, say: one demanded asset has none, the accounts hold others besides."""
    quantity = np.tile([40, 30, -20], 8) * np.repeat(np.arange(1, 9), 3)
    problem = Problem(
        np.repeat(np.arange(8), 3), np.tile(np.arange(3), 8), quantity, 20.0 * np.arange(1, 9) ** 1.3, np.ones(3),
        demand_asset=[0, 2], demand_side=[1, -1], demand_lots=[500, 200],
    )  # fmt: skip
    usual = history(3)
    risk = Scenarios(usual.returns, usual.weights, usual.kernel_variance * np.array([0.0, 1.0, 1.0]))
    solution = solve(problem, risk=risk)
    assert solution.status == "OPTIMAL"
    assert verify(problem, solution, risk=risk).failures == []


def test_a_scenario_that_never_happens_changes_nothing():
    """Weight 0: the loss in it may be what it likes."""
    problem, usual = Problem(**book()), history(6)
    never = np.vstack([usual.returns, np.full(6, -1.0), np.full(6, 1e6)])
    more = Scenarios(never, np.append(usual.weights, [0.0, 0.0]), usual.kernel_variance)
    one, other = (solve(problem, risk=risk) for risk in (usual, more))
    assert other.status == "OPTIMAL"
    assert other.objective_after == pytest.approx(one.objective_after, rel=1e-12)
    assert other.shadow_price == pytest.approx(one.shadow_price, rel=1e-6, abs=1e-12)
    assert verify(problem, other, risk=more).failures == []


def test_one_scenario_in_which_nothing_moves_is_a_gaussian():
    """The kernel alone is the elliptical model without factors."""
    problem, variance = Problem(**book()), np.linspace(0.001, 0.02, 6)
    alone = solve(problem, risk=Scenarios(np.zeros((1, 6)), [1.0], variance))
    gaussian = solve(problem, risk=RiskModel(np.zeros((6, 0)), variance, math.inf))
    assert alone.status == gaussian.status == "OPTIMAL"
    assert alone.objective_after == pytest.approx(gaussian.objective_after, rel=1e-10)
    assert alone.shadow_price == pytest.approx(gaussian.shadow_price, rel=1e-7, abs=1e-12)


def test_scenarios_approach_the_law_that_they_are_drawn_from():
    """A Gaussian factor at a thousand values, weighted by its density; the idiosyncratic part is the kernel."""
    arguments, _ = cross_margin(40, assets=4, demands=2, share=0.3, seed=5)
    problem, beta, own = Problem(**arguments), np.array([[0.05], [0.03], [0.06], [0.04]]), np.full(4, 0.03**2)
    normal = np.linspace(-7, 7, 1001)
    weights = np.exp(-0.5 * normal**2)
    drawn = Scenarios(normal[:, None] * beta.T, weights / weights.sum(), own)
    by_scenarios, by_law = solve(problem, risk=drawn), solve(problem, risk=RiskModel(beta, own, math.inf))
    assert by_scenarios.objective_after == pytest.approx(by_law.objective_after, rel=1e-6)
    assert by_scenarios.shadow_price == pytest.approx(by_law.shadow_price, rel=1e-5)
    assert by_scenarios.relaxed_lots == pytest.approx(by_law.relaxed_lots, rel=1e-4, abs=1.0)
