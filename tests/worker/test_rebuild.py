"""What was said before must end where the commit says, record for record: else the pool does not go on."""

import msgspec
import pytest

from schemas import decode_output, link
from tests.worker.random_run import Timely, source_of
from tests.worker.random_tape import random_log, random_settings
from tests.worker.tape import Said, Tape, run_tape, settings_of
from worker.loop import StateLostError, run
from worker.memory import MemorySink
from worker.output import CUTS, DECISIONS, REDUCTIONS, TRADES
from worker.record import Committed

SETTINGS = random_settings()


@pytest.fixture(scope="module")
def records():
    return random_log(9, accounts=60, end_ms=12_000)


@pytest.fixture
def sink(records):
    """What was said until the worker was stopped in the middle of the log, and its commit."""
    sink = MemorySink()
    topics = (CUTS, DECISIONS, TRADES, REDUCTIONS)
    run(Timely(records, batch_max=20), sink, SETTINGS, stop=lambda: all(any(sink.outputs(topic)) for topic in topics))
    return sink


def newest(sink, topic):
    return list(sink.outputs(topic))[-1]


def following(record, **more):
    """The record that would stand behind it, had its transaction taken effect."""
    message = decode_output(record.value)
    changed = msgspec.structs.replace(message, sequence=message.sequence + 1, chain=link(record.value), **more)
    return msgspec.structs.replace(record, offset=record.offset + 1, value=msgspec.json.encode(changed))


def ends_with(sink, records, sentence):
    said = list(sink.records)
    with pytest.raises(StateLostError, match=sentence):
        run(source_of(records), sink, SETTINGS)
    assert sink.records == said


def test_a_pool_that_ends_where_its_commit_says_goes_on(sink, records):
    """The other half of the log is decided as if nothing had been between them."""
    run(source_of(records), sink, SETTINGS)
    whole = MemorySink()
    run(source_of(records), whole, SETTINGS)
    for topic in (CUTS, DECISIONS, TRADES, REDUCTIONS):
        assert newest(sink, topic).value == newest(whole, topic).value


CHANGES = ["policy=queue:binance", "settlement=last_solvent_mark", "residual=none", "accounts_max=1", "attempts_max=1"]


@pytest.mark.parametrize("change", CHANGES)
def test_a_pool_goes_on_under_other_settings(change):
    """What a setting makes of the state is none of what was committed."""
    tape = Tape().instrument().mark(price="100").account("loser", "20", ("BTC", "10", "105"))
    sink = run_tape(tape.account("winner", "500", ("BTC", "-10", "105")).records, settings_of())
    tape.at(2500).bankrupt("loser")
    run_tape(tape.records, settings_of(f"decision.{change}"), sink)
    assert len(Said(sink).decisions) == 1


def test_a_commit_of_older_code_is_compared_as_a_whole(sink, records):
    """It says one digest; what settings make of the state is in it."""
    words = msgspec.json.decode(sink.committed().metadata)
    sink._committed = Committed(sink.committed().offsets, msgspec.json.encode(older(words)).decode())
    test_a_pool_that_ends_where_its_commit_says_goes_on(sink, records)
    other = MemorySink()
    other.records, words["digest"] = list(sink.records), "f" * 32
    other._committed = Committed(sink.committed().offsets, msgspec.json.encode(older(words)).decode())
    with pytest.raises(StateLostError):
        run(source_of(records), other, SETTINGS)


def older(words):
    return {name: words[name] for name in ("cut", "log_time_ms", "digest", "heads")}


@pytest.mark.parametrize("topic", [CUTS, DECISIONS, TRADES, REDUCTIONS])
def test_a_record_behind_the_last_commit_is_noticed(topic, sink, records):
    """A part of a transaction that never took effect can be read."""
    last = newest(sink, topic)
    number = decode_output(last.value).sequence
    sink.records.append(following(last, **({"cut_number": 10_000} if topic in (DECISIONS, REDUCTIONS) else {})))
    ends_with(sink, records, f"{topic} holds record {number + 1}, but committed was record {number} as its last")


@pytest.mark.parametrize("topic", [CUTS, DECISIONS, TRADES, REDUCTIONS])
def test_a_record_that_comes_again_is_noticed(topic, sink, records):
    """Also behind the end, where nothing asks for a further one."""
    last = newest(sink, topic)
    number = decode_output(last.value).sequence
    sink.records.append(msgspec.structs.replace(last, offset=last.offset + 1))
    ends_with(sink, records, f"{topic}: record {number} does not follow record {number}")


@pytest.mark.parametrize("topic", [CUTS, DECISIONS, TRADES, REDUCTIONS])
def test_a_record_that_is_missing_at_the_end_is_noticed(topic, sink, records):
    """What was committed must be there."""
    sink.records.remove(newest(sink, topic))
    ends_with(sink, records, f"{topic} (must hold|ends with record)")


def test_a_record_before_the_first_commit_is_noticed(sink, records):
    """A pool that has committed nothing has said nothing."""
    torn = MemorySink()
    torn.records.append(next(sink.outputs(CUTS)))
    ends_with(torn, records, f"{CUTS} holds record 1, but committed was record 0")


def test_a_commit_of_before_a_topic_was_there_says_that_it_is_empty(records):
    """A worker that knows one more topic goes on from a commit of one that did not."""
    sink, turns = MemorySink(), iter(range(len(records) // 40))
    silent = random_settings("reductions.tiers=null")
    run(Timely(records, batch_max=20), sink, silent, stop=lambda: next(turns, None) is None)
    committed = sink.committed()
    words = msgspec.json.decode(committed.metadata)
    del words["heads"][REDUCTIONS]
    sink._committed = Committed(committed.offsets, msgspec.json.encode(words).decode())
    run(source_of(records), sink, SETTINGS)
    assert [decode_output(r.value).sequence for r in sink.outputs(REDUCTIONS)][:2] == [1, 2]
