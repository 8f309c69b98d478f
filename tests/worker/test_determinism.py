"""The same logs give the same bytes: whatever the batches, the interleaving, the process, the order between cuts, the
number of crashes; and a published record that was not derived from the logs is found.
"""

import hashlib
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import msgspec
import pytest

from schemas import decode_output
from tests.worker.random_tape import PARTITIONS, event_of, random_log, random_settings
from worker.cut import BANKRUPTCY, Event, Sequencer
from worker.edge.jsonlines import read_records, write_records
from worker.edge.recording import (
    COMMITS_FILE,
    OUTPUTS_FILE,
    RecordingSink,
    RecordingSource,
    committed_outputs,
    read_outputs,
)
from worker.engine import Engine
from worker.loop import StateLostError, run
from worker.memory import MemorySink
from worker.output import CHAINED, DECISIONS, STATE, TRADES, link
from worker.record import END, Record
from worker.verify import verify_replay

SEED = 1
STOPS = 100


@pytest.fixture(scope="module")
def settings():
    return random_settings()


@pytest.fixture(scope="module")
def records():
    return random_log(SEED)


def source_of(records, **options):
    return RecordingSource(records, partitions=PARTITIONS, **options)


def outputs_of(records, settings, folder, source=source_of, **options):
    """The bytes of outputs.jsonl after an undisturbed run."""
    with RecordingSink(folder) as sink:
        run(source(records, **options), sink, settings)
    return (folder / OUTPUTS_FILE).read_bytes()


class Timely(RecordingSource):
    """Knows how far each partition has come, as a broker that is asked for its ends: a commit at nearly every cut.

    A recording alone knows only what it has given, and waits for the next record of the most silent partition.
    """

    def __init__(self, records, **options):
        super().__init__(records, partitions=PARTITIONS, **options)
        self._times = {where: [] for where in PARTITIONS}
        self._given = dict.fromkeys(PARTITIONS, 0)
        for record in records:
            times = self._times[record.topic, record.partition]
            times.append(max([record.log_time_ms, *times[-1:]]))

    def poll(self, max_records):
        records = super().poll(max_records)
        for record in records:
            self._given[record.topic, record.partition] += 1
        return records

    def complete_until_ms(self, partition):
        times, given = self._times[partition], self._given[partition]
        return times[given] if given < len(times) else END


