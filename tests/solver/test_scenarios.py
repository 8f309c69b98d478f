"""Scenario losses: against plain sums, the elliptical model, differences, and the paper's lognormal example."""

import itertools
import math
from statistics import NormalDist

import numpy as np
import pytest

from solver import RiskModel, Scenarios
from solver.loss.model import tail_of
from solver.loss.scenarios import evaluate, expected_loss
from solver.risk import default_risk_model
from tests.solver.lognormal import PAPER, paper_scenarios

GAUSSIAN = tail_of(math.inf)
NO_HESSIAN = np.empty((0, 0))


def account(seed, kernel):
    """One account with four assets, three of them demanded, under 40 scenarios."""
    random = np.random.default_rng(seed)
    returns = random.normal(0, 0.1, (40, 4))
    weights = random.uniform(0.1, 1, 40)
    side = np.array([1.0, -1.0, 1.0])
    return {
        "returns": returns,
        "weights": weights / weights.sum(),
        "kernel": np.full(4, kernel * kernel) * random.uniform(0.5, 2, 4),
        "held": np.append(side * random.uniform(1, 5, 3), 2.0),
        "side": side,
        "haircut": random.uniform(-0.02, 0.05, 3),
        "equity": float(random.uniform(-0.2, 1.0)),
    }


def value(a, taken):
    """What `evaluate` says with `taken` notional of each demanded item gone."""
    held = a["held"].copy()
    held[:3] -= a["side"] * taken
    variance = float(np.sum(a["kernel"] * held * held))
    loading = np.ascontiguousarray(a["side"][:, None] * a["returns"][:, :3].T)
    marginal, size, hessian = np.empty(3), np.empty(3), np.empty((3, 3))
    loss, rr = evaluate(
        a["equity"] - a["haircut"] @ taken, variance, a["returns"] @ held, a["weights"], loading, np.arange(3),
        a["side"] * a["kernel"][:3] * held[:3], a["haircut"], GAUSSIAN, marginal, size, hessian,
    )  # fmt: skip
    return loss, marginal, hessian + rr * np.diag(a["kernel"][:3]), size


