"""The same logs give the same bytes: whatever the batches, the interleaving, the process, the order between cuts."""

import hashlib
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from schemas import decode_output
from tests.worker.random_run import SEED, Timely, outputs_of, source_of
from tests.worker.random_tape import PARTITIONS, event_of, random_log, random_settings
from worker.cut import BANKRUPTCY, Event, Sequencer
from worker.edge.jsonlines import read_records, write_records
from worker.engine import Engine
from worker.loop import run
from worker.memory import MemorySink
from worker.output import ADVISORY, CHAINED, DECISIONS, TRADES
from worker.record import END


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


def test_a_log_that_grew_gives_what_was_said_while_it_grew(settings):
    """Decisions taken as the records came are those that the complete log gives."""
    said = []
    records = random_log(SEED + 1, said=said)
    sink = MemorySink()
    run(source_of(records), sink, settings)
    for topic in CHAINED:
        assert [r.value for r in sink.outputs(topic)] == [o.value for o in said if o.topic == topic]
    assert [output.value for output in sink.advice] == [output.value for output in said if output.topic in ADVISORY]


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_any_batch_size_gives_the_same_bytes(batch, records, settings, undisturbed, tmp_path):
    """17: what one poll gives decides when is committed, never what."""
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