@pytest.fixture(scope="module")
def undisturbed(records, settings, tmp_path_factory):
    """A folder of outputs, and the bytes in it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, outputs_of(records, settings, folder)


def test_the_random_log_has_everything_in_it(records, settings):
    """The other tests prove little on a log without attempts, holds, joint decisions, haircuts, draws and refusals."""
    sink = MemorySink()
    run(source_of(records), sink, settings)
    decisions = [decode_output(record.value) for record in sink.outputs(DECISIONS)]
    assert {d.status for d in decisions} >= {"DECIDED", "RESIDUAL", "HELD", "UNKNOWN_ACCOUNT", "ALREADY_DECIDED"}
    held = {d.reason.split(" ")[0] for d in decisions if d.status == "HELD"}
    assert held >= {"PAUSED", "MARK_STALE", "ACCOUNTS"}
    assert max(d.attempt for d in decisions) >= 3
    assert max(len(d.bankruptcies) for d in decisions) >= 3
    assert any(d.fund_draws for d in decisions)
    assert any(d.haircut != "0" for d in decisions)
    assert len({d.policy for d in decisions}) >= 2
    letters = [decode_output(record.value) for record in sink.outputs("dead-letters")]
    assert {letter.reason for letter in letters} >= {"DECODE", "PRICE", "UNKNOWN_SYMBOL", "UNKNOWN_TRADE"}
    assert len({(record.topic, record.partition) for record in records}) == len(PARTITIONS)


# --- how the log is read ----------------------------------------------------------------------------------------------


def test_a_log_that_grew_gives_what_was_said_while_it_grew(settings):
    """Decisions taken as the records came are those that the complete log gives."""
    said = []
    records = random_log(SEED + 1, said=said)
    sink = MemorySink()
    run(source_of(records), sink, settings)
    for topic in CHAINED:
        assert [r.value for r in sink.outputs(topic)] == [o.value for o in said if o.topic == topic]
    assert [output.value for output in sink.advice] == [output.value for output in said if output.topic == STATE]


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_any_batch_size_gives_the_same_bytes(batch, records, settings, undisturbed, tmp_path):
    """What one poll gives decides when is committed, never what."""
    assert outputs_of(records, settings, tmp_path / "recording", batch_max=batch) == undisturbed[1]
    assert outputs_of(records, settings, tmp_path / "timely", Timely, batch_max=batch) == undisturbed[1]


@pytest.mark.parametrize("seed", range(20))
def test_any_interleaving_of_the_partitions_gives_the_same_bytes(seed, records, settings, undisturbed, tmp_path):
    """Which partition was fetched first is chance."""
    batch = random.Random(seed).choice((3, 50, 1000))
    assert outputs_of(records, settings, tmp_path, interleaving_seed=seed, batch_max=batch) == undisturbed[1]


RUN_ALONE = """
import sys
from pathlib import Path
from tests.worker.test_determinism import outputs_of
from tests.worker.random_tape import random_settings
sys.stdout.buffer.write(outputs_of(Path(sys.argv[1]), random_settings(), Path(sys.argv[2])))
"""


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_a_fresh_process_with_another_hash_seed_gives_the_same_bytes(hash_seed, records, undisturbed, tmp_path):
    """No set or dictionary order, address or warm cache reaches an output."""
    recording = tmp_path / "recording.jsonl.gz"
    write_records(recording, records)
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALONE, str(recording), str(tmp_path / "out")],
        cwd=Path(__file__).parents[2], env=environment, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(undisturbed[1]).digest()


def test_a_recording_on_disk_says_what_its_records_say(records, tmp_path):
    """Nothing is lost on the way through the file, not even bytes that are no text."""
    write_records(tmp_path / "recording.jsonl", records)
    assert [record for block in read_records(tmp_path / "recording.jsonl") for record in block] == records


# --- between cuts -----------------------------------------------------------------------------------------------------


def shuffled(events, rng):
    """Another arrival of the events between two cuts; a partition's offset order and the bankruptcies' order stay.

    Members of a joint group are decided together at a cut, in the order of the sequence.
    """
    queues = defaultdict(list)
    for event in events:
        where = "bankruptcies" if event.kind == BANKRUPTCY else (event.record.topic, event.record.partition)
        queues[where].append(event)
    turns = [where for where, queue in queues.items() for _ in queue]
    rng.shuffle(turns)
    return [queues[where].pop(0) for where in turns]


def applied(records, settings, rng=None):
    """Outputs and state digests, cut by cut, of an engine that is fed by hand."""
    sequencer = Sequencer(PARTITIONS, settings.cut.watch_ms, settings.cut.joint_window_ms)
    for record in records:
        sequencer.push(event_of(record))
    engine, between, result, moved = Engine(settings), [], [], 0
    for step in sequencer.steps(lambda _: END):
        if isinstance(step, Event):
            between.append(step)
            continue
        arrived = between if rng is None else shuffled(between, rng)
        moved += arrived != between
        for event in arrived:
            engine.apply(event)
        between = []
        result.append((engine.cut(step), engine.digest()))
    return result, moved


@pytest.mark.parametrize("seed", range(4))
def test_arrival_between_cuts_changes_nothing(seed):
    """Each cell has one writer: other partitions' records may come first, as long as none is refused."""
    settings = random_settings("decision.accounts_max=1000000", "cut.joint_window_ms=5")
    records = random_log(100 + seed, poison=False, settings=settings)
    expected, _ = applied(records, settings)
    outputs = [output for said, _ in expected for output in said]
    assert not [output for output in outputs if output.topic == "dead-letters"]
    assert len([output for output in outputs if output.topic == TRADES]) > 100
    for number in range(5):
        found, moved = applied(records, settings, random.Random(number))
        assert moved > 50
        assert found == expected


# --- stopping and going on --------------------------------------------------------------------------------------------


class KilledError(Exception):
    """The process is gone."""


class Mortal(RecordingSink):
    """A sink whose process dies around its n-th commit: before, after, or with a part of it in the files."""

    def __init__(self, folder, at_commit, how, share):
        super().__init__(folder)
        self._left, self._how, self._share = at_commit, how, share

    def commit(self, outputs, offsets, metadata, log_time_ms):
        self._left -= 1
        if self._left:
            super().commit(outputs, offsets, metadata, log_time_ms)
            return
        if self._how == "before":
            raise KilledError
        files = self._outputs, self._commits
        sizes = [os.fstat(file.fileno()).st_size for file in files]
        super().commit(outputs, offsets, metadata, log_time_ms)
        if self._how == "in the outputs":
            os.ftruncate(files[1].fileno(), sizes[1])
        if self._how != "after":
            torn = files[self._how == "in the commit"].fileno()
            before = sizes[self._how == "in the commit"]
            os.ftruncate(torn, before + int((os.fstat(torn).st_size - before) * self._share))
        raise KilledError


