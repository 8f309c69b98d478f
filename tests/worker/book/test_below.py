"""Who is below zero: one pass over the columns finds what asking every account finds."""

import pytest

from tests.worker.book.sequences import ACCOUNTS, History
from tests.worker.book.test_twin import play
from tests.worker.book.twin import SIDES, Twin
from worker.book.book import Book


def below(twin: Twin) -> set[tuple[str, str | None, int]]:
    """Every margin unit with marks for all of its symbols and less than nothing, asked one by one."""
    found: set[tuple[str, str | None, int]] = set()
    for name in ACCOUNTS:
        held = twin.sorted_positions(name)
        if twin.equity(name) < 0 and all(symbol in twin.marks for symbol, _, h in held if h.margin is None):
            found.add((name, None, 3))
        for symbol, side, h in held:
            if h.margin is not None and symbol in twin.marks and twin.isolated_equity(name, symbol, side) < 0:
                found.add((name, symbol, SIDES.index(side)))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_units_below_zero_are_those_of_the_twin(seed: int) -> None:
    """Cross books and isolated positions, after any history; numbers and names lead to each other."""
    book, twin, history = Book("USDT", 6), Twin("USDT", 6), History(seed)
    sizes = set()
    for step in history.start():
        play(book, twin, step)
    for number in range(300):
        play(book, twin, history.step())
        if number % 10 == 0:
            units = book.units_below_zero().tolist()
            assert units == sorted(set(units))
            names = [book.unit_names(unit) for unit in units]
            assert set(names) == below(twin)
            for unit, (name, symbol, side) in zip(units, names, strict=True):
                assert book.unit(name, None if symbol is None else (symbol, SIDES[side])) == unit  # type: ignore[arg-type]
            sizes.add(len(units))
    assert len(sizes) > 2
    assert book.unit("nobody") == -1
