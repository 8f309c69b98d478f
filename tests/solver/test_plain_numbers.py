"""What a solution says of itself are plain numbers, which any codec can write."""

import numpy as np
import pytest

from solver import Problem, RiskModel, solve
from solver.solve import POLICIES


@pytest.mark.parametrize("accounts", [40, 4000])
@pytest.mark.parametrize("policy", POLICIES)
def test_figures_of_a_solution_are_plain_numbers(policy, accounts):
    """Few accounts and many: the solver has roads of its own for both."""
    rng = np.random.default_rng(1)
    account = np.repeat(np.arange(accounts), 3)
    size = account.size
    problem = Problem(
        account, np.tile([0, 1, 2], accounts), rng.integers(-50, 51, size), rng.uniform(50, 5000, accounts),
        [1.0, 7.0, 3.0], demand_asset=[0, 2], demand_side=[1, -1], demand_lots=[accounts, 2 * accounts],
        demand_price=[0.99, 3.01], entry_price=rng.uniform(0.5, 8.0, size), balance=rng.uniform(50, 5000, accounts),
        maintenance_margin=rng.uniform(1, 50, accounts), tie_rank=np.arange(accounts),
    )  # fmt: skip
    risk = RiskModel(np.full((3, 1), 0.1), np.full(3, 0.01))
    solution = solve(problem, policy, risk=risk)
    said = ("kkt_residual", "clearing_residual_lots", "objective_before", "objective_after")
    found = [getattr(solution, name) for name in said]
    assert {type(value) for value in found} <= {float, type(None)}
    assert type(solution.iterations) is int
