"""Loss models against mpmath, their shape, their derivatives and their edges."""

import itertools
import math

import mpmath
import numpy as np
import pytest
from numba import njit

from solver.loss import model
from solver.loss.model import bend, logarithms, tail_of

TAILS = (1.05, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 8.0, 30.0, 100.0, 200.0, math.inf)
FAINT = 1e-190  # curves are exact to 1e-10 above; below, order is kept (model.py, rule 2)
LEVERAGES = np.r_[np.linspace(0, 9, 37), 10 ** np.random.default_rng(7).uniform(-3, 5, 60)]


@njit(error_model="numpy")
def curves(variance, equity, tail):
    """The inlined kernel as a function."""
    return model.curves(variance, equity, tail)


@njit(error_model="numpy")
def curves_at_mark(variance, equity, tail):
    """The inlined kernel as a function."""
    return model.curves_at_mark(variance, equity, tail)


def true_values(k, nu):
    """(g, S, H, h) at k >= 0 by the definitions of the standard variable, in mpmath."""
    k = mpmath.mpf(k)
    if nu == math.inf:
        g = mpmath.npdf(k)
        H, S = g, mpmath.erfc(k / mpmath.sqrt(2)) / 2
    else:
        n = mpmath.mpf(nu)
        g = mpmath.gamma((n + 1) / 2) / mpmath.gamma(n / 2) / mpmath.sqrt(n * mpmath.pi)
        g *= mpmath.power(1 + k * k / n, -(n + 1) / 2)
        H = g * (n + k * k) / (n - 1)
        S = mpmath.betainc(n / 2, 0.5, 0, n / (n + k * k), regularized=True) / 2
    return g, S, H, H - k * S


def true_curves(variance, equity, nu):
    """(L, H / sigma, S, kc, kx, kd), in mpmath."""
    sigma = mpmath.sqrt(mpmath.mpf(variance))
    k = mpmath.mpf(equity) / sigma
    g, S, H, h = true_values(abs(k), nu)
    if k < 0:
        S, h = 1 - S, h - k
    return sigma * h, H / sigma, S, (g * k * k - H) / sigma**3, -g * k / sigma**2, g / sigma


def relative(got, expected, scale=None):
    """Error relative to the expected value, or to a larger scale."""
    return float(abs(mpmath.mpf(got) - expected) / abs(scale or expected))


@pytest.mark.parametrize("nu", TAILS)
def test_curves_agree_with_mpmath(nu):
    """Every column to 1e-10; kc, which crosses zero, relative to its two terms. Observed: below 1e-13."""
    tail = tail_of(nu)
    with mpmath.workprec(300):
        for k, side in itertools.product(LEVERAGES.tolist(), (1, -1)):
            variance, equity = 2.25, side * 1.5 * k
            expected = true_curves(variance, equity, nu)
            got = curves(variance, equity, tail)
            if true_values(k, nu)[3] < FAINT:
                continue
            two_terms = expected[5] * (k * k / 2.25) + expected[1] / 2.25
            for column, (value, true) in enumerate(zip(got, expected, strict=True)):
                if true != 0:
                    assert relative(value, true, two_terms if column == 3 else None) < 2e-13, (k, side, column)


@pytest.mark.parametrize("nu", [1e3, 1e5, 1e8])
def test_many_degrees_of_freedom_are_as_exact(nu):
    """Where the incomplete beta function fails in mpmath, S and h are integrals of the density."""
    tail = tail_of(nu)
    with mpmath.workprec(80):
        n = mpmath.mpf(nu)
        constant = mpmath.exp(mpmath.loggamma((n + 1) / 2) - mpmath.loggamma(n / 2)) / mpmath.sqrt(n * mpmath.pi)

        def density(t):
            return constant * mpmath.exp(-(n + 1) / 2 * mpmath.log1p(t * t / n))

        for k in (0.0, 1.0, 4.0, 25.0):
            knots = [k + j / (1 + k / 4) for j in (0, 1, 2, 4, 6, 8, 11, 15, 20)]
            g = density(mpmath.mpf(k))  # quad's tolerance is absolute: integrands of order 1
            S = g * mpmath.quad(lambda t, g=g: density(t) / g, knots)
            h = g * mpmath.quad(lambda t, g=g, k=k: (t - k) * density(t) / g, knots)
            expected = (h, g * (n + k * k) / (n - 1), S, g)
            loss, rr, survival, _, _, kd = curves(1.0, k, tail)
            for value, true in zip((loss, rr, survival, kd), expected, strict=True):
                assert relative(value, true) < 1e-11, k


@pytest.mark.parametrize("nu", TAILS)
def test_logarithms_go_on_where_the_values_end(nu):
    """Absolute error of a logarithm is the relative error of its value: 1e-10 down to the last normal double."""
    tail = tail_of(nu)
    with mpmath.workprec(5000 if nu == math.inf else 300):
        for k in (0.0, 0.7, 3.0, 20.0, 37.4, 39.0, 60.0, 1e3, 3e4):
            if nu == math.inf and k > 1e3:
                continue
            _, S, H, h = true_values(k, nu)
            for got, value in zip(logarithms(k, tail), (S, H, h), strict=True):
                expected = mpmath.log(value)
                assert abs(got - expected) < 1e-10 * max(1, abs(expected) / 700), k


