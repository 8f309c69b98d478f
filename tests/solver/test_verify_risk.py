"""The certificate of policy `risk` fails on every kind of wrong solution, and only on those."""

from dataclasses import replace

import numpy as np
import pytest

from solver import Problem, RiskModel, solve, verify
from tests.solver.risk_books import awkward, cross_book

MODEL = RiskModel([[0.04], [0.05]], [0.001, 0.002])


def solved(demands=1, **more):
    """Five accounts, longs of one asset or of two; the last account is insolvent and gives first."""
    problem = Problem(
        np.repeat(np.arange(5), 2), np.tile([0, 1], 5), [40, 30, 50, 20, 60, -10, 30, 40, 5, 5],
        [9.0, 8.0, 20.0, 6.0, -1.0], [1.0, 1.0], demand_asset=[0, 1][:demands], demand_side=[1, 1][:demands],
        demand_lots=[60, 40][:demands], **more,
    )  # fmt: skip
    return problem, solve(problem, policy="risk", risk=MODEL)


def moved(solution, source, target, lots=1):
    changed = solution.reduction_lots.copy()
    changed[source] -= lots
    changed[target] += lots
    return replace(solution, reduction_lots=changed)


@pytest.mark.parametrize("demands", [1, 2])
def test_the_right_solution_stands(demands):
    """Nothing is found in the solver's own answer; the insolvent account gave first."""
    problem, solution = solved(demands)
    assert verify(problem, solution, risk=MODEL).failures == []
    assert solution.status == "OPTIMAL"
    assert solution.insolvent_lots.tolist() == [5, 5][:demands]
    assert solution.level is None
    assert 0 < solution.objective_after < solution.objective_before


@pytest.mark.parametrize("demands", [1, 2])
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda s: {"shadow_price": s.shadow_price * 1.001}, "than the price"),
        (lambda s: {"shadow_price": s.shadow_price * 0.999}, "than the price"),
        (lambda s: {"shadow_price": s.shadow_price[:0]}, "shadow_price must be"),
        (lambda s: {"shadow_price": s.shadow_price * np.nan}, "shadow_price must be"),
        (lambda _: {"shadow_price": None}, "shadow_price must be"),
        (lambda s: {"level": s.shadow_price}, "level must be None"),
        (lambda s: {"score": s.relaxed_lots}, "score must be None"),
        (lambda s: {"objective": lambda: (s.objective_before, s.objective_after * 1.0001)}, "objective_after"),
        (lambda s: {"objective": lambda: (s.objective_before * 0.9999, s.objective_after)}, "objective_before"),
        (lambda _: {"objective": lambda: (np.nan, np.nan)}, "objective_before must be a number"),
        (lambda _: {"objective": None}, "objective must be callable"),
        (lambda _: {"kkt_residual": None}, "kkt_residual"),
        (lambda _: {"kkt_residual": 1e-6}, "kkt_residual"),
        (lambda _: {"kkt_residual": np.nan}, "kkt_residual"),
        (lambda s: {"relaxed_lots": s.relaxed_lots * 1.001}, "relaxed"),
        (lambda s: {"relaxed_lots": s.relaxed_lots + np.eye(10)[0] * 0.01 - np.eye(10)[2] * 0.01}, "than the price"),
        (lambda s: {"relaxed_lots": s.relaxed_lots * np.nan}, "finite"),
        (lambda s: {"reduction_lots": s.reduction_lots + 1}, "must"),
        (lambda s: {"reduction_lots": -s.reduction_lots}, "negative"),
        (lambda s: {"residual_lots": s.residual_lots + 1}, "residual"),
        (lambda s: {"insolvent_lots": s.insolvent_lots - 1}, "insolvent"),
        (lambda _: {"status": "RESIDUAL"}, "status"),
        (lambda _: {"status": "NOT_CONVERGED"}, "status"),
        (lambda _: {"policy": "waterfill"}, "level must be"),
        (lambda _: {"policy": "factor"}, "level must be"),
    ],
)
def test_every_mutation_is_found(demands, change, word):
    """A change to any field that carries a promise leaves the sentence that says which."""
    problem, solution = solved(demands)
    report = verify(problem, replace(solution, **change(solution)), risk=MODEL)
    assert any(word in sentence for sentence in report.failures), report.failures


@pytest.mark.parametrize(
    "other", [RiskModel([[0.04], [0.05]], [0.001, 0.003]), RiskModel([[0.04], [0.05]], MODEL.idiosyncratic, 5.0)]
)
def test_the_answer_to_another_model_is_found(other):
    """Another variance, another tail: neither marginals nor objective are the same."""
    problem, solution = solved(2)
    found = " ".join(verify(problem, solution, risk=other).failures)
    assert "objective_before" in found
    assert "price" in found


def test_without_a_model_nothing_can_be_verified():
    """A sentence, no exception."""
    problem, solution = solved()
    assert "needs risk=" in verify(problem, solution).failures[0]
    assert "one row per asset" in verify(problem, solution, risk=RiskModel([[1.0]], [1.0])).failures[0]


