"""A log that grows while it is read: decided once, at cuts that are written, and derivable again from them."""

import random
from collections import Counter

import pytest

from schemas import decode_output
from tests.worker.arriving import ArrivingSource
from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from tests.worker.tape import Tape
from tests.worker.tape import settings_of as tape_settings
from worker.cut import CutPoint, Event, Sequencer
from worker.edge.recording import OUTPUTS_FILE, RecordingSink, RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import CUTS, DEAD_LETTERS, DECISIONS
from worker.record import END, Record
from worker.settings import KINDS
from worker.verify import verify_replay

WINDOWS = (0, 5)


def settings_of(window_ms):
    return random_settings(f"cut.joint_window_ms={window_ms}")


@pytest.fixture(scope="module")
def records():
    return random_log(3, accounts=80)


def late(records, seed):
    """The same partitions, arriving out of step: each partition by its own delay, some of it seconds."""
    rng = random.Random(seed)
    delay = {where: rng.choice((0, 0, 40, 700, 5000)) for where in PARTITIONS}
    newest_ms, arrivals = dict.fromkeys(PARTITIONS, 0), []
    for number, record in enumerate(records):
        where = record.topic, record.partition
        newest_ms[where] = max(newest_ms[where], record.log_time_ms)  # offset order holds, whatever the stamps say
        arrivals.append((newest_ms[where] + delay[where], number))
    return [records[number] for _, number in sorted(arrivals)]


@pytest.mark.parametrize("window_ms", WINDOWS)
@pytest.mark.parametrize("seed", range(4))
def test_a_complete_log_gives_the_bytes_of_the_recording(seed, window_ms, records, tmp_path):
    """Topics that were filled beforehand are a recording, whatever is fetched first."""
    settings = settings_of(window_ms)
    with RecordingSink(tmp_path / "recording") as sink:
        run(RecordingSource(records, partitions=PARTITIONS), sink, settings)
    source = ArrivingSource(records, PARTITIONS, seed, beforehand=len(records), batch_max=(1, 30, 1000, 1000)[seed])
    with RecordingSink(tmp_path / "live") as sink:
        run(source, sink, settings)
    assert (tmp_path / "live" / OUTPUTS_FILE).read_bytes() == (tmp_path / "recording" / OUTPUTS_FILE).read_bytes()


def decided(sink):
    """How often each bankruptcy was decided, by id; attempts and holds are not a second time."""
    count = Counter()
    for record in sink.outputs(DECISIONS):
        decision = decode_output(record.value)
        if decision.status not in ("HELD", "ALREADY_DECIDED") and decision.attempt <= 1:
            count.update(bankruptcy.id for bankruptcy in decision.bankruptcies)
    return count


def named(sink):
    """Every bankruptcy that a decision speaks of."""
    return {name.id for record in sink.outputs(DECISIONS) for name in decode_output(record.value).bankruptcies}


@pytest.mark.parametrize("window_ms", WINDOWS)
@pytest.mark.parametrize("seed", range(8))
def test_late_records_count_where_they_arrive_and_every_decision_is_derived_again(seed, window_ms, records, tmp_path):
    """17a: nobody waits for a lagging partition; what was decided is in the cuts, also after two stops."""
    settings = settings_of(window_ms)
    arrived = late(records, seed)
    stops = random.Random(seed).sample(range(5, 60), 2)
    there = 0
    for life in range(3):
        polls = iter(range(stops[life] if life < 2 else 1_000_000))
        source = ArrivingSource(arrived, PARTITIONS, 10 * seed + life, beforehand=there)
        with RecordingSink(tmp_path) as sink:
            run(source, sink, settings, stop=lambda polls=polls: next(polls, None) is None)
        there = source.arrived
    with RecordingSink(tmp_path) as sink:
        cuts = [decode_output(record.value) for record in sink.outputs(CUTS)]
        assert [cut.log_time_ms for cut in cuts] == sorted(cut.log_time_ms for cut in cuts)
        assert set(decided(sink).values()) == {1}
        known = MemorySink()
        run(RecordingSource(records, partitions=PARTITIONS), known, settings)
        # An instrument that came too late makes a bankruptcy a dead letter; none goes without an answer.
        letters = [decode_output(record.value) for record in sink.outputs(DEAD_LETTERS)]
        refused = [letter.payload for letter in letters if letter.topic == "bankruptcies"]
        missing = decided(known).keys() - named(sink)  # some end as held: their mark came too late
        assert [name for name in missing if not any(f'"{name}"'.encode() in payload for payload in refused)] == []
        report = verify_replay(RecordingSource(records, partitions=PARTITIONS), sink, settings)
    assert (report.ok, report.differences) == (True, [])


# --- the live rule by hand --------------------------------------------------------------------------------------------

MARK, RESULT, BANKRUPTCY = 5, 7, 8


class Log:
    """Events pushed as they come; every settled round is what was pushed so far."""

    def __init__(self, window_ms=0, watch_ms=1000):
        self.sequencer = Sequencer([("a", 0), ("b", 0)], watch_ms, window_ms, live=True)
        self._offsets = Counter()

    def push(self, ms, kind, topic):
        self.sequencer.push(Event(Record(topic, 0, self._offsets[topic], ms, None, b""), [], kind))
        self._offsets[topic] += 1
        return self

    def settle(self, **options):
        return [
            (step.log_time_ms, [name_of(event) for event in step.cutting])
            if isinstance(step, CutPoint)
            else name_of(step)
            for step in self.sequencer.settle(**options)
        ]