@pytest.mark.parametrize("nu", [*TAILS, 1e6])
def test_loss_falls_and_is_convex_and_marginals_keep_their_order(nu):
    """On a fine grid of equities through every piece of the table, and far beyond what the Gaussian can represent."""
    tail = tail_of(nu)
    equity = np.r_[-np.geomspace(1e6, 1e-4, 4000), 0, np.geomspace(1e-4, 1e7, 8000)]
    rows = np.array([curves(1.0, float(E), tail) for E in equity])
    loss, survival = rows[:, 0], rows[:, 2]
    assert (np.diff(loss) <= 0).all()
    assert (np.diff(survival) <= 0).all()
    assert (loss > 0).all()
    assert (survival > 0).all()
    upper = rows[equity >= 0, 1]
    assert (np.diff(upper) <= 1e-15 * upper[1:]).all()
    assert (np.diff(upper[equity[equity >= 0] > 1]) < 0).all()
    chord = np.diff(loss) / np.diff(equity)
    rounding = 4e-13 * np.abs(loss[1:]) / np.diff(equity) + 1e-18
    assert (np.diff(chord) > -rounding[1:] - rounding[:-1]).all()


@pytest.mark.parametrize("nu", TAILS)
def test_columns_are_derivatives_of_the_loss(nu):
    """dL/d sigma^2 = rr / 2, dL/dE = -S, and kc, kx, kd the curvature, by differences of mpmath's loss."""
    tail = tail_of(nu)
    with mpmath.workprec(200):
        step = mpmath.mpf(2) ** -40
        for variance, equity in ((1.7, 0.0), (0.4, 1.3), (2.0, 7.0), (0.9, -1.1)):

            def loss(dv, dE, variance=variance, equity=equity):
                return true_curves(variance + dv * step, equity + dE * step, nu)[0]

            got = curves(variance, equity, tail)
            dv, dE = ((loss(1, 0) - loss(-1, 0)), (loss(0, 1) - loss(0, -1)))
            vv = (loss(1, 0) - 2 * loss(0, 0) + loss(-1, 0)) / step**2
            vE = (loss(1, 1) - loss(1, -1) - loss(-1, 1) + loss(-1, -1)) / (4 * step**2)
            EE = (loss(0, 1) - 2 * loss(0, 0) + loss(0, -1)) / step**2
            expected = (2 * dv / (2 * step), -dE / (2 * step), 4 * vv, 2 * vE, EE)
            for value, true in zip(got[1:], expected, strict=True):
                assert abs(value - true) < 1e-10 * max(1, abs(true))


@pytest.mark.parametrize("nu", [1.01, *TAILS, 1e6])
def test_nothing_an_account_may_hold_gives_anything_but_numbers(nu):
    """Variance 0, equity 0 or negative, huge, tiny; and the short road gives the long road's bits."""
    tail = tail_of(nu)
    variances = (0.0, 5e-324, 1e-300, 1e-200, 1e-120, 1e-60, 1e-10, 1.0, 1e10, 1e30, 1e100, 1e300)
    sizes = (0.0, 5e-324, 1e-200, 1e-150, 1e-60, 1e-5, 1.0, 1e5, 1e15, 1e60, 1e150)
    for variance, size, side in itertools.product(variances, sizes, (1, -1)):
        values = curves(variance, side * size, tail)
        assert np.isfinite(values).all(), (variance, side * size)
        assert values[0] >= 0
        assert values[1] >= 0
        assert 0 <= values[2] <= 1
        assert values[5] >= 0
        assert curves_at_mark(variance, side * size, tail) == (values[1], values[3])


@pytest.mark.parametrize("nu", TAILS)
def test_without_variance_the_loss_is_what_is_missing(nu):
    """sigma = 0: max(0, -E), to what a leverage of 1e-30 leaves."""
    tail = tail_of(nu)
    assert curves(0.0, -3.0, tail)[0] == pytest.approx(3.0, rel=1e-15)
    assert curves(0.0, -3.0, tail)[2] == pytest.approx(1.0, rel=1e-15)
    assert curves(0.0, 3.0, tail)[0] < 1e-28


@pytest.mark.parametrize("nu", TAILS)
def test_bend_has_the_root_sign_and_slope_of_the_difference(nu):
    """At every power, on both sides of the switch between the two logarithms."""
    tail = tail_of(nu)
    for power, marginal in itertools.product((0.5, 1.2, 3.0, 400.0), (1e-180, 1.0, 1e9)):
        assert bend(marginal, marginal, power, tail) == 0
        for ratio in (1e-9, 0.3, 0.5, 0.999, 1.001, 2.0, 3.0, 1e12):
            assert math.copysign(1, bend(ratio * marginal, marginal, power, tail)) == math.copysign(1, ratio - 1)
        near = bend((1 + 2.0**-20) * marginal, marginal, power, tail) / (2.0**-20 * marginal)
        assert near == pytest.approx(1, rel=1e-5)
    assert bend(2.0, -1.0, 3.0, tail) == 3.0
    assert bend(-2.0, 1.0, 3.0, tail) == -3.0
    assert bend(2.0, 1.0, 1.0, tail) == 1.0


def test_bend_makes_newton_exact_on_a_power_tail():
    """m(sigma) = sigma^3: one step of (1/(3 m)) sigma bend lands on ln sigma of the level."""
    tail = tail_of(4.0)
    for level in (1e-6, 0.2, 5.0):
        sigma = 1.0 + bend(level, 1.0, 3.0, tail) / 3.0
        assert sigma**3 == pytest.approx(level, rel=1e-12)


def test_the_algebraic_and_the_tabulated_road_agree():
    """nu = 4 is algebraic, its neighbours are tabulated: they meet."""
    table = tail_of(4.0 + 1e-13)
    for k in LEVERAGES:
        assert curves(1.3, float(k), table) == pytest.approx(curves(1.3, float(k), tail_of(4.0)), rel=1e-11, abs=0)
