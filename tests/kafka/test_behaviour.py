"""What the loop relies on in every Source and Sink: one suite, on recordings and on Kafka."""

import msgspec
import pytest

from tests.kafka.topics import Topics
from worker.edge.kafka import output_topics
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_commit import Origin
from worker.edge.kafka_sink import KafkaSink
from worker.edge.kafka_source import KafkaSource
from worker.edge.recording import RecordingSink, RecordingSource
from worker.edge.watchdog import Watchdog
from worker.output import DECISIONS, STATE, TRADES
from worker.record import END, Committed, Output, Record

PARTITIONS = [("mark-prices", 0), ("mark-prices", 1), ("positions", 0)]


def record(topic, partition, offset, ms, key=b"k", value=b"v"):
    return Record(topic, partition, offset, ms, key, value)


RECORDS = [
    record("mark-prices", 0, 0, 1000),
    record("positions", 0, 0, 900, None, b"\x00\xff no text"),
    record("mark-prices", 0, 1, 990, b"\xfe", b""),
    record("positions", 0, 1, 2000, b"gone", None),
    record("mark-prices", 0, 2, 3000),
]


def output(topic, sequence, value=b"", ms=None):
    words = {"pool": "main", "sequence": sequence, "value": value.decode()}
    return Output(topic, b"key", msgspec.json.encode(words), ms)


class OnRecordings:
    """A recording in memory, outputs in a folder."""

    def __init__(self, folder):
        self._folder, self._open = folder, []

    def source(self, records):
        return RecordingSource(records, partitions=PARTITIONS)

    def sink(self):
        self.close()
        self._open.append(RecordingSink(self._folder))
        return self._open[-1]

    def named(self, partition):
        return partition

    def close(self):
        while self._open:
            self._open.pop().close()


class OnKafka:
    """Topics of their own; a sink that is opened again fences the one before it."""

    def __init__(self, broker):
        self._topics = Topics(broker, PARTITIONS)
        self._settings = self._topics.settings()
        self._config = {"bootstrap.servers": broker.bootstrap}
        self._cluster, self._watchdog, self._open = Cluster(self._config), Watchdog(), []

    def source(self, records):
        self._topics.publish(records)
        begins = dict.fromkeys((self.named(partition) for partition in PARTITIONS), 0)
        source = KafkaSource(self._config, self._cluster, begins, group="test", finite=True)
        source.ends()
        self._open.append(source)
        return source

    def sink(self):
        partitions = [self.named(partition) for partition in PARTITIONS]
        sink = KafkaSink(
            self._config, self._cluster, output_topics(self._settings), partitions,
            pool="main", identity=self._topics.prefix, watchdog=self._watchdog,
        )  # fmt: skip
        sink.open()
        if sink.origin is None:
            sink.begin(Origin({}), dict.fromkeys(partitions, 0))
        self._open.append(sink)
        return sink

    def named(self, partition):
        return self._topics.named(partition[0]), partition[1]

    def close(self):
        self._watchdog.close()
        while self._open:
            self._open.pop().close()


@pytest.fixture(params=["recordings", "kafka"])
def place(request, tmp_path):
    place = OnRecordings(tmp_path) if request.param == "recordings" else OnKafka(request.getfixturevalue("broker"))
    yield place
    place.close()


def drained(source):
    records = []
    for _ in range(1000):
        records += source.poll(2)
        if source.at_end():
            return records
    raise AssertionError("the source does not come to its end")


def offsets_of(place, *offsets):
    return {place.named(partition): offset for partition, offset in zip(PARTITIONS, offsets, strict=True)}


# --- sources ----------------------------------------------------------------------------------------------------------


def test_every_record_is_given_once_in_the_order_of_its_partition(place):
    """Key, value and time as they were written, also bytes that are no text, no key and no value."""
    given = drained(place.source(RECORDS))
    for partition in PARTITIONS:
        where = place.named(partition)
        mine = [r for r in given if (r.topic, r.partition) == where]
        written = [r for r in RECORDS if (r.topic, r.partition) == partition]
        assert mine == [msgspec.structs.replace(r, topic=where[0]) for r in written]


