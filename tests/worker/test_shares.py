"""How what was taken is shared over the bankrupt accounts' lines: whole lots, no more than a line has, no dearer."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from schemas import Instrument, Scale
from worker.rounds import mean_price, share_lots
from worker.takeover import Line

SCALE = Scale.of(
    Instrument(
        symbol="BTC", tick_size="1", lot_size="1", settlement_currency="USD", maintenance_margin_fraction="0.1",
        price_decimals=0,
    ),
    2,
)  # fmt: skip


def line(sign, left, price):
    return Line("BTC", "NET", sign, left, SCALE, 100, priced=False, price_minor=Fraction(price), left=left)


@given(
    sign=st.sampled_from([1, -1]),
    wanted=st.lists(st.tuples(st.integers(0, 12), st.fractions(0, 300)), min_size=1, max_size=8),
    chance=st.randoms(use_true_random=False),
)
def test_shares_add_up_fit_their_lines_and_cost_no_more_than_the_mean(sign, wanted, chance):
    """A line that has nothing left gives nothing; who was found able to pay the mean price pays at most that."""
    lines = [line(sign, left, price) for left, price in wanted]
    whole = sum(left for left, _ in wanted)
    if not whole:
        return
    taken = chance.randint(1, whole)
    parts = share_lots(lines, taken)
    assert sum(parts) == taken
    assert all(0 <= part <= item.left for part, item in zip(parts, lines, strict=True))
    assert all(abs(Fraction(taken * item.left, whole) - part) <= 1 for part, item in zip(parts, lines, strict=True))
    paid = sum(part * item.price_minor for part, item in zip(parts, lines, strict=True))
    assert sign * paid <= sign * taken * mean_price(lines)
