"""Numbers written by the column are the texts that are written one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from schemas import text_of
from worker.book.decimals import decimal_pieces

INTEGERS = st.integers(-(2**63) + 1, 2**63 - 1)
PLAIN = st.builds(lambda digit, zeros, sign: sign * digit * 10**zeros, st.integers(0, 999), st.integers(0, 15),
                  st.sampled_from([1, -1]))  # fmt: skip


@given(st.lists(st.tuples(INTEGERS | PLAIN, st.integers(0, 25)), max_size=40))
def test_a_column_of_numbers_is_written_as_each_of_them(numbers: list[tuple[int, int]]) -> None:
    """Any sign and size, whole or not, with more decimals than digits."""
    values, decimals = [value for value, _ in numbers], np.array([places for _, places in numbers], np.int64)
    assert decimal_pieces(values, decimals).decode().split("\0")[:-1] == [text_of(*number) for number in numbers]


def test_a_number_beyond_the_columns_is_written_too() -> None:
    """With all of its neighbours, one by one."""
    assert decimal_pieces([2**70, -5], np.array([2, 1])) == f"{text_of(2**70, 2)}\0-0.5\0".encode()
