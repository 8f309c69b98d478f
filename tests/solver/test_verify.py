"""A verifier that cannot fail proves nothing: wrong solutions are made and must be found."""

import ast
import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

import solver
from solver import Problem, RiskModel, Scenarios, solve, verify
from tests.solver.books import isolated, random_arguments

# What the certificate may know of the solver: which arguments fit, and the containers of a risk model.
KNOWN = {"PRICED", "misfit", "RiskModel", "Scenarios"}
BOOK = ([10, 10, 10, 4], [1.0, 2.0, 5.0, -1.0], 12)


def solved(policy="waterfill", **more):
    problem = isolated(*BOOK, entry_price=[0.5, 0.9, 0.7, 1.0], **more)
    return problem, solve(problem, policy=policy)


def moved(solution, source, target, lots=1):
    changed = solution.reduction_lots.copy()
    changed[source] -= lots
    changed[target] += lots
    return replace(solution, reduction_lots=changed)


def test_it_shares_nothing_with_the_solver():
    """No kernel, no helper of a policy: an error of theirs cannot be the certificate's too."""
    files = sorted((Path(solver.__file__).parent / "verify").glob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
            if isinstance(node, ast.ImportFrom) and node.module.startswith("solver"):
                assert node.module.startswith("solver.verify") or KNOWN.issuperset(names), (file.name, names)
            elif names:
                root = (getattr(node, "module", None) or names[0]).split(".")[0]
                assert root in ("copy", "dataclasses", "functools", "math", "numpy"), (file.name, root)
        module = importlib.import_module(f"solver.verify.{file.stem}" if file.stem != "__init__" else "solver.verify")
        assert not [name for name, value in vars(module).items() if isinstance(value, Dispatcher)]


def test_the_right_solution_stands():
    """Nothing is found in the solver's own answer; the insolvent account gave first."""
    problem, solution = solved()
    assert verify(problem, solution).ok
    assert solution.reduction_lots.tolist() == [6, 2, 0, 4]
    assert solution.insolvent_lots.tolist() == [4]


@pytest.mark.parametrize(
    ("source", "target", "word"),
    [(0, 1, "larger present leverage"), (1, 0, "larger present leverage"), (3, 0, "insolvent"), (1, 2, "leverage")],
)
def test_a_lot_given_to_the_wrong_account_is_found(source, target, word):
    """One lot moved anywhere breaks the order of lots."""
    problem, solution = solved()
    report = verify(problem, moved(solution, source, target))
    assert any(word in sentence for sentence in report.failures)


def test_a_tie_given_to_the_larger_rank_is_found():
    """Equal accounts: the odd lot belongs to the smaller tie rank."""
    problem = isolated([4, 4], [1.0, 1.0], 3, tie_rank=[1, 0])
    solution = solve(problem, policy="waterfill")
    assert solution.reduction_lots.tolist() == [1, 2]
    assert not verify(problem, moved(solution, 1, 0)).ok


@pytest.mark.parametrize("policy", ["queue:pnl_leverage", "queue:effective_leverage"])
def test_a_queue_out_of_order_is_found(policy):
    """One lot past a better score is too many."""
    problem, solution = solved(policy)
    assert verify(problem, solution).ok
    first, last = np.argmax(solution.reduction_lots[:3]), np.argmin(solution.reduction_lots[:3])
    assert not verify(problem, moved(solution, first, last)).ok


@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"reduction_lots": s.reduction_lots + 1},
        lambda s: {"reduction_lots": -s.reduction_lots},
        lambda s: {"reduction_lots": s.reduction_lots.astype(float)},
        lambda s: {"reduction_lots": s.reduction_lots[:-1]},
        lambda s: {"reduction_lots": s.reduction_lots * 0, "residual_lots": s.residual_lots + 12},
        lambda s: {"residual_lots": s.residual_lots + 1},
        lambda s: {"relaxed_lots": s.relaxed_lots * 0.999},
        lambda s: {"relaxed_lots": s.relaxed_lots + np.array([0.01, -0.01, 0, 0])},
        lambda s: {"relaxed_lots": s.relaxed_lots * np.nan},
        lambda s: {"level": s.level * 1.001},
        lambda s: {"level": s.level * np.inf},
        lambda s: {"insolvent_lots": s.insolvent_lots + 1},
        lambda _: {"insolvent_lots": None},
        lambda _: {"kkt_residual": 1e9},
        lambda _: {"kkt_residual": None},
        lambda _: {"kkt_residual": np.nan},
        lambda _: {"clearing_residual_lots": 1.0},
        lambda _: {"clearing_residual_lots": None},
        lambda s: {"score": s.relaxed_lots},
        lambda _: {"policy": "risk"},
        lambda _: {"policy": "queue:effective_leverage"},
        lambda _: {"status": "RESIDUAL"},
        lambda _: {"status": "NOT_CONVERGED"},
        lambda _: {"status": "INVALID", "reason": ""},
    ],
)
def test_every_mutation_is_found(change):
    """A change to any field that carries a promise leaves a sentence."""
    problem, solution = solved()
    report = verify(problem, replace(solution, **change(solution)))
    assert not report.ok
    assert all(isinstance(sentence, str) and sentence for sentence in report.failures)