def test_a_price_of_a_demand_that_takes_everything_is_the_least_marginal():
    """Any smaller price would certify it as well; the promise is the largest one."""
    problem, _ = cross_book(3, demands=2)
    problem = Problem(
        problem.account, problem.asset, problem.quantity_lots, problem.equity, problem.mark_price,
        demand_asset=problem.demand_asset, demand_side=problem.demand_side, demand_lots=[10**6, problem.demand_lots[1]],
    )  # fmt: skip
    model = cross_book(3, demands=2)[1]
    solution = solve(problem, policy="risk", risk=model)
    assert solution.status == "RESIDUAL"
    assert verify(problem, solution, risk=model).failures == []
    for change in ([1e-6, 0.0], [-1e-6, 0.0]):
        off = replace(solution, shadow_price=solution.shadow_price + change)
        assert any("least marginal" in sentence for sentence in verify(problem, off, risk=model).failures)


def test_a_price_where_nothing_is_asked_is_found():
    """The insolvent account meets the demand: no price."""
    problem = Problem([0, 1], [0, 0], [5, 5], [-1.0, 1.0], [1.0], demand_asset=[0], demand_side=[1], demand_lots=[5])
    model = RiskModel([[0.1]], [0.0])
    solution = solve(problem, policy="risk", risk=model)
    assert solution.shadow_price.tolist() == [0.0]
    assert verify(problem, solution, risk=model).failures == []
    off = replace(solution, shadow_price=np.array([1e-9]))
    assert "shadow_price must be 0 where solvent accounts gave nothing" in verify(problem, off, risk=model).failures


def test_a_tie_given_to_the_larger_rank_is_found():
    """Equal accounts: the odd lot belongs to the smaller tie rank."""
    model = RiskModel([[0.1]], [0.001])
    problem = Problem([0, 1, 2], [0, 0, 0], [4, 4, 1], [1.0, 1.0, 9.0], [1.0], demand_asset=[0], demand_side=[1],
                      demand_lots=[3], tie_rank=[1, 0, 2])  # fmt: skip
    solution = solve(problem, policy="risk", risk=model)
    assert solution.reduction_lots.tolist() == [1, 2, 0]
    assert verify(problem, solution, risk=model).failures == []
    wrong = verify(problem, moved(solution, 1, 0), risk=model).failures
    assert wrong == ["1 accounts gave a lot before an equal one of smaller tie rank"]


@pytest.mark.parametrize(("demands", "seeds", "least"), [(1, 40, 1.0), (3, 40, 0.7)])
def test_random_moves_of_a_lot_are_found(demands, seeds, least):
    """A lot moved between accounts is found; of several demands where neither gave missing lots of two positions."""
    found = tried = 0
    for seed in range(seeds):
        problem, model = cross_book(seed, demands=demands)
        solution = solve(problem, policy="risk", risk=model)
        assert verify(problem, solution, risk=model).failures == []
        k = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
        for demand in range(demands):
            source = np.flatnonzero((k == demand) & (solution.reduction_lots > 0))
            target = np.flatnonzero((k == demand) & (solution.reduction_lots < np.abs(problem.quantity_lots)))
            for i in source[:4]:
                for j in target[:4]:
                    if i != j:
                        tried += 1
                        found += not verify(problem, moved(solution, i, j), risk=model).ok
    assert tried > 100
    assert found >= least * tried


@pytest.mark.parametrize("seed", range(60))
def test_random_moves_of_the_relaxed_reductions_are_found(seed):
    """A thousandth of what an account gave, moved to another one, is no optimum."""
    problem, model = cross_book(seed, tail=4.0)  # a normal tail may leave risks too small to be told apart
    solution = solve(problem, policy="risk", risk=model, lots=False)
    assert verify(problem, solution, risk=model).failures == []
    k = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
    for demand in range(problem.demand_lots.size):
        rows = np.flatnonzero(k == demand)
        x, free = solution.relaxed_lots, np.abs(problem.quantity_lots)
        if rows.size < 2 or (x[rows] >= free[rows]).all():
            continue
        source = rows[np.argmax(x[rows])]
        others = rows[(rows != source) & (x[rows] < free[rows])]
        if not others.size:
            continue
        part = min(0.001 * x[source], free[others[0]] - x[others[0]])
        changed = x.copy()
        changed[source] -= part
        changed[others[0]] += part
        assert not verify(problem, replace(solution, relaxed_lots=changed), risk=model).ok


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_nothing_is_found_where_nothing_is_wrong(first):
    """Hedges, twins, haircuts, insolvent and closed accounts: no false alarm."""
    for seed in range(first, first + 50):
        problem, model = awkward(seed)
        solution = solve(problem, policy="risk", risk=model)
        assert verify(problem, solution, risk=model).failures == [], seed


def test_every_mutation_of_a_factor_level_is_found():
    """Levels a hair off, infinite or missing; reductions that another level belongs to."""
    model = RiskModel([[0.04], [0.05]], [0.0, 0.0])
    problem, _ = solved(2)
    solution = solve(problem, policy="factor", risk=model)
    assert verify(problem, solution, risk=model).failures == []
    for change, word in (
        ({"level": solution.level * 1.001}, "must not be above every account"),
        ({"level": solution.level * 0.999}, "stand above the level"),
        ({"level": solution.level * np.inf}, "finite where solvent accounts gave"),
        ({"level": None}, "level must be"),
        ({"policy": "risk"}, "level must be None"),
        ({"relaxed_lots": solution.relaxed_lots + np.eye(10)[4] * 0.01 - np.eye(10)[0] * 0.01}, "the level"),
    ):
        found = verify(problem, replace(solution, **change), risk=model).failures
        assert any(word in sentence for sentence in found), (change, found)
