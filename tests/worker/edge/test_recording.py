"""Recordings in and outputs out: nothing lost, nothing torn, the same bytes always."""

import gzip
import json
import random
import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.cut import Event, Sequencer
from worker.edge.jsonlines import RecordingError, fetched_lines, line_of, records_of, write_records
from worker.edge.recording import RecordingSink, RecordingSource, committed_outputs, interleaved
from worker.lines import plain_lines
from worker.record import END, Committed, Output, Record

KCAT_LINE = (
    b'{"topic":"accounts","partition":0,"offset":7,"tstype":"create","ts":1760000000000,"broker":0,'
    b'"key":"a","payload":"{\\"type\\":\\"Account\\"}"}\n'
)


def some_records(count=300, seed=1):
    chance = random.Random(seed)
    next_offset: dict[tuple[str, int], int] = {}
    records = []
    for i in range(count):
        where = chance.choice(["marks", "positions"]), chance.randrange(3)
        offset = next_offset.get(where, 0)
        next_offset[where] = offset + chance.choice([1, 1, 5])  # compaction and control records leave gaps
        value = chance.choice([b"{}", None, b"\xff\x00", "\u00e9\n\u2028".encode(), b""])
        records.append(Record(*where, offset, 1000 + i, chance.choice([b"k", None, b"\xfe"]), value))
    return records


def drained(source, batch=7):
    records = []
    while not source.at_end():
        records += source.poll(batch)
    assert source.poll(batch) == []
    return records


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_what_is_written_is_read_back(tmp_path, ending):
    """Every key and payload survives: text, bytes that are no text, empty and null."""
    path = tmp_path / f"recording.{ending}"
    records = some_records()
    assert write_records(path, records) == len(records)
    assert drained(RecordingSource(path)) == records
    first = path.read_bytes()
    write_records(path, records)
    assert path.read_bytes() == first


def test_a_line_of_kcat_is_a_record(tmp_path):
    """What `kcat -J` prints is read as it is, fields that we do not know included; and we write the same."""
    path = tmp_path / "kcat.jsonl"
    path.write_bytes(KCAT_LINE.replace(b'"broker":0', b'"broker":3,"headers":["h","1"]'))
    record = Record("accounts", 0, 7, 1760000000000, b"a", b'{"type":"Account"}')
    assert drained(RecordingSource(path)) == [record]
    write_records(path, [record])
    assert path.read_bytes() == KCAT_LINE


def test_lines_longer_than_a_block_are_whole(tmp_path):
    """A record of a megabyte is one record."""
    records = [Record("t", 0, i, 0, None, b"x" * size) for i, size in enumerate([1, 1 << 20, 3, 1 << 18])]
    path = tmp_path / "long.jsonl"
    write_records(path, records)
    assert drained(RecordingSource(path)) == records


def test_a_recording_without_a_last_newline_is_read_whole(tmp_path):
    """`head -c` and editors cut newlines; the record counts."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(KCAT_LINE + KCAT_LINE.replace(b":7,", b":8,").rstrip())
    assert [record.offset for record in drained(RecordingSource(path))] == [7, 8]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (KCAT_LINE + KCAT_LINE[:50], "r.jsonl: every line must be a record as `kcat -J` prints it"),
        (KCAT_LINE * 2, "r.jsonl: offsets of a partition must grow, accounts:0 went from 7 to 7"),
        (b'{"topic":"a"}\n', "r.jsonl: every line must be a record"),
        (KCAT_LINE.replace(b":7,", b":-7,"), "Expected `int` >= 0 - at `$[0].offset`"),
        (KCAT_LINE.replace(b'"partition":0', b'"partition":-1'), "Expected `int` >= 0 - at `$[0].partition`"),
        (KCAT_LINE.replace(b":1760000000000,", b":9223372036854775807,"), "at `$[0].ts`"),
        (KCAT_LINE.replace(b":1760000000000,", b":-2,"), "Expected `int` >= -1 - at `$[0].ts`"),
    ],
)
def test_a_recording_that_is_none_is_refused(tmp_path, content, says):
    """A torn or doubled log is never half read."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=re.escape(says)):
        drained(RecordingSource(path))


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_an_archive_that_is_torn_or_none_is_refused(tmp_path, ending):
    """A download that broke off says so, and nothing of it is decided."""
    path = tmp_path / f"r.jsonl.{ending}"
    write_records(path, some_records(3000))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordingError, match=rf"r\.jsonl\.{ending} must be a whole \.{ending} file"):
        drained(RecordingSource(path))
    path.write_bytes(b"x")
    with pytest.raises(RecordingError, match=rf"r\.jsonl\.{ending} must be a whole \.{ending} file"):
        drained(RecordingSource(path))


def test_a_missing_recording_is_named(tmp_path):
    """The message names the file."""
    with pytest.raises(RecordingError, match=r"nothing\.jsonl must be a readable file"):
        RecordingSource(tmp_path / "nothing.jsonl")


