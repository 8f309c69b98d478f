"""A live source: rounds that end where the logs ended when it was asked, and partitions that stand back."""

import time
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError

from tests.kafka.topics import Topics
from worker.cut import Event
from worker.edge.exits import LogLostError
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_source import Arrived, KafkaSource
from worker.merge import AHEAD_MAX
from worker.reader import POLL_RECORDS, Reader
from worker.record import END, LiveSource, Record

PARTITIONS = [("mark-prices", 0), ("mark-prices", 1)]


def record(partition, ms, value=b"v"):
    return Record("mark-prices", partition, 0, ms, b"k", value)


@pytest.fixture
def topics(broker):
    return Topics(broker, PARTITIONS)


@pytest.fixture
def source_of(broker, topics):
    opened = []

    def make(**options):
        config = {"bootstrap.servers": broker.bootstrap}
        begins = dict.fromkeys(topics.partitions(), 0)
        opened.append(KafkaSource(config, Cluster(config), begins, group="test", **options))
        return opened[-1]

    yield make
    for source in opened:
        source.close()


def drained(source, seconds=10):
    """Everything that is given until every partition is read up to its end."""
    records, until = [], time.monotonic() + seconds
    while any(source.complete_until_ms(partition) < END for partition in source.partitions()):
        assert time.monotonic() < until
        records += source.poll(1000)
    return records


def test_what_comes_after_the_ends_were_asked_waits_for_the_round_to_be_over(topics, source_of):
    """A cut rests on what was there when its record was seen, however much has come since."""
    topics.publish([record(0, 10), record(1, 11)])
    source = source_of()
    assert isinstance(source, LiveSource)
    asked = source.ends()
    topics.publish([record(0, 12), record(0, 13), record(1, 14)])
    time.sleep(0.3)
    assert sorted(r.log_time_ms for r in drained(source)) == [10, 11]
    assert asked == source._ends
    later = []
    until = time.monotonic() + 5
    while len(later) < 3 and time.monotonic() < until:
        later += source.poll(1000)
    assert sorted(r.log_time_ms for r in later) == [12, 13, 14]
    source.ends()
    assert drained(source) == []


def test_who_follows_and_asks_again_gets_the_new_ends(topics, source_of):
    """What is given as the end holds for the first round only."""
    topics.publish([record(0, 10), record(0, 11)])
    source = source_of(until={(topics.named("mark-prices"), 0): 1})
    assert source.ends()[topics.named("mark-prices"), 0] == 1
    assert source.ends()[topics.named("mark-prices"), 0] == 2


def test_a_source_says_for_how_long_nothing_came(topics, source_of):
    """An idle tail is cut by it; a record that comes makes it new."""
    topics.publish([record(0, 10)])
    source = source_of()
    source.ends()
    drained(source)
    time.sleep(0.2)
    assert source.poll(10) == []
    assert 200 <= source.quiet_ms() < 5000
    topics.publish([record(0, 11)])
    while not source.poll(10):
        pass
    assert source.quiet_ms() < 100
    assert not source.at_end()


class Told:
    """A record as the client tells it."""

    def __init__(self, offset, ms):
        self.offset, self.timestamp = lambda: offset, lambda: (1, ms)
        self.key, self.value = lambda: b"k", lambda: b"v"


@pytest.fixture
def source():
    """One that no broker answers, of a topic that had an id."""
    cluster = SimpleNamespace(ids=lambda _: {"t": "old"})
    config = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
    source = KafkaSource(config, cluster, {("t", 0): 0, ("t", 1): 0}, group="test")
    yield source
    source.close()


def test_a_topic_that_a_broker_does_not_know_is_asked_for_before_it_is_called_gone(source):
    """One that has just started knows none yet."""
    unknown = KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
    source._judge(unknown, "t", "t:0")
    source._cluster.ids = lambda _: {"t": "new"}
    with pytest.raises(LogLostError, match="t was deleted and made anew"):
        source._judge(unknown, "t", "t:0")

    def gone(_):
        raise LogLostError("no such topic")

    source._cluster.ids = gone
    with pytest.raises(LogLostError, match="t was deleted"):
        source._judge(unknown, "t", "t:0")


def test_a_record_far_ahead_does_not_hide_that_the_pool_is_behind(source):
    """It would be called ready while it reads what is an hour old."""
    now_ms = int(time.time() * 1000)
    source._ends = {("t", 0): 9, ("t", 1): 9}
    source._behind = set(source._ends)
    times = [(0, 0, now_ms - 7_200_000), (1, 0, now_ms + 1_800_000), (0, 1, now_ms - 3_600_000)]
    for number, offset, ms in times:
        source._given({("t", number): Arrived([Told(offset, ms)])})
    assert 3_600_000 <= source.lag_ms() < 3_660_000
    source._given({("t", 1): Arrived([Told(1, now_ms - 10)])})
    assert 10 <= source.lag_ms() < 60_000
    source._behind = set()
    assert source.lag_ms() == 0


def test_a_partition_that_is_far_ahead_in_log_time_does_not_fill_memory(topics, source_of):
    """One partition spans a hundred times the log time of the other, record for record; order holds all the same."""
    count = 2 * AHEAD_MAX
    topics.publish([record(0, 1_000 + number) for number in range(count)], retries=3)
    topics.publish([record(1, 1_000 + 100 * number) for number in range(count)])
    source = source_of(finite=True)
    reader = Reader(source, topics.settings("cut.watch_ms=1000"))
    waiting, times = 0, []
    for steps in reader.steps():
        waiting = max(waiting, len(reader.sequencer.merge._queues[topics.named("mark-prices"), 1]))
        times += [step.log_time_ms for step in steps if isinstance(step, Event)]
    assert len(times) == 2 * count
    assert times == sorted(times)
    assert AHEAD_MAX < waiting <= AHEAD_MAX + POLL_RECORDS
