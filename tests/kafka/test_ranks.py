"""The feed of ranks on its compacted topic: what a reader of it holds in the end, however often the worker died."""

import signal

import msgspec

from schemas import decode_output, encode
from tests.kafka.topics import Topics, Worker, committed
from tests.worker.tape import run_tape
from tests.worker.test_ranks import lines
from worker.memory import MemorySink
from worker.output import RANKS
from worker.settings import KINDS, load

FLAGS = ("pool.currency=USD", "pool.currency_decimals=2", "ranks.records_per_second=1000", "ranks.interval_ms=1000")
PARTITIONS = [(kind, 0) for kind in KINDS]


def table(records):
    """Key -> place of everybody who has one, by the newest record of each key."""
    held = {record.key: record.value and decode_output(record.value) for record in records}
    return {key: (m.rank, m.population, m.quantile, m.score) for key, m in held.items() if m}


def test_the_topic_is_complete_again_after_a_kill(broker, tmp_path):
    """A position that was closed while nobody was there is removed, one that nobody knows any more too."""
    topics = Topics(broker, PARTITIONS)
    settings = topics.settings(*FLAGS)
    producer = topics.producer()
    producer.produce(topics.named(RANKS), said_in_another_life("gone"), b"gone\tBTC\tNET")
    producer.flush()
    tape = lines()
    topics.publish(tape.records)
    said = len(tape.records)

    def ranked():
        return committed(broker, topics.named(RANKS))

    with Worker(settings, tmp_path) as worker:
        topics.wait_for(1 + 4 + 1, RANKS, alive=worker.alive)  # what was there, four positions, a tombstone
        worker.process.kill()
        assert worker.wait() == -signal.SIGKILL
    assert {key.split(b"\t")[0] for key in table(ranked())} == {b"five", b"four", b"two", b"long"}
    tape.at(9000).account("five", "200").mark(price="101")
    topics.publish(tape.records[said:])
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(6 + 4, RANKS, alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    sink = MemorySink()
    run_tape(tape.records, load(flags=[*FLAGS, "worker.mode=live"]), sink)
    assert table(ranked()) == table([out for out in sink.advice if out.topic == RANKS])
    assert len(table(ranked())) == 3


def said_in_another_life(account):
    """What another run of the pool has left of an account."""
    sink = MemorySink()
    run_tape(lines().records, load(flags=[*FLAGS, "worker.mode=live"]), sink)
    first = next(out.value for out in sink.advice if out.topic == RANKS)
    return encode(msgspec.structs.replace(decode_output(first), account=account))