def test_batches_do_not_change_what_is_given():
    """Any batch size gives the same records."""
    records = some_records()
    for batch in (1, 2, 10_000):
        assert drained(RecordingSource(records, batch_max=batch), batch=500) == records


@pytest.mark.parametrize("seed", range(20))
def test_interleavings_keep_the_order_inside_each_partition(seed):
    """Partitions mix anew with every seed; inside them nothing moves."""
    records = some_records()
    mixed = drained(RecordingSource(records, interleaving_seed=seed))
    assert mixed != records
    assert mixed == interleaved(records, seed)
    for where in {(r.topic, r.partition) for r in records}:
        assert [r for r in mixed if (r.topic, r.partition) == where] == [
            r for r in records if (r.topic, r.partition) == where
        ]


def test_partitions_and_their_ends_are_known_before_the_first_poll():
    """The loop can tell a partition that is over from one that is late."""
    records = [Record("a", 0, 0, 5, None, b""), Record("b", 1, 3, 6, None, b""), Record("b", 1, 9, 8, None, b"")]
    source = RecordingSource(records, partitions=[("c", 0)])
    assert source.partitions() == [("a", 0), ("b", 1), ("c", 0)]
    assert source.ends() == {("a", 0): 1, ("b", 1): 10, ("c", 0): 0}
    assert [source.complete_until_ms(p) for p in source.partitions()] == [5, 6, END]
    source.poll(2)
    assert [source.complete_until_ms(p) for p in source.partitions()] == [END, 6, END]
    source.poll(1)
    assert source.complete_until_ms(("b", 1)) == END


@pytest.mark.parametrize("from_file", [True, False])
def test_a_partition_at_rest_holds_nobody_back(tmp_path, from_file):
    """One record in the beginning and one in the end: what lies between is released as it is read, not in the end."""
    marks = [Record("marks", 0, i, 1000 + i, b"x", b"{}") for i in range(30_000)]
    rare = [Record("funds", 0, i, at, b"f", b"{}") for i, at in enumerate((999, 31_500))]
    records = [rare[0], *marks, rare[1]]
    write_records(tmp_path / "r.jsonl", records)
    source = RecordingSource(tmp_path / "r.jsonl" if from_file else records)
    sequencer = Sequencer(source.partitions(), watch_ms=1000, joint_window_ms=0)
    held, held_max, steps = 0, 0, 0
    while not source.at_end():
        for record in source.poll(500):
            sequencer.push(Event(record, [], 5))
            held += 1
        for step in sequencer.steps(source.complete_until_ms):
            held -= isinstance(step, Event)
            steps += 1
        held_max = max(held_max, held)
    assert held_max < 3_000
    assert held == 0


def test_a_log_time_is_never_promised_that_a_record_undercuts():
    """Whatever the partitions, gaps and clocks that step back: at each poll no later record is below the promise."""
    chance = random.Random(5)
    records = [msgspec.structs.replace(r, log_time_ms=chance.randint(0, 5000)) for r in some_records(5000)]
    source = RecordingSource(records, batch_max=37)
    newest, left = dict.fromkeys(source.partitions(), 0), records
    while not source.at_end():
        polled = source.poll(1000)
        left = left[len(polled) :]
        for record in polled:
            where = record.topic, record.partition
            newest[where] = max(newest[where], record.log_time_ms)
        for where in source.partitions():
            coming = next((r.log_time_ms for r in left if (r.topic, r.partition) == where), END)
            assert source.complete_until_ms(where) <= max(coming, newest[where])


def outputs_of(folder):
    return (folder / "outputs.jsonl").read_bytes()


