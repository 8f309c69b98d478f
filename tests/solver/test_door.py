"""What a caller may hand over: every wrong argument is a ValueError that names it, everything else is solved."""

import math
from dataclasses import astuple, fields

import numpy as np
import pytest

from solver import Problem, RiskModel, Scenarios, metrics, solve, verify
from solver.risk import default_risk_model
from solver.solve import POLICIES

BOOK = {
    "account": [0, 0, 1, 1, 2, 3], "asset": [0, 1, 0, 1, 0, 1], "quantity_lots": [50, 30, 70, -20, 90, -40],
    "equity": [10.0, 20.0, 9.0, 30.0], "mark_price": [1.0, 2.0], "lot_size": [1.0, 1.0],
    "demand_asset": [0, 1], "demand_side": [1, -1], "demand_lots": [40, 15],
    "entry_price": [0.5, 1.0, 0.7, 2.5, 0.9, 2.2], "balance": [1.0, 2.0, 3.0, 4.0], "maintenance_margin": [0.1] * 4,
}  # fmt: skip
RETURNS, LOADINGS, OWN = [[0.1, 0.2], [-0.5, -0.2]], [[0.1], [0.2]], [0.01, 0.01]
STUDENT, GAUSSIAN = RiskModel(LOADINGS, OWN), RiskModel(LOADINGS, OWN, math.inf)
SCENARIOS = Scenarios(RETURNS, [0.5, 0.5], [0.001, 0.001])
MANY = 2**53  # lots
COLUMNS = {  # entries, accounts, assets, demands
    "account": 6, "asset": 6, "quantity_lots": 6, "equity": 4, "mark_price": 2, "lot_size": 2, "demand_asset": 2,
    "demand_side": 2, "demand_lots": 2, "demand_price": 2, "available_lots": 6, "eligible": 6, "entry_price": 6,
    "balance": 4, "maintenance_margin": 4, "tie_rank": 4,
}  # fmt: skip


def frozen(values, kind):
    array = np.array(values, kind)
    array.flags.writeable = False
    return array


