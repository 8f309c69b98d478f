"""The kernel that reads money from bytes, against msgspec: 20,000 mutated records here, a million by night."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Refused
from tests.fuzz.plain import Said, campaign, judge
from tests.fuzz.texts import record
from worker.book import plain

RECORDS = 20_000
GOOD = b'{"type":"AccountUpdate","account":"a","epoch":1,"seq":1,"positions":[{"symbol":"S1","quantity":"1.5"}]}'


def test_what_the_kernel_calls_plain_msgspec_reads_and_what_msgspec_refuses_is_not_plain():
    """Number by number; enough of each kind that this says something."""
    counts = campaign(RECORDS, seed=1)
    assert counts.total() >= RECORDS
    assert min(counts["plain update"], counts["plain mark"], counts["refused"], counts["left"]) > RECORDS // 10, counts


@given(st.lists(st.randoms(use_true_random=False).map(record), min_size=1, max_size=3))
def test_the_same_of_records_that_hypothesis_makes_smaller(pairs):
    """Found once, a difference is told as one short record."""
    judge(pairs)


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_the_same_behind_a_good_beginning(middle, end):
    """Any bytes, also across the border of two records."""
    judge([(None, GOOD[:-1] + middle), (end, GOOD), (GOOD[-1:] + middle, end)])


def off_by_one(field, positions=False):
    """A kernel that reads one number wrong."""

    class Lies(Said):
        def __init__(self, pairs):
            super().__init__(pairs)
            (self.positions if positions else self.records)[:, field] += 1

    return Lies


class CallsAllPlain(Said):
    """A kernel that takes each record for the first."""

    def __init__(self, pairs):
        super().__init__(pairs)
        self.records[:] = self.records[0]


@pytest.mark.parametrize(
    "kernel",
    [
        off_by_one(plain.SEQ), off_by_one(plain.NAME_END), off_by_one(plain.FULL), off_by_one(plain.COUNT),
        off_by_one(plain.KEY_DIFFERS), off_by_one(plain.QUANTITY, True), off_by_one(plain.QUANTITY_PLACES, True),
        off_by_one(plain.PRICE_PLACES, True), off_by_one(plain.SIDE, True),
    ],
)  # fmt: skip
def test_a_kernel_that_reads_one_number_wrong_is_found(kernel):
    """So that the judge can say no."""
    assert judge([(b"a", GOOD)]) == {"plain update": 1}
    with pytest.raises(AssertionError):
        judge([(b"a", GOOD)], kernel)


@pytest.mark.parametrize("bad", [GOOD[:-1], GOOD + b" x", GOOD.replace(b"1.5", b"1e5"), GOOD.replace(b'"1.5"', b"1.5")])
def test_a_kernel_that_calls_plain_what_is_refused_is_found(bad):
    """Torn, something behind it, no decimal, no text."""
    with pytest.raises(Refused):
        judge([(None, GOOD), (None, bad)], CallsAllPlain)
