"""A model is found again in returns that were drawn from it, and what cannot be fitted is said."""

from math import inf, lgamma, log, pi

import numpy as np
import pytest

from schemas import decode, encode
from worker.fit import (
    OWN_SHARE_MIN,
    FitError,
    Wanted,
    fit,
    principal_factors,
    returns_on_grid,
    shrunk_correlation,
)
from worker.student import scale_of, tail_of

STEP_MS = 60_000
LOADINGS = np.array([[0.001, 0.0], [0.0012, 0.0004], [0.0009, -0.0005], [0.0015, 0.0006], [0.0011, -0.0003], [2e-3, 0]])
OWN = np.array([2e-7, 4e-7, 3e-7, 9e-7, 5e-7, 1.2e-6])
SCALE = LOADINGS @ LOADINGS.T + np.diag(OWN)


def drawn(tail, steps=20_000, seed=7):
    """Returns of the model above."""
    rng = np.random.default_rng(seed)
    normal = rng.normal(size=(steps, 2)) @ LOADINGS.T + rng.normal(size=(steps, len(OWN))) * np.sqrt(OWN)
    return normal if tail == inf else normal * np.sqrt(tail / rng.chisquare(tail, steps))[:, None]


def marks_of(returns, kept=lambda _step, _symbol: True):
    """Marks whose returns these are, one a step; those that are not `kept` are missing."""
    prices = 100 * np.cumprod(1 + returns, axis=0)
    marks = {}
    for symbol in range(returns.shape[1]):
        steps = [step for step in range(len(prices)) if kept(step, symbol)]
        marks[f"S{symbol}"] = [(step + 1) * STEP_MS for step in steps], [prices[step, symbol] for step in steps]
    return marks


def matrix(model):
    """The scale matrix of a model."""
    loadings = np.array([row.loadings for row in model.symbols])
    return loadings @ loadings.T + np.diag([row.idiosyncratic for row in model.symbols])


def correlation(scale):
    wide = np.sqrt(np.diag(scale))
    return scale / np.outer(wide, wide)


@pytest.mark.parametrize("tail", [4.0, 8.0, inf])
def test_a_model_is_found_again_in_its_own_returns(tail):
    """Tail, scales (not the covariance, twice as large at 4) and correlations, within what 20,000 returns can say."""
    found = fit(marks_of(drawn(tail)), Wanted(factors=2, horizon_seconds=60))
    said = found.model
    assert (said.tail is None) if tail == inf else said.tail == pytest.approx(tail, rel=0.08)
    assert np.sqrt(np.diag(matrix(said))) == pytest.approx(np.sqrt(np.diag(SCALE)), rel=0.02)
    assert correlation(matrix(said)) == pytest.approx(correlation(SCALE), abs=0.04)
    assert (found.steps, set(found.returns.values()), found.left_out, found.remarks) == (19_999, {19_999}, {}, [])
    assert 0 <= found.shrinkage < 0.1
    assert decode(encode(said)) == [said]


def test_a_horizon_four_times_as_long_has_twice_the_scale():
    """Variance grows with time, the tail stays."""
    marks = marks_of(drawn(4.0, 2000))
    short, long = (fit(marks, Wanted(factors=1, horizon_seconds=seconds)).model for seconds in (60, 240))
    assert matrix(long) == pytest.approx(4 * matrix(short), rel=1e-7)
    assert long.tail == short.tail


def test_missing_marks_cost_returns_and_nothing_else():
    """A fifth of all marks is missing: returns are only those between marks one step apart, so scales stay right."""
    rng = np.random.default_rng(3)
    there = rng.random((20_000, len(OWN))) > 0.2
    found = fit(marks_of(drawn(8.0), lambda step, symbol: there[step, symbol]), Wanted(factors=2, horizon_seconds=60))
    assert all(12_000 < count < 13_600 for count in found.returns.values())
    assert np.sqrt(np.diag(matrix(found.model))) == pytest.approx(np.sqrt(np.diag(SCALE)), rel=0.03)
    assert correlation(matrix(found.model)) == pytest.approx(correlation(SCALE), abs=0.05)


