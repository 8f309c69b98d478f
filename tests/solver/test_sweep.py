"""Random problems of every shape and law through `solve` and `verify`: a part of what `tests.solver.sweep` runs."""

from dataclasses import replace

import pytest

from solver import solve
from tests.solver import shapes, sweep
from tests.solver.thinning import thin

COUNT = 2 * len(shapes.SHAPES) * len(sweep.LAWS)


@pytest.mark.parametrize("law", range(len(sweep.LAWS)), ids=[f"{at}-{law}" for at, law in enumerate(sweep.LAWS)])
def test_every_problem_is_solved_and_verified(law):
    """OPTIMAL or RESIDUAL, certified, every demand met or reported; no exception, no warning, nothing that is NaN."""
    seeds = [seed for seed in thin(range(COUNT)) if seed // len(shapes.SHAPES) % len(sweep.LAWS) == law]
    ends, _, failed = sweep.sweep(seeds)
    assert failed == []
    assert sum(ends["all", end] for end in sweep.ENDS) == len(seeds)


@pytest.mark.parametrize("seed", [1040, 1618, 1713, 2667, 5364, 6091, 6521, 7075, 7993, 8061, 8144, 8869])
def test_what_once_failed_is_solved(seed):
    """Hedged accounts whose rounding was overstated, steps that led astray, kinks of scenarios."""
    assert sweep.sweep([seed])[2] == []


def test_every_shape_law_and_trimming_is_among_them():
    """What the sweep says it tries it tries, in the part that runs here too."""
    names = {name for seed in range(COUNT) for name in sweep.case(seed).names}
    assert names == {*shapes.SHAPES, *sweep.TRIMMINGS, *(f"law {law}" for law in sweep.LAWS)}


def test_a_case_is_its_seed():
    """The same problem and model again: a failing seed can be looked at."""
    one, two = sweep.case(12345), sweep.case(12345)
    for a, b in ((one.problem, two.problem), (one.risk, two.risk)):
        for name, column in vars(a).items():
            assert (column == vars(b)[name]).all() if hasattr(column, "tobytes") else column == vars(b)[name]
    assert one[2:] == two[2:]


def test_what_is_wrong_is_counted(monkeypatch):
    """A price that is off, an exception and a status that is none are failures of their seed."""
    wrong = {
        0: lambda solution: replace(solution, shadow_price=solution.shadow_price * 1.001),
        1: lambda solution: solution.nothing,
        2: lambda solution: replace(solution, status="NOT_CONVERGED"),
    }
    seeds = iter(wrong)
    monkeypatch.setattr(sweep, "solve", lambda *given, **more: wrong[next(seeds)](solve(*given, **more)))
    ends, _, failed = sweep.sweep(range(3))
    assert {seed for seed, _ in failed} == {0, 1, 2}
    assert ends["all", "exception"] == ends["all", "NOT_CONVERGED"] == 1
