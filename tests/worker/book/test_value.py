"""The value kernel is exact integer arithmetic, at the limits too."""

from math import gcd

from hypothesis import example, given
from hypothesis import strategies as st

from schemas import limits
from worker.book.value import lots_limit, value_minor


@given(
    lots=st.integers(-limits.QUANTITY_LOTS_MAX, limits.QUANTITY_LOTS_MAX),
    mark_num=st.integers(1, limits.INT64_MAX),
    den=st.integers(1, limits.VALUE_DEN_MAX),
)
@example(lots=2**53, mark_num=2**31 - 2, den=2**31 - 1)
@example(lots=-(2**53), mark_num=2**31 - 2, den=2**31 - 1)
@example(lots=-1, mark_num=1, den=2**31 - 1)
@example(lots=-(2**31), mark_num=2**62, den=1)
@example(lots=2**31 - 1, mark_num=2**31 - 2, den=2**31 - 1)
@example(lots=-(2**31) + 1, mark_num=2**31 - 2, den=2**31 - 1)
@example(lots=-(2**31) + 2, mark_num=2**30, den=2**31 - 1)
@example(lots=-(2**31) + 1, mark_num=1, den=2**31 - 1)
def test_the_kernel_is_the_floor_of_the_exact_quotient(lots: int, mark_num: int, den: int) -> None:
    """For all lots that the limit of a mark lets in, and the value stays within its limit."""
    limit = lots_limit(mark_num, den)
    lots = max(-limit, min(limit, lots))
    whole, rest = divmod(mark_num, den)
    value = value_minor(lots, whole, rest, den)
    assert value == lots * mark_num // den
    assert abs(value) <= limits.POSITION_VALUE_MINOR_MAX


@given(rest=st.integers(1, 2**31 - 2), den=st.integers(2, 2**31 - 1), near=st.integers(-3, 3), below=st.booleans())
def test_quotients_that_are_whole_or_nearly_are_rounded_down(rest: int, den: int, near: int, below: bool) -> None:
    """Where a float quotient is most likely to be one too many or too few."""
    rest %= den
    if gcd(rest, den) == 1:
        lots = near * pow(rest, -1, den) % den - below * den
        assert value_minor(lots, 3, rest, den) == lots * (3 * den + rest) // den


@given(mark_num=st.integers(1, limits.INT64_MAX), den=st.integers(1, limits.VALUE_DEN_MAX))
def test_what_the_limit_refuses_is_at_the_limit(mark_num: int, den: int) -> None:
    """One lot more than the limit is worth more than the largest value, less at most one minor unit a lot."""
    limit = lots_limit(mark_num, den)
    if limit < limits.QUANTITY_LOTS_MAX:
        assert (limit + 1) * (mark_num // den + 1) > limits.POSITION_VALUE_MINOR_MAX
