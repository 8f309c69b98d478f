"""The closed form of one demand among accounts of one entry: what the general method gives, nearer to the truth.

A bystander who holds nothing sends the same book down the general road.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Problem, RiskModel, Scenarios, solve, verify
from solver.policies import one_asset
from tests.solver.books import isolated, one_at_a_time
from tests.solver.test_risk import MODELS, one_asset_books
from tests.solver.test_roads import isolated_case

FEW = settings(max_examples=60, deadline=None)


@st.composite
def awkward_books(draw):
    """Arguments of `isolated`: leverages from 1 to 50 or tied, haircuts and bonuses, caps, exclusions."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(2, 40))
    quantity, price = rng.integers(1, 10 ** rng.integers(1, 6), n), rng.choice([1.0, 0.1, 3.7, 1000.0])
    leverage = rng.choice([2.0, 5.0, 8.0], n) if draw(st.booleans()) else np.exp(rng.uniform(0, 4, n))
    more = {"tie_rank": rng.permutation(n)}
    if draw(st.booleans()):
        more["demand_price"] = [price * (1 + rng.normal(0, 0.01))]
    if draw(st.booleans()):
        more["available_lots"] = (quantity * rng.random(n)).astype(int)
    if draw(st.booleans()):
        more["eligible"] = rng.random(n) < 0.8
    demand = max(1, int(quantity.sum() * draw(st.floats(0.01, 0.9))))
    return (quantity, quantity * price / leverage, demand, price), more


def exact_margin(problem, lots):
    """How far, relatively, the last lots stood above the next ones: exact present leverages, below 0 is a wrong lot."""
    p, d = Fraction(problem.lot_price[0]), Fraction(problem.haircut[0])
    free = (problem.quantity_lots if problem.available_lots is None else problem.available_lots).tolist()
    last, following = [], []
    for j, (q, taken) in enumerate(zip(problem.quantity_lots.tolist(), lots.tolist(), strict=True)):
        may = problem.eligible is None or problem.eligible[j]
        own = Fraction(problem.equity[j])
        if may and d * q < own and taken > 0:
            last.append(p * (q - taken + 1) / (own - d * (taken - 1)))
        if may and d * q < own and taken < free[j]:
            following.append(p * (q - taken) / (own - d * taken))
    return float((min(last) - max(following)) / min(last)) if last and following else 0.0


@FEW
@given(awkward_books(), st.sampled_from(MODELS), st.sampled_from(["risk", "factor"]))
def test_it_is_what_the_general_method_gives(book, model, policy):
    """Reductions, price, level and loss to its accuracy; lots to the bit but for ties that rounding breaks."""
    arguments, more = book
    if policy == "factor":
        model = RiskModel([[0.05]], [0.0])
    alone, beside = isolated(*arguments, **more), isolated(*arguments, bystander=True, **more)
    a, b = (solve(problem, policy=policy, risk=model) for problem in (alone, beside))
    assert verify(alone, a, risk=model).failures == verify(beside, b, risk=model).failures == []
    assert a.kkt_residual <= max(b.kkt_residual, 1e-12)
    assert a.objective() == pytest.approx((b.objective_before, b.objective_after), rel=1e-9)
    assert (a.level is None) == (b.level is None)
    if abs(a.shadow_price[0]) < 1e-20:  # near the least risk per notional that the general method tells from none
        return
    assert a.shadow_price == pytest.approx(b.shadow_price, rel=1e-7)
    assert a.relaxed_lots == pytest.approx(b.relaxed_lots, abs=1e-6 * max(arguments[0]))
    if a.level is not None:
        assert a.level == pytest.approx(b.level, rel=1e-7)
    if (a.reduction_lots != b.reduction_lots).any():
        assert min(exact_margin(alone, s.reduction_lots) for s in (a, b)) == pytest.approx(0.0, abs=1e-14)
        assert max(exact_margin(alone, s.reduction_lots) for s in (a, b)) == pytest.approx(0.0, abs=1e-14)


@FEW
@given(one_asset_books(), st.sampled_from(MODELS))
def test_lots_are_taken_one_at_a_time_from_the_largest_leverage(book, model):
    """To the tie: equal leverages fall by tie rank, whatever the loss makes of them."""
    quantity, equity, price, rank, demand = book
    solution = solve(isolated(quantity, equity, demand, price, tie_rank=rank), policy="risk", risk=model)
    assert solution.reduction_lots.tolist() == one_at_a_time(quantity, equity, demand, price, rank)


@FEW
@given(one_asset_books(), st.floats(0, 1), st.sampled_from(MODELS))
def test_two_demands_in_a_row_are_one(book, share, model):
    """Path independence, exactly in lots."""
    quantity, equity, price, rank, demand = book
    first = int(demand * share)

    def lots(held, asked):
        return solve(isolated(held, equity, asked, price, tie_rank=rank), policy="risk", risk=model).reduction_lots

    part = lots(quantity, first)
    assert (part + lots(np.array(quantity) - part, demand - first)).tolist() == lots(quantity, demand).tolist()


@pytest.mark.parametrize("seed", range(12))
def test_a_large_book_beside_other_assets_and_insolvent_accounts(seed, monkeypatch):
    """30,000 accounts with all that a book may have: certified, the lots of water filling, the general method's."""
    problem = Problem(**isolated_case(seed))
    assets = problem.mark_price.size
    model = RiskModel(np.full((assets, 1), 0.05), np.full(assets, 0.001), (4.0, 2.5, math.inf)[seed % 3])
    closed = solve(problem, risk=model)
    assert verify(problem, closed, risk=model).failures == []
    assert closed.reduction_lots.tolist() == solve(problem, policy="waterfill").reduction_lots.tolist()
    monkeypatch.setattr(one_asset, "fits", lambda *_: False)
    general = solve(problem, risk=model)
    assert closed.objective_after == pytest.approx(general.objective_after, rel=1e-9)
    assert np.abs(closed.reduction_lots - general.reduction_lots).max() <= 1


def test_what_does_not_fit_goes_down_the_general_road():
    """Scenarios, no risk at all, more than there is: each is answered and certified."""
    book = isolated([10, 20, 30], [2.0, 3.0, 5.0], 25)
    scenarios = Scenarios([[-0.3], [0.2]], [0.5, 0.5], [1e-4])
    for model in (scenarios, RiskModel([[0.0]], [0.0])):
        solution = solve(book, risk=model)
        assert verify(book, solution, risk=model).failures == []
    short, model = isolated([10, 20, 30], [2.0, 3.0, 5.0], 70), MODELS[0]
    solution = solve(short, risk=model)
    assert (solution.status, solution.residual_lots.tolist()) == ("RESIDUAL", [10])
    assert verify(short, solution, risk=model).failures == []