def stands(problem, risk, policy, lots):
    """Solve and verify; demands are met to the lot and no figure is NaN."""
    solution = solve(problem, policy, risk=risk, lots=lots)
    if policy == "factor" and not isinstance(risk, RiskModel):
        assert (solution.status, bool(solution.reason)) == ("INVALID", True)
        return
    assert solution.status == ("RESIDUAL" if solution.residual_lots.any() else "OPTIMAL")
    assert verify(problem, solution, risk=risk).failures == []
    for field in fields(solution):
        value = getattr(solution, field.name)
        if isinstance(value, np.ndarray | float):
            assert not np.isnan(value).any(), field.name
            assert not np.signbit(np.asarray(value)[np.asarray(value) == 0]).any(), f"minus nothing: {field.name}"
    for k, (asset, side) in enumerate(zip(problem.demand_asset, problem.demand_side, strict=True) if lots else ()):
        rows = (problem.asset == asset) & (np.sign(problem.quantity_lots) == side)
        taken = sum(solution.reduction_lots[rows].tolist())
        assert taken + int(solution.residual_lots[k]) == int(problem.demand_lots[k])
    figures = astuple(metrics(problem, solution, risk=risk, deficits=np.ones(1)))
    assert not any(isinstance(figure, float) and math.isnan(figure) for figure in figures)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda n: [math.nan] * n, id="nan"),
        pytest.param(lambda n: [math.inf] * n, id="inf"),
        pytest.param(lambda n: [1e300] * n, id="1e300"),
        pytest.param(lambda n: ["1"] * n, id="text"),
        pytest.param(lambda n: [None] * n, id="None"),
        pytest.param(lambda n: [1j] * n, id="complex"),
        pytest.param(lambda n: [[1]] + [[1, 2]] * (n - 1), id="ragged"),
        pytest.param(lambda n: np.ma.array([1] * n, mask=[True] + [False] * (n - 1)), id="masked"),
        pytest.param(lambda n: np.array([1] * n, dtype=object), id="objects"),
        pytest.param(lambda n: [1] * (n + 1), id="too long"),
        pytest.param(lambda n: [[1] * n], id="two dimensions"),
        pytest.param(lambda n: (value for value in [1] * n), id="generator"),
    ],
)
def test_a_wrong_column_is_refused_with_a_sentence(name, wrong):
    """The sentence names a column, and says what must be."""
    with pytest.raises(ValueError, match=" must ") as refused:
        Problem(**{**BOOK, name: wrong(COLUMNS[name])})
    assert str(refused.value).split()[0] in COLUMNS


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"account": [0, 1, 0, 1, 2, 3]}, "account must not decrease, did at entry 2"),
        ({"account": [0, 0, 1, 1, 2, 4]}, "account must be in 0..3, was 4 at entry 5"),
        ({"account": [-1, 0, 1, 1, 2, 3]}, "account must be in 0..3, was -1 at entry 0"),
        ({"asset": [0, 1, 0, 1, 0, -1]}, "asset must be in 0..1, was -1 at entry 5"),
        ({"quantity_lots": [0.5, 1, 1, 1, 1, 1]}, "quantity_lots must be whole numbers, in floats within 2**53"),
        ({"quantity_lots": [1, 2, 3, 4, 5, 2**70]}, "quantity_lots must be numbers of 64 bits, was of type object"),
        ({"quantity_lots": np.array([1] * 5 + [2**63], np.uint64)}, "quantity_lots must fit in 64 bits"),
        ({"quantity_lots": [-(2**63), 1, 1, 1, 1, 1]}, "quantity_lots must be within 2**53, was -92233720"),
        (
            {"quantity_lots": [1, 1, MANY + 1, 1, 1, 1]},
            f"quantity_lots must be within 2**53, was {MANY + 1} at entry 2",
        ),
        ({"demand_lots": [2**62, 1]}, "demand_lots must not be negative and must be below 2**62"),
        ({"demand_lots": [-1, 1]}, "demand_lots must not be negative and must be below 2**62"),
        ({"demand_asset": [0, 0], "demand_side": [1, 1]}, "a pair (demand_asset, demand_side) must not occur twice"),
        ({"demand_side": [0, 1]}, "demand_side must be +1 (longs are reduced) or -1 (shorts are reduced)"),
        ({"demand_side": [True, True]}, "demand_side must be numbers of 64 bits, was of type bool"),
        ({"demand_asset": [0, 2]}, "demand_asset must be in 0..1"),
        ({"equity": [1e-31, 1.0, 1.0, 1.0]}, "equity must be 0 or at least 1e-30, was 1e-31 of account 0"),
        ({"equity": [1e31, 1.0, 1.0, 1.0]}, "equity must be finite numbers within 1e+30"),
        ({"mark_price": [0.0, 1.0]}, "mark_price of a demanded asset must be above 0"),
        ({"mark_price": [-1.0, 1.0]}, "mark_price must not be negative"),
        (
            {"mark_price": [5e-324, 1.0]},
            "mark_price times lot_size must be 0 or within 1e-30..1e30, was not of asset 0",
        ),
        ({"mark_price": [1.0, 1e20], "lot_size": 1e20}, "mark_price times lot_size must be 0 or within 1e-30..1e30"),
        ({"lot_size": 0}, "lot_size must be above 0"),
        ({"lot_size": -1.0}, "lot_size must be above 0"),
        ({"available_lots": [51, 0, 0, 0, 0, 0]}, "available_lots must be in 0..|quantity_lots|, was not at entry 0"),
        ({"available_lots": [0, -1, 0, 0, 0, 0]}, "available_lots must be in 0..|quantity_lots|, was not at entry 1"),
        ({"eligible": [2] * 6}, "eligible must be true or false"),
    ],
)
def test_what_does_not_fit_together_is_refused(change, sentence):
    """The whole sentence, or its beginning where a number follows."""
    with pytest.raises(ValueError, match=" must ") as refused:
        Problem(**{**BOOK, **change})
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({name: frozen(values, float if name in ("equity", "mark_price", "entry_price") else int)
                      for name, values in BOOK.items()}, id="read-only arrays"),
        pytest.param({"account": np.array(BOOK["account"], np.int8), "asset": np.array(BOOK["asset"], np.uint16),
                      "quantity_lots": np.array(BOOK["quantity_lots"], np.float32),
                      "equity": np.array(BOOK["equity"], np.float16)}, id="small types"),
        pytest.param({name: np.array(values).astype(np.array(values).dtype.newbyteorder(">"))
                      for name, values in BOOK.items()}, id="big-endian"),
        pytest.param({name: np.repeat(values, 3)[::3] for name, values in BOOK.items()}, id="strided views"),
        pytest.param({"eligible": np.broadcast_to(True, 6), "lot_size": [1.0]}, id="broadcast"),
    ],
)  # fmt: skip
def test_the_same_book_in_other_arrays_is_the_same_problem(change):
    """Type, byte order, stride and permission to write make no difference."""
    for policy in POLICIES:
        plain, other = (solve(Problem(**book), policy, risk=STUDENT) for book in (BOOK, {**BOOK, **change}))
        assert plain.reduction_lots.tolist() == other.reduction_lots.tolist()
        assert plain.relaxed_lots.tolist() == other.relaxed_lots.tolist()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"demand_asset": [], "demand_side": [], "demand_lots": []}, id="no demands"),
        pytest.param({"account": [], "asset": [], "quantity_lots": [], "entry_price": []}, id="no entries"),
        pytest.param({"account": [], "asset": [], "quantity_lots": [], "entry_price": [], "equity": [], "balance": [],
                      "maintenance_margin": []}, id="no accounts"),
        pytest.param({"quantity_lots": [0] * 6}, id="nobody holds anything"),
        pytest.param({"quantity_lots": [-5, 3, -7, 2, -9, 4]}, id="nobody holds what is demanded"),
        pytest.param({"demand_lots": [0, 7]}, id="a demand of nothing"),
        pytest.param({"demand_lots": [2**62 - 1, 2**61]}, id="more than there can be"),
        pytest.param({"equity": [0.0] * 4}, id="equities of nothing"),
        pytest.param({"equity": [-0.0, 20.0, 9.0, 30.0]}, id="an equity of minus nothing"),
        pytest.param({"equity": [-1.0, -2.0, -3.0, -4.0]}, id="nobody solvent"),
        pytest.param({"equity": [1e-12, 1e18, 1.0, 1e6]}, id="tiny and huge equities"),
        pytest.param({"equity": [1e-30, 1e30, 1.0, 1e-30]}, id="equities at the limits"),
        pytest.param({"equity": [1e18] * 4}, id="no risk to speak of"),
        pytest.param({"mark_price": [1e-30, 1e30]}, id="prices at the limits"),
        pytest.param({"mark_price": [1.0, 0.0], "demand_asset": [0], "demand_side": [1], "demand_lots": [40]},
                     id="another asset worth nothing"),
        pytest.param({"available_lots": [0] * 6}, id="nothing available"),
        pytest.param({"eligible": [False] * 6}, id="nobody eligible"),
        pytest.param({"tie_rank": [7] * 4}, id="one rank for all"),
        pytest.param({"tie_rank": [2**63 - 1, -(2**63), 2**63 - 1, 0]}, id="ranks at the limits"),
        pytest.param({"demand_price": [0.0, 1e30]}, id="a haircut nobody can pay"),
        pytest.param({"demand_price": [1.1, 1.9]}, id="a bonus"),
        pytest.param({"demand_price": [1 - 1e-16, 2.0]}, id="a haircut of one bit"),
        pytest.param({"demand_price": [0.9, 2.2], "equity": [8.0, 20.0, 9.0, 30.0], "demand_lots": [100, 15]},
                     id="at the edge of what one can pay"),
        pytest.param({"quantity_lots": [MANY - 1, MANY, MANY - 3, 1 - MANY, MANY - 5, 7 - MANY],
                      "equity": [1e17, 1e17, 1e16, 1e18], "demand_lots": [2 * MANY + 1, MANY - 1]}, id="2**53 lots"),
        pytest.param({"quantity_lots": [MANY - 1, MANY, MANY - 3, 1 - MANY, MANY - 5, 7 - MANY],
                      "equity": [1e17, 1e17, 1e16, 1e18], "demand_lots": [3 * MANY - 10, 2 * MANY - 9]},
                     id="all but one of 2**54 and more"),
        pytest.param({"account": [0, 0, 1, 1, 2, 2], "asset": [0] * 6, "quantity_lots": [50, -50, 70, -70, 90, -90],
                      "demand_asset": [0, 0], "demand_side": [1, -1], "demand_lots": [30, 50]}, id="perfect hedges"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lots", [True, False])
def test_every_valid_book_is_solved(change, lots):
    """By every policy and loss: no exception, no NaN, nothing silently short, and the certificate stands."""
    problem = Problem(**{**BOOK, **change})
    for policy in POLICIES:
        for risk in (STUDENT, GAUSSIAN, SCENARIOS) if policy in ("risk", "factor") else (STUDENT,):
            stands(problem, risk, policy, lots)


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(lambda tail=tail: RiskModel(LOADINGS, OWN, tail), id=f"tail {tail}")
          for tail in (1.0000001, 1.01, 2, 4.0000001, 1e3, 1e15, 1e300)),
        pytest.param(lambda: RiskModel(np.zeros((2, 0)), OWN), id="no factors"),
        pytest.param(lambda: RiskModel([[0.0], [0.0]], [0.0, 0.0]), id="no risk"),
        pytest.param(lambda: RiskModel(LOADINGS, [0.0, 0.0]), id="one factor alone"),
        pytest.param(lambda: RiskModel(np.full((2, 40), 0.01), OWN), id="forty factors"),
        pytest.param(lambda: RiskModel([[1e6], [-1e6]], [1e12, 1e12]), id="risk at the limit"),
        pytest.param(lambda: RiskModel([[1e-200], [1e-160]], [1e-320, 0.0]), id="less than tiny risk"),
        pytest.param(lambda: RiskModel(frozen(LOADINGS, ">f8"), frozen(OWN, float)), id="other arrays"),
        pytest.param(lambda: Scenarios([[-0.5, -0.2]], [1.0], OWN), id="one scenario"),
        pytest.param(lambda: Scenarios(RETURNS, [1.0, 0.0], OWN), id="a scenario of no weight"),
        pytest.param(lambda: Scenarios(RETURNS, [0.5, 0.5], [0.0, 0.0]), id="no kernel"),
        pytest.param(lambda: Scenarios(RETURNS, [0.5, 0.5], [1e-300, 1e-12]), id="tiny kernels"),
        pytest.param(lambda: Scenarios([[-3.0, 5.0], [1.0, 1.0]], [0.5, 0.5], OWN), id="more than everything"),
    ],
)  # fmt: skip
def test_every_valid_risk_model_is_solved(make):
    """At the mark and with haircuts."""
    risk = make()
    for change in ({}, {"demand_price": [0.97, 2.01]}):
        problem = Problem(**{**BOOK, **change})
        for policy in ("risk", "factor") if isinstance(risk, RiskModel) and risk.loadings.shape[1] == 1 else ("risk",):
            stands(problem, risk, policy, lots=True)


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(lambda tail=tail: RiskModel(LOADINGS, OWN, tail), id=f"tail {tail}")
          for tail in (1, 0, -3, math.nan, -math.inf, None, "x")),
        *(pytest.param(lambda loadings=loadings: RiskModel(loadings, OWN), id=f"loadings {loadings}")
          for loadings in ([0.1, 0.2], [[0.1]] * 3, [[math.nan], [0.1]], [[1e7], [0.1]], [[1], [1, 2]], "x",
                           None, [[1j]] * 2)),
        *(pytest.param(lambda own=own: RiskModel(LOADINGS, own), id=f"variances {own}")
          for own in ([-0.1, 0.1], [0.1], [math.inf, 1.0], 0.1, None)),
        *(pytest.param(lambda weights=weights: Scenarios(RETURNS, weights, OWN), id=f"weights {weights}")
          for weights in ([0.5, 0.6], [-0.5, 1.5], [0.0, 0.0], [0.5], [math.nan, 1.0])),
        *(pytest.param(lambda kernel=kernel: Scenarios(RETURNS, [0.5, 0.5], kernel), id=f"kernel {kernel}")
          for kernel in ([-1.0, 1.0], 0.1, [0.1], [math.inf, 1.0])),
        pytest.param(lambda: Scenarios(np.zeros((0, 2)), [], OWN), id="no scenarios"),
        pytest.param(lambda: Scenarios([[1e7, 0.0], [0.0, 0.0]], [0.5, 0.5], OWN), id="returns out of range"),
        pytest.param(lambda: default_risk_model([-0.1]), id="a negative margin fraction"),
        pytest.param(lambda: default_risk_model([[0.1]]), id="margin fractions in two dimensions"),
    ],
)  # fmt: skip
def test_a_wrong_risk_model_is_refused_with_a_sentence(make):
    """As a problem is."""
    with pytest.raises(ValueError, match=" must "):
        make()


