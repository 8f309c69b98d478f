"""A live log of which too much waits for its next cut: memory is bounded, and log time stays with the records."""

from itertools import pairwise

import pytest

from schemas import decode_output
from tests.worker.arriving import ArrivingSource
from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from tests.worker.tape import Tape
from tests.worker.tape import settings_of as tape_settings
from tests.worker.test_live import Log, late
from worker.edge.recording import RecordingSink, RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import CUTS
from worker.record import END
from worker.settings import KINDS
from worker.verify import verify_replay

CONTROL, MARK = 3, 5


@pytest.fixture(scope="module")
def records():
    return random_log(3, accounts=80)


class Restless(ArrivingSource):
    """Silent once, so that what is there is cut, and never again."""

    silences = 2

    def quiet_ms(self):
        self.silences -= 1
        return END if self.silences >= 0 else 0

    def _arrive(self, count):
        if self.silences <= 0 or self.arrived == 0:
            super()._arrive(count)


def test_a_clock_far_ahead_does_not_hold_records_back_for_ever(monkeypatch):
    """Once its time was cut no watch cut comes any more: what waits is bounded, and then applied."""
    monkeypatch.setattr("worker.cut.WAITING_MAX", 1_000)
    tape = Tape().instrument().at(2_000_000_000).mark()
    for number in range(4_000):
        tape.at(2_000 + number).account(f"a{number % 10}", "1")
    partitions = [(kind, 0) for kind in KINDS]
    source = Restless(tape.records, partitions, 1, beforehand=2, batch_max=100, finite=False)
    sink, left = MemorySink(), iter(range(200))  # polls
    run(source, sink, tape_settings(), stop=lambda: next(left, None) is None)
    cuts = [decode_output(record.value) for record in sink.outputs(CUTS)]
    assert [cut.log_time_ms for cut in cuts[:2]] == [1000, 2_000_000_000]
    applied = [cut.basis.get("positions:0", 0) for cut in cuts[1:]]
    assert [after - before > 1_000 for before, after in pairwise(applied)] == [True] * 3
    assert applied[-1] > 3_000


def test_a_partition_that_lags_alone_is_cut_before_it_fills_memory(monkeypatch):
    """The others are quiet and it never is: no multiple is passed, and no silence comes."""
    monkeypatch.setattr("worker.cut.WAITING_MAX", 50)
    log = Log().push(90_000, MARK, "b")
    log.settle(idle=True)
    for ms in range(100):
        log.push(ms, MARK, "a")
        assert not log.sequencer.due()
        assert log.sequencer.crowded() == (ms >= 50)


def test_cuts_of_a_crowded_log_do_not_leave_its_records_behind(monkeypatch):
    """Log time goes on with the records, however many such cuts there are; a time that was cut does not go back."""
    monkeypatch.setattr("worker.cut.WAITING_MAX", 9)
    log, cuts = Log(watch_ms=60_000), []
    for ms in range(1, 1_001):
        log.push(ms, MARK, "a")
        if log.sequencer.crowded():
            cuts += [step[0] for step in log.settle(idle=True) if isinstance(step, tuple)]
    assert cuts == [10 * number for number in range(1, 101)]
    log.push(59_999, CONTROL, "b").settle()
    for begin in (1_001, 1_011):
        for ms in range(begin, begin + 10):
            log.push(ms, MARK, "a")
        assert log.settle(idle=True)[-1] == (59_999, [])
    log.push(1_021, MARK, "a").push(60_001, MARK, "b")
    assert log.settle() == ["a@1020", (60_000, [])]


@pytest.mark.parametrize("watch_ms", [60_000, 1_000])
def test_what_was_decided_on_a_crowded_log_is_derived_again(watch_ms, records, tmp_path, monkeypatch):
    """Its cuts are in what was written, like all others."""
    monkeypatch.setattr("worker.cut.WAITING_MAX", 100)
    settings = random_settings(f"cut.watch_ms={watch_ms}")
    arrived, there = late(records, 1), 0
    for polls in (60, 1_000_000):
        left = iter(range(polls))
        source = ArrivingSource(arrived, PARTITIONS, polls, beforehand=there)
        with RecordingSink(tmp_path) as sink:
            run(source, sink, settings, stop=lambda left=left: next(left, None) is None)
        there = source.arrived
    with RecordingSink(tmp_path) as sink:
        times = [decode_output(record.value).log_time_ms for record in sink.outputs(CUTS)]
        assert times == sorted(times)
        newest_ms = max(record.log_time_ms for record in records)
        assert times[-1] <= newest_ms + watch_ms
        report = verify_replay(RecordingSource(records, partitions=PARTITIONS), sink, settings)
    assert (report.ok, report.differences) == (True, [])
