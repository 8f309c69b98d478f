"""What the worker builds on, shown on the broker itself: transactions, fencing, offset metadata, end offsets."""

import time

import pytest
from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec


@pytest.fixture
def topic(broker):
    """A topic of two partitions that no other test writes to."""
    name = broker.unique("topic")
    broker.create_topics({name: 2})
    return name


@pytest.fixture
def transactional(broker):
    """Makes initialised producers for a transactional id."""

    def make(transactional_id: str) -> Producer:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": transactional_id})
        producer.init_transactions(30)
        return producer

    return make


@pytest.fixture
def reader(broker):
    """Makes consumers of a group of their own; all are closed at the end."""
    made = []

    def make(**config) -> Consumer:
        common = {
            "bootstrap.servers": broker.bootstrap,
            "group.id": broker.unique("group"),
            "enable.auto.commit": False,
        }
        made.append(Consumer(common | {name.replace("_", "."): value for name, value in config.items()}))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def values(consumer: Consumer, topic: str) -> list[bytes]:
    """All values of partition 0 up to its end as the consumer's isolation sees it."""
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    until = time.monotonic() + 20
    while time.monotonic() < until:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error() is None:
            found.append(message.value())
        elif message.error().code() == KafkaError._PARTITION_EOF:
            return found
        else:
            raise KafkaException(message.error())
    raise TimeoutError(f"no end of {topic} in 20 s")


def test_records_of_an_aborted_transaction_are_not_seen_under_read_committed(broker, topic, transactional, reader):
    """They lie in the log, where read_uncommitted finds them, between the committed ones."""
    producer = transactional(broker.unique("writer"))
    for value, ends in ((b"first", producer.commit_transaction), (b"lost", producer.abort_transaction),
                        (b"second", producer.commit_transaction)):  # fmt: skip
        producer.begin_transaction()
        producer.produce(topic, value, partition=0)
        producer.flush(10)
        ends(10)
    committed = reader(isolation_level="read_committed", enable_partition_eof=True)
    everything = reader(isolation_level="read_uncommitted", enable_partition_eof=True)
    assert values(committed, topic) == [b"first", b"second"]
    assert values(everything, topic) == [b"first", b"lost", b"second"]


def test_a_second_producer_with_the_same_transactional_id_fences_the_first(broker, topic, transactional, reader):
    """The older one's open transaction is aborted and its commit is a fatal _FENCED."""
    name = broker.unique("writer")
    older = transactional(name)
    older.begin_transaction()
    older.produce(topic, b"of the older", partition=0)
    older.flush(10)
    newer = transactional(name)
    with pytest.raises(KafkaException) as refused:
        older.commit_transaction(10)
    error = refused.value.args[0]
    assert (error.code(), error.fatal()) == (KafkaError._FENCED, True)
    newer.begin_transaction()
    newer.produce(topic, b"of the newer", partition=0)
    newer.commit_transaction(10)
    assert values(reader(isolation_level="read_committed", enable_partition_eof=True), topic) == [b"of the newer"]


def test_offsets_and_metadata_of_a_transaction_come_back_from_committed(broker, topic, transactional, reader):
    """Offsets are there with the metadata of the commit, and not at all after an abort."""
    producer = transactional(broker.unique("writer"))
    consumer = reader()
    consumer.assign([TopicPartition(topic, 0, 0)])
    for offset, ends in ((7, producer.commit_transaction), (9, producer.abort_transaction)):
        producer.begin_transaction()
        mine = [TopicPartition(topic, 0, offset, metadata=f'{{"sequence":{offset}}}')]
        producer.send_offsets_to_transaction(mine, consumer.consumer_group_metadata(), 10)
        ends(10)
    written, never = consumer.committed([TopicPartition(topic, 0), TopicPartition(topic, 1)], timeout=10)
    assert (written.offset, written.metadata) == (7, '{"sequence":7}')
    assert never.offset < 0


def test_end_offsets_of_all_partitions_come_from_one_call(broker, topic, transactional):
    """An open transaction holds the end back under read_committed, and under read_uncommitted it does not."""
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    producer = transactional(broker.unique("writer"))
    admin = broker.admin()  # kept: its futures are never done once it is collected

    def ends(isolation: IsolationLevel) -> list[int]:
        asked = admin.list_offsets(dict.fromkeys(partitions, OffsetSpec.latest()), isolation_level=isolation)
        return [asked[partition].result(10).offset for partition in partitions]

    producer.begin_transaction()
    producer.produce(topic, b"a", partition=0)
    producer.produce(topic, b"b", partition=1)
    producer.produce(topic, b"c", partition=1)
    producer.flush(10)
    assert ends(IsolationLevel.READ_COMMITTED) == [0, 0]
    assert ends(IsolationLevel.READ_UNCOMMITTED) == [1, 2]
    producer.commit_transaction(10)
    # The markers are offsets of the log too; they are written shortly after the commit has returned.
    until = time.monotonic() + 10
    while ends(IsolationLevel.READ_COMMITTED) != [2, 3] and time.monotonic() < until:
        time.sleep(0.01)
    assert ends(IsolationLevel.READ_COMMITTED) == [2, 3]


def test_a_restart_keeps_address_topics_and_records(broker, topic, transactional, reader):
    """What tests of a broker that goes away in mid-run rest on."""
    if not broker.ours:
        pytest.xfail("the broker was given, it cannot be restarted from here")
    writer = broker.unique("writer")
    producer = transactional(writer)
    producer.begin_transaction()
    producer.produce(topic, b"before", partition=0)
    producer.commit_transaction(10)
    address = broker.bootstrap
    broker.stop()
    broker.start()
    assert broker.bootstrap == address
    producer.begin_transaction()  # the same producer, which has found the way back by itself
    producer.produce(topic, b"after", partition=0)
    producer.commit_transaction(30)
    committed = reader(isolation_level="read_committed", enable_partition_eof=True)
    assert values(committed, topic) == [b"before", b"after"]