HOW = ("before", "after", "in the outputs", "in the commit")


@pytest.fixture(scope="module")
def stop_log():
    """A log with fewer accounts: a hundred stops read it two hundred times."""
    return random_log(SEED + 2, accounts=80)


@pytest.fixture(scope="module")
def stop_bytes(stop_log, settings, tmp_path_factory):
    return outputs_of(stop_log, settings, tmp_path_factory.mktemp("stop"))


@pytest.fixture(scope="module")
def commits(stop_log, settings, tmp_path_factory):
    """How many commits an undisturbed run makes, by batch size."""
    counts = {}
    for batch in (1, 4, 20, 60):
        folder = tmp_path_factory.mktemp("commits")
        outputs_of(stop_log, settings, folder, Timely, batch_max=batch)
        counts[batch] = len((folder / COMMITS_FILE).read_bytes().splitlines())
    assert counts[1] > 100
    return counts


@pytest.mark.parametrize("stop", range(STOPS))
def test_stopping_anywhere_and_going_on_gives_the_same_bytes(stop, stop_log, settings, stop_bytes, commits, tmp_path):
    """Around any commit: before it, after it, in the middle of either file; the batches after the stop are others."""
    rng = random.Random(stop)
    batch = rng.choice(sorted(commits))
    sink = Mortal(tmp_path, rng.randint(1, commits[batch]), HOW[stop % len(HOW)], rng.random())
    with sink, pytest.raises(KilledError):
        run(Timely(stop_log, batch_max=batch), sink, settings)
    batch = rng.choice((*commits, 1000))
    assert outputs_of(stop_log, settings, tmp_path, rng.choice((Timely, source_of)), batch_max=batch) == stop_bytes


@pytest.mark.parametrize("how", HOW)
def test_a_process_that_dies_again_and_again_comes_to_the_same_end(how, stop_log, settings, stop_bytes, tmp_path):
    """Each life reads other batches and dies at its fifth commit."""
    deaths = 0
    while True:
        source = Timely(stop_log, batch_max=1 + deaths % 7)
        try:
            with Mortal(tmp_path, 5, how, 0.5) as sink:
                run(source, sink, settings)
            break
        except KilledError:
            deaths += 1
    assert deaths > 5
    assert (tmp_path / OUTPUTS_FILE).read_bytes() == stop_bytes


def test_a_run_on_a_finished_folder_adds_nothing(stop_log, settings, stop_bytes, tmp_path):
    """Everything was said; the folder's outputs stay as they are."""
    outputs_of(stop_log, settings, tmp_path)
    assert outputs_of(stop_log, settings, tmp_path, batch_max=11) == stop_bytes


