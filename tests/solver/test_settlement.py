"""Money is exact: nothing appears, nothing vanishes, and roundings fall where the design says."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from solver import settlement

WEIGHTS = st.lists(st.integers(0, 2**60), min_size=1, max_size=20).filter(any)


@given(st.integers(-(2**70), 2**70), WEIGHTS, st.randoms())
def test_split_is_exact_and_fair(total, weights, random):
    """Parts add up to the total and none is a whole unit from its share, for any size of numbers."""
    rank = list(range(len(weights)))
    random.shuffle(rank)
    parts = settlement.split_by_largest_remainder(total, weights, rank)
    assert sum(parts) == total
    assert all(abs(part - Fraction(total * w, sum(weights))) < 1 for part, w in zip(parts, weights, strict=True))


@given(st.integers(0, 2**40), st.lists(st.integers(0, 2**20), min_size=1, max_size=20).filter(any))
def test_both_roads_of_the_split_agree(total, weights):
    """The vectorised split and the one in Python integers give the same parts."""
    far = 2**70
    parts = settlement.split_by_largest_remainder(total, weights)
    assert settlement.split_by_largest_remainder(total, [w * far for w in weights]) == parts


def test_ties_of_the_split_fall_by_tie_rank():
    """Equal remainders go to the smaller rank."""
    assert settlement.split_by_largest_remainder(2, [1, 1, 1], [2, 0, 1]) == [0, 1, 1]


def test_nothing_can_be_shared_over_no_weight():
    """Zero weights share zero and refuse more."""
    assert settlement.split_by_largest_remainder(0, [0, 0]) == [0, 0]
    with pytest.raises(ValueError, match="every weight is 0"):
        settlement.split_by_largest_remainder(1, [0, 0])


@given(st.lists(st.integers(0, 2**50), min_size=1, max_size=10), st.integers(-5, 2**52))
def test_the_fund_pays_all_or_all_it_has(deficits, available):
    """Never more than is there, never more than a deficit, never less than it could."""
    paid = settlement.fund_payment(deficits, available)
    assert sum(paid) == min(sum(deficits), max(0, available))
    assert all(0 <= p <= d for p, d in zip(paid, deficits, strict=True))


def test_takeover_value_is_never_positive():
    """A fund payment that covers the deficit leaves nothing to hand out."""
    assert settlement.takeover_value(-100, 40) == -60
    assert settlement.takeover_value(-100, 100) == 0
    assert settlement.takeover_value(20, 0) == 0


@given(st.integers(-(10**9), 0), st.integers(1, 10**9), st.sampled_from(["0.005", "0.05", "0.5"]),
       st.sampled_from([1, -1]))  # fmt: skip
def test_closing_any_part_keeps_the_price(tav, notional, mmf, side):
    """TAV/MMR does not change when a part is closed at the bankruptcy price, unless the price is clamped at 0."""
    mmf = Fraction(mmf)
    mmr = notional * mmf
    factor = settlement.bankruptcy_factor(side, mmf, tav, mmr)
    third = Fraction(notional, 3)
    gain = settlement.bankruptcy_quote(side, third, mmf, tav, mmr) - side * third
    if factor > 0:
        assert (tav + gain) / (mmr - third * mmf) == Fraction(tav) / mmr
    assert factor >= 0
    # A long below water sells above the mark, a short buys below it.
    assert (factor - 1) * side >= 0


def test_price_is_never_negative_and_stays_in_the_collar():
    """The clamp leaves a short's price at 0 at worst; the collar holds it near the mark."""
    assert settlement.bankruptcy_factor(-1, Fraction(1, 10), -10_000, 100) == 0
    assert settlement.bankruptcy_factor(1, Fraction(1, 10), -10_000, 100, collar="0.2") == Fraction(6, 5)
    assert settlement.bankruptcy_factor(-1, Fraction(1, 10), -10_000, 100, collar="0.2") == Fraction(4, 5)
    assert settlement.bankruptcy_factor(1, Fraction(1, 10), -10_000, 0) == 1
    assert settlement.isolated_factor(1, 100, 300, 50) == 0
    assert settlement.isolated_factor(-1, 100, 20, 150) == Fraction(120, 150)


POSITIONS = st.lists(
    st.tuples(st.sampled_from([1, -1]), st.integers(1, 10**6), st.integers(1, 10**9), st.integers(1, 10**9)),
    min_size=1, max_size=8,
)  # fmt: skip


@given(POSITIONS, st.integers(0, 10**16))
def test_no_more_is_undone_than_was_lost_and_no_more_than_is_needed(positions, deficit):
    """The share is 0 to 1; below 1 it covers the deficit exactly, at 1 every loser stands at its last solvent mark."""
    losses = [settlement.loss_since(side, mark, last) for side, _, mark, last in positions]
    total = sum(lots * loss for (_, lots, _, _), loss in zip(positions, losses, strict=True))
    share = settlement.last_solvent_share(deficit, total)
    assert 0 <= share <= 1
    regained = Fraction(0)
    for (side, lots, mark, last), loss in zip(positions, losses, strict=True):
        price = mark * settlement.last_solvent_factor(side, mark, loss, share)
        assert min(mark, last) <= price <= max(mark, last)
        assert price == mark or loss > 0
        assert share < 1 or price == (last if loss else mark)
        regained += settlement.quote(side, lots * price) - side * lots * mark
    assert regained == min(deficit, total)


def test_what_cannot_be_a_deficit_or_a_mark_is_refused():
    """A price of nothing has no factor; without a loss nothing is undone."""
    assert settlement.last_solvent_share(700, 0) == 0
    assert settlement.last_solvent_factor(1, 100, 40, Fraction(1, 2), collar="0.1") == Fraction(11, 10)
    with pytest.raises(ValueError, match="not be negative"):
        settlement.last_solvent_share(-1, 10)
    with pytest.raises(ValueError, match="above 0"):
        settlement.last_solvent_factor(1, 0, 40, 1)


def test_rounding_favours_the_liquidated_account():
    """It receives more, or pays less, by less than one unit."""
    assert settlement.rounded_up(Fraction(27751, 10)) == 2776
    assert settlement.rounded_up(Fraction(-27751, 10)) == -2775
    assert settlement.quote(-1, 10, Fraction(3, 2)) == -15
