"""Offsets that are missing in real topics: a log that was compacted, and words of ours that no commit stands behind."""

import time
from collections import Counter

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from schemas import decode_output, link
from tests.kafka.topics import Topics, Worker, committed, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.exits import Exit
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_log import own_records
from worker.output import CUTS

FLAGS = ("decision.accounts_max=12", "pool.currency=USD", "pool.currency_decimals=2")
COMPACT = {
    "cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0", "max.compaction.lag.ms": "100", "delete.retention.ms": "0",
}  # fmt: skip
CLEANED_SECONDS = 90  # the cleaner looks every 15 s


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=20_000)


def set_up(broker, topic, settings):
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    admin = broker.admin()  # its answers go with it
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(10)


def compacted(broker, topics, kind):
    """Compacts a topic until records of it are gone."""
    topic = topics.named(kind)
    before = committed(broker, topic)
    set_up(broker, topic, COMPACT)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    # The newest segment is never compacted, and only a later record begins another one: said again, it changes nothing.
    newest = {record.partition: record for record in before if record.value is not None}
    until = time.monotonic() + CLEANED_SECONDS
    while True:
        for number, record in newest.items():
            newest[number] = later = msgspec.structs.replace(record, log_time_ms=record.log_time_ms + 200)
            producer.produce(topic, later.value, later.key, partition=number, timestamp=later.log_time_ms)
        producer.flush(10)
        time.sleep(1)
        left = {(record.partition, record.offset) for record in committed(broker, topic)}
        if any((record.partition, record.offset) not in left for record in before):
            return
        assert time.monotonic() < until, f"nothing of {topic} was compacted in {CLEANED_SECONDS} s"


def decided(said):
    """The bankruptcies of all decisions that are not later attempts or still held, as often as they were decided."""
    decisions = [decode_output(value) for _, value, _ in said["adl-decisions"]]
    return Counter(
        bankruptcy.id for decision in decisions if decision.attempt <= 1 and decision.status != "HELD"
        for bankruptcy in decision.bankruptcies
    )  # fmt: skip


def test_a_log_that_was_compacted_is_gone_on_with_and_nothing_is_said_twice(broker, records, tmp_path):
    """While it may be compacted again the start refuses; what was taken of funds and accounts by then does no harm."""
    topics = Topics(broker, PARTITIONS)
    settings = topics.settings(*FLAGS)
    half = len(records) // 2
    topics.publish(records[:half])
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        # The worker goes on while they are compacted, so that what it commits rests on what is left.
        for kind in ("insurance-fund", "accounts"):
            compacted(broker, topics, kind)
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    said = topics.outputs()
    with Worker(settings, tmp_path) as worker:
        assert worker.wait() == Exit.USAGE
        assert f"{topics.named('accounts')}: a record that goes because a newer one is there" in worker.words()
    for kind in ("insurance-fund", "accounts"):
        set_up(broker, topics.named(kind), {"cleanup.policy": "delete", "segment.ms": "604800000"})
    topics.publish(records[half:])
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    now = topics.outputs()
    for topic, before in said.items():
        assert now[topic][: len(before)] == before
        sequences = [decode_output(value).sequence for _, value, _ in now[topic]]
        assert sequences == list(range(1, len(sequences) + 1))
    assert len(now["adl-decisions"]) > len(said["adl-decisions"]) > 0
    assert decided(now) == decided(expected(topics, records, settings))


def test_words_behind_the_last_commit_stop_the_pool(broker, records, tmp_path):
    """4: a cut that became readable without its transaction; the start says so and adds nothing."""
    topics = Topics(broker, PARTITIONS)
    settings = topics.settings(*FLAGS)
    topics.publish(records)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    last = committed(broker, topics.named(CUTS))[-1]
    cut = decode_output(last.value)
    torn = msgspec.structs.replace(cut, number=cut.number + 1, sequence=cut.sequence + 1, chain=link(last.value))
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    producer.produce(topics.named(CUTS), msgspec.json.encode(torn), last.key, timestamp=last.log_time_ms)
    producer.flush(10)
    said = topics.outputs()
    with Worker(settings, tmp_path) as worker:
        assert worker.wait() == Exit.STATE_LOST
        words = worker.sentence()
    assert f"adl-cuts holds record {cut.sequence + 1}, but committed was record {cut.sequence} as its last" in words
    assert topics.outputs() == said


def test_a_record_that_comes_again_is_given_again(broker):
    """Also while those before it have not come: whoever reads must see it twice."""
    topics = Topics(broker, PARTITIONS, output_partitions=2)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for partition, sequence in ((0, 2), (0, 2), (1, 1), (1, 3), (1, 1), (0, 4)):
        value = msgspec.json.encode({"type": "Cut", "pool": "p", "sequence": sequence})
        producer.produce(topics.named(CUTS), value, b"p", partition=partition)
    producer.flush(10)
    config = {"bootstrap.servers": broker.bootstrap}
    found = own_records(config, Cluster(config), topics.named(CUTS), "p")
    assert sorted(msgspec.json.decode(record.value)["sequence"] for record in found) == [1, 1, 2, 2, 3, 4]
