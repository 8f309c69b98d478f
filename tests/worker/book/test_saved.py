"""A book that was saved and loaded is the book that it was: every question and every later message."""

import msgspec
import numpy as np
import pytest

from tests.worker.book.sequences import CONVERTING, History
from tests.worker.book.test_twin import compare, play
from tests.worker.book.twin import Twin
from worker.book.book import Book
from worker.book.saved import SavedBook, columns, finish, prepare, saved_book


def copied(book: Book) -> Book:
    """The book by way of its words as bytes and its columns."""
    words = msgspec.msgpack.encode(saved_book(book))
    kept = [(name, column.copy()) for name, column in columns(book)]
    other = Book(book.currency, book.currency_decimals, book.converting)
    prepare(other, msgspec.msgpack.decode(words, type=SavedBook))
    for (name, column), (other_name, room) in zip(kept, columns(other), strict=True):
        assert (name, column.shape, column.dtype) == (other_name, room.shape, room.dtype)
        room[:] = column
    finish(other)
    return other


@pytest.mark.parametrize("seed", range(12))
def test_a_loaded_book_goes_on_as_the_one_that_was_saved(seed: int) -> None:
    """Saved at random places, between cuts too; book and twin agree to the end."""
    history = History(seed, collateral=seed % 2 == 1)
    converting = CONVERTING if history.collateral else None
    book, twin = Book("USDT", 6, converting), Twin("USDT", 6, converting)
    for step in history.start():
        play(book, twin, step)
    for count in range(500):
        play(book, twin, history.step())
        if history.random.random() < 0.02:
            before = book.digest()
            if history.random.random() < 0.5:
                book.prepare()
            book = copied(book)
            assert book.digest() == book.digest_full() == before
        if count % 50 == 0:
            compare(book, twin)
    compare(book, twin)
    assert np.array_equal(book.accounts.order()[0], copied(book).accounts.order()[0])
