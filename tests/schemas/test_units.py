"""Texts become exact integers or are refused: every figure is checked against Fraction, the slow and plain opinion."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import limits
from schemas.messages import Instrument, MarginTier
from schemas.rejections import Reason, Refused
from schemas.units import Scale, amount_minor, fraction_of, scaled, text_of

DECIMAL_TEXT = st.from_regex(r"[+-]?[0-9]{1,16}(\.[0-9]{1,16})?", fullmatch=True).filter(str.isascii)


def an_instrument(**fields: object) -> Instrument:
    given_fields = {
        "symbol": "BTC-PERP",
        "tick_size": "0.1",
        "lot_size": "0.001",
        "settlement_currency": "USDT",
        "maintenance_margin_fraction": "0.005",
    }
    return Instrument(**{**given_fields, **fields})


def tiers(*rows: tuple[str, str]) -> list[MarginTier]:
    return [MarginTier(notional_max=end, maintenance_margin_fraction=fraction) for end, fraction in rows]


def refusal(call, *args) -> Refused:
    with pytest.raises(Refused) as caught:
        call(*args)
    return caught.value


@given(DECIMAL_TEXT, st.integers(0, 18))
def test_a_number_is_read_exactly_or_refused(text, decimals):
    """`scaled` gives text * 10**decimals when that is an int64, and says NUMBER or RANGE when it is not."""
    exact = Fraction(text) * 10**decimals
    if exact.denominator != 1:
        assert refusal(scaled, text, decimals).reason == Reason.NUMBER
    elif abs(exact) > limits.INT64_MAX:
        assert refusal(scaled, text, decimals).reason == Reason.RANGE
    else:
        assert scaled(text, decimals) == exact


@given(st.text(max_size=8) | st.text("0123456789+-._ eE", max_size=8))
def test_only_plain_decimal_text_is_a_number(text):
    """Whatever is not sign, digits, point, digits, all ASCII, is refused; a regular expression seconds it."""
    if re.fullmatch(r"[+-]?[0-9]+(\.[0-9]+)?", text):
        assert scaled(text, 8) == Fraction(text) * 10**8
    else:
        assert refusal(scaled, text, 8).reason == Reason.NUMBER


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "-", "+", ".", "-.", ".5", "-.5", "5.", "-5.", "1.-5", "1.+5", "1.2.3", "1,5", "--1", "+-1", "1-"),
        *("1e3", "1E-3", "NaN", "nan", "inf", "-Infinity", "0x10", "1_000", " 1", "1 ", "1\n", "1.\n", "1\x00"),
        *("١٢", "1.٥", "１", "²"),
        *("0" * (limits.NUMBER_CHARS_MAX + 1), "0." + "0" * limits.NUMBER_CHARS_MAX, "9" * 100_000),
    ],
)
def test_what_int_or_float_would_take_and_we_do_not(text):
    """Exponents, NaN, infinities, spaces, underscores, other scripts and overlong texts are NUMBER, said briefly."""
    refused = refusal(scaled, text, 6)
    assert refused.reason == Reason.NUMBER
    assert len(refused.sentence) < 200
    assert refused.sentence.isascii()


def test_the_edges_of_int64():
    """2**63 - 1 is read, one more is RANGE, on both sides of zero."""
    assert scaled("9223372036854.775807", 6) == limits.INT64_MAX
    assert scaled("-9223372036854.775807", 6) == -limits.INT64_MAX
    assert refusal(scaled, "9223372036854.775808", 6).reason == Reason.RANGE
    assert refusal(scaled, "-9223372036854.775808", 6).reason == Reason.RANGE
    assert scaled("+9223372036854775807.000", 0) == limits.INT64_MAX
    assert refusal(scaled, "9223372036854775808.000", 0).reason == Reason.RANGE


def test_a_sentence_names_the_field():
    """The reader of a refusal sees which field, what must be, and what was."""
    assert refusal(scaled, "1.2345678", 6, "amount").sentence == "amount must have at most 6 decimals, was '1.2345678'"
    assert refusal(scaled, "1e3", 6, "amount").sentence.startswith("amount must be plain decimal text")


@given(st.integers(-(2**70), 2**70), st.integers(0, 24))
def test_a_text_is_canonical_and_says_the_same_number(value, decimals):
    """`text_of` is exact, has one form per number, and `scaled` reads it back."""
    text = text_of(value, decimals)
    assert Fraction(text) == Fraction(value, 10**decimals)
    assert re.fullmatch(r"0|-?([1-9][0-9]*|0\.[0-9]*[1-9]|[1-9][0-9]*\.[0-9]*[1-9])", text)
    if abs(value) <= limits.INT64_MAX:
        assert scaled(text, decimals) == value


def test_texts_one_can_check_by_eye():
    """A few canonical texts, zero and negatives below one among them."""
    cases = [(0, 6), (-1, 6), (1500, 3), (-1500, 3), (100, 0), (100, 2), (-7, 0), (10, 1)]
    assert [text_of(*case) for case in cases] == ["0", "-0.000001", "1.5", "-1.5", "100", "1", "-7", "1"]


@given(DECIMAL_TEXT)
def test_a_number_without_a_scale_is_its_fraction(text):
    """`fraction_of` is the number itself, or RANGE where its digits pass int64."""
    if abs(int(text.replace(".", ""))) <= limits.INT64_MAX:
        assert fraction_of(text) == Fraction(text)
    else:
        assert refusal(fraction_of, text).reason == Reason.RANGE


def test_an_amount_has_a_limit_of_its_own():
    """An amount at the limit is taken, one minor unit more is RANGE."""
    assert amount_minor("-2.5", 1, "amount", 25) == -25
    refused = refusal(amount_minor, "2.6", 1, "amount", 25)
    assert (refused.reason, refused.sentence) == (Reason.RANGE, "amount must be at most 2.5 in magnitude, was '2.6'")


# --- scales -----------------------------------------------------------------------------------------------------------

SCALES = st.builds(
    lambda tick, lot, multiplier, more, currency: (tick, lot, multiplier, tick + more, currency),
    st.integers(0, 6),
    st.sampled_from(["1", "0.001", "0.25", "100", "0.00001", "12.5", "3"]),
    st.sampled_from(["1", "1000", "0.1", "0.37", "7"]),
    st.integers(0, 6),
    st.integers(0, 8),
)


@given(SCALES, st.integers(-(2**53), 2**53), st.integers(1, 2**40))
def test_the_value_of_lots_is_exact_and_rounds_down(parts, lots, price):
    """value_minor = floor(contracts * multiplier * price) in minor units; the float price is the nearest float."""
    tick, lot, multiplier, price_decimals, currency_decimals = parts
    instrument = an_instrument(
        tick_size=text_of(1, tick), lot_size=lot, multiplier=multiplier, price_decimals=price_decimals
    )
    ratio = Fraction(lot) * Fraction(multiplier) * Fraction(10) ** (currency_decimals - price_decimals)
    if max(ratio.numerator, ratio.denominator) >= 2**31:
        assert refusal(Scale.of, instrument, currency_decimals).reason == Reason.SCALE
        return
    scale = Scale.of(instrument, currency_decimals)
    per_lot = Fraction(lot) * Fraction(multiplier) * Fraction(price, 10**price_decimals)
    exact = lots * per_lot * 10**currency_decimals
    assert scale.value_minor(lots, price) == exact.numerator // exact.denominator
    assert scale.price_float(price) == float(per_lot)
    assert scale.lots(scale.quantity_text(lots)) == lots
    if price * scale.value_num < limits.INT64_MAX:
        assert scale.price(scale.price_text(price)) == price
    else:
        assert refusal(scale.price, scale.price_text(price)).reason == Reason.RANGE


def test_the_digits_of_the_value_kernel_never_leave_int64():
    """Limits, point 3: the worst operands, in Python's integers, stay below 2**63 at every step and give the floor."""
    den = limits.VALUE_DEN_MAX
    for lots in (limits.QUANTITY_LOTS_MAX, -limits.QUANTITY_LOTS_MAX, 2**31 - 1, -(2**31) + 1, 1, -1, 0):
        for rest in (0, 1, den - 1):
            high, low = lots >> 31, lots & (2**31 - 1)
            first = high * rest
            quotient, remainder = divmod(first, den)
            second = remainder * 2**31 + low * rest
            assert max(abs(first), abs(second), abs(quotient) * 2**31) < 2**63
            assert quotient * 2**31 + second // den == lots * rest // den


