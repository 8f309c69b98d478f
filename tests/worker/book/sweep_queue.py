"""Ladders, queue and ranks against a full recomputation: python -m tests.worker.book.sweep_queue [--count N].

Each seed is a short history of every kind of message, and of the ways that do many things at once: accounts opened
together, legs held together, and updates as columns, from plain records or a PositionBatch.
"""

import argparse
import time
from typing import Any

import numpy as np
from msgspec.structs import replace

from tests.worker.book.sequences import ACCOUNTS, INSTRUMENTS, SIZES, History
from tests.worker.book.test_twin import play
from tests.worker.book.together import apply_lines, apply_rows
from tests.worker.book.twin import Twin
from tests.worker.book.twin_digest import digest
from tests.worker.book.twin_queue import depth, queue
from worker.book.book import Book
from worker.book.hold import LEG_ACCOUNT, LEG_ADL_SEQ, LEG_FIELDS, LEG_KEY, LEG_LOTS, LEG_QUOTE
from worker.book.queues import Place

CODES = {"NET": 0, "LONG": 1, "SHORT": 2}


def compare_queues(book: Book, twin: Twin) -> int:
    """Asks both for every ladder, queue and rank; returns how many positions queue."""
    seen = 0
    for symbol in twin.instruments:
        for side in (1, -1):
            expected = queue(twin, symbol, side)
            rungs = book.depth(symbol, side)
            assert [(r.level, r.positions, r.lots, r.notional_minor) for r in rungs] == depth(twin, symbol, expected)
            places = [(place.account, place.isolated, place.leverage) for place in expected]
            for count in (1, 3, len(places) + 1):
                assert [shown(place) for place in book.top(symbol, side, count)] == places[:count]
            ranks = {place.account: (at + 1, len(places)) for at, place in enumerate(expected)}
            assert {name: rank for name in ACCOUNTS if (rank := book.rank(name, symbol, side))} == ranks
            by_level = {rung.level: rung.leverage_from for rung in rungs}
            assert all(place.leverage > by_level[place.level] or place.level in (0, 127) for place in expected)
            seen += len(places)
    return seen


def shown(place: Place) -> tuple[str, bool, float]:
    return place.account, place.isolated, place.leverage


def open_together(book: Book, twin: Twin, history: History) -> None:
    """A batch of plain updates of new accounts, as `Inputs` applies them."""
    openings, updates = book.openings(), []
    while len(updates) < 6:
        _, (update,) = history.update()
        if not openings.add(replace(update, adl_seq=0, full=True)):
            break
        updates.append(replace(update, adl_seq=0, full=True))
    for update, opened in zip(updates, book.open_accounts(openings), strict=True):
        if opened:
            assert twin.apply_update(update) == "APPLIED"
        else:
            play(book, twin, ("apply_update", (update,)))


def hold_together(book: Book, twin: Twin, history: History) -> None:
    """New legs, some of them of one account, added to what their positions hold."""
    chance = history.random
    names = [name for name in ACCOUNTS if name in twin.books]
    legs = np.zeros((LEG_FIELDS, 4 * len(names)), np.int64)
    for leg, name in enumerate(chance.choice(names) for _ in range(legs.shape[1])):
        symbol, side = chance.choice(list(twin.instruments)), chance.choice(list(CODES))
        lots, quote, adl_seq = chance.randint(-SIZES[symbol], SIZES[symbol]), chance.randint(-(10**9), 10**9), 5
        legs[LEG_ACCOUNT, leg] = book.account_row(name)
        legs[LEG_KEY, leg] = 4 * book.symbols.row(symbol) + CODES[side]
        legs[LEG_LOTS, leg], legs[LEG_QUOTE, leg], legs[LEG_ADL_SEQ, leg] = lots, quote, adl_seq
        held = twin.books[name].positions.get((symbol, side))
        if held is None:
            twin.loose[name] = twin.loose.get(name, 0) + quote
            continue
        held.quote += quote
        if adl_seq > held.adl_seq:
            held.sell, held.buy = held.sell + max(lots, 0), held.buy - min(lots, 0)
    book.add_held(legs, np.arange(legs.shape[1]))


def run(seed: int, steps: int = 24) -> tuple[int, int]:
    """One history, compared after every few messages; returns how many positions queued, and updates columns took."""
    book, twin, history = Book("USDT", 6), Twin("USDT", 6), History(seed)
    for step in history.start():
        play(book, twin, step)
    if seed % 3:
        for symbol in list(twin.instruments)[: 2 + seed % len(INSTRUMENTS)]:
            play(book, twin, first_mark(history, symbol))
    for _ in range(16):
        name, (update,) = history.update()
        if history.random.random() < 0.3:
            open_together(book, twin, history)
        play(book, twin, (name, (replace(update, full=True),)))
    seen = taken = 0
    for number in range(steps):
        chance = history.random.random()
        if chance < 0.1:
            open_together(book, twin, history)
        elif chance < 0.16 and twin.books:
            hold_together(book, twin, history)
        elif chance < 0.26:
            taken += apply_lines(book, twin, history)
        elif chance < 0.36:
            taken += apply_rows(book, twin, history)
        else:
            play(book, twin, history.step())
        if number % 5 == 4 or history.random.random() < 0.1:
            seen += compare_queues(book, twin)
    assert book.digest() == book.digest_full() == digest(twin)
    return seen, taken


def first_mark(history: History, symbol: str) -> Any:
    """A mark of this symbol, whatever the price."""
    while True:
        name, arguments = history.mark()
        if arguments[0].symbol == symbol:
            return name, arguments


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--first", type=int, default=0)
    options = arguments.parse_args()
    clock = time.monotonic()
    seen = np.array([run(seed) for seed in range(options.first, options.first + options.count)]).sum(axis=0)
    print(
        f"{options.count:,} histories agree, {seen[0]:,} places compared, {seen[1]:,} updates taken as columns, "
        f"{time.monotonic() - clock:.0f} s"
    )


if __name__ == "__main__":
    main()