def test_outputs_have_the_same_bytes_wherever_transactions_end(tmp_path):
    """One commit a record, or one for all: equal bytes."""
    outputs = [Output(f"t{i % 2}", b"k", b"v%d" % i, log_time_ms=i) for i in range(6)]
    for name, size in (("one", 1), ("all", 6)):
        with RecordingSink(tmp_path / name) as sink:
            for i in range(0, 6, size):
                sink.commit(outputs[i : i + size], {("in", 0): i + size}, "", i)
    assert outputs_of(tmp_path / "one") == outputs_of(tmp_path / "all")
    lines = [json.loads(line) for line in outputs_of(tmp_path / "one").splitlines()]
    assert [(line["topic"], line["offset"], line["ts"]) for line in lines] == [
        (f"t{i % 2}", i // 2, i) for i in range(6)
    ]


def test_a_folder_opened_again_goes_on_where_the_last_commit_ended(tmp_path):
    """Offsets of outputs go on, metadata and input positions come back, names of topics are the configured ones."""
    with RecordingSink(tmp_path, {"adl-decisions": "prod.decisions"}) as sink:
        assert sink.committed() is None
        sink.commit([Output("adl-decisions", b"k", b"1")], {("in:x", 0): 4, ("in", 12): 9}, "words", 77)
    with RecordingSink(tmp_path, {"adl-decisions": "prod.decisions"}) as sink:
        assert sink.committed() == Committed({("in:x", 0): 4, ("in", 12): 9}, "words")
        sink.commit([Output("adl-decisions", b"k", b"2")], {}, "", 78)
        assert list(sink.outputs("adl-decisions")) == [
            Record("prod.decisions", 0, 0, 77, b"k", b"1"),
            Record("prod.decisions", 0, 1, 78, b"k", b"2"),
        ]
    assert [record.value for record in committed_outputs(tmp_path)] == [b"1", b"2"]


def test_whatever_byte_a_crash_stops_at_whole_commits_are_left(tmp_path):
    """Cut either file at any length: what is opened ends with a whole commit, and nothing after it is seen."""
    with RecordingSink(tmp_path / "whole") as sink:
        ends = [0]
        for i in range(3):
            sink.commit([Output("t", b"k", b"v%d" % i)] * i, {("in", 0): i}, str(i), i)
            ends.append(len(outputs_of(tmp_path / "whole")))
    outputs, commits = outputs_of(tmp_path / "whole"), (tmp_path / "whole" / "commits.jsonl").read_bytes()
    for outputs_length in range(0, len(outputs) + 1, 9):
        for commits_length in range(0, len(commits) + 1, 13):
            folder = tmp_path / "torn"
            folder.mkdir(exist_ok=True)
            (folder / "outputs.jsonl").write_bytes(outputs[:outputs_length])
            (folder / "commits.jsonl").write_bytes(commits[:commits_length])
            whole = commits[:commits_length].count(b"\n")
            while ends[whole] > outputs_length:
                whole -= 1
            seen = list(committed_outputs(folder))
            with RecordingSink(folder) as sink:
                committed = sink.committed()
                assert (committed.metadata if committed else None) == (str(whole - 1) if whole else None)
                assert list(sink.outputs("t")) == seen
            assert outputs_of(folder) == outputs[: ends[whole]]
            assert (folder / "commits.jsonl").read_bytes() == b"".join(commits.splitlines(True)[:whole])


def test_advice_stays_out_of_the_committed_outputs(tmp_path):
    """Advisory records have a file of their own."""
    with RecordingSink(tmp_path) as sink:
        sink.advise([Output("adl-state", b"BTC", b"{}")], 5)
        assert list(sink.outputs("adl-state")) == []
    assert json.loads((tmp_path / "advice.jsonl").read_bytes())["ts"] == 5


def test_packed_recordings_carry_no_time_and_no_name(tmp_path):
    """The gzip header is the same on every day and for every name."""
    write_records(tmp_path / "a.gz", some_records())
    write_records(tmp_path / "b.gz", some_records())
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert len(gzip.decompress((tmp_path / "a.gz").read_bytes()).splitlines()) == 300


PLAIN = st.text(st.characters(codec="ascii"), max_size=6)
LINES = st.builds(
    Record, st.sampled_from(["a", "b c", "é", 'q"']), st.integers(0, 2), st.integers(0, 10**17),
    st.integers(-1, 10**15),
    st.none() | PLAIN.map(str.encode),
    st.none() | PLAIN.map(str.encode) | st.binary(max_size=3),
)  # fmt: skip


@given(
    st.lists(LINES, max_size=12),
    st.lists(st.tuples(st.integers(0, 900), st.sampled_from([*b'{}[]",:.-01 \\n\x00\xff\n', None])), max_size=2),
)
def test_lines_read_as_columns_are_the_lines_read_one_by_one(records, changes):
    """Partition by partition, whatever the lines hold; what is torn or mistyped is refused alike."""
    block = b"".join(map(line_of, records)).rstrip(b"\n")
    for at, byte in changes:
        if at < len(block):
            block = block[:at] + (b"" if byte is None else bytes([byte])) + block[at + 1 :]
    try:
        wanted = records_of(block, "block")
    except RecordingError:
        assert plain_lines(block) is None
        return
    found = fetched_lines(block, "block")
    partitions = dict.fromkeys((record.topic, record.partition) for record in wanted)
    assert list(found.records()) == [r for where in partitions for r in wanted if (r.topic, r.partition) == where]
    assert [where for where, _, _ in found.spans] == list(partitions)


def test_what_we_write_is_plain():
    """So that nothing slow stays unseen; also what kcat prints of a topic with the broker's own times."""
    records = [Record("t", n % 3, n, 1000 + n, b"k", b'{"a":"b\\\\c"}') for n in range(50)]
    block = b"".join(map(line_of, records))
    assert len(plain_lines(block)) == 50
    assert len(plain_lines(block.replace(b'"create"', b'"logappend"'))) == 50
