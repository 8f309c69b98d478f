"""Ladders in the running worker: at every cut they are those of the book made anew, however records were taken."""

import numpy as np
import pytest

from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from tests.worker.tape import settings_of
from tests.worker.test_batches import PLACES, market_log
from worker import merge, reader
from worker.book.book import Book
from worker.book.isolated import Side
from worker.book.ladders import empty_rungs, place
from worker.book.table import COUNT, GROSS, LEVEL
from worker.edge.recording import RecordingSink, RecordingSource
from worker.loop import run


def anew(book):
    """Ladders, levels and isolated positions of the book, with nothing taken over but its cells."""
    rows = np.arange(book.accounts.used, dtype=np.int64)
    accounts, slots, rungs = book._table.cells.copy(), book._slots.table.cells, empty_rungs(len(book._rungs) // 2)
    place(accounts, slots, rungs, rows, np.empty(accounts[COUNT, rows].sum(), np.int64))
    isolated = {}
    for number in range(2 * len(book.markets)):
        side = Side(number)
        side.note(rows)
        isolated[number] = positions(side.merge(accounts, slots))
    return rungs, accounts[LEVEL, rows], accounts[GROSS, rows], isolated


def positions(side):
    return sorted(zip(*side._found.tolist(), strict=True))


def check(book):
    """The book's ladders against those; returns how many positions stand in them."""
    rungs, levels, gross, isolated = anew(book)
    rows = slice(0, book.accounts.used)
    assert np.array_equal(book._rungs, rungs)
    assert np.array_equal(book._table.cells[LEVEL, rows], levels)
    assert np.array_equal(book._table.cells[GROSS, rows], gross)
    for number, expected in isolated.items():
        side = book._sides.get(number, Side(number)).merge(book._table.cells, book._slots.table.cells)
        assert positions(side) == expected
    return int(rungs[:, :, 0].sum()) + sum(map(len, isolated.values()))


@pytest.mark.parametrize("least", [1, 1 << 60], ids=["columns", "singly"])
@pytest.mark.parametrize("log", ["tape", "market"])
def test_ladders_at_every_cut_are_those_made_anew(log, least, monkeypatch, tmp_path):
    """Updates as columns or one by one, forced legs, their results, roles, parked names, marks and removals."""
    monkeypatch.setattr(merge, "RUN_MIN", least)
    monkeypatch.setattr(reader, "RUN_MIN", least)
    prepare, seen = Book.prepare, []

    def checked(book):
        prepare(book)
        seen.append(check(book))

    monkeypatch.setattr(Book, "prepare", checked)
    records, partitions, settings = random_log(3, accounts=60), PARTITIONS, random_settings()
    if log == "market":
        records, settings = market_log(3), settings_of("cut.watch_ms=250", "worker.mode=live")
        partitions = [(topic, number) for topic, count in PLACES.items() for number in range(count)]
    with RecordingSink(tmp_path) as sink:
        run(RecordingSource(records, partitions=partitions), sink, settings)
    assert len(seen) > 50
    assert max(seen) > 50