def test_the_same_marks_give_the_same_bytes():
    """In whatever order the symbols come; the id is made of the numbers unless one is given."""
    marks = marks_of(drawn(4.0, 500))
    first = fit(marks, Wanted()).model
    assert encode(first) == encode(fit(dict(reversed(marks.items())), Wanted()).model)
    assert first.id.startswith("fit-")
    assert fit(marks, Wanted(horizon_seconds=61)).model.id != first.id
    assert fit(marks, Wanted(name="mine", tail=inf)).model.id == "mine"


def test_only_the_newest_mark_of_a_step_counts():
    """And a step without one gives no return on either side."""
    minute = STEP_MS
    marks = {"A": ([minute, minute + 1, 2 * minute, 4 * minute, 5 * minute], [1.0, 2.0, 3.0, 4.0, 5.0])}
    found, steps = returns_on_grid(marks, minute)
    assert steps == 4
    assert found["A"] == pytest.approx([0.5, np.nan, np.nan, 0.25], nan_ok=True)


# --- tail and scale ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", [3.0, 6.0])
def test_tail_and_scale_are_the_likeliest_of_a_fine_grid(tail):
    """A rival that knows no search: the likelihood written out, on a grid of both."""
    returns = 0.01 * np.random.default_rng(5).standard_t(tail, 3000)
    found = tail_of([returns])

    def likelihood(nu, scale):
        constant = lgamma((nu + 1) / 2) - lgamma(nu / 2) - 0.5 * log(nu * pi) - log(scale)
        return constant - (nu + 1) / 2 * float(np.log1p((returns / scale) ** 2 / nu).mean())

    grid = [(likelihood(nu, scale), nu, scale) for nu in found * np.linspace(0.9, 1.1, 41)
            for scale in scale_of(returns, found) * np.linspace(0.95, 1.05, 41)]  # fmt: skip
    assert likelihood(found, scale_of(returns, found)) >= max(grid)[0] - 1e-7
    assert max(grid)[1] == pytest.approx(found, rel=0.006)


def test_the_likeliest_gaussian_scale_is_the_root_of_the_mean_square():
    """There the fixed point has nothing to do."""
    assert scale_of(np.array([3.0, -4.0]), inf) == pytest.approx(12.5**0.5)


# --- correlations -----------------------------------------------------------------------------------------------------


def test_shrinkage_is_what_ledoit_and_wolf_write():
    """Their sums over time, one term after the other, on standardised returns."""
    returns = drawn(4.0, 300)
    x = returns / np.sqrt((returns**2).mean(axis=0))
    steps, size = x.shape
    r = x.T @ x / steps
    pairs = [(i, j) for i in range(size) for j in range(size) if i != j]
    mean = sum(r[i, j] for i, j in pairs) / len(pairs)
    excess = distance = 0.0
    for i, j in pairs:
        product = x[:, i] * x[:, j] - r[i, j]
        noise = sum(product**2) / steps
        with_i, with_j = (sum((x[:, k] ** 2 - 1) * product) / steps for k in (i, j))
        excess += noise - mean / 2 * (with_i + with_j)
        distance += (r[i, j] - mean) ** 2
    shrunk, share = shrunk_correlation(returns)
    assert share == pytest.approx(excess / distance / steps)
    assert 0 < share < 1
    assert shrunk[0, 1] == pytest.approx(share * mean + (1 - share) * r[0, 1])


def test_pairs_that_were_never_seen_together_get_the_mean_correlation():
    """Two symbols listed one after the other have no correlation of their own."""
    marks = marks_of(drawn(8.0, 1000), lambda step, symbol: (step < 500) if symbol == 0 else symbol > 1 or step > 500)
    returns = np.column_stack(list(returns_on_grid(marks, STEP_MS)[0].values()))
    shrunk, _ = shrunk_correlation(returns)
    others = [shrunk[i, j] for i in range(6) for j in range(6) if i != j and {i, j} != {0, 1}]
    assert shrunk[0, 1] == pytest.approx(np.mean(others))