def test_partitions_without_a_record_are_there_and_complete(place):
    """An empty topic must not hold up the others."""
    source = place.source(RECORDS)
    assert source.partitions() == sorted(place.named(partition) for partition in PARTITIONS)
    assert source.ends() == offsets_of(place, 3, 0, 2)
    assert source.complete_until_ms(place.named(("mark-prices", 1))) == END


def test_a_partition_is_complete_up_to_what_was_given_and_then_for_ever(place):
    """No more than its first record allows is promised of a partition that was not read, all of one that was."""
    source = place.source(RECORDS)
    first_ms = next(r.log_time_ms for r in RECORDS if (r.topic, r.partition) == ("positions", 0))
    assert source.complete_until_ms(place.named(("positions", 0))) <= first_ms
    assert not source.at_end()
    drained(source)
    assert [source.complete_until_ms(partition) for partition in source.partitions()] == [END, END, END]
    assert source.poll(10) == []


# --- sinks ------------------------------------------------------------------------------------------------------------


def test_before_the_first_commit_nothing_is_committed(place):
    """Not an empty commit: none."""
    sink = place.sink()
    assert sink.committed() is None
    assert list(sink.outputs(TRADES)) == []


def test_outputs_and_offsets_are_committed_together_and_found_by_the_next_sink(place):
    """What one process has said the next one reads, topic by topic in its order."""
    sink = place.sink()
    sink.commit([output(TRADES, 1), output(DECISIONS, 1, ms=7), output(TRADES, 2)], offsets_of(place, 1, 0, 1), "a", 5)
    sink.commit([output(TRADES, 3)], offsets_of(place, 3, 0, 2), "b", 6)
    for found in (sink, place.sink()):
        assert found.committed() == Committed(offsets_of(place, 3, 0, 2), "b")
        trades = list(found.outputs(TRADES))
        assert [msgspec.json.decode(trade.value)["sequence"] for trade in trades] == [1, 2, 3]
        assert [(trade.offset, trade.log_time_ms, trade.key) for trade in trades[:2]] == [
            (0, 5, b"key"),
            (1, 5, b"key"),
        ]
        assert [decision.log_time_ms for decision in found.outputs(DECISIONS)] == [7]


def test_a_commit_may_say_nothing(place):
    """Offsets go on alone where there is nothing to say."""
    sink = place.sink()
    sink.commit([], offsets_of(place, 1, 0, 0), "only offsets", 5)
    assert place.sink().committed() == Committed(offsets_of(place, 1, 0, 0), "only offsets")


def test_advice_is_no_part_of_a_commit(place):
    """It may be lost; it must not be found among what was committed."""
    sink = place.sink()
    sink.advise([output(STATE, 1)], 5)
    assert sink.committed() is None
    assert place.sink().committed() is None


class DiedError(Exception):
    """The process is gone."""


def test_what_was_written_without_its_commit_is_nowhere(place, monkeypatch):
    """A process that dies before the commit leaves nothing; the next one numbers on."""
    sink = place.sink()
    sink.commit([output(TRADES, 1)], offsets_of(place, 1, 0, 0), "a", 5)

    def die(*_):
        raise DiedError

    if isinstance(sink, KafkaSink):
        monkeypatch.setattr(sink, "_end", die)
    else:
        monkeypatch.setattr(sink, "_commits", type("Gone", (), {"write": die, "close": sink._commits.close}))
    with pytest.raises(DiedError):
        sink.commit([output(TRADES, 2)], offsets_of(place, 2, 0, 0), "b", 6)
    following = place.sink()
    assert following.committed() == Committed(offsets_of(place, 1, 0, 0), "a")
    following.commit([output(TRADES, 2, b"again")], offsets_of(place, 2, 0, 0), "c", 6)
    values = [msgspec.json.decode(trade.value)["value"] for trade in following.outputs(TRADES)]
    assert values == ["", "again"]
