"""Who is below zero: one pass over the columns finds what asking every account finds."""

import pytest

from schemas.messages import AccountUpdate, Balance
from tests.worker.book.sequences import ACCOUNTS, History
from tests.worker.book.test_twin import play
from tests.worker.book.twin import SIDES, Twin
from worker.book.book import Book


def below(twin: Twin, book: Book) -> set[tuple[str, int]]:
    """Every margin unit with marks for all of its symbols and less than nothing, asked one by one."""
    found = set()
    for name in ACCOUNTS:
        held = twin.sorted_positions(name)
        if twin.equity(name) < 0 and all(symbol in twin.marks for symbol, _, h in held if h.margin is None):
            found.add((name, 0))
        for symbol, side, h in held:
            if h.margin is not None and symbol in twin.marks and twin.isolated_equity(name, symbol, side) < 0:
                found.add((name, 1 + book.market(symbol).key + SIDES.index(side)))
    return found


@pytest.mark.parametrize("seed", range(20))
def test_the_units_below_zero_are_those_of_the_twin(seed: int) -> None:
    """Cross books and isolated positions, each once, after any history."""
    book, twin, history = Book("USDT", 6), Twin("USDT", 6), History(seed)
    sizes = set()
    for step in history.start():
        play(book, twin, step)
    for number in range(300):
        play(book, twin, history.step())
        if number % 10 == 0:
            units = book.units_below_zero()
            assert sorted(units) == sorted(below(twin, book))
            sizes.add(len(units))
    assert len(sizes) > 2


def test_more_units_than_there_is_room_for_at_first() -> None:
    """5,000 accounts that owe one minor unit each."""
    book = Book("USDT", 6)
    names = [f"a{number}" for number in range(5000)]
    for name in names:
        book.apply_update(
            AccountUpdate(
                account=name, epoch=1, seq=1, full=True, balances=[Balance(currency="USDT", amount="-0.000001")]
            )
        )
    assert sorted(book.units_below_zero()) == sorted((name, 0) for name in names)
