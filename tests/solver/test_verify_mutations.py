"""Every part of a solution of every policy, made wrong: the certificate must say so, by a sentence, never by raising.

The book has what can go wrong: two insolvent accounts, one that the caller excludes, one that cannot pay the haircut,
one that would give up principal, a short, partial availability, a demand with a haircut and one with a bonus.
"""

from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest

from solver import Problem, RiskModel, Solution, solve, verify
from solver.solve import POLICIES, PRICED

MODEL = RiskModel([[0.04], [0.05]], [0.001, 0.002])
EQUITY = [90.0, 70.0, 110.0, 60.0, 100.0, 80.0, -9.0, -2.0, 50.0, 0.5, 40.0]
LOTS = [[400, 300], [300, 260], [500, -100], [300, 410], [260, 500], [420, 310], [40, 30], [60, 50], [200, 200],
        [300, 300], [310, 150]]  # fmt: skip
MINUS, BROKE, EXCLUDED, POOR, LOSING = 6, 7, 8, 9, 10
LEVELED = ("waterfill", "factor")


@cache
def solved(policy, haircut=True):
    """(problem, solution): 2 rows per account, the one in asset j of account i is 2 i + j; two demands of longs."""
    account, asset = np.repeat(np.arange(11), 2), np.tile([0, 1], 11)
    eligible, entry = account != EXCLUDED, np.tile([0.7, 0.6], 11) + account * 0.01
    entry[2 * LOSING] = 1.4
    problem = Problem(
        account, asset, np.ravel(LOTS), EQUITY, [1.0, 1.0], demand_asset=[0, 1], demand_side=[1, 1],
        demand_lots=[900, 800], demand_price=[0.99, 1.001] if haircut else None, eligible=eligible, entry_price=entry,
        available_lots=np.abs(np.ravel(LOTS)) - 5 * (account == 0), balance=np.full(11, 30.0),
        maintenance_margin=np.linspace(5, 9, 11),
    )  # fmt: skip
    return problem, solve(problem, policy=policy, risk=MODEL, protect_principal=True)


def solvent_rows(problem, j):
    """Rows in asset j that the demand for it may ask."""
    return [2 * i + j for i in range(MINUS) if problem.quantity_lots[2 * i + j] > 0]


def shifted(values, source, target, amount):
    changed = values.copy()
    changed[source] -= amount
    changed[target] += amount
    return changed


def givers(problem, solution, j):
    """The rows of solvent accounts in asset j, who gave the most first."""
    rows = solvent_rows(problem, j)
    return sorted(rows, key=lambda row: -solution.reduction_lots[row])


def handed_to(name, account, j, amount=1):
    """`amount` of asset j, given by the solvent account that gave the most, is said to be given by `account`."""
    return lambda p, s: {name: shifted(getattr(s, name), givers(p, s, j)[0], 2 * account + j, amount)}


def beyond_the_box(name):
    def change(p, s):
        first, second, *_ = givers(p, s, 0)
        return {name: shifted(getattr(s, name), second, first, p.available_lots[first] - getattr(s, name)[first] + 1)}

    return change


def below_nothing(name):
    def change(p, s):
        first, *_, last = givers(p, s, 0)
        return {name: shifted(getattr(s, name), last, first, getattr(s, name)[last] + 1)}

    return change


def added(name, amount, row=0):
    def change(_, s):
        changed = getattr(s, name).copy()
        changed[row] += amount
        return {name: changed}

    return change


def scaled(name, factor):
    return lambda _, s: {name: getattr(s, name) * factor}


def kept_back(p, s):
    """A lot that was there is called a residual."""
    row = givers(p, s, 0)[0]
    return {"reduction_lots": s.reduction_lots - (np.arange(22) == row), "status": "RESIDUAL",
            "relaxed_lots": s.relaxed_lots - (np.arange(22) == row),
            "residual_lots": s.residual_lots + np.array([1, 0])}  # fmt: skip


