"""The book at a cut as words and columns, and a book made of them again.

Rule 1: columns are the arrays themselves, as far as they are used; `columns` names them for writing, and for filling
once `prepare` has made room. Rule 2: what a book remembers only to be quicker is not kept; `finish` makes it anew.
"""

from array import array
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas.messages import Instrument
from schemas.units import Scale
from worker.book.book import Book
from worker.book.holders import PAGE
from worker.book.isolated import Side
from worker.book.levels import LEVELS
from worker.book.market import Market
from worker.book.name_cells import BUCKETS, ROWS_USED, WORDS_USED
from worker.book.names import Names

Column = tuple[str, NDArray[Any]]
RUNG_FIELDS = 3


class SavedNames(msgspec.Struct, frozen=True):
    """Names of one kind, beside their columns."""

    state: bytes
    ordered: int  # names in the order
    ranked: int  # rows that have room for a rank
    gone: list[int]


class SavedMarket(msgspec.Struct, frozen=True):
    """One symbol; its scale and its hash follow."""

    instrument: Instrument
    mark: int
    mark_num: int
    event_time_ms: int
    log_time_ms: int
    lots_limit: int
    parked: bool


class SavedSide(msgspec.Struct, frozen=True):
    """Isolated positions on a side, beside their columns."""

    number: int
    size: int
    changed: bytes


class SavedBook(msgspec.Struct, frozen=True):
    """What of a book is no column."""

    accounts: SavedNames
    symbols: SavedNames
    owners: SavedNames
    markets: list[SavedMarket]
    parked: dict[tuple[str, str], str]
    closed: dict[int, dict[int, int]]
    heap: bytes
    pages: int  # of holders, with the one that is nobody's
    sides: list[SavedSide]
    dirty: bytes
    emptied: bytes
    lifted: bytes
    placed: int


def saved_book(book: Book) -> SavedBook:
    """The words of a book."""
    book.digest()  # rows that wait for their hash would be counted once more by who loads
    return SavedBook(
        accounts=_saved_names(book.accounts),
        symbols=_saved_names(book.symbols),
        owners=_saved_names(book.owners),
        markets=[
            SavedMarket(
                market.instrument, market.mark, market.mark_num, market.event_time_ms, market.log_time_ms,
                market.lots_limit, market.parked,
            )
            for market in book.markets
        ],
        parked=book.parked,
        closed=book._closed,
        heap=book._slots.heap.tobytes(),
        pages=1 + int(book._slots.holders.seats[0]),
        sides=[
            SavedSide(side._number, len(side), side._changed.tobytes())
            for _, side in sorted(book._sides.items())
        ],
        dirty=book._dirty.tobytes(),
        emptied=book._emptied.tobytes(),
        lifted=book._lifted.tobytes(),
        placed=book._placed,
    )  # fmt: skip


def columns(book: Book) -> Iterator[Column]:
    """The columns of a book, as far as they are used."""
    for kind, names in (("accounts", book.accounts), ("symbols", book.symbols), ("owners", book.owners)):
        used = names.used
        yield f"{kind}.words", names.words[: names.state[WORDS_USED]]
        yield f"{kind}.spans", names.spans[:used]
        yield f"{kind}.heads", names._heads[: names.state[BUCKETS]]
        yield f"{kind}.following", names._following[:used]
        yield f"{kind}.order", names._order
        yield f"{kind}.rank", names._rank[: min(len(names._rank), used)]
    symbols = len(book.markets)
    yield "owners.accounts", book.owners._accounts.cells[:, : book.owners.used]
    yield "account", book._table.cells[:, : book.accounts.used]
    yield "slot", book._slots.table.cells[:, : book._slots.used]
    yield "term", book._terms.cells[:, :symbols]
    yield "holding", book._slots.holders.table.cells[:, :symbols]
    seats = book._slots.holders.seats
    yield "seat", seats[: PAGE * (1 + int(seats[0]))]
    yield "rung", book._rungs[: 2 * symbols].reshape(2 * symbols, LEVELS * RUNG_FIELDS)
    for number, side in sorted(book._sides.items()):
        yield f"side {number}", side._found
        yield f"sums {number}", side._sums


def prepare(book: Book, saved: SavedBook) -> None:
    """Makes room in a new book for the columns that were saved; nothing may be asked of it before `finish`."""
    for names, of in ((book.accounts, saved.accounts), (book.symbols, saved.symbols), (book.owners, saved.owners)):
        _prepare_names(names, of)
    book.owners._accounts.reserve(book.owners.used)
    slots = book._slots
    slots.heap[:] = np.frombuffer(saved.heap, np.int64)
    for of_market in saved.markets:
        scale = Scale.of(of_market.instrument, book.currency_decimals)
        market = Market(len(book.markets), of_market.instrument, scale, slots.holders)
        for field in ("mark", "mark_num", "event_time_ms", "log_time_ms", "lots_limit", "parked"):
            setattr(market, field, getattr(of_market, field))
        book.markets.append(market)
        book._market[market.symbol] = market
    book._reserve_rungs()
    book._table.reserve(book.accounts.used)
    slots.table.reserve(slots.used)
    book._terms.reserve(len(book.markets))
    slots.holders.reserve(PAGE * saved.pages)
    slots.holders.seats[0] = saved.pages - 1
    book.parked.update(saved.parked)
    book._closed.update(saved.closed)
    for of_side in saved.sides:
        side = book._sides[of_side.number] = Side(of_side.number)
        side._found, side._sums = np.empty((3, of_side.size), np.int64), np.empty((2, of_side.size + 1), np.int64)
        side._changed = array("q", of_side.changed)
    book._dirty, book._emptied = array("q", saved.dirty), array("q", saved.emptied)
    book._lifted, book._placed = array("q", saved.lifted), saved.placed


def finish(book: Book) -> None:
    """Makes what was not saved from the columns, the digest from every cell."""
    for market in book.markets:
        market.cell = market.hash()
    book._rare, book._total = book.digest_full(), np.zeros(2, np.uint64)


def _saved_names(names: Names) -> SavedNames:
    ranked = min(len(names._rank), names.used)
    return SavedNames(names.state.tobytes(), len(names._order), ranked, names._gone)


def _prepare_names(names: Names, saved: SavedNames) -> None:
    names.state[:] = np.frombuffer(saved.state, np.int64)
    names.reserve(0)
    if names.state[BUCKETS] > names.capacity or names.state[ROWS_USED] > names.capacity:
        raise ValueError("names must fit their capacity")
    names._order = np.empty(saved.ordered, np.int32)
    names._rank = np.zeros(saved.ranked, np.int32)  # the next order gives the others room
    names._gone = list(saved.gone)
