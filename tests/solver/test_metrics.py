"""The figures by which policies are compared, on a book small enough to do by hand."""

import numpy as np
import pytest

from solver import Metrics, Problem, RiskModel, metrics, solve
from tests.solver.books import isolated
from tests.solver.risk_books import cross_book

MODEL = RiskModel([[0.1]], [0.0])


def by_hand(policy="pro_rata:contracts", **more):
    """Three longs of ten lots at 10, taken at 9 for a deficit of 15; equities 20, 50, 200, bought at 5, 8 and 12."""
    problem = Problem([0, 1, 2], [0, 0, 0], [10, 10, 10], [20.0, 50.0, 200.0], [10.0], demand_asset=[0],
                      demand_side=[1], demand_lots=[15], demand_price=[9.0], entry_price=[5.0, 8.0, 12.0])  # fmt: skip
    solution = solve(problem, policy=policy, **more)
    return problem, solution


def test_figures_by_hand():
    """Everyone gives five lots and pays five; profits are 50, 20 and none."""
    problem, solution = by_hand()
    found = metrics(problem, solution, deficits=[10.0, 5.0], hit_before=[True, False, False])
    assert found == Metrics(
        expected_loss_before=None, expected_loss_after=None, leverage_after_max=50 / 15, accounts_insolvent=0,
        accounts_touched=3, accounts_closed=0, haircut_total=15.0, haircut_to_equity_max=0.25,
        haircut_to_profit_max=0.25, overshoot=0.0, haircut_gini=0.0, repeat_hits=1, profit_to_deficits=3.0,
        profit_to_largest_deficit=4.5,
    )  # fmt: skip


def test_one_who_pays_everything():
    """A queue takes the whole of one account and half of the next: Gini of (10, 5), one account closed."""
    problem, solution = by_hand("queue:pnl_leverage")
    found = metrics(problem, solution)
    assert (found.accounts_touched, found.accounts_closed) == (2, 1)
    assert found.haircut_gini == pytest.approx(1 / 6)
    assert found.haircut_to_equity_max == 0.5
    assert (found.overshoot, found.repeat_hits, found.profit_to_deficits) == (None, None, None)


def test_the_policy_that_minimises_the_loss_has_the_smallest():
    """On the relaxed solutions of one event no other policy leaves a smaller expected loss; it is the objective."""
    for seed in range(25):
        problem, model = cross_book(seed)
        best = solve(problem, policy="risk", risk=model, lots=False)
        least = metrics(problem, best, risk=model)
        assert least.expected_loss_after == best.objective_after
        assert least.expected_loss_before == best.objective_before
        for policy in ("waterfill", "pro_rata:contracts", "queue:effective_leverage"):
            other = metrics(problem, solve(problem, policy=policy, lots=False), risk=model)
            assert other.expected_loss_before == least.expected_loss_before
            assert other.expected_loss_after >= least.expected_loss_after * (1 - 1e-9)


def test_min_max_haircut_has_the_smallest_share_of_profit():
    """Nobody else's largest share of profit given up is smaller, one demand, relaxed."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        mark, quantity = 10.0, rng.integers(1, 50, 6)
        problem = isolated(quantity, quantity * mark / rng.uniform(1, 9, 6), int(quantity.sum() * 0.4), mark,
                           entry_price=rng.uniform(5, 9.9, 6), demand_price=[9.9])  # fmt: skip
        least = metrics(problem, solve(problem, policy="min_max_haircut", lots=False)).haircut_to_profit_max
        for policy in ("waterfill", "pro_rata:contracts", "queue:okx"):
            other = metrics(problem, solve(problem, policy=policy, lots=False)).haircut_to_profit_max
            assert least <= other * (1 + 1e-9)


def test_insolvent_accounts_that_still_hold_something_are_counted():
    """The demand leaves two of the insolvent account's five lots; an account with nothing is nobody."""
    problem = Problem([0, 1], [0, 0], [5, 5], [-1.0, 1.0, -3.0], [1.0], demand_asset=[0], demand_side=[1],
                      demand_lots=[3])  # fmt: skip
    found = metrics(problem, solve(problem, policy="risk", risk=MODEL), risk=MODEL)
    assert (found.accounts_insolvent, found.accounts_touched, found.accounts_closed) == (1, 1, 0)
    assert found.expected_loss_after == found.expected_loss_before > 0


def test_figures_do_not_depend_on_the_order_of_accounts():
    """To the bit."""
    problem, model = cross_book(4)
    turn = np.argsort(-problem.account, kind="stable")
    other = Problem(
        (9 - problem.account)[turn], problem.asset[turn], problem.quantity_lots[turn], problem.equity[::-1].copy(),
        problem.mark_price, demand_asset=problem.demand_asset, demand_side=problem.demand_side,
        demand_lots=problem.demand_lots, tie_rank=np.arange(9, -1, -1),
    )  # fmt: skip
    a, b = (metrics(p, solve(p, policy="waterfill"), risk=model) for p in (problem, other))
    assert a == b
