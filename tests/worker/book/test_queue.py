"""Ladders and queues: what they promise, and that they are those of a full recomputation."""

import numpy as np
import pytest

from schemas.messages import Account, AccountUpdate, Balance, MarkPrice, Position
from tests.worker.book.sequences import instrument
from tests.worker.book.sweep_queue import run
from worker.book.book import Book
from worker.book.levels import LEVELS, WORTHLESS, cross_key, key_from, level_of, leverage_from, leverage_of, number_of


def book_of(*accounts: AccountUpdate, mark: str = "100") -> Book:
    book = Book("USDT", 6)
    book.set_instrument(instrument("ÅXS", multiplier="1"))
    book.set_instrument(instrument("BTC-PERP"))
    book.set_mark(MarkPrice(symbol="ÅXS", mark_price=mark, event_time_ms=1), 1)
    for update in accounts:
        book.apply_update(update)
    return book


def cross(name: str, lots: int, balance: str, symbol: str = "ÅXS", seq: int = 1) -> AccountUpdate:
    position = Position(symbol=symbol, quantity=str(lots), entry_price="100")
    return AccountUpdate(
        account=name,
        epoch=0,
        seq=seq,
        full=True,
        balances=[Balance(currency="USDT", amount=balance)],
        positions=[position],
    )


def isolated(name: str, lots: int, margin: str) -> AccountUpdate:
    position = Position(
        symbol="ÅXS", quantity=str(lots), entry_price="100", margin_mode="isolated", isolated_margin=margin
    )
    return AccountUpdate(
        account=name, epoch=0, seq=1, full=True, balances=[Balance(currency="USDT", amount="0")], positions=[position]
    )


def order(book: Book, side: int = 1) -> list[str]:
    return [place.account for place in book.top("ÅXS", side, 99)]


@pytest.mark.parametrize("first", range(0, 150, 25))
def test_ladders_agree_with_a_full_recomputation(first: int) -> None:
    """After every few messages of short random histories; `python -m tests.worker.book.sweep_queue` has 10,000."""
    seen = np.array([run(seed) for seed in range(first, first + 25)]).sum(axis=0)
    assert (seen > [300, 60]).all()


def test_the_highest_leverage_is_first_and_equal_ones_go_by_name() -> None:
    """Cross and isolated positions stand in one queue."""
    book = book_of(cross("b", 10, "100"), cross("a", 10, "100"), isolated("c", 10, "50"), isolated("d", 20, "200"))
    assert order(book) == ["c", "a", "b", "d"]
    assert [place.leverage for place in book.top("ÅXS", 1, 3)] == [20.0, 10.0, 10.0]
    assert [book.rank(name, "ÅXS", 1) for name in "cabd"] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert book.rank("a", "ÅXS", -1) is None
    assert book.rank("nobody", "ÅXS", 1) is None


def test_a_level_tells_positions_lots_and_what_they_are_worth_at_the_mark() -> None:
    """Three of leverage 10 or nearly, in lots and minor units; shorts have a ladder of their own."""
    book = book_of(cross("a", 10, "100"), isolated("c", 10, "99"), cross("z", -7, "70"))
    rung = book.depth("ÅXS", 1)
    assert [(r.positions, r.lots, r.notional_minor) for r in rung] == [(2, 20, 2_000_000_000)]
    assert rung[0].leverage_from < 10 < 1.2 * rung[0].leverage_from
    assert [(r.positions, r.lots) for r in book.depth("ÅXS", -1)] == [(1, 7)]


def test_a_mark_moves_isolated_positions_past_each_other_and_never_among_themselves() -> None:
    """A tick leaves their order alone and changes their leverage; those beyond their price have no equity left."""
    book = book_of(isolated("a", 10, "100"), isolated("b", 10, "300"), cross("c", 10, "200"), mark="100")
    assert order(book) == ["a", "c", "b"]
    book.set_mark(MarkPrice(symbol="ÅXS", mark_price="85", event_time_ms=2), 2)
    assert order(book) == ["a", "c", "b"]
    assert book.depth("ÅXS", 1)[0].level == 0
    assert book.top("ÅXS", 1, 1)[0].leverage < 0
    assert book.isolated_equity_minor("a", "ÅXS", "NET") == -50_000_000