@pytest.mark.parametrize("policy", ["queue:pnl_leverage", "queue:effective_leverage"])
@pytest.mark.parametrize(
    "change",
    [
        lambda s: {"score": s.score * 1.001},
        lambda s: {"score": np.where(s.score == 0, 1.0, s.score)},
        lambda s: {"score": s.score[:-1]},
        lambda _: {"score": None},
        lambda _: {"policy": "waterfill"},
        lambda _: {"policy": "queue:lottery"},
        lambda s: {"level": s.relaxed_lots[:1]},
        lambda _: {"kkt_residual": 0.0},
        lambda _: {"status": "RESIDUAL"},
    ],
)
def test_every_mutation_of_a_queue_is_found(policy, change):
    """Scores too, also the 0 of an account without equity."""
    problem, solution = solved(policy)
    assert verify(problem, solution).ok
    report = verify(problem, replace(solution, **change(solution)))
    assert not report.ok
    assert all(isinstance(sentence, str) and sentence for sentence in report.failures)


def test_a_policy_that_the_problem_does_not_allow_is_found():
    """Without entry prices there is no score by profit: a sentence, no exception."""
    problem = isolated([3, 4], [1.0, 2.0], 3)
    solution = solve(problem, policy="queue:effective_leverage")
    report = verify(problem, replace(solution, policy="queue:pnl_leverage"))
    assert report.failures == ["policy queue:pnl_leverage needs entry_price"]


def test_a_shortage_is_a_residual_and_nothing_else():
    """OPTIMAL says that every demand was met."""
    problem = isolated([3, 4], [1.0, 2.0], 9)
    for policy in ("waterfill", "queue:effective_leverage"):
        solution = solve(problem, policy=policy)
        assert verify(problem, solution).ok
        assert not verify(problem, replace(solution, status="OPTIMAL")).ok


def test_random_moves_of_a_lot_are_found():
    """On random books at the mark, moving a lot between two accounts of one demand is never accepted."""
    found = tried = 0
    for seed in range(200):
        given = random_arguments(seed)
        given.pop("demand_price", None)
        given["demand_asset"], given["demand_side"] = given["demand_asset"][:1], given["demand_side"][:1]
        given["demand_lots"] = given["demand_lots"][:1]
        problem = Problem(**given)
        solution = solve(problem, policy="waterfill")
        side = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)] == 0
        asked = np.flatnonzero(side & (problem.equity[problem.account] > 0))
        if np.unique(problem.account[asked]).size < asked.size:
            continue
        free = np.abs(problem.quantity_lots) if problem.available_lots is None else problem.available_lots
        may = np.ones(free.size, bool) if problem.eligible is None else problem.eligible
        source = [i for i in asked if solution.reduction_lots[i] > 0]
        target = [i for i in asked if solution.reduction_lots[i] < free[i] and may[i]]
        for i in source[:3]:
            for j in target[:3]:
                if i != j:
                    tried += 1
                    found += not verify(problem, moved(solution, i, j)).ok
    assert tried > 50
    assert found == tried