def test_a_log_that_is_not_the_one_it_was_stops_the_pool(stop_log, settings, tmp_path):
    """A mark that changed behind our back is found by the state digest, an end that is missing by its cut."""
    outputs_of(stop_log, settings, tmp_path)
    place = max(i for i, record in enumerate(stop_log) if record.key == b"BTC")
    record = stop_log[place]
    said = msgspec.json.decode(record.value)
    other = msgspec.structs.replace(record, value=msgspec.json.encode(said | {"mark_price": "1"}))
    with pytest.raises(StateLostError, match="state digest"):
        outputs_of([*stop_log[:place], other, *stop_log[place + 1 :]], settings, tmp_path)
    with pytest.raises(StateLostError, match="the inputs end before cut"):
        outputs_of(stop_log[: len(stop_log) // 2], settings, tmp_path)


# --- proof ------------------------------------------------------------------------------------------------------------


def published(folder, change=None):
    """A sink of what a folder holds; `change(topic, number, record)` may give another record for one of them."""
    sink, numbers = MemorySink(), defaultdict(int)
    for record in committed_outputs(folder):
        numbers[record.topic] += 1
        changed = change(record.topic, numbers[record.topic], record) if change else None
        sink.records.append(changed or record)
    return sink


def test_what_was_published_is_derived_again(records, settings, undisturbed):
    """Every record of every chained topic, byte for byte."""
    with RecordingSink(undisturbed[0]) as sink:
        report = verify_replay(source_of(records), sink, settings)
    count = len(list(committed_outputs(undisturbed[0])))
    assert (report.ok, report.differences, report.compared, report.other_code) == (True, [], count, False)
    assert report.decisions > 20


TAMPERED = [
    (DECISIONS, "status", "NOTHING_TO_TAKE"), (DECISIONS, "haircut", "0.01"), (DECISIONS, "trades", 99),
    (DECISIONS, "basis", {}), (DECISIONS, "state_digest", "0" * 32), (DECISIONS, "chain", "0" * 32),
    (DECISIONS, "sequence", 999), (TRADES, "quantity", "7777"), (TRADES, "account", "a000x"),
    (TRADES, "quote_amount", "0.01"), (TRADES, "adl_seq", 77), (TRADES, "chain", "f" * 32),
    (DECISIONS, "code_digest", "another"),
]  # fmt: skip


@pytest.mark.parametrize(("topic", "name", "value"), TAMPERED)
@pytest.mark.parametrize("which", [1, 7])
def test_one_tampered_field_is_found(topic, name, value, which, records, settings, undisturbed):
    """A published record that says something else is named, with the field."""

    def change(of, number, record):
        if (of, number) == (topic, which):
            fields = msgspec.json.decode(record.value)
            fields[name] = value
            return msgspec.structs.replace(record, value=msgspec.json.encode(fields))
        return None

    report = verify_replay(source_of(records), published(undisturbed[0], change), settings)
    assert not report.ok
    assert any(topic in sentence for sentence in report.differences)


@pytest.mark.parametrize("topic", CHAINED)
@pytest.mark.parametrize("seed", range(3))
def test_one_tampered_byte_is_found(topic, seed, records, settings, undisturbed):
    """Whether or not the record can still be read."""
    rng = random.Random(f"{topic} {seed}")
    which = rng.randint(1, sum(record.topic == topic for record in committed_outputs(undisturbed[0])))

    def change(of, number, record):
        if (of, number) == (topic, which):
            place = rng.randrange(len(record.value))
            value = bytearray(record.value)
            value[place] ^= 1 << rng.randrange(7)
            return msgspec.structs.replace(record, value=bytes(value))
        return None

    report = verify_replay(source_of(records), published(undisturbed[0], change), settings)
    assert not report.ok
    assert any(topic in sentence for sentence in report.differences)


@pytest.mark.parametrize("topic", CHAINED)
def test_a_record_that_is_missing_or_doubled_is_found(topic, records, settings, undisturbed):
    """At the end too, where no chain follows."""
    whole = published(undisturbed[0]).records
    mine = [i for i, record in enumerate(whole) if record.topic == topic]
    for place in (mine[0], mine[-1]):
        for other in (whole[:place] + whole[place + 1 :], whole[: place + 1] + whole[place:]):
            sink = MemorySink()
            sink.records = other
            assert not verify_replay(source_of(records), sink, settings).ok


def test_sequence_and_chain_prove_that_nothing_is_missing(undisturbed, settings):
    """From the raw bytes alone: numbers without a gap, each chain the hash of the record before."""
    by_topic = defaultdict(list)
    for record in read_outputs(undisturbed[0] / OUTPUTS_FILE):
        by_topic[record.topic].append(record)
    assert set(by_topic) == set(CHAINED)
    for topic, written in by_topic.items():
        before = f"{settings.pool.name}/{topic}".encode()
        for number, record in enumerate(written, start=1):
            fields = msgspec.json.decode(record.value)
            expected = number, hashlib.sha256(before).hexdigest()[:32], number - 1
            assert (fields["sequence"], fields["chain"], record.offset) == expected
            before = record.value
        assert link(before) == hashlib.sha256(before).hexdigest()[:32]


def test_output_times_are_those_of_their_cuts(undisturbed):
    """Bytes do not depend on where transactions ended: each record carries its own cut's time."""
    at = {}
    for record in committed_outputs(undisturbed[0]):
        message = decode_output(record.value)
        assert isinstance(record, Record)
        if hasattr(message, "cut_time_ms"):
            at[message.decision_id] = message.cut_time_ms
            assert record.log_time_ms == message.cut_time_ms
        elif hasattr(message, "trade_id"):
            assert record.log_time_ms == at[message.decision_id]
        elif hasattr(message, "number"):
            assert record.log_time_ms == message.log_time_ms
