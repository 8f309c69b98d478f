"""The relations between limits that the proof in `schemas/limits.py` rests on."""

from fractions import Fraction
from math import floor

import pytest

from schemas import limits


def test_the_largest_equity_fits_int64():
    """Proof, point 4: cash and the largest positions of an account, all of one sign, stay below 2**63."""
    position = limits.POSITION_VALUE_MINOR_MAX + limits.ENTRY_VALUE_MINOR_MAX + limits.HELD_QUOTE_MINOR_MAX
    cross = limits.BALANCE_MINOR_MAX + limits.LOOSE_QUOTE_MINOR_MAX + limits.POSITIONS_PER_ACCOUNT_MAX * position
    isolated = limits.ISOLATED_MARGIN_MINOR_MAX + position
    assert max(cross, isolated) <= limits.INT64_MAX


@pytest.mark.parametrize("value_num", [1, 2, 3, 7, 10, 10**9, limits.VALUE_NUM_MAX])
def test_the_largest_price_times_the_numerator_leaves_room_for_one(value_num):
    """Proof, points 2 and 3: A + 1 <= p * num + 1 < 2**63, even where num divides 2**63 - 1 (as 7 does)."""
    price = limits.price_max(value_num)
    assert 0 < price <= limits.PRICE_SCALED_MAX
    assert price * value_num + 1 <= limits.INT64_MAX
    assert price == limits.PRICE_SCALED_MAX or (price + 1) * value_num + 1 > limits.INT64_MAX


def test_the_fractions_of_a_value_are_31_bit_numbers():
    """Proof, point 3: digits of base 2**31 need numerator and denominator below it, and lots of at most 53 bits."""
    assert max(limits.VALUE_NUM_MAX, limits.VALUE_DEN_MAX) < 2**31
    assert limits.QUANTITY_LOTS_MAX == 2**53
    assert (limits.VALUE_DEN_MAX - 1) * 2**31 + (2**31 - 1) * (limits.VALUE_DEN_MAX - 1) < 2**63


def test_lots_are_exact_as_floats():
    """Proof, point 5: the solver's floats hold every quantity, and an account's lots add up within int64."""
    assert int(float(limits.QUANTITY_LOTS_MAX)) == limits.QUANTITY_LOTS_MAX
    assert int(float(limits.QUANTITY_LOTS_MAX - 1)) == limits.QUANTITY_LOTS_MAX - 1
    assert limits.QUANTITY_LOTS_MAX * (limits.POSITIONS_PER_ACCOUNT_MAX - 1) <= limits.INT64_MAX


def test_a_number_at_any_limit_can_be_written():
    """The longest honest text (sign, int64, point, all decimals) is shorter than the bound on texts."""
    assert len("-") + len(str(limits.INT64_MAX)) + len(".") + limits.DECIMALS_MAX <= limits.NUMBER_CHARS_MAX
    assert max(limits.SEQUENCE_MAX, limits.TIME_MS_MAX, limits.BALANCE_MINOR_MAX) <= limits.INT64_MAX
    assert limits.ADL_SEQ_UNKNOWN_MAX < limits.SEQUENCE_MAX


@pytest.mark.parametrize("value", [Fraction(1), Fraction(10**15), Fraction(7, 3), Fraction(10**40), Fraction(1, 10**4)])
def test_a_reciprocal_within_its_prices_is_within_the_proof(value):
    """Proof, point 3: at the bounds, num' lies between RECIPROCAL_NUM_MIN and 2**63 - 2; one beyond not."""
    lowest, highest = limits.reciprocal_prices(value)

    def num(price):
        return floor(value * limits.RECIPROCAL_DEN / price + Fraction(1, 2))

    for price in {lowest, highest} if lowest <= highest else ():
        assert limits.RECIPROCAL_NUM_MIN <= num(price) <= limits.INT64_MAX - 1
    assert lowest == 1 or value * limits.RECIPROCAL_DEN / (lowest - 1) > limits.INT64_MAX - 1
    if highest < limits.PRICE_SCALED_MAX:
        assert value * limits.RECIPROCAL_DEN / (highest + 1) < limits.RECIPROCAL_NUM_MIN
    assert limits.RECIPROCAL_DEN <= limits.VALUE_DEN_MAX < 10 * limits.RECIPROCAL_DEN