def test_policies_that_do_not_fit_say_why():
    """INVALID carries a sentence, never an exception."""
    problem = isolated([1], [1.0], 1)
    model = RiskModel(np.zeros((1, 0)), [1.0])
    for policy, risk, word in (
        ("risk", None, "needs risk="),
        ("risk", RiskModel(np.zeros((2, 0)), [1.0, 1.0]), "one row per asset"),
        ("factor", Scenarios([[0.1]], [1.0], [0.1]), "needs risk="),
        ("factor", model, "of one factor"),
        ("lottery", model, "must be one of"),
        ("queue:pnl_leverage", model, "entry_price"),
    ):
        solution = solve(problem, policy=policy, risk=risk)
        assert solution.status == "INVALID"
        assert word in solution.reason
    assert "entry_price" in solve(problem, policy="waterfill", protect_principal=True).reason


def test_short_supply_is_a_residual():
    """What is not there is reported, and the level is the smallest leverage left."""
    problem = isolated([3, 4], [1.0, 2.0], 9)
    solution = solve(problem, policy="waterfill")
    assert solution.status == "RESIDUAL"
    assert solution.residual_lots.tolist() == [2]
    assert solution.level.tolist() == [0.0]
    assert verify(problem, solution).ok


def test_nothing_asked_is_an_answer():
    """No demand, or none left for solvent accounts: zeros and an infinite level."""
    for problem in (isolated([3], [1.0], 0), isolated([3, 3], [1.0, -1.0], 3), isolated([], [], 0)):
        solution = solve(problem, policy="waterfill")
        assert solution.status == "OPTIMAL"
        assert solution.level.tolist() == [np.inf]
        assert verify(problem, solution).ok


def test_lots_may_be_left_out():
    """With lots=False only the relaxed solution is there."""
    problem = isolated(*BOOK)
    solution = solve(problem, policy="waterfill", lots=False)
    assert solution.reduction_lots is None
    assert verify(problem, solution).ok


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"account": [1, 0]}, "must not decrease"),
        ({"account": [0, 5]}, "account must be in"),
        ({"asset": [0, 1]}, "asset must be in"),
        ({"quantity_lots": [1.5, 1]}, "whole numbers"),
        ({"quantity_lots": [1]}, "one value per entry"),
        ({"quantity_lots": [2**54, 1]}, "2**53"),
        ({"equity": [np.nan, 1.0]}, "finite"),
        ({"mark_price": [np.inf]}, "finite"),
        ({"mark_price": [-1.0]}, "negative"),
        ({"mark_price": [0.0]}, "above 0"),
        ({"lot_size": 0.0}, "lot_size"),
        ({"demand_lots": [-1]}, "negative"),
        ({"demand_side": [2]}, "demand_side"),
        ({"demand_asset": [0, 0], "demand_side": [1, 1], "demand_lots": [1, 1]}, "twice"),
        ({"available_lots": [1, 9]}, "available_lots"),
        ({"tie_rank": [0]}, "tie_rank"),
    ],
)
def test_invalid_input_is_refused_with_a_sentence(change, word):
    """Problem raises ValueError that says what must be."""
    arguments = {
        "account": [0, 1], "asset": [0, 0], "quantity_lots": [2, 3], "equity": [1.0, 1.0], "mark_price": [1.0],
        "demand_asset": [0], "demand_side": [1], "demand_lots": [1],
    }  # fmt: skip
    Problem(**arguments)
    with pytest.raises(ValueError, match=word.replace("*", r"\*")):
        Problem(**{**arguments, **change})
