"""Numbers written by the column are the texts that are written one by one."""

from hypothesis import given
from hypothesis import strategies as st

from schemas import text_of
from worker.book.decimals import decimal_texts

INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
PLAIN = st.builds(lambda digit, zeros, sign: sign * digit * 10**zeros, st.integers(0, 999), st.integers(0, 15),
                  st.sampled_from([1, -1]))  # fmt: skip


@given(st.lists(st.tuples(INTEGERS | PLAIN, st.integers(0, 25)), max_size=40))
def test_a_column_of_numbers_is_written_as_each_of_them(numbers: list[tuple[int, int]]) -> None:
    """Any sign and size, whole or not, with more decimals than digits."""
    values, decimals = [value for value, _ in numbers], [places for _, places in numbers]
    assert decimal_texts(values, decimals) == [text_of(*number) for number in numbers]


def test_a_number_beyond_the_columns_is_written_too() -> None:
    """With all of its neighbours, one by one."""
    assert decimal_texts([2**70, -5], [2, 1]) == [text_of(2**70, 2), "-0.5"]
