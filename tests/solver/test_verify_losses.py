"""The verifier's own loss formulas are right: tails by scipy, marginals against another implementation's gradient."""

import math

import numpy as np
import pytest
from scipy import stats

from solver import RiskModel, Scenarios
from solver.verify.exposure import survey
from solver.verify.losses import law
from solver.verify.tails import exponential, logarithm_of_one_plus, tail
from solver.verify.view import Positions, View
from tests.solver.risk_books import cross_book
from tests.solver.rival import Book


class Untouched:
    """As much of a solution as the positions of a problem are read with."""

    policy, options, reduction_lots = "risk", {"protect_principal": False}, None

    def __init__(self, size):
        self.relaxed_lots = np.zeros(size)


def model_of(kind, seed):
    rng = np.random.default_rng(seed)
    if kind == "scenarios":
        return Scenarios(rng.normal(0, 0.1, (30, 4)), rng.dirichlet(np.ones(30)), rng.uniform(1e-4, 1e-2, 4))
    return RiskModel(rng.normal(0, 0.05, (4, 2)), rng.uniform(1e-4, 5e-3, 4), kind)


@pytest.mark.parametrize("nu", [1.05, 2.5, 4.0, 4.5, 30.0, 1e3, math.inf])
def test_tails(nu):
    """Density and survival to 1e-10 of scipy's as far as these are normal doubles, H by its definition."""
    k = np.concatenate([[0.0], np.logspace(-8, 5, 200), -np.logspace(-3, 2, 50)])
    k = k[np.abs(k) < 37] if nu > 100 else k
    g, s, h = tail(k, nu)
    law_of = stats.norm if math.isinf(nu) else stats.t(nu)
    assert g == pytest.approx(law_of.pdf(k), rel=1e-10)
    assert s == pytest.approx(law_of.sf(k), rel=1e-10)
    assert h == pytest.approx(law_of.pdf(k) * (1 if math.isinf(nu) else (nu + k * k) / (nu - 1)), rel=1e-10)
    assert [part.tolist() for part in tail(np.array([np.inf, -np.inf]), nu)] == [[0, 0], [0, 1], [0, 0]]


def test_elementary_functions():
    """To two units in the last place of numpy's."""
    x = np.linspace(-700, 700, 5001)
    assert exponential(x) == pytest.approx(np.exp(x), rel=5e-16)
    x = np.logspace(-300, 300, 5001)
    assert logarithm_of_one_plus(x) == pytest.approx(np.log1p(x), rel=5e-16)


@pytest.mark.parametrize("kind", [4.0, 2.5, math.inf, "scenarios"])
@pytest.mark.parametrize("seed", range(5))
def test_losses_and_marginals(kind, seed):
    """Expected loss and marginals after random reductions are those of the rival's formulas."""
    problem, _ = cross_book(seed)
    model = model_of(kind, seed)
    asked = Positions(View(problem, Untouched(problem.account.size)), np.ones(1, dtype=bool))
    book, rng = Book(problem, model), np.random.default_rng(seed)
    taken = np.zeros(problem.account.size)
    taken[book.rows] = np.abs(problem.quantity_lots[book.rows]) * rng.uniform(0, 0.9, book.rows.size)
    price = problem.lot_price[problem.asset[book.rows]]
    found = survey(problem, law(model), asked, taken, loss=True)
    total, gradient = book.loss(taken[book.rows] * price)
    assert found.loss.sum() == pytest.approx(total, rel=1e-10)
    assert found.slope == pytest.approx(-gradient, rel=1e-7, abs=1e-12 * np.abs(gradient).max())


def test_a_hedged_account_without_idiosyncratic_risk_has_no_marginal():
    """sigma = 0: the limit, not 0 / 0."""
    model = law(RiskModel([[0.1]], [0.0]))
    problem, _ = cross_book(0, assets=1)
    asked = Positions(View(problem, Untouched(problem.account.size)), np.ones(1, dtype=bool))
    everything = np.abs(problem.quantity_lots).astype(float)
    found = survey(problem, model, asked, everything, loss=True)
    assert np.abs(found.slope).max() <= found.error.max() < 1e-12
    assert np.isfinite(found.loss).all()
