"""Our own exp, log, expm1, log1p and power against mpmath, over the whole range of doubles."""

import math
import re

import mpmath
import numpy as np
import pytest
from numba import njit

from solver.loss import elementary
from solver.loss.elementary import exp, expm1, log, log1p, power

RANDOM = np.random.default_rng(20251010)
SMALL = 10.0 ** RANDOM.uniform(-308, 0, 1500)
WIDE = 10.0 ** RANDOM.uniform(-323, 308, 1500)
NEAR = RANDOM.uniform(-1, 1, 1500)


def errors_ulp(values, function, true):
    """Errors of a function at values in units of the last place of the true value."""
    found = []
    with mpmath.workprec(140):
        for x in values:
            expected = true(mpmath.mpf(float(x)))
            place = mpmath.mpf(math.ulp(float(expected)))
            found.append(float(abs(mpmath.mpf(function(float(x))) - expected) / place))
    return np.array(found)


@pytest.mark.parametrize(
    ("function", "true", "values"),
    [
        (exp, mpmath.exp, np.r_[RANDOM.uniform(-745.1, 709.78, 3000), RANDOM.uniform(-745, -708, 999), NEAR, -SMALL]),
        (expm1, mpmath.expm1, np.r_[RANDOM.uniform(-40, 709.78, 3000), 3 * NEAR, SMALL, -SMALL]),
        (log, mpmath.log, np.r_[WIDE, RANDOM.uniform(0.5, 2, 3000), 1 + SMALL, SMALL * 2.0**-1040]),
        (log1p, mpmath.log1p, np.r_[WIDE, RANDOM.uniform(-1, 3, 3000), SMALL, -SMALL, 2.0**-40 - 1, -1 + 2.0**-53]),
    ],
)  # fmt: skip
def test_errors_stay_below_one_and_a_half_units_of_the_last_place(function, true, values):
    """Subnormal arguments and results included."""
    values = values[values != 0] if function is log else values
    assert errors_ulp(values, function, true).max() < 1.5


def test_power_loses_no_more_than_its_exponent_times_logarithm():
    """The stated error of exp(exponent log(base))."""
    for base, exponent in zip(WIDE[:1000], 40 * NEAR[:1000], strict=True):
        with mpmath.workprec(140):
            expected = mpmath.power(mpmath.mpf(float(base)), mpmath.mpf(float(exponent)))
            if not 2.3e-308 < expected < 1.7e308:
                continue
            allowed = 2 + abs(float(exponent) * math.log(base))
            assert abs(mpmath.mpf(power(base, exponent)) / expected - 1) < allowed * 2.0**-52


def test_what_lies_beyond_the_doubles():
    """Overflow, underflow, zero, the ends and what is no number."""
    biggest, smallest = 709.782712893384, -745.1332191019411
    assert [exp(x) for x in (-0.0, math.inf, -math.inf, 709.782712893385, -745.2, 1e300)] == [
        1,
        math.inf,
        0,
        math.inf,
        0,
        math.inf,
    ]
    assert (exp(biggest), exp(smallest)) == (pytest.approx(math.exp(biggest), rel=3e-16), 5e-324)
    assert [expm1(x) for x in (0.0, math.inf, -math.inf, -50.0, 800.0)] == [0, math.inf, -1, -1, math.inf]
    assert [log(x) for x in (1.0, 0.0, -0.0, math.inf)] == [0, -math.inf, -math.inf, math.inf]
    assert [log1p(x) for x in (0.0, -1.0, math.inf)] == [0, -math.inf, math.inf]
    assert [power(x, y) for x, y in ((0.0, 2.0), (0.0, 0.0), (1.0, 9.0), (math.inf, -1.0))] == [0, 1, 1, 0]
    none = (exp(math.nan), expm1(math.nan), log(math.nan), log(-1.0), log1p(math.nan), log1p(-1.5))
    assert all(math.isnan(x) for x in none)


def test_neighbours_never_change_places():
    """exp and log rise, step by step, through every switch between their branches."""
    for function, places in ((exp, (-708.4, -0.35, 0.35, 1.04)), (expm1, (-37.5, -0.34, 0.34, 37.0)),
                             (log, (0.5**0.5, 1.0, 2.0**0.5)), (log1p, (-0.29, 0.41, 1.0))):  # fmt: skip
        for place in places:
            steps = place + np.arange(-300, 300) * math.ulp(place)
            values = np.array([function(float(x)) for x in steps])
            assert (np.diff(values) >= -np.spacing(np.abs(values[1:]))).all(), (function, place)


def test_nothing_is_contracted_to_a_fused_multiply_add():
    """A fused product rounds once instead of twice: results would differ between machines."""

    @njit(error_model="numpy")
    def kernel(x):
        return exp(x) + log(x) + expm1(x) + log1p(x)

    kernel(1.5)
    text = "".join(kernel.inspect_asm().values())
    assert re.search(r"v?mulsd|fmul", text)
    assert not re.search(r"vfn?m(add|sub)|\bfn?m(add|sub)\b", text)


def test_the_constants_are_those_of_the_logarithm_of_two():
    """High part times any exponent is exact; high and low together are log(2) to 100 bits."""
    with mpmath.workprec(140):
        log2 = mpmath.log(2)
        assert abs(mpmath.mpf(elementary.LN2_HIGH) + mpmath.mpf(elementary.LN2_LOW) - log2) < mpmath.mpf(2) ** -85
    assert (elementary.LN2_HIGH * 2**33).is_integer()
