"""A replay passes the cuts at which nothing was said without applying their marks, and ends where every life ends."""

import random

import msgspec
import pytest

from schemas import fields_of
from tests.worker.tape import Tape, settings_of
from worker import merge, reader
from worker.book.book import Book
from worker.edge.recording import COMMITS_FILE, OUTPUTS_FILE, RecordingSink, RecordingSource
from worker.engine import Engine
from worker.fetched import fetched_of
from worker.loop import run
from worker.record import END

SYMBOLS, SECONDS = ("A", "B", "C", "D"), 50
FLAGS = ("decision.mark_jump_max=0.02", "state.forecast_ms=5000", "state.quiet_ms=8000", "state.warning_fall=0.3")


class KilledError(Exception):
    """The process is gone."""


class Mortal(RecordingSink):
    """Dies after so many commits."""

    def __init__(self, folder, lives):
        super().__init__(folder)
        self._lives = lives

    def commit(self, outputs, offsets, metadata, log_time_ms):
        super().commit(outputs, offsets, metadata, log_time_ms)
        self._lives -= 1
        if not self._lives:
            raise KilledError


class Timely(RecordingSource):
    """Few records a fetch, and known how far each partition has come: a commit at nearly every cut."""

    records_max = 8

    def __init__(self, records):
        self._times = {}
        for record in records:
            self._times.setdefault((record.topic, record.partition), []).append(record.log_time_ms)
        self._told = dict.fromkeys(self._times, 0)
        super().__init__(records, partitions=sorted(self._times), batch_max=self.records_max)

    def fetch(self, max_records):
        fetched = fetched_of(self.poll(max_records))  # in the order of the log, which blocks are not
        for where, begin, end in fetched.spans:
            self._told[where] += end - begin
        return fetched

    def complete_until_ms(self, partition):
        times, given = self._times[partition], self._told[partition]
        return times[given] if given < len(times) else END


@pytest.fixture(autouse=True)
def as_columns(monkeypatch):
    """Marks wait only as columns."""
    for room, name in ((merge, "RUN_MIN"), (merge, "BATCH_MIN"), (reader, "RUN_MIN")):
        monkeypatch.setattr(room, name, 1)


@pytest.fixture
def worked(monkeypatch):
    """How many cuts were passed, and how many marks applied."""
    counts = {"passed": 0, "marks": 0}

    def counting(kind, name, what):
        real = getattr(kind, name)

        def counted(*arguments):
            counts[what] += 1
            return real(*arguments)

        monkeypatch.setattr(kind, name, counted)

    counting(Engine, "_pass", "passed")
    counting(Book, "set_mark", "marks")
    return counts


def log(seed):
    """Marks of every symbol each second, updates, funds that fall, now and then a bankruptcy, a refused mark."""
    chance, tape = random.Random(seed), Tape()
    prices = dict.fromkeys(SYMBOLS, 100.0)
    for symbol in SYMBOLS:
        tape.instrument(symbol)
    names = [f"t{number:02d}" for number in range(30)]
    for second in range(1, SECONDS):
        tape.at(1000 * second)
        for symbol in SYMBOLS:
            prices[symbol] *= 1 + chance.choice((-0.03, -0.004, 0, 0.004, 0.01))
            tape.mark(symbol, f"{prices[symbol]:.2f}")
        for name in chance.sample(names, 4) if second > 1 else names:
            held = [
                (symbol, str(chance.choice((-3, -2, -1, 1, 2, 4))), f"{prices[symbol]:.2f}")
                for symbol in chance.sample(SYMBOLS, chance.randrange(3))
            ]
            tape.account(name, str(chance.randrange(50, 500)), *held)
        if second % 9 == 0:
            tape.fund(str(chance.randrange(100, 1000)))
        if second == 13 + seed:
            tape.mark(SYMBOLS[0], "no price")
        if second % 16 == 11:
            line = chance.choice(SYMBOLS), "2"
            tape.at(1000 * second + 500).bankrupt(chance.choice(names), line, name=f"b{second}")
    return tape.records


def newest_states(folder):
    """What a reader of the compacted topic of states knows in the end."""
    states = {}
    for line in (folder / "advice.jsonl").read_bytes().splitlines():
        record = msgspec.json.decode(line)
        said = fields_of(record["payload"].encode())
        states[record["key"]] = said["state"], said.get("trigger")
    return states


def lived(folder, records, settings, sink_class=RecordingSink, *arguments):
    """What a run reports, and what it wrote."""
    folder.mkdir(exist_ok=True)
    with sink_class(folder, *arguments) as sink:
        report = run(Timely(records), sink, settings)
    return report, (folder / OUTPUTS_FILE).read_bytes()


@pytest.mark.parametrize("seed", range(4))
def test_a_life_that_goes_on_behind_silent_cuts_says_the_same(seed, worked, tmp_path):
    """Stopped at any of many commits: the same outputs, state and newest states; marks that nobody asks for wait."""
    settings, records, whole = settings_of(*FLAGS), log(seed), tmp_path / "whole"
    expected, written = lived(whole, records, settings)
    assert worked["passed"] == 0
    assert expected.decisions > 1
    marks_of_a_life = worked["marks"]
    for lives in range(2, len((whole / COMMITS_FILE).read_bytes().splitlines()) - 8, 4):
        folder = tmp_path / str(lives)
        with pytest.raises(KilledError):
            lived(folder, records, settings, Mortal, lives)
        before = newest_states(folder)
        worked["marks"] = 0
        report, again = lived(folder, records, settings)
        assert (report.state_digest, report.cuts, again) == (expected.state_digest, expected.cuts, written)
        assert before | newest_states(folder) == newest_states(whole)
    assert worked["passed"] > 50
    assert worked["marks"] < marks_of_a_life - SECONDS


def test_what_the_next_cut_is_compared_with_is_the_last_silent_one(worked, monkeypatch, tmp_path):
    """A mark that jumped before it, in a cut that a restart passes, holds no decision behind it."""
    monkeypatch.setattr(Timely, "records_max", 1)
    tape = Tape().instrument("A")
    for second in range(1, 9):
        mark = "100" if second < 8 else "110"
        tape.at(1000 * second).mark("A", mark).account("a", "50", ("A", "-1", "100"))
    tape.at(8400).mark("A", "110.5").at(8500).bankrupt("b", ("A", "1"))
    settings = settings_of(*FLAGS)
    expected, written = lived(tmp_path / "whole", tape.records, settings)
    assert expected.decisions == 1
    assert b"MARK_JUMP" not in written
    for lives in range(2, len((tmp_path / "whole" / COMMITS_FILE).read_bytes().splitlines())):
        with pytest.raises(KilledError):
            lived(tmp_path / str(lives), tape.records, settings, Mortal, lives)
        report, again = lived(tmp_path / str(lives), tape.records, settings)
        assert (report.state_digest, again) == (expected.state_digest, written)
    assert worked["passed"] > 3