EVERYWHERE = {
    "lots beyond what is available": beyond_the_box("reduction_lots"),
    "relaxed lots beyond what is available": beyond_the_box("relaxed_lots"),
    "negative lots": below_nothing("reduction_lots"),
    "negative relaxed lots": below_nothing("relaxed_lots"),
    "a lot of the other side": handed_to("reduction_lots", 2, 1),
    "a relaxed lot of the other side": handed_to("relaxed_lots", 2, 1),
    "a lot of an excluded account": handed_to("reduction_lots", EXCLUDED, 1),
    "a relaxed lot of an excluded account": handed_to("relaxed_lots", EXCLUDED, 1),
    "a lot of an insolvent account that would pay": handed_to("reduction_lots", MINUS, 0),
    "a relaxed lot of an insolvent account that would pay": handed_to("relaxed_lots", MINUS, 0),
    "a lot of an account that cannot pay": handed_to("reduction_lots", POOR, 0),
    "a relaxed lot of an account that cannot pay": handed_to("relaxed_lots", POOR, 0),
    "a lot of an account that would pay from principal": handed_to("reduction_lots", LOSING, 0),
    "a relaxed lot of an account that would pay from principal": handed_to("relaxed_lots", LOSING, 0),
    "a lot too few": lambda p, s: added("reduction_lots", -1, givers(p, s, 0)[0])(p, s),
    "a lot too many": lambda p, s: added("reduction_lots", 1, givers(p, s, 0)[-1])(p, s),
    "a relaxed lot too few": lambda p, s: added("relaxed_lots", -1e-3, givers(p, s, 0)[0])(p, s),
    "a residual that is none": added("residual_lots", 1),
    "a residual below 0": added("residual_lots", -1),
    "a residual of all there is": added("residual_lots", -(2**63) + 900),
    "a lot kept back": kept_back,
    "insolvent lots too many": added("insolvent_lots", 1, 1),
    "insolvent lots too few": added("insolvent_lots", -1, 1),
    "insolvent accounts that give too little": lambda p, s: {
        "reduction_lots": shifted(s.reduction_lots, 2 * MINUS + 1, solvent_rows(p, 1)[0], 1)
    },
    "relaxed lots of an insolvent account": lambda p, s: {
        "relaxed_lots": shifted(s.relaxed_lots, 2 * MINUS + 1, givers(p, s, 1)[-1], 1e-6)
    },
    "clearing residual": lambda _, s: {"clearing_residual_lots": s.clearing_residual_lots + 1e-3},
    "status RESIDUAL": lambda *_: {"status": "RESIDUAL"},
    "status NOT_CONVERGED": lambda *_: {"status": "NOT_CONVERGED"},
    "status INVALID": lambda *_: {"status": "INVALID", "reason": "no"},
    "a status of no meaning": lambda *_: {"status": "FINE"},
    "a reason beside an answer": lambda *_: {"reason": "no"},
    "another policy": lambda _, s: {"policy": POLICIES[(POLICIES.index(s.policy) + 3) % len(POLICIES)]},
    "no policy": lambda *_: {"policy": "lottery"},
    "principal that was not protected": lambda p, s: {
        "reduction_lots": shifted(s.reduction_lots, givers(p, s, 0)[0], 2 * LOSING, 1),
        "relaxed_lots": shifted(s.relaxed_lots, givers(p, s, 0)[0], 2 * LOSING, 1),
    },
    "lots said not to be there": lambda _, s: {"options": {**s.options, "lots": False}},
}  # fmt: skip
OPTIMA = {
    "kkt_residual above the bound": lambda *_: {"kkt_residual": 1e-6},
    "kkt_residual below 0": lambda *_: {"kkt_residual": -1e-12},
    "kkt_residual infinite": lambda *_: {"kkt_residual": np.inf},
}
RISK = {
    "shadow price too high": scaled("shadow_price", 1 + 1e-6),
    "shadow price too low": scaled("shadow_price", 1 - 1e-6),
    "shadow prices exchanged": lambda _, s: {"shadow_price": s.shadow_price[::-1].copy()},
    "shadow price infinite": scaled("shadow_price", np.inf),
    "objective before": lambda _, s: {"objective": lambda: (s.objective_before * (1 + 1e-6), s.objective_after)},
    "objective after": lambda _, s: {"objective": lambda: (s.objective_before, s.objective_after * (1 - 1e-6))},
    "objective infinite": lambda _, s: {"objective": lambda: (s.objective_before, np.inf)},
    "objective of no numbers": lambda *_: {"objective": lambda: (None, "much")},
}
LEVEL = {
    "level too high": scaled("level", 1 + 1e-6),
    "level too low": scaled("level", 1 - 1e-6),
    "level infinite": scaled("level", np.inf),
}
QUEUE = {
    "scores too high": scaled("score", 1 + 1e-6),
    "a score of an account without equity": added("score", 1.0, 2 * BROKE + 1),
    "scores exchanged": lambda _, s: {"score": s.score[::-1].copy()},
}
CASES = [
    (policy, name, change)
    for policy in POLICIES
    for table, has in (
        (EVERYWHERE, True), (OPTIMA, policy in PRICED or policy == "waterfill"), (RISK, policy in PRICED),
        (QUEUE, policy.startswith("queue:")), (LEVEL, policy in LEVELED),
    )
    if has
    for name, change in table.items()
]  # fmt: skip


