"""Ladders in the running worker: at every cut they are those of the book made anew, however records were taken."""

import numpy as np
import pytest

from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from tests.worker.tape import settings_of
from tests.worker.test_batches import PLACES, market_log
from worker import merge, reader
from worker.book.holders import ACCOUNT_SHIFT, HOLDER, IS_COLLATERAL, SEAT_LOTS
from worker.book.isolated import Side
from worker.book.ladders import empty_rungs, place
from worker.book.table import (
    ACCOUNT,
    BALANCE,
    COLLATERAL,
    COUNT,
    EFFECTIVE,
    ENTRY,
    EQUITY,
    GROSS,
    HELD_QUOTE,
    KEY,
    LEVEL,
    LOOSE,
    MARGIN,
    PLACE,
)  # fmt: skip
from worker.edge.recording import RecordingSink, RecordingSource
from worker.engine import Engine
from worker.loop import run


def anew(book):
    """Ladders, levels and isolated positions of the book, with nothing taken over but its cells."""
    rows = np.arange(book.accounts.used, dtype=np.int64)
    accounts, slots, rungs = book._table.cells.copy(), book._slots.table.cells, empty_rungs(len(book._rungs) // 2)
    place(accounts, slots, book._terms.cells, rungs, rows, np.empty(accounts[COUNT, rows].sum(), np.int64))
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
    check_cells(book)
    return int(rungs[:, :, 0].sum()) + sum(map(len, isolated.values()))


def check_cells(book):
    """What the ladders rest on, from what updates and marks said: equities, who holds a symbol, and what seats say."""
    accounts, slots = book._table.cells, book._slots.table.cells
    held = np.flatnonzero(slots[ACCOUNT, : book._slots.used] >= 0)
    cross = held[slots[MARGIN, held] < 0]
    symbols = slots[KEY, cross] >> 2
    nums, dens = (np.array([getattr(m, name) for m in book.markets], object) for name in ("mark_num", "den"))
    values = (slots[EFFECTIVE, cross] * nums[symbols] // dens[symbols]).astype(np.int64)
    equity = accounts[BALANCE] + accounts[LOOSE]
    np.add.at(equity, slots[ACCOUNT, cross], values - slots[ENTRY, cross] + slots[HELD_QUOTE, cross])
    assert np.array_equal(equity[: book.accounts.used], accounts[EQUITY, : book.accounts.used])
    for market in book.markets:
        holders = np.sort(book._slots.holders.of(market.row))
        assert holders.tolist() == held[slots[KEY, held] >> 2 == market.row].tolist()
        seats = book._slots.holders.seats[slots[PLACE, holders] + np.array([[HOLDER], [SEAT_LOTS]])]
        collateral = np.where(slots[KEY, holders] & 3 == COLLATERAL, IS_COLLATERAL, 0)
        assert np.array_equal(seats[0], slots[ACCOUNT, holders] << ACCOUNT_SHIFT | collateral | holders)
        assert np.array_equal(seats[1], np.where(slots[MARGIN, holders] < 0, slots[EFFECTIVE, holders], 0))


@pytest.mark.parametrize("least", [1, 1 << 60], ids=["columns", "singly"])
@pytest.mark.parametrize("log", ["tape", "market"])
def test_ladders_at_every_cut_are_those_made_anew(log, least, monkeypatch, tmp_path):
    """Updates as columns or one by one, forced legs, their results, roles, parked names, marks and removals."""
    monkeypatch.setattr(merge, "RUN_MIN", least)
    monkeypatch.setattr(reader, "RUN_MIN", least)
    cut, seen = Engine.cut, []

    def checked(engine, *said):
        outputs = cut(engine, *said)
        engine.book.prepare()
        seen.append(check(engine.book))
        return outputs

    monkeypatch.setattr(Engine, "cut", checked)
    records, partitions, settings = random_log(3, accounts=60), PARTITIONS, random_settings()
    if log == "market":
        records, settings = market_log(3), settings_of("cut.watch_ms=250", "worker.mode=live")
        partitions = [(topic, number) for topic, count in PLACES.items() for number in range(count)]
    with RecordingSink(tmp_path) as sink:
        run(RecordingSource(records, partitions=partitions), sink, settings)
    assert len(seen) > 50
    assert max(seen) > 50