def test_a_tick_of_one_symbol_moves_the_account_in_the_ladders_of_all_it_holds() -> None:
    """Leverage is the account's: its equity falls by one symbol, and its place in another rises."""
    both = AccountUpdate(
        account="a",
        epoch=0,
        seq=1,
        full=True,
        balances=[Balance(currency="USDT", amount="1000")],
        positions=[
            Position(symbol="ÅXS", quantity="10", entry_price="100"),
            Position(symbol="BTC-PERP", quantity="-1", entry_price="1000"),
        ],
    )
    book = book_of(both)
    assert book.depth("BTC-PERP", -1) == []  # a symbol of the account never had a mark
    assert book.depth("ÅXS", 1) == []
    book.set_mark(MarkPrice(symbol="BTC-PERP", mark_price="1000", event_time_ms=1), 1)
    before = book.depth("BTC-PERP", -1)
    book.set_mark(MarkPrice(symbol="ÅXS", mark_price="50", event_time_ms=2), 2)
    after = book.depth("BTC-PERP", -1)
    assert [rung.lots for rung in before] == [rung.lots for rung in after] == [1000]
    assert before[0].leverage_from < 2 < after[0].leverage_from < 3.01


def test_only_those_who_may_be_taken_queue() -> None:
    """Not other roles, exempt or parked accounts; one that is taken last queues as everybody."""
    book = book_of(*(cross(name, 10, "100") for name in "abcd"))
    book.set_account(Account(account="a", role="INSURANCE"))
    book.set_account(Account(account="b", adl="EXEMPT"))
    book.set_account(Account(account="c", adl="LAST"))
    book.park_account("d", "LOT")
    assert order(book) == ["c"]
    assert book.rank("b", "ÅXS", 1) is None
    book.clear_account("a")
    book.apply_update(cross("d", 10, "100", seq=2))
    assert order(book) == ["a", "c", "d"]
    book.remove_account("c")
    assert order(book) == ["a", "d"]


def test_levels_follow_keys_and_know_their_bounds() -> None:
    """A level's first key is its own, the key before it the level's before, and leverage falls from level to level."""
    for level in range(1, LEVELS):
        assert level_of(key_from(level)) == level
        assert level_of(key_from(level) - 1) == level - 1
    bounds = [leverage_from(level) for level in range(LEVELS)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[1] > 900
    assert bounds[WORTHLESS] == bounds[WORTHLESS - 1] == 0


def test_keys_are_ordered_as_margin_ratios() -> None:
    """Deeper below zero is smaller; what is worth nothing is last."""
    keys = [cross_key(equity, 1000) for equity in (-5000, -1, 0, 1, 999, 2**62)]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert [number_of(key) for key in keys[:5]] == [-5.0, -0.001, 0.0, 0.001, 0.999]
    assert cross_key(5, 0) > keys[-1]
    assert leverage_of(cross_key(5, 0)) == 0
    assert leverage_of(cross_key(0, 5)) == float("inf")


def test_positions_worth_nothing_stand_last_and_have_a_place() -> None:
    """Less than the smallest amount, rounded down: no leverage, and a rank all the same."""
    book = book_of(cross("b", 1, "100"), cross("a", 1, "100"), isolated("c", 1, "50"), mark="0.0000001")
    assert [place.leverage for place in book.top("ÅXS", 1, 2)][-1] == 0.0
    ranks = {name: book.rank(name, "ÅXS", 1) for name in "abc"}
    assert {name: rank[0] for name, rank in ranks.items() if rank} == {n: at + 1 for at, n in enumerate(order(book))}