def test_the_scale_of_a_perpetual():
    """A plain instrument's whole scale, by eye: price decimals default to the tick's and six more."""
    assert Scale.of(an_instrument(tick_size="0.10"), 6) == Scale(
        tick_size=Fraction(1, 10),
        lot=Fraction(1, 1000),
        multiplier=Fraction(1),
        mmf=Fraction(1, 200),
        price_decimals=7,
        currency_decimals=6,
        value_num=1,
        value_den=10_000,
        price_scaled_max=limits.PRICE_SCALED_MAX,
        lot_decimals=3,
        lot_scaled=1,
        den=10_000,
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"contract_type": "inverse", "lot_size": "0.000000001", "multiplier": "0.000001", "price_decimals": 1},
            Reason.SCALE,
        ),
        ({"margin_tiers": tiers(("1", "0.1"))}, Reason.FIELD),
        ({"margin_tiers": tiers(("1", "0.005"), ("1", "0.01"))}, Reason.FIELD),
        ({"margin_tiers": tiers(("2", "0.005"), ("1", "0.01"))}, Reason.FIELD),
        ({"margin_tiers": tiers(("0", "0.005"))}, Reason.FIELD),
        ({"margin_tiers": tiers(("1", "0.005"), ("2", "1.01"))}, Reason.FIELD),
        ({"margin_tiers": tiers(("1", "0.005"), ("2", "0"))}, Reason.FIELD),
        ({"margin_tiers": tiers(("1.0000001", "0.005"))}, Reason.NUMBER),
        ({"margin_tiers": tiers(("1152921504607", "0.005"))}, Reason.RANGE),
        ({"margin_tiers": tiers(*((str(n + 1), "0.005") for n in range(101)))}, Reason.RANGE),
        ({"tick_size": "0"}, Reason.FIELD),
        ({"lot_size": "-1"}, Reason.FIELD),
        ({"multiplier": "0.0"}, Reason.FIELD),
        ({"maintenance_margin_fraction": "0"}, Reason.FIELD),
        ({"maintenance_margin_fraction": "1.01"}, Reason.FIELD),
        ({"lot_size": "1e-3"}, Reason.NUMBER),
        ({"tick_size": "0.0000000000000000001", "price_decimals": 25}, Reason.SCALE),
        ({"price_decimals": 0}, Reason.SCALE),
        ({"price_decimals": -1}, Reason.SCALE),
        ({"price_decimals": 24}, Reason.SCALE),
        ({"price_decimals": 2**80}, Reason.SCALE),
        ({"lot_size": "1000000000000"}, Reason.SCALE),
    ],
)
def test_a_scale_we_cannot_calculate_with_is_refused(fields, reason):
    """Malformed tiers, nonsense and scales beyond the limits have each their reason."""
    assert refusal(Scale.of, an_instrument(**fields), 6).reason == reason


