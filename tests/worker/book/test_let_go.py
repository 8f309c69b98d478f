"""Accounts that go leave nothing behind, and whoever comes into their rows is nobody but himself."""

import random

import numpy as np
import pytest

from schemas.messages import AccountUpdate, Balance
from tests.worker.book.sequences import ACCOUNTS, History
from tests.worker.book.test_twin import compare, compare_gather, play
from tests.worker.book.twin import Twin
from worker.book.book import Book


def none(rows):
    return np.zeros(len(rows), np.bool_)


@pytest.mark.parametrize("seed", range(6))
def test_the_twin_agrees_while_rows_are_used_again(seed):
    """A history in which accounts are removed and cleared all the time; nobody but those who are there has a row."""
    book, twin, history, chance = Book("USDT", 6), Twin("USDT", 6), History(seed), random.Random(seed)
    for step in history.start():
        play(book, twin, step)
    dropped, rows = 0, set()
    for number in range(600):
        play(book, twin, history.step())
        if chance.random() < 0.3:
            name = chance.choice(ACCOUNTS)
            history.seq.pop(name, None)
            play(book, twin, ("remove_account", (name,)))
            play(book, twin, ("clear_account", (name,)))
        if number % 3 == 0:
            before = len(book.accounts)
            book.let_go(none)
            dropped += before - len(book.accounts)
            rows.update((name, book.accounts.row(name)) for name in book.accounts)
        if number % 20 == 0:
            compare(book, twin)
            compare_gather(book, twin, chance)
    assert dropped > 50
    assert len(rows) > 2 * len(ACCOUNTS), "rows went to other accounts"
    assert book.accounts.used <= len(ACCOUNTS)


def test_an_account_is_let_go_once_nothing_of_it_is_left():
    """Neither while it is held, nor while it has a role, nor when someone keeps it."""
    book = Book("USDT", 6)
    update = AccountUpdate(account="a", epoch=1, seq=1, full=True, balances=[Balance(currency="USDT", amount="1")])
    book.apply_update(update)
    empty = book.digest_full()
    book.let_go(none)
    assert list(book.accounts) == ["a"]
    book.remove_account("a")
    book.let_go(lambda rows: rows == rows)
    assert list(book.accounts) == ["a"]
    book.remove_account("a")
    book.let_go(none)
    assert list(book.accounts) == []
    assert book.digest() == book.digest_full() == 0
    book.apply_update(update)
    assert book.digest() == book.digest_full() == empty


def test_accounts_that_come_and_go_take_no_room():
    """Ten thousand accounts in turn need the rows and slots of those who are there at the same time."""
    book = Book("USDT", 6)
    for number in range(10_000):
        balances = [Balance(currency="USDT", amount="1")]
        book.apply_update(AccountUpdate(account=f"{number}", epoch=1, seq=1, full=True, balances=balances))
        if number >= 10:
            book.remove_account(f"{number - 10}")
        book.let_go(none)
    assert len(book.accounts) == 10
    assert book.accounts.used < 20
    assert len(book._table.cells[0]) < 100
