"""Rows are dense and stay; the order of names is kept by merging, and is that of a full sort."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.book.names import Names, joined

NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=16)


@given(batches=st.lists(st.lists(NAME, max_size=30), max_size=8))
def test_merging_new_names_gives_the_order_of_a_full_sort(batches: list[list[str]]) -> None:
    """By UTF-8 bytes, whatever widths come later, and ranks are the inverse of the order."""
    names, seen = Names("account"), dict[str, int]()
    for batch in batches:
        for name in batch:
            assert names.add(name) == seen.setdefault(name, len(seen))
        order, rank = names.order()
        assert [names.name(row) for row in order] == sorted(seen, key=str.encode)
        assert rank[order].tolist() == list(range(len(seen)))
    assert len(names) == len(seen)


@given(
    steps=st.lists(st.tuples(st.sampled_from(("add", "drop", "order")), st.integers(0, 40)), max_size=200),
    sizes=st.lists(st.integers(1, 64), min_size=41, max_size=41),
)
def test_names_that_come_and_go_leave_no_trace(steps: list[tuple[str, int]], sizes: list[int]) -> None:
    """Whoever is there is found at his row and in the order; rows and bytes of those who went are used again."""
    names, here = Names("account"), dict[str, int]()
    spelled = [f"{number:02d}{'x' * (size - 2)}"[:size] for number, size in enumerate(sizes)]
    spelled = list(dict.fromkeys(spelled))
    for action, number in steps:
        name = spelled[number % len(spelled)]
        if action == "add":
            row = names.add(name)
            assert row not in [other for key, other in here.items() if key != name]
            here[name] = row
        elif action == "drop" and name in here:
            names.drop(np.array([here.pop(name)]))
        elif action == "order":
            order, rank = names.order()
            assert names.names(order.astype(np.int64)) == list(names) == sorted(here, key=str.encode)
            assert rank[order].tolist() == list(range(len(here)))
        assert {key: names.row(key) for key in spelled} == {key: here.get(key, -1) for key in spelled}
        assert len(names) == len(here)
    assert names.used <= len(spelled)
    assert names.rows_of(*joined(spelled)).tolist() == [here.get(name, -1) for name in spelled]


def test_many_names_are_sorted_as_bytes() -> None:
    """Equal beginnings, ends at every length, and bytes of either sign."""
    names = Names("account")
    spelled = [f"{'a' * (number % 9)}{number % 7}{chr(200 + number % 300)}-{number // 3}" for number in range(5000)]
    spelled = list(dict.fromkeys(spelled))
    rows = names.extend(*joined(spelled))
    assert rows.tolist() == list(range(len(spelled)))
    assert list(names) == sorted(spelled, key=str.encode)
    names.extend(*joined(f"{name}+" for name in spelled[:50]))
    assert list(names) == sorted([*spelled, *(f"{name}+" for name in spelled[:50])], key=str.encode)


def test_an_unknown_name_has_no_row() -> None:
    """Asking does not add."""
    names = Names("account")
    assert names.row("a") == -1
    assert len(names) == 0


def test_rows_and_hashes_survive_growth() -> None:
    """A thousand names keep their rows, and no two of them, nor two kinds, share a hash."""
    accounts, symbols = Names("account"), Names("symbol")
    for number in range(1000):
        accounts.add(f"name {number}")
        symbols.add(f"name {number}")
    assert all(accounts.row(f"name {number}") == number for number in range(1000))
    hashes = {tuple(row) for names in (accounts, symbols) for row in names.hashes()[:1000].tolist()}
    assert len(hashes) == 2000
