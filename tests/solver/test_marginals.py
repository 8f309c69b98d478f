"""Risk removed per unit of notional: the difference of expected losses, integrated without any kernel."""

import math

import numpy as np
import pytest

from solver import Problem, RiskModel
from solver.marginals import marginals


def loss(variance, equity, tail):
    """E[max(0, -(E + sigma T))] by summing the density on a grid that reaches far into the tail."""
    sigma = math.sqrt(variance)
    x = np.sinh(np.linspace(-14, 14, 400_001))
    width = np.gradient(x)
    if tail == math.inf:
        density = np.exp(-x * x / 2) / math.sqrt(2 * math.pi)
    else:
        peak = math.exp(math.lgamma((tail + 1) / 2) - math.lgamma(tail / 2)) / math.sqrt(tail * math.pi)
        density = peak * (1 + x * x / tail) ** (-(tail + 1) / 2)
    return float((np.maximum(0.0, -(equity + sigma * x)) * density * width).sum())


BOOK = {
    "account": [0, 0, 0, 1, 1, 1],
    "asset": [0, 1, 2, 0, 0, 1],
    "quantity_lots": [50, -30, 10, 40, -15, 20],  # the second account holds both legs of asset 0
    "equity": [900.0, 400.0],
    "mark_price": [100.0, 50.0, 20.0],
    "demand_asset": [0, 0, 1],
    "demand_side": [1, -1, -1],
    "demand_lots": [5, 5, 5],
    "demand_price": [98.0, 100.0, 51.0],
}
LOADINGS = np.array([[0.05, 0.01], [0.06, -0.02], [0.0, 0.03]])
OWN = np.array([0.0004, 0.0009, 0.0])


def state(problem, account, reduction):
    """Variance and equity of an account after lots were taken, from dictionaries."""
    rows = [row for row in range(len(problem.account)) if problem.account[row] == account]
    left = {row: problem.quantity_lots[row] - np.sign(problem.quantity_lots[row]) * reduction[row] for row in rows}
    net = np.zeros(3)
    equity = problem.equity[account]
    for row in rows:
        net[problem.asset[row]] += left[row] * problem.mark_price[problem.asset[row]]
        demand = problem.demand_of[2 * problem.asset[row] + (problem.quantity_lots[row] < 0)]
        if demand >= 0:
            equity -= problem.haircut[demand] * reduction[row]
    return float(net @ (LOADINGS @ LOADINGS.T + np.diag(OWN)) @ net), float(equity)


@pytest.mark.parametrize("tail", [4.0, 3.0, math.inf])
@pytest.mark.parametrize("taken", [[0] * 6, [20, 0, 0, 10, 5, 0]])
def test_a_marginal_is_what_the_next_bit_removes_of_the_expected_loss(tail, taken):
    """Several assets, both legs of a hedge, haircuts either way, before and after."""
    problem = Problem(**BOOK)
    rows = np.array([0, 1, 3, 4])
    found = marginals(problem, RiskModel(LOADINGS, OWN, tail), rows, np.array(taken))
    for row, marginal in zip(rows, found, strict=True):
        losses = []
        for step in (-0.01, 0.01):
            more = np.array(taken, float)
            more[row] += step
            losses.append(loss(*state(problem, problem.account[row], more), tail))
        notional = 0.02 * problem.mark_price[problem.asset[row]]
        assert marginal == pytest.approx((losses[0] - losses[1]) / notional, rel=1e-4, abs=1e-9)


def test_alone_is_the_marginal_of_an_account_that_holds_nothing_else():
    """The same equity, one position."""
    alone = BOOK | {
        "account": [0, 1], "asset": [1, 0], "quantity_lots": [-30, 40], "equity": BOOK["equity"],
    }  # fmt: skip
    risk, rows = RiskModel(LOADINGS, OWN), np.array([1, 3])
    found = marginals(Problem(**BOOK), risk, rows, alone=True)
    assert found.tolist() == marginals(Problem(**alone), risk, np.array([0, 1])).tolist()
    assert found[0] > marginals(Problem(**BOOK), risk, rows)[0]  # a short hedged by longs
