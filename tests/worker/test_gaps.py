"""Logs with missing offsets: markers of transactions leave them from the start, compaction and tombstones later."""

from collections import Counter

import msgspec
import pytest

from tests.worker.arriving import ArrivingSource
from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from worker.cut import KIND, CutPoint, Event, RecordedCut, Sequencer
from worker.edge.recording import COMMITS_FILE, OUTPUTS_FILE, RecordingSink
from worker.loop import StateLostError, run
from worker.record import Record

COMPACTED = ("accounts", "insurance-fund")
MARK, BANKRUPTCY = KIND[next(kind for kind in KIND if kind.__name__ == "MarkPrice")], max(KIND.values())
A, B = ("a", 0), ("b", 0)


# --- recorded cuts by hand --------------------------------------------------------------------------------------------


def event(where, offset, ms, kind=MARK):
    return Event(Record(*where, offset, ms, None, b""), [], kind)


def replayed(recorded, events, ends, *later):
    """What a live log says that ends at `ends`, and then what it says once `later` has come."""
    sequencer = Sequencer([A, B], 1000, 0, live=True, recorded=recorded)
    steps = []
    for pushed, reached in ((events, ends), (later, {})):
        for one in pushed:
            sequencer.push(one)
        sequencer.reach(reached)
        steps += sequencer.settle()
    return [
        (step.log_time_ms, step.basis, [(e.record.topic, e.record.offset) for e in step.cutting])
        for step in steps
        if isinstance(step, CutPoint)
    ]


def watch(ms, a, b):
    return RecordedCut(ms, {A: a, B: b}, {A: a, B: b})


def test_a_recorded_cut_stands_where_it_stood_when_the_record_before_it_is_gone():
    """Its time and offsets are the record's: the newest record below it was overwritten by one behind it."""
    events = [event(A, 0, 100), event(A, 3, 2100), event(B, 0, 150)]  # a:1 and a:2 said the same key as a:3
    cuts = replayed([watch(1000, 2, 1), watch(2000, 3, 1)], events, {A: 4, B: 1})
    assert cuts == [(1000, {A: 2, B: 1}, []), (2000, {A: 3, B: 1}, [])]


def test_a_recorded_cut_is_reached_when_the_log_ends_with_a_gap():
    """A null value that compaction has taken away leaves nothing behind it to wait for."""
    assert replayed([watch(1000, 2, 1)], [event(A, 0, 100), event(B, 0, 150)], {A: 2, B: 1}) == [
        (1000, {A: 2, B: 1}, [])
    ]


def test_a_recorded_cut_waits_for_a_log_that_is_not_read_to_it():
    """A gap is one only where the log is known to go on behind it."""
    assert replayed([watch(1000, 2, 1)], [event(A, 0, 100), event(B, 0, 150)], {A: 1, B: 1}) == []


def test_the_rule_goes_on_from_the_time_of_the_last_recorded_cut():
    """A late record waits for the multiple behind it, though the record that made the cut's time is gone."""
    later = event(B, 1, 1700), event(A, 2, 3001)
    cuts = replayed([watch(2000, 2, 1)], [event(A, 0, 100), event(B, 0, 150)], {A: 2, B: 1}, *later)
    assert cuts == [(2000, {A: 2, B: 1}, []), (3000, {A: 2, B: 2}, [])]


def test_what_stands_at_a_recorded_cut_is_found_behind_a_gap():
    """Offsets between the basis and the record that cuts may be a transaction's marker."""
    recorded = [RecordedCut(700, {A: 1, B: 1}, {A: 1, B: 4})]
    events = [event(A, 0, 100), event(B, 0, 150), event(B, 3, 700, BANKRUPTCY)]
    assert replayed(recorded, events, {A: 1, B: 5}) == [(700, {A: 1, B: 1}, [("b", 3)])]


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records():
    """Offsets as a producer with transactions leaves them: a marker behind every second record.

    Before the stop an account that nobody knows is removed: compaction takes such a record away for good.
    """
    log = random_log(7, accounts=60)
    stop = stop_of(log)
    last = max((r for r in log[:stop] if r.topic == "accounts"), key=lambda record: record.offset)
    removed = msgspec.structs.replace(last, offset=last.offset + 1, key=b"nobody", value=None)
    behind = [
        msgspec.structs.replace(r, offset=r.offset + 1)
        if (r.topic, r.partition) == ("accounts", last.partition) else r
        for r in log[stop:]
    ]  # fmt: skip
    return [
        msgspec.structs.replace(record, offset=record.offset * 3 // 2) for record in [*log[:stop], removed, *behind]
    ]


def stop_of(records):
    return len(records) * 2 // 3


def ends_of(records):
    """Where the logs end: behind a marker."""
    ends = Counter()
    for record in records:
        ends[record.topic, record.partition] = record.offset + 2
    return ends


def compacted(records):
    """Of each key only the newest record, or none where that is null, on topics where it says all there is."""
    newest = {(record.topic, record.key): record for record in records}
    return [
        record for record in records
        if record.topic not in COMPACTED or (newest[record.topic, record.key] is record and record.value is not None)
    ]  # fmt: skip


def lived(records, folder, seed, count, **options):
    """One life of the worker on the first `count` records, which are all there when it starts."""
    source = ArrivingSource(records[:count], PARTITIONS, seed, beforehand=count, **options)
    with RecordingSink(folder) as sink:
        run(source, sink, random_settings())


def test_a_live_log_with_gaps_is_decided_once_and_gone_on_with(records, tmp_path):
    """Stopped in the middle, compacted behind its back and started again: nothing said before is changed or doubled."""
    count = stop_of(records) + 1
    there, ends = records[:count], ends_of(records[:count])
    lived(records, tmp_path / "first", 1, count, ends=ends)
    first = (tmp_path / "first" / OUTPUTS_FILE).read_bytes()
    fewer = compacted(there)
    assert Counter(record.topic for record in there) - Counter(record.topic for record in fewer)
    lived(fewer, tmp_path / "first", 2, len(fewer), ends=ends)
    assert (tmp_path / "first" / OUTPUTS_FILE).read_bytes() == first
    lived(fewer + records[count:], tmp_path / "first", 3, len(records), ends=ends_of(records))
    lived(records, tmp_path / "again", 4, count, ends=ends)
    lived(records, tmp_path / "again", 5, len(records), ends=ends_of(records))
    said = (tmp_path / "first" / OUTPUTS_FILE).read_bytes()
    assert said.startswith(first)
    assert len(said) > len(first)
    assert said == (tmp_path / "again" / OUTPUTS_FILE).read_bytes()


def test_compaction_that_changed_the_committed_state_is_noticed(records, tmp_path):
    """A record below the last commit that one behind it replaced: what was committed cannot be shown to be so."""
    count = stop_of(records) + 1
    lived(records, tmp_path, 1, count, ends=ends_of(records[:count]))
    commits = (tmp_path / COMMITS_FILE).read_bytes()
    newer = next(r for r in reversed(records[:count]) if r.topic == "insurance-fund")
    value = newer.value.replace(b'"balance":"', b'"balance":"9')
    behind = msgspec.structs.replace(newer, offset=newer.offset + 4, value=value)
    changed = compacted([*records[:count], behind])
    with pytest.raises(StateLostError, match="state digest"):
        lived(changed, tmp_path, 2, len(changed), ends=ends_of([*records[:count], behind]))
    assert (tmp_path / COMMITS_FILE).read_bytes() == commits