@pytest.mark.parametrize("policy", ["nope", "", None, 3, "queue:", "queue:nope", "RISK", b"risk", ["risk"]])
def test_an_unknown_policy_is_invalid(policy):
    """A value, not an exception; such a solution has a reason and no metrics."""
    problem = Problem(**BOOK)
    solution = solve(problem, policy, risk=STUDENT)
    assert (solution.status, solution.reduction_lots) == ("INVALID", None)
    assert solution.reason.startswith("policy must be one of risk, factor, waterfill, ")
    assert verify(problem, solution).ok
    with pytest.raises(ValueError, match="an INVALID solution has no metrics: policy must be"):
        metrics(problem, solution)


@pytest.mark.parametrize("risk", [None, 3, "x", np.zeros(2), RiskModel([[0.1]] * 3, [0.1] * 3)])
def test_a_risk_model_that_does_not_fit_is_invalid(risk):
    """For the policies that need one; `verify` says the same of another's solution."""
    problem = Problem(**BOOK)
    for policy in ("risk", "factor"):
        solution = solve(problem, policy, risk=risk)
        assert solution.status == "INVALID"
        assert verify(problem, solve(problem, policy, risk=STUDENT), risk=risk).failures == [solution.reason]
    assert solve(problem, "waterfill", risk=risk).status == "OPTIMAL"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_missing_column_is_invalid(policy):
    """The reason names it."""
    problem = Problem(**{name: values for name, values in BOOK.items()
                         if name not in ("entry_price", "balance", "maintenance_margin")})  # fmt: skip
    needs = {"queue:binance": "entry_price and balance and maintenance_margin"}
    by_profit = policy.startswith("queue:") and policy != "queue:effective_leverage"
    solution = solve(problem, policy, risk=STUDENT)
    if by_profit or policy in ("pro_rata:profit", "min_max_haircut"):
        assert solution.reason == f"policy {policy} needs {needs.get(policy, 'entry_price')}"
    else:
        assert solution.status == "OPTIMAL"
        assert (
            solve(problem, policy, risk=STUDENT, protect_principal=True).reason == "protect_principal needs entry_price"
        )


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("odd", [1, 3])
@pytest.mark.parametrize("more", [0, 4, 11])
def test_more_lots_than_a_float_can_count_are_met_exactly(policy, odd, more):
    """One account's entries are one position, here of 2**53 and a few lots; a second demand takes everything."""
    problem = Problem(
        [0, 0, 1, 2, 2], [0, 0, 0, 0, 0], [MANY, odd, 12, -MANY, -odd], [1e16, 1e14, 1e17], [1.0], demand_asset=[0, 0],
        demand_side=[1, -1], demand_lots=[MANY + odd + more, MANY + odd], entry_price=[0.5, 0.5, 0.5, 2.0, 2.0],
        balance=[1.0] * 3, maintenance_margin=[1.0] * 3,
    )  # fmt: skip
    stands(problem, RiskModel([[0.05]], [0.01]), policy, lots=True)
    one_demand = Problem(
        [0, 0, 1], [0, 0, 0], [MANY, odd, 12], [1e16, 1e14], [1.0], demand_asset=[0], demand_side=[1],
        demand_lots=[MANY + odd + more], entry_price=[0.5] * 3, balance=[1.0] * 2, maintenance_margin=[1.0] * 2,
    )  # fmt: skip
    stands(one_demand, RiskModel([[0.05]], [0.01]), policy, lots=True)


@pytest.mark.parametrize("seed", range(40))
def test_haircuts_of_every_size_beside_each_other(seed):
    """A haircut of a billionth of another's: shares of profit still add up, and no rounding takes what is not there."""
    rng = np.random.default_rng(seed)
    account = np.sort(rng.integers(0, 5, 24))
    asset, mark = rng.integers(0, 2, 24), np.array([120.0, 95.0])
    quantity = rng.integers(1, 10 ** rng.integers(2, 9), 24) * rng.choice([-1, 1], 24)
    side = np.array([1, -1, 1, -1])
    held = [abs(quantity[(asset == k // 2) & (np.sign(quantity) == side[k])]).sum() for k in range(4)]
    problem = Problem(
        account, asset, quantity, np.bincount(account, abs(quantity), 5) * 10.0 + 1, mark, demand_asset=[0, 0, 1, 1],
        demand_side=side, demand_lots=np.maximum(np.array(held) - rng.integers(1, 5000, 4), 0),
        demand_price=mark[[0, 0, 1, 1]] - side * 10.0 ** rng.uniform(-11, 0, 4),
        entry_price=mark[asset] * (1 - 0.3 * np.sign(quantity)),
    )  # fmt: skip
    stands(problem, None, "min_max_haircut", lots=True)