@given(
    st.sampled_from(["1", "100", "0.5", "12.5"]),
    st.sampled_from(["1", "10", "0.3"]),
    st.integers(0, 9),
    st.integers(0, 8),
    st.integers(-(2**53), 2**53),
    st.integers(1, 2**61),
)
def test_an_inverse_contract_is_worth_its_reciprocal(lot, multiplier, decimals, currency_decimals, lots, price):
    """A booked lot is worth K / price, off by at most half of 10**-9 minor unit, or its price is refused."""
    fields = {"contract_type": "inverse", "tick_size": text_of(1, decimals), "price_decimals": decimals}
    scale = Scale.of(an_instrument(lot_size=lot, multiplier=multiplier, **fields), currency_decimals)
    assert scale.sign == -1
    exact = Fraction(lot) * Fraction(multiplier) * 10**currency_decimals / Fraction(price, 10**decimals)
    if not 10**6 <= exact * 10**9 <= 2**63 - 2:
        assert refusal(scale.price, scale.price_text(price)).reason == Reason.RANGE
        return
    assert scale.price(scale.price_text(price)) == price
    num = scale.per_lot_num(price)
    assert limits.RECIPROCAL_NUM_MIN <= num <= limits.INT64_MAX - 1
    assert scale.per_lot(price) == Fraction(num, scale.den)
    assert abs(scale.per_lot(price) - exact) <= Fraction(1, 2 * 10**9)
    value = scale.value_minor(lots, price)
    assert value == lots * num // 10**9
    assert -Fraction(abs(lots), 2 * 10**9) - 1 <= value - lots * exact <= Fraction(abs(lots), 2 * 10**9)
    assert scale.price_float(price) == float(scale.per_lot(price) / 10**currency_decimals)


