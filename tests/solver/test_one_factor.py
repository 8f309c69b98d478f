"""One factor and nothing else: the closed form against the general method, and the odd books of policy `factor`."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Problem, RiskModel, solve, verify
from solver.loss.model import tail_of
from solver.optimum import one_factor
from solver.optimum.account import Model
from solver.optimum.candidates import gather
from solver.optimum.core import solve_core
from tests.solver import shapes
from tests.solver.risk_books import awkward, cross_book
from tests.solver.test_optimum import demand_of_rows, free_lots

FEW = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


def columns(problem, risk):
    """(Candidates, Demands, Model) of a problem."""
    model = Model(tail_of(risk.tail), np.zeros(0))
    asked = problem.demand_lots
    found = gather(problem, demand_of_rows(problem), asked, free_lots(problem), risk.loadings, risk.idiosyncratic)
    return *found, model


@FEW
@given(SEEDS, st.integers(2, 40), st.sampled_from([4.0, 2.5, math.inf]))
def test_one_demand_is_what_the_general_method_gives(seed, accounts, tail):
    """To 1e-8 of what may be taken, hedged accounts and loadings of both signs included."""
    problem, _ = cross_book(seed, accounts=accounts, demands=1, times=1000)
    beta = np.random.default_rng(seed).normal(0.05, 0.05, (4, 1))
    candidates, demands, model = columns(problem, RiskModel(beta, np.zeros(4), tail))
    if not demands.index.size:
        return
    assert one_factor.fits(demands, model)
    closed = one_factor.in_closed_form(candidates, demands, model)
    general = solve_core(candidates, demands, model)
    assert closed.converged
    assert closed.clearing <= 1e-12
    assert closed.kkt <= 1e-12
    assert general.converged
    if abs(closed.level[0]) > 1e-18:  # else too near to no risk at all for the general method to tell levels apart
        assert closed.level == pytest.approx(general.level, rel=1e-7)
        # Shares follow levels by the inverse of a power of three and more.
        assert closed.u == pytest.approx(general.u, abs=1e-8 * max(1.0, (1e-9 / abs(closed.level[0])) ** 0.5))


@FEW
@given(SEEDS, st.sampled_from([4.0, 2.5, math.inf]))
def test_policies_are_certified_by_it(seed, tail):
    """In lots, whatever the book: `risk` with such a model, and `factor` with the same level of factor leverage."""
    problem, _ = cross_book(seed, demands=1)
    risk = RiskModel(np.random.default_rng(seed).normal(0.05, 0.05, (4, 1)), np.zeros(4), tail)
    by_risk, by_factor = (solve(problem, policy=policy, risk=risk) for policy in ("risk", "factor"))
    for solution in (by_risk, by_factor):
        assert verify(problem, solution, risk=risk).failures == []
    assert by_risk.relaxed_lots.tolist() == by_factor.relaxed_lots.tolist()


def test_what_it_is_not_for():
    """Another demand, a haircut, risk of an asset's own, no loading: the general method's."""
    factor, beside = RiskModel(np.full((4, 1), 0.05), np.zeros(4)), 0
    for seed in range(8):
        several, one = cross_book(seed, demands=2)[0], cross_book(seed, demands=1)[0]
        costly = Problem(
            one.account, one.asset, one.quantity_lots, one.equity, one.mark_price, demand_asset=one.demand_asset,
            demand_side=one.demand_side, demand_lots=one.demand_lots,
            demand_price=one.mark_price[one.demand_asset] * (1 - 0.001 * one.demand_side),
        )  # fmt: skip
        for problem in (several, costly):
            _, demands, model = columns(problem, factor)
            assert not one_factor.fits(demands, model)
        own = np.full(4, 0.1)
        _, demands, model = columns(one, RiskModel(factor.loadings, own))
        assert not one_factor.fits(demands, model)
        own[one.demand_asset] = 0.0
        candidates, demands, model = columns(one, RiskModel(factor.loadings, own))
        if candidates.variance.any():
            beside += 1
            assert one_factor.in_closed_form(candidates, demands, model) is None
        _, demands, model = columns(one, RiskModel(np.zeros((4, 1)), np.zeros(4)))
        assert not one_factor.fits(demands, model)
    assert beside > 4


@FEW
@given(SEEDS)
def test_factor_in_awkward_books(seed):
    """Hedges, twins, insolvent accounts, caps and haircuts: certified."""
    problem, _ = awkward(seed)
    assets = problem.mark_price.size
    risk = RiskModel(np.random.default_rng(seed).normal(0.05, 0.04, (assets, 1)), np.full(assets, 0.001))
    assert verify(problem, solve(problem, policy="factor", risk=risk), risk=risk).failures == []


def test_a_level_is_of_an_account_whose_leverage_is_known():
    """Of almost no equity, with lots left by rounding alone, nobody knows where it stands: the level is not its."""
    for seed in range(40):
        problem, _ = shapes.problem(seed, shape="tiny_equity")
        beta = np.random.default_rng(seed).uniform(0.01, 0.1, (problem.mark_price.size, 1))
        risk = RiskModel(beta, np.zeros(problem.mark_price.size))
        assert verify(problem, solve(problem, policy="factor", risk=risk), risk=risk).failures == []


def test_demands_that_take_all_risk_are_cleared():
    """Both sides of a symbol leave everybody flat: the loss is flat there, and every lot is found all the same."""
    price, haircut = 489.44, 24.472
    problem = Problem(
        [0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 4, 4], [0, 0, 1, 1, 0, 1, 0, 0, 1, 1, 0, 1],
        [58, -51, 3, -30, 9, -46, 92, -75, 20, -13, 6, 3], [3783.41, 5173.25, 125.95, 9239.77, 3313.46],
        [price, 2.445], demand_asset=[0, 0, 1, 1], demand_side=[-1, 1, -1, 1], demand_lots=[37, 76, 111, 48],
        demand_price=[price + haircut, price - haircut, 2.553360034648775, 2.336639965351225],
    )  # fmt: skip
    risk = RiskModel([[0.01254990039801113], [0.00418330013267038]], [6.75e-5, 7.5e-6])
    solution = solve(problem, policy="factor", risk=risk)
    assert verify(problem, solution, risk=risk).failures == []
    assert solution.residual_lots.tolist() == [0, 0, 22, 22]
    assert solution.objective_after < 1e-12 * solution.objective_before