def refused(problem, solution, **changes):
    """The report on a changed solution, which must be a list of sentences."""
    report = verify(problem, replace(solution, **changes), risk=MODEL)
    assert all(isinstance(sentence, str) and len(sentence.split()) > 3 for sentence in report.failures)
    return not report.ok


@pytest.mark.parametrize("policy", POLICIES)
def test_the_right_solution_stands(policy):
    """Nothing is found in the solver's own answers, in which every kind of account has its part."""
    for haircut in (True, False):
        problem, solution = solved(policy, haircut)
        assert verify(problem, solution, risk=MODEL).failures == []
        assert solution.status == "OPTIMAL"
        assert (solution.reduction_lots[[2 * POOR, 2 * EXCLUDED, 2 * LOSING]] == 0).all() or not haircut
    assert solved(policy)[1].insolvent_lots.tolist() == [0, 80]


@pytest.mark.parametrize(("policy", "name", "change"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_every_wrong_field_is_found(policy, name, change):
    """Also what is off by a millionth."""
    problem, solution = solved(policy, haircut=change not in LEVEL.values() or policy != "factor")
    assert refused(problem, solution, **change(problem, solution)), name


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("field", [field.name for field in fields(Solution) if field.name != "iterations"])
def test_no_corruption_raises(policy, field):
    """NaN, another shape, another type, nothing at all: a sentence each."""
    problem, solution = solved(policy, haircut=policy != "factor")
    value = getattr(solution, field)
    wrong = ["text", 7, [1.0, 2.0], object(), np.array(["a", "b"])]
    if field in ("kkt_residual", "clearing_residual_lots"):
        wrong = [np.nan, np.inf, -1.0, "text", [0.0], np.zeros(2)]
    if isinstance(value, np.ndarray):
        other = np.float64 if value.dtype == np.int64 else np.int64
        wrong += [value[:-1], value[None], value.astype(other), value.astype(object), value.tolist(), None]
        wrong += [np.full(value.shape, fill) for fill in (np.nan, np.inf, -np.inf, 1e308, -1e308)]
    elif value is not None and field != "reason":
        wrong.append(None)
    for other in wrong:
        assert refused(problem, solution, **{field: other}), (field, other)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("haircut", [True, False])
def test_every_move_of_a_lot_is_found(policy, haircut):
    """From any account that gave to any other that could have, solvent or not, in either demand."""
    problem, solution = solved(policy, haircut)
    tried = 0
    for j in (0, 1):
        rows = [2 * i + j for i in range(EXCLUDED) if problem.quantity_lots[2 * i + j] > 0]
        for source in rows:
            for target in rows:
                gives = source != target and solution.reduction_lots[source] > 0
                if gives and solution.reduction_lots[target] < problem.available_lots[target]:
                    tried += 1
                    lots = shifted(solution.reduction_lots, source, target, 1)
                    assert refused(problem, solution, reduction_lots=lots), (source, target)
    assert tried >= 4


@pytest.mark.parametrize("policy", POLICIES)
def test_a_millionth_of_the_relaxed_lots_moved_is_found(policy):
    """Between any two accounts one of which could give more and the other less."""
    problem, solution = solved(policy, haircut=False)
    tried = 0
    for j in (0, 1):
        x, free = solution.relaxed_lots, problem.available_lots
        for source in solvent_rows(problem, j):
            for target in solvent_rows(problem, j):
                part = 1e-6 * x[source]
                if source != target and part > 0 and x[target] + part <= free[target]:
                    tried += 1
                    assert refused(problem, solution, relaxed_lots=shifted(x, source, target, part)), (source, target)
    assert tried >= 4


@pytest.mark.parametrize("policy", POLICIES)
def test_lots_of_another_policy_are_found(policy):
    """Lots that belong to other relaxed reductions, and all that another policy says."""
    problem, solution = solved(policy)
    for other in POLICIES:
        found = solved(other)[1]
        if (found.reduction_lots != solution.reduction_lots).any():
            assert refused(problem, solution, reduction_lots=found.reduction_lots), other
            assert refused(problem, found, policy=policy), other


@pytest.mark.parametrize("policy", POLICIES)
def test_the_order_of_insolvent_accounts(policy):
    """Most under water per unit held first; of equal ones that of the smaller tie rank. A lot moved is found."""
    for equity, rank, lots in (([-1.0, -2.0, 9.0], [0, 1, 2], [3, 5, 0]), ([-1.0, -1.0, 9.0], [1, 0, 2], [3, 5, 0])):
        problem = Problem(
            [0, 1, 2], [0, 0, 0], [5, 5, 5], equity, [1.0], demand_asset=[0], demand_side=[1], demand_lots=[8],
            entry_price=[0.9, 0.8, 0.7], balance=[1.0, 1.0, 1.0], maintenance_margin=[1.0, 1.0, 1.0], tie_rank=rank,
        )  # fmt: skip
        model = RiskModel([[0.1]], [0.0])
        solution = solve(problem, policy=policy, risk=model)
        assert solution.reduction_lots.tolist() == lots
        assert verify(problem, solution, risk=model).failures == []
        wrong = np.array([5, 3, 0])
        report = verify(problem, replace(solution, reduction_lots=wrong, relaxed_lots=wrong.astype(float)), risk=model)
        assert any("insolvent" in sentence for sentence in report.failures)


@pytest.mark.parametrize("policy", ["risk", "factor", "waterfill"])
def test_a_residual_stated_too_small_is_found(policy):
    """Reductions within the bound but off by more than is said: 3e-9 of the price is no 0."""
    problem, solution = solved(policy, haircut=False)
    first, second = [row for row in givers(problem, solution, 0) if solution.relaxed_lots[row] % 1 > 0][:2]
    low, high = 0.0, 1.0
    for _ in range(60):  # the largest move that is not an error in itself
        step = 0.5 * (low + high)
        moved = shifted(solution.relaxed_lots, first, second, step)
        stands = not refused(problem, solution, relaxed_lots=moved, kkt_residual=1e-8)
        low, high = (step, high) if stands else (low, step)
    moved = shifted(solution.relaxed_lots, first, second, 0.9 * low)
    assert not refused(problem, solution, relaxed_lots=moved, kkt_residual=1e-8)
    assert refused(problem, solution, relaxed_lots=moved, kkt_residual=0.0)