def name_of(event):
    return f"{event.record.topic}@{event.record.offset}"


def test_a_bankruptcy_does_not_wait_for_what_may_still_come():
    """The records that stand before it are applied with its cut; those behind it wait for the next."""
    log = Log().push(5, MARK, "a").push(7, BANKRUPTCY, "b").push(9, MARK, "a")
    assert log.sequencer.due()
    assert log.settle() == ["a@0", (7, ["b@0"])]
    assert not log.sequencer.due()
    assert log.settle() == []


def test_a_late_record_counts_where_it_arrives():
    """It stands before what waits, in its own order, and the time of cuts does not go back."""
    log = Log().push(50, BANKRUPTCY, "b").push(60, MARK, "b")
    assert log.settle() == [(50, ["b@0"])]
    log.push(10, MARK, "a").push(20, BANKRUPTCY, "a")
    assert log.settle() == ["a@0", (50, ["a@1"])]
    log.push(1500, MARK, "a")
    assert log.settle() == ["b@1", (1000, [])]


def test_late_records_alone_make_no_watch_cut_until_the_next_multiple():
    """A partition that lags for ever would otherwise write a cut with every poll."""
    log = Log().push(900, MARK, "b").push(1001, MARK, "b")
    assert log.settle() == ["b@0", (1000, [])]
    log.push(10, MARK, "a")
    assert not log.sequencer.due()
    assert log.settle() == []
    log.push(2001, MARK, "b")
    assert log.sequencer.due()
    assert log.settle() == ["a@0", "b@1", (2000, [])]


def test_a_watch_cut_needs_no_further_record_than_one_behind_its_multiple():
    """The multiple itself still belongs before it."""
    log = Log().push(1000, MARK, "a")
    assert not log.sequencer.due()
    log.push(1001, MARK, "b")
    assert log.settle() == ["a@0", (1000, [])]


def test_an_idle_log_is_cut_as_if_it_ended():
    """Whatever is left gets the cut that the end of a recording gives."""
    log = Log().push(100, MARK, "a").push(5, MARK, "b")
    assert not log.sequencer.due()
    assert log.sequencer.pending()
    assert log.settle(idle=True) == ["b@0", "a@0", (1000, [])]
    assert not log.sequencer.pending()


def test_a_joint_window_waits_for_log_time_to_pass_it_or_for_silence():
    """Members that come while it is open join, in sequence order."""
    log = Log(window_ms=10).push(5, BANKRUPTCY, "b").push(8, MARK, "b")
    assert log.settle() == []
    log.push(7, MARK, "a").push(9, BANKRUPTCY, "a")
    assert log.settle() == []
    log.push(15, MARK, "b")
    assert log.settle() == ["b@0", "a@0", "b@1", (9, ["a@1"])]
    log.push(30, BANKRUPTCY, "a")
    assert log.settle() == ["b@2"] or log.settle(idle=True)[-2:] == [(30, ["a@2"]), (1000, [])]


def test_records_stand_back_when_they_run_far_ahead():
    """A partition with much waiting is named, until little of it waits."""
    log = Log()
    for ms in range(20_001):
        log.push(ms, MARK, "a")
    assert log.sequencer.merge.ahead() == {("a", 0)}
    log.settle()
    assert log.sequencer.merge.ahead() == set()


def test_nothing_waits_when_nothing_was_pushed():
    """The oldest of nothing is the end of time."""
    log = Log()
    assert (log.sequencer.due(), log.sequencer.pending(), log.sequencer.merge.oldest_ms()) == (False, False, END)


def test_a_partition_that_is_new_at_a_start_counts_as_late(tmp_path):
    """Recorded cuts leave it out; then everything in it is applied and decided, and what was said stays."""
    settings = tape_settings()
    tape = Tape().instrument().mark()
    tape.account("rich", "1000", ("BTC", "-2", "100")).account("poor", "1", ("BTC", "2", "200"))
    tape.at(3000).mark(price="101").at(5000).mark(price="100")
    known = [(kind, 0) for kind in KINDS]
    with RecordingSink(tmp_path) as sink:
        run(ArrivingSource(tape.records, known, 1), sink, settings)
    said = (tmp_path / OUTPUTS_FILE).read_bytes()
    value = b'{"type":"Bankruptcy","id":"b","account":"poor","event_time_ms":1500}'
    records = [*tape.records, Record("bankruptcies", 1, 0, 1500, b"poor", value)]
    with RecordingSink(tmp_path) as sink:
        source = ArrivingSource(records, [*known, ("bankruptcies", 1)], 2, beforehand=len(records))
        run(source, sink, settings)
        assert decided(sink) == {"b": 1}
        assert verify_replay(RecordingSource(records, partitions=source.partitions()), sink, settings).ok
    assert (tmp_path / OUTPUTS_FILE).read_bytes().startswith(said)