def plain_loss(a, taken):
    """The definition, term by term, with the standard library's normal distribution."""
    held = a["held"].copy()
    held[:3] -= a["side"] * taken
    sigma = math.sqrt(float(np.sum(a["kernel"] * held * held)))
    total, normal = 0.0, NormalDist()
    for weight, returns in zip(a["weights"], a["returns"], strict=True):
        worth = a["equity"] - float(a["haircut"] @ taken) + float(returns @ held)
        k = worth / sigma
        total += weight * (sigma * normal.pdf(k) - worth * normal.cdf(-k))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_the_weighted_sum_of_normal_losses(seed):
    """Against the definition."""
    a, taken = account(seed, 0.05), np.array([0.3, 0.1, 0.7])
    assert value(a, taken)[0] == pytest.approx(plain_loss(a, taken), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_marginals_and_hessian_are_derivatives(seed):
    """Haircuts included; the caller adds rr s D s as for elliptical models."""
    a, taken, step = account(seed, 0.05), np.array([0.3, 0.1, 0.7]), 1e-5
    _, marginal, hessian, size = value(a, taken)
    for i in range(3):
        more, less = taken + step * np.eye(3)[i], taken - step * np.eye(3)[i]
        slope = (value(a, more)[0] - value(a, less)[0]) / (2 * step)
        assert marginal[i] == pytest.approx(-slope, abs=1e-9)
        assert size[i] >= abs(marginal[i])
        curve = -(value(a, more)[1] - value(a, less)[1]) / (2 * step)
        assert hessian[i] == pytest.approx(curve, abs=1e-8)
    assert (np.linalg.eigvalsh(hessian) > -1e-12).all()


def test_one_scenario_without_a_move_is_the_elliptical_model():
    """R = 0: Sigma = D, no factor."""
    a = account(3, 0.2)
    a |= {"returns": np.zeros((1, 4)), "weights": np.ones(1)}
    assert value(a, np.zeros(3))[0] == pytest.approx(plain_loss(a, np.zeros(3)), rel=1e-13)


def test_no_kernel_is_the_plain_mean_of_what_is_missing():
    """Piecewise linear: slope by the scenarios that ruin the account, no curvature, half of the jump at a kink."""
    a = account(1, 0.0)
    loss, marginal, hessian, _ = value(a, np.zeros(3))
    worth = a["equity"] + a["returns"] @ a["held"]
    assert (worth != 0).all()
    ruined = a["weights"] * (worth < 0)
    assert loss == pytest.approx(float(np.sum(a["weights"] * np.maximum(0, -worth))), rel=1e-14)
    earned = a["side"] * a["returns"][:, :3] + a["haircut"]
    assert marginal == pytest.approx(-ruined @ earned, rel=1e-13)
    assert (hessian == 0).all()
    kink = {**a, "returns": np.array([[-0.5, 0, 0, 0]]), "weights": np.ones(1), "equity": 0.5 * a["held"][0]}
    assert value(kink, np.zeros(3))[1][0] == pytest.approx(0.5 * (0.5 - a["haircut"][0]), rel=1e-15)


def test_a_kernel_that_vanishes_leads_to_no_kernel():
    """Losses and marginals converge, nothing divides by sigma."""
    plain = value(account(1, 0.0), np.zeros(3))
    narrow = value(account(1, 1e-9), np.zeros(3))
    assert narrow[0] == pytest.approx(plain[0], rel=1e-9)
    assert narrow[1] == pytest.approx(plain[1], rel=1e-9)


def test_an_account_no_scenario_reaches_keeps_its_place_in_the_order():
    """Far from every scenario the loss is below all doubles of a normal law, yet falls with equity."""
    returns, weights = np.zeros((2, 1)), np.full(2, 0.5)
    losses = [expected_loss(E, 1.0, returns[:, 0], weights, GAUSSIAN) for E in (30.0, 38.0, 60.0, 1e3, 1e6)]
    assert all(a > b > 0 for a, b in itertools.pairwise(losses))


def test_the_hessian_is_left_out_where_it_has_no_elements():
    """Same loss and marginals without it."""
    a = account(2, 0.05)
    marginal, size = np.empty(3), np.empty(3)
    variance = float(np.sum(a["kernel"] * a["held"] ** 2))
    loading = np.ascontiguousarray(a["side"][:, None] * a["returns"][:, :3].T)
    cross = a["side"] * a["kernel"][:3] * a["held"][:3]
    loss, _ = evaluate(a["equity"], variance, a["returns"] @ a["held"], a["weights"], loading, np.arange(3), cross,
                       a["haircut"], GAUSSIAN, marginal, size, NO_HESSIAN)  # fmt: skip
    expected = value(a, np.zeros(3))
    assert (loss, *marginal) == (expected[0], *expected[1])


@pytest.mark.parametrize(("kernel", "tolerance"), [(0.0, 2e-4), (0.002, 2e-4), (0.005, 1e-3)])
def test_the_paper_s_lognormal_loss(kernel, tolerance):
    """Expected loss before any reduction, 8169.006, on 4,181 scenarios with and without a narrow kernel."""
    scenarios = paper_scenarios(kernel=kernel)
    total = 0.0
    for quantity, equity in zip(PAPER["quantity"], PAPER["equity"], strict=True):
        held = np.array(quantity) * np.array(PAPER["mark"])
        variance = float(np.sum(scenarios.kernel_variance * held * held))
        total += expected_loss(equity, variance, scenarios.returns @ held, scenarios.weights, GAUSSIAN)
    assert total == pytest.approx(PAPER["expected_loss_before"]["lognormal"], rel=tolerance)


def test_the_default_model_is_what_the_margin_fractions_say():
    """c = fraction / 2, one factor of 70 % of the variance, the rest each asset's own, four degrees of freedom."""
    default = default_risk_model([0.05, 0.1, 0.0])
    scale = np.array([0.025, 0.05, 0.0])
    assert default.tail == 4.0
    assert default.loadings[:, 0] == pytest.approx(math.sqrt(0.7) * scale, rel=1e-15)
    assert default.idiosyncratic == pytest.approx(0.3 * scale**2, rel=1e-15)
    assert default.loadings[:, 0] ** 2 + default.idiosyncratic == pytest.approx(scale**2, rel=1e-15)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: default_risk_model([0.1, -0.1]), "none negative"),
        (lambda: default_risk_model([math.nan]), "finite"),
        (lambda: default_risk_model(0.1), "one finite number per asset"),
        (lambda: RiskModel(np.ones((2, 1)), np.ones(3)), "idiosyncratic"),
        (lambda: RiskModel(np.ones((2, 1)), -np.ones(2)), "negative"),
        (lambda: RiskModel(np.ones((2, 1)), np.ones(2), tail=1.0), "above 1 degree of freedom"),
        (lambda: RiskModel(np.full((2, 1), np.inf), np.ones(2)), "finite"),
        (lambda: Scenarios(np.ones((3, 2)), np.ones(3), np.zeros(2)), "sum to 1, were 3"),
        (lambda: Scenarios(np.ones((3, 2)), np.ones(2) / 2, np.zeros(2)), "weights"),
        (lambda: Scenarios(np.ones((2, 2)), np.array([2.0, -1.0]), np.zeros(2)), "negative"),
        (lambda: Scenarios(np.ones((2, 2)), np.ones(2) / 2, np.full(2, np.nan)), "finite"),
    ],
)
def test_a_model_that_is_none_is_refused_with_a_sentence(build, sentence):
    """At the door, before any kernel sees it."""
    with pytest.raises(ValueError, match=sentence):
        build()
