"""Accounts opened together are the accounts opened one by one, and what is odd is left alone."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.messages import AccountUpdate, Balance, MarkPrice, Position
from schemas.rejections import Refused
from schemas.units import scaled
from tests.worker.book.sequences import INSTRUMENTS, PRICES, History, instrument
from worker.book.book import Book
from worker.book.openings import numbers
from worker.book.views import PositionView

NO_NUMBER = -(2**63)
TEXT = st.one_of(
    st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,8})?", fullmatch=True),
    st.text(alphabet="0123456789.-+ _e\n\0\u00e9\u0663", max_size=24),
)


@given(texts=st.lists(st.tuples(TEXT, st.integers(0, 20)), max_size=8))
@example([("1\n2", 0), ("3", 0)])
@example([("", 0)])
@example([("-", 0), (".5", 1), ("5.", 1), ("-.5", 1), ("1.2.3", 4)])
def test_a_number_read_in_bulk_is_the_number_or_none(texts: list[tuple[str, int]]) -> None:
    """What `scaled` refuses is never read; plain text of at most 18 digits always is, beside whatever else."""
    found = numbers([text for text, _ in texts], np.array([decimals for _, decimals in texts], np.int64)).tolist()
    for (text, decimals), number in zip(texts, found, strict=True):
        if number != NO_NUMBER:
            assert number == scaled(text, decimals)
        elif all("\n" not in other for other, _ in texts):
            whole, _, fraction = text.removeprefix("-").partition(".")
            plain = whole.isdecimal() and text.isascii() and (fraction.isdecimal() or "." not in text)
            assert not plain or len(fraction) > decimals or len(whole) + decimals > 18


def book_with_marks(seed: int) -> Book:
    """A book with instruments, marks for most, a parked account, one that is known, and slots that were given back."""
    book = Book("USDT", 6)
    for symbol in INSTRUMENTS:
        book.set_instrument(instrument(symbol))
    for symbol in list(INSTRUMENTS)[: 3 + seed % 3]:
        move(book, symbol, 1)
    many = [
        Position(symbol=symbol, quantity=INSTRUMENTS[symbol]["lot_size"], entry_price="1") for symbol in INSTRUMENTS
    ]
    book.apply_update(AccountUpdate(account="known", epoch=1, seq=1, full=True, positions=many))
    book.apply_update(AccountUpdate(account="known", epoch=1, seq=2, full=True))
    book.park_account("parked", "LOT: was odd")
    return book


def move(book: Book, symbol: str, factor: int) -> None:
    price = f"{PRICES[symbol] * factor:.5f}" if symbol != "Z0" else str(12 * factor)
    book.set_mark(MarkPrice(symbol=symbol, mark_price=price, event_time_ms=factor), factor)


def updates_of(seed: int) -> list[AccountUpdate]:
    """First updates, good and bad, of accounts that are new, but one."""
    history, updates = History(seed), []
    for number in range(60):
        update = history.update()[1][0]
        full = history.random.random() < 0.9
        balances = update.balances if number % 7 == 0 else [Balance(currency="USDT", amount=str(number - 9.5))]
        positions = [
            position
            if history.random.random() < 0.3
            else msgspec.structs.replace(position, adl_seq=0, entry_value=None)
            for position in update.positions
        ]
        name = {20: "known", 21: "parked", 22: "account 3"}.get(number, f"account {number}")
        updates.append(
            msgspec.structs.replace(
                update, account=name, epoch=5 if number == 20 else 1, seq=number, full=full, balances=balances,
                positions=positions, adl_seq=update.adl_seq if number % 5 == 0 else 0,
            )
        )  # fmt: skip
    return updates


def apply_one(book: Book, update: AccountUpdate) -> str:
    try:
        return book.apply_update(update)
    except Refused as refused:
        return refused.sentence


def open_all(book: Book, updates: list[AccountUpdate]) -> tuple[list[str], int]:
    """Applies updates in order, opening together what may be; the answers, and how many were opened."""
    answers, openings, waiting, opened = [""] * len(updates), book.openings(), list[int](), 0
    for number, update in enumerate([*updates, None]):
        if update is not None and openings.add(update):
            waiting.append(number)
            continue
        for place, done in zip(waiting, book.open_accounts(openings), strict=True):
            answers[place] = "APPLIED" if done else apply_one(book, updates[place])
            opened += done
        openings, waiting = book.openings(), []
        if update is not None:
            answers[number] = apply_one(book, update)
    return answers, opened


@pytest.mark.parametrize("seed", range(40))
def test_opened_together_or_one_by_one_is_the_same_book(seed: int) -> None:
    """Same digest, equities, positions and refusals; later marks and updates find the same holders."""
    one, two = book_with_marks(seed), book_with_marks(seed)
    updates = updates_of(seed)
    answers, opened = open_all(two, updates)
    assert answers == [apply_one(one, update) for update in updates]
    assert opened > 10
    for book in (one, two):
        for symbol in INSTRUMENTS:
            move(book, symbol, 2)
        book.apply_update(AccountUpdate(account="account 1", epoch=2, seq=0, full=True))
    assert one.digest() == two.digest() == two.digest_full()
    for name in {update.account for update in updates}:
        assert (one.equity_minor(name), one.unmarked(name)) == (two.equity_minor(name), two.unmarked(name))
        assert said(one, name) == said(two, name)
    for symbol in INSTRUMENTS:
        assert one.holders(symbol) == two.holders(symbol)
        assert one.market(symbol).lots_high == two.market(symbol).lots_high


def said(book: Book, name: str) -> list[PositionView]:
    return [replace(view, slot=0) for view in book.positions(name)]
