"""Rows are dense and stay; the order of names is kept by merging, and is that of a full sort."""

from hypothesis import given
from hypothesis import strategies as st

from worker.book.names import Names

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
