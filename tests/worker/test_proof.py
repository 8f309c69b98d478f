"""What was published is derived again from the logs; a published record that was not derived from them is found."""

import hashlib
import random
from collections import defaultdict

import msgspec
import pytest

from schemas import decode_output, link
from tests.worker.random_run import source_of
from worker.edge.recording import (
    OUTPUTS_FILE,
    RecordingSink,
    committed_outputs,
    read_outputs,
)
from worker.memory import MemorySink
from worker.output import CHAINED, DECISIONS, TRADES
from worker.record import Record
from worker.verify import verify_replay


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
    assert (report.ok, report.differences, report.compared, report.other_code) == (True, [], count, {})
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
        if hasattr(message, "reduction_id"):
            assert record.log_time_ms == message.cut_time_ms
        elif hasattr(message, "cut_time_ms"):
            at[message.decision_id] = message.cut_time_ms
            assert record.log_time_ms == message.cut_time_ms
        elif hasattr(message, "trade_id"):
            assert record.log_time_ms == at[message.decision_id]
        elif hasattr(message, "number"):
            assert record.log_time_ms == message.log_time_ms
