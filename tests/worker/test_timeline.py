"""Time order over partitions, in bounded memory, however the source was read or written."""

import random

import pytest

from tests.worker.random_tape import random_log
from worker.edge.recording import RecordingSource, interleaved
from worker.record import Record
from worker.timeline import OutOfOrderError, in_time_order


def ordered(source, **given):
    return [item for batch in in_time_order(source, **given) for item in batch]


def expected(records):
    """The same by sorting everything: log time made non-decreasing, then topic, partition, offset."""
    newest, items = {}, []
    for record in sorted(records, key=lambda record: record.offset):
        where = record.topic, record.partition
        newest[where] = max(newest.get(where, record.log_time_ms), record.log_time_ms)
        items.append((newest[where], record))
    return sorted(items, key=lambda item: (item[0], item[1].topic, item[1].partition, item[1].offset))


@pytest.mark.parametrize("seed", range(3))
def test_the_order_is_that_of_time_for_every_interleaving_and_batch(seed):
    """Nothing is lost, and offset order holds where times go back."""
    records = random_log(seed, accounts=40, end_ms=6_000)
    rng = random.Random(seed)
    for _ in range(5):
        source = RecordingSource(interleaved(records, rng.randrange(1000)), batch_max=rng.randint(1, 300))
        assert ordered(source) == expected(records)


def test_a_log_that_does_not_begin_at_offset_0_is_put_in_order():
    """A part of a log, and one with gaps."""
    records = [Record("a", 0, offset, ms, None, b"") for offset, ms in ((70, 5), (71, 3), (90, 9))]
    records += [Record("b", 2, offset, ms, None, b"") for offset, ms in ((12, 4), (13, 5), (15, 8))]
    assert ordered(RecordingSource(records)) == expected(records)
    assert RecordingSource(records).begins == {("a", 0): 70, ("b", 2): 12}


def test_a_recording_too_far_from_time_order_is_refused_and_not_held_in_memory():
    """One partition behind the other, longer than what may wait; in order it passes."""
    records = [Record(topic, 0, offset, offset, None, b"") for topic in ("a", "b") for offset in range(9_000)]
    with pytest.raises(OutOfOrderError, match="records wait for older ones of other partitions"):
        ordered(RecordingSource(records), waiting_max=4_000)
    assert len(ordered(RecordingSource(interleaved(records, 1)), waiting_max=4_000)) == 18_000


def test_among_equal_log_times_the_kind_decides_and_then_the_name():
    """An instrument before its marks and positions, whatever their topics are called."""
    records = [Record(topic, 0, offset, 10 + offset, None, b"") for offset in (0, 1) for topic in ("a", "b", "c", "d")]
    given = ordered(RecordingSource(records), kinds={"a": 4, "b": 5, "c": 0, "d": 4})
    assert [(ms, record.topic) for ms, record in given] == [(ms, topic) for ms in (10, 11) for topic in "cadb"]