def test_a_price_is_found_again_in_what_it_costs():
    """1,000,000 contracts of one dollar at 7735.37 are 129.28 coins; nothing for them is price 0, not a division."""
    inverse = Scale.of(an_instrument(contract_type="inverse", lot_size="1", price_decimals=2), 8)
    quote = inverse.value_minor(-1_000_000, inverse.price("7735.37"))
    assert quote == -12_927_629_836  # rounded down
    assert inverse.price_text(inverse.nearest_price(quote, 1_000_000)) == "7735.37"
    assert inverse.nearest_price(0, 1_000_000) == 0
    linear = Scale.of(an_instrument(), 6)
    assert linear.nearest_price(linear.value_minor(-3, linear.price("7735.37")), 3) == linear.price("7735.37")


def test_the_bounds_of_inverse_prices_are_said():
    """Below and above, a lot's value would not fit, or not be exact enough."""
    scale = Scale.of(an_instrument(contract_type="inverse", lot_size="1", price_decimals=2), 8)
    sentence = "price must be at least 0.02 and at most 100000000000, was '0.01'"
    assert refusal(scale.price, "0.01").sentence == sentence
    assert refusal(scale.price, "100000000000.01").reason == Reason.RANGE
    assert not scale.same_units(Scale.of(an_instrument(lot_size="1", price_decimals=2), 8))


def test_each_part_of_a_position_is_in_its_own_tier():
    """Half a percent up to 100, then two up to 300, then ten without end; no jump where a tier begins."""
    scale = Scale.of(an_instrument(margin_tiers=tiers(("100", "0.005"), ("300", "0.02"), ("500", "0.1"))), 2)
    required = {value: scale.requirement(value * 100) / 100 for value in (0, 100, 200, 300, 400, 5000)}
    half = Fraction(1, 2)
    assert required == {0: 0, 100: half, 200: half + 2, 300: half + 4, 400: half + 14, 5000: half + 4 + 470}
    assert scale.requirement(-40_000) == scale.requirement(40_000)
    assert scale.requirement(10_001) - scale.requirement(10_000) == Fraction(2, 100)
    flat = Scale.of(an_instrument(margin_tiers=tiers(("100", "0.005"), ("300", "0.005"))), 2)
    assert (flat.tiers, flat.requirement(10**6)) == ((), 5000)


def test_only_the_margin_fraction_may_change():
    """`same_units` looks past margin fraction and tiers, and at everything else."""
    scale = Scale.of(an_instrument(), 6)
    assert scale.same_units(Scale.of(an_instrument(margin_tiers=tiers(("1", "0.005"), ("2", "0.1"))), 6))
    assert scale.same_units(Scale.of(an_instrument(maintenance_margin_fraction="0.5"), 6))
    assert not scale.same_units(Scale.of(an_instrument(lot_size="0.01"), 6))
    assert not scale.same_units(Scale.of(an_instrument(price_decimals=6), 6))


def test_quantities_are_whole_lots():
    """Half a lot is LOT, also where the text has more decimals than the lot; 2**53 lots is the most, both ways."""
    scale = Scale.of(an_instrument(lot_size="0.25"), 6)
    assert [scale.lots(text) for text in ("1", "-1.5", "0.250", "0", "-0")] == [4, -6, 1, 0, 0]
    for text in ("0.1", "-0.3", "0.125", "1.00000001"):
        assert refusal(scale.lots, text).reason == Reason.LOT
    sentence = "quantity must be a whole number of lots of 0.25, was '0.1'"
    assert refusal(scale.lots, "0.1").sentence == sentence
    assert scale.lots(str(2**51)) == limits.QUANTITY_LOTS_MAX
    assert refusal(scale.lots, f"-{2**51}.25").reason == Reason.RANGE
    assert refusal(scale.lots, "x").reason == Reason.NUMBER


def test_prices_are_positive_and_on_their_scale():
    """Zero, negative and too fine prices are PRICE; at the largest price the product of the value still fits int64."""
    scale = Scale.of(an_instrument(lot_size="7", price_decimals=1), 6)
    assert scale.value_num > 1
    assert scale.price("0.1") == 1
    for text in ("0", "-1", "-0.0", "0.11"):
        assert refusal(scale.price, text).reason == Reason.PRICE
    largest = scale.price(scale.price_text(scale.price_scaled_max))
    assert largest * scale.value_num < 2**63 - 1 <= (largest + 1) * scale.value_num
    assert refusal(scale.price, scale.price_text(largest + 1)).reason == Reason.RANGE
    assert refusal(scale.price, "NaN").reason == Reason.NUMBER