def test_factors_of_a_factor_model_are_found_exactly():
    """Two factors of six symbols, and one of two."""
    lengths = np.sqrt(np.diag(SCALE))[:, None]
    exact = (LOADINGS / lengths) @ (LOADINGS / lengths).T
    np.fill_diagonal(exact, 1.0)
    found = principal_factors(exact, 2)
    again = found @ found.T
    np.fill_diagonal(again, 1.0)
    assert again == pytest.approx(exact, abs=1e-3)
    assert (found.sum(axis=0) > 0).all()
    two = principal_factors(np.array([[1.0, 0.49], [0.49, 1.0]]), 1)
    assert two == pytest.approx(np.array([[0.7], [0.7]]))


def test_symbols_that_move_as_one_are_still_no_perfect_hedges():
    """A fiftieth of the variance stays each one's own."""
    same = drawn(8.0, 2000)[:, [0, 0]]
    model = fit(marks_of(same), Wanted(factors=1)).model
    shares = [row.idiosyncratic / matrix(model)[k, k] for k, row in enumerate(model.symbols)]
    assert shares == pytest.approx([OWN_SHARE_MIN] * 2)


# --- what cannot be fitted --------------------------------------------------------------------------------------------


def test_one_symbol_alone_is_split_as_the_default_is():
    """So it moves with symbols that the model leaves out; the answer says so."""
    found = fit(marks_of(drawn(4.0, 500)[:, :1]), Wanted(factors=3))
    (row,) = found.model.symbols
    assert row.loadings[0] ** 2 / (row.loadings[0] ** 2 + row.idiosyncratic) == pytest.approx(0.7)
    assert found.remarks == [
        "one symbol alone has no correlations: seven tenths of its variance count as common, as default"
    ]


def test_two_symbols_bear_one_factor():
    """More would say nothing."""
    found = fit(marks_of(drawn(4.0, 500)[:, :2]), Wanted(factors=3))
    assert [len(row.loadings) for row in found.model.symbols] == [1, 1]
    assert found.remarks == ["2 symbols bear at most 1 factors, 3 were asked for"]


def test_symbols_of_which_too_little_is_known_are_left_out_with_the_reason():
    """Constant prices, few marks, marks with gaps everywhere; the others are fitted as without them."""
    good = drawn(8.0, 1000)
    alone = fit(marks_of(good), Wanted()).model
    marks = marks_of(good)
    times = marks["S0"][0]
    marks |= {"STILL": (times, [5.0] * len(times)), "YOUNG": (times[:50], marks["S1"][1][:50]), "NONE": ([], [])}
    marks["RARE"] = times[::2], marks["S2"][1][::2]
    found = fit(marks, Wanted())
    assert found.model.symbols == alone.symbols
    assert found.left_out == {
        "NONE": "0 returns in 999 steps, 100 are needed; a longer step has more where marks are rare",
        "RARE": "0 returns in 999 steps, 100 are needed; a longer step has more where marks are rare",
        "STILL": "its mark stood still in 999 of 999 steps",
        "YOUNG": "49 returns in 999 steps, 100 are needed; a longer step has more where marks are rare",
    }


@pytest.mark.parametrize(
    ("marks", "sentence"),
    [
        ({}, "there are no mark prices"),
        ({"A": ([], [])}, "there are no mark prices"),
        ({"A": ([1000], [5.0])}, "A: 0 returns in 0 steps, 100 are needed; a shorter step has more"),
        ({name: ([1000], [5.0]) for name in "ABCDE"}, "needs: A, B, C and 2 more: 0 returns"),
        ({"A": ([0, 10**15], [5.0, 5.0])}, "too fine"),
        ({"A": ([STEP_MS * n for n in range(300)], [5.0] * 300)}, "stood still in 299 of 299"),
        ({"A": ([STEP_MS * n for n in range(300)], [1e-300, 1e300] * 150)}, "no risk that a model can say"),
    ],
)
def test_nothing_to_fit_is_one_sentence(marks, sentence):
    """No symbol, no marks, one mark, of five symbols too, a grid without end, no movement, no price of this world."""
    with pytest.raises(FitError, match=sentence):
        fit(marks, Wanted())


def test_a_tail_at_the_edge_of_what_is_looked_for_is_remarked():
    """Calm and storm in one recording look like a tail without variance."""
    returns = drawn(8.0, 2000)
    returns[1000:] *= 100
    found = fit(marks_of(np.clip(returns, -0.5, 0.5)), Wanted(factors=1))
    assert found.model.tail == 2.05
    assert any("tail" in remark for remark in found.remarks)
