"""Nothing of an engine's state is forgotten when it is saved and loaded."""

import msgspec
import pytest

from tests.worker.random_run import SEED, Timely
from tests.worker.random_tape import random_log, random_settings
from tests.worker.saved_fields import ANEW, KEPT, differences
from worker.book import saved as book
from worker.book.book import Book
from worker.book.isolated import Side
from worker.decide import Case
from worker.engine import Engine
from worker.loop import run
from worker.memory import MemorySink
from worker.saved import Saved, columns, load, words
from worker.solvent import SolventMarks


class Loading:
    """A keeper that loads each state at once and compares it with the engine that goes on."""

    def __init__(self, settings, every):
        self.settings, self.every, self.cuts, self.engine = settings, every, 0, None
        self.kinds, self.seen = {"none"}, set()

    def due(self):
        self.cuts += 1
        return self.cuts % self.every == 0

    def keep(self, place, state):
        if place.cut % 2:  # ladders as they are once a pool has caught up, and as they wait before
            self.engine._book.prepare()
        text, written = state()
        kept = {name: column.copy() for name, column in written}

        def fill(rooms):
            assert [name for name, _ in rooms] == list(kept)
            for name, room in rooms:
                room[...] = kept[name]

        other = Engine(self.settings)
        saved = load(other, text, fill)
        found = list(differences(self.engine, other))
        assert not found, found[:10]
        assert other._book.digest_full() == self.engine._book.digest()
        assert msgspec.msgpack.decode(words(other, saved.standing, saved.mark), type=Saved) == saved
        assert [(name, column.tobytes()) for name, column in columns(other)] == [
            (name, column.tobytes()) for name, column in written
        ]
        self.note(place)

    def kept(self, _):
        raise AssertionError("nothing was committed before")

    def note(self, place):
        """What kinds of state were there to be compared."""
        engine = self.engine
        parts = {
            "cases": engine._cases, "roots": engine._roots, "legs": engine.held._used,
            "tiers": engine.reductions._used,
            "closed": engine._book._closed, "parked": engine._book.parked, "isolated": engine._book._sides,
            "draws": any(engine.funds._draws.values()), "free": engine.held._free, "below": engine._solvent._kept,
            "states": engine.states._machines, "insolvent": engine.states._unnamed, "owners": len(engine._book.owners),
            "replacements": any(case.replacement for case in engine._roots.values()), "cuts": place.cut,
            "model": engine.risk.model_digest, "highest": engine.states._highest, "known": engine._known,
            "paused": engine._paused, "held": any(case.held_reason for case in engine._cases),
        }  # fmt: skip
        self.kinds = set(parts)
        self.seen |= {name for name, part in parts.items() if part}


@pytest.mark.parametrize("seed", range(3))
def test_a_loaded_engine_holds_all_that_was_saved(seed):
    """Every attribute of every part is equal or declared, at many cuts of a market in trouble."""
    settings = random_settings("decision.settlement=last_solvent_mark")
    log = random_log(SEED + seed, accounts=120, settings=settings)
    keeper = Loading(settings, every=7)

    def see(engine):
        keeper.engine = engine

    run(Timely(log, batch_max=20), MemorySink(), settings, keeper=keeper, on_engine=see)
    assert keeper.cuts > 100
    assert keeper.kinds == keeper.seen


def test_names_that_came_since_they_were_ordered_are_loaded():
    """More of them than there is room for ranks."""
    one, other = Book("USDT", 2), Book("USDT", 2)
    for number in range(160):
        if number == 60:
            one.prepare()
        one._account_row(f"a{number}")
    kept = {name: column.copy() for name, column in book.columns(one)}
    book.prepare(other, book.saved_book(one))
    rooms = dict(book.columns(other))
    assert {name: room.shape for name, room in rooms.items()} == {name: column.shape for name, column in kept.items()}
    for name, room in rooms.items():
        room[...] = kept[name]
    book.finish(other)
    assert [order.tolist() for order in other.accounts.order()] == [order.tolist() for order in one.accounts.order()]


def test_an_attribute_that_nobody_has_decided_about_is_found():
    """The comparison itself: new state anywhere, and state that was lost."""
    one, other = Engine(random_settings()), Engine(random_settings())
    assert list(differences(one, other)) == []
    one._book._new_column = 1
    assert list(differences(one, other)) == ["Book._new_column is in no list"]
    del one._book._new_column
    one.states._fallen = ["fund"]
    assert list(differences(one, other)) == [
        "engine.states._fallen: 0 became 1"[:0] or "engine.states._fallen: 1 became 0"
    ]
    assert {Side, Case, SolventMarks} <= KEPT.keys()
    assert all(not set(KEPT[kind].split()) & {n for names in ANEW[kind] for n in names.split()} for kind in ANEW)
