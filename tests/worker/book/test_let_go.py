"""Accounts that go leave nothing behind, and whoever comes into their rows is nobody but himself."""

import random

import numpy as np
import pytest

from schemas.messages import Account, AccountUpdate, Balance
from schemas.rejections import Refused
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


@pytest.mark.parametrize("seed", range(3))
def test_owners_that_come_and_go_take_no_room(seed):
    """More owners in turn than the limit: those of the moment have rows, the digest is that of a book that never met
    the others, and an excluded owner is nobody who had the row before.
    """
    book, chance, now = Book("USDT", 6), random.Random(seed), {}
    book.owners.most, met = 8, set()
    for number in range(2000):
        name = f"a{chance.randrange(6)}"
        if chance.random() < 0.2:
            book.clear_account(name)
            now.pop(name, None)
        else:
            owner = f"owner {chance.choice((number, number // 50, chance.randrange(3)))}"
            try:
                book.set_account(Account(account=name, beneficial_owner=owner))
            except Refused:
                assert len(book.owners) == 8
                assert owner not in book.owners
            else:
                now[name] = owner
                met.add(owner)
        if number % 4 == 0:
            book.let_go(none)
            assert set(book.owners) == set(now.values())
            assert {account: book.beneficial_owner(account) for account in now} == now
    assert len(met) > 200
    assert book.owners.used <= 8
    other = Book("USDT", 6)
    for name, owner in now.items():
        other.set_account(Account(account=name, beneficial_owner=owner))
    assert book.digest() == book.digest_full() == other.digest()


def test_an_owner_without_room_changes_nothing():
    """Refused, and the account it was said of is not there either; there is room again from the next cut on."""
    book = Book("USDT", 6)
    book.owners.most = 2
    book.set_account(Account(account="a", beneficial_owner="one"))
    book.set_account(Account(account="c", beneficial_owner="three"))
    with pytest.raises(Refused):
        book.set_account(Account(account="b", beneficial_owner="two"))
    assert list(book.accounts) == ["a", "c"]
    book.set_account(Account(account="a"))
    with pytest.raises(Refused):
        book.set_account(Account(account="b", beneficial_owner="two"))
    book.let_go(none)
    book.set_account(Account(account="b", beneficial_owner="two"))
    assert book.beneficial_owner("b") == "two"
    assert book.owners.used == 2
