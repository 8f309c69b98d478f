"""A pool on Kafka: opened in one order, with everything that must be true before it may go on.

Order: topics, the producer (which fences older ones), what is committed, what the logs are now, and only then the first
record. What was found at the first start is repeated in every commit, so that a log that lost a part is noticed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec
import structlog

from schemas import fields_of
from worker.edge.caller import clear
from worker.edge.exits import EdgeError, Exit, FencedError, LogLostError, WrongTopicsError
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_commit import Origin, Words, committed_words
from worker.edge.kafka_inputs import InputWatch, check_logs
from worker.edge.kafka_log import offsets_named, own_records, records_of
from worker.edge.kafka_sink import KafkaSink
from worker.edge.kafka_source import KafkaSource
from worker.edge.topics import READER_GROUP, deciding_topics, identity, input_topics, output_topics, wanted_topics
from worker.edge.topics_check import Level, judge
from worker.edge.watchdog import Watchdog
from worker.record import Partition, Record
from worker.settings import Settings

CLOSE_SECONDS: Final = 3.0  # a stop takes at most ten, and a call that hangs may have taken half of them
READER_SECONDS: Final = 10.0  # a person waits for the answer


@dataclass
class Pool:
    """An open pool: what the loop reads and writes, and what was fixed at its first start."""

    source: KafkaSource
    sink: KafkaSink
    origin: Origin

    def close(self) -> None:
        """Closes the clients; what was said is committed."""
        self.source.close()
        self.sink.close()


def open_pool(
    settings: Settings,
    config: Mapping[str, Any],
    *,
    watchdog: Watchdog,
    stop: Callable[[], bool] = lambda: False,
    sink_class: type[KafkaSink] = KafkaSink,
) -> Pool:
    """Takes the pool over and finds where it stands; raises an EdgeError where it must not go on."""
    cluster = Cluster(config, stop)
    inputs, outputs, name = input_topics(settings), output_topics(settings), identity(settings)
    partitions = cluster.partitions(inputs)
    cluster.partitions(outputs.values())
    _check_topics(cluster, settings)
    sink = sink_class(
        config, cluster, outputs, partitions,
        pool=settings.pool.name, identity=name, watchdog=watchdog, stop=stop,
    )  # fmt: skip
    try:
        return _opened(sink, settings, config, cluster, partitions)
    except Exception as error:
        clear(error)  # it holds the producer, which is to be destroyed while somebody watches
        with watchdog.within(CLOSE_SECONDS, "close", error.exit if isinstance(error, EdgeError) else Exit.CLIENT):
            sink.close()
        raise


def _opened(
    sink: KafkaSink, settings: Settings, config: Mapping[str, Any], cluster: Cluster, partitions: list[Partition]
) -> Pool:
    sink.open()
    ids, begins = cluster.ids({topic for topic, _ in partitions}), cluster.begins(partitions)
    if sink.origin is None:
        _check_nothing_said(config, cluster, settings, partitions)
        origin = _first(settings, cluster, ids, begins)
        sink.begin(origin, begins)
        structlog.get_logger().info("adl.first_start", start=origin.start, start_ms=origin.start_ms)
    else:
        committed = sink.committed()
        ends = cluster.ends(partitions, committed=False)
        check_logs(sink.origin, {} if committed is None else committed.offsets, ids, begins, ends)
        origin = _grown(sink.origin, settings, cluster, ids, begins)
        if origin != sink.origin:
            sink.grow(origin)
    watch = InputWatch(cluster, ids, partitions)

    def on_poll() -> None:
        sink.beat()
        watch.look()

    return Pool(KafkaSource(config, cluster, begins, group=identity(settings), on_poll=on_poll), sink, origin)


class PublishedTopics:
    """What a pool has said on its topics, for reading only: nothing is joined, committed or written."""

    def __init__(self, settings: Settings, config: Mapping[str, Any]) -> None:
        self._config, self._pool = dict(config), settings.pool.name
        self._outputs, self._identity = output_topics(settings), identity(settings)
        self.cluster = Cluster(config, patience_seconds=READER_SECONDS)
        self._inputs = input_topics(settings)

    @cached_property
    def partitions(self) -> list[Partition]:
        """Of the inputs; WrongTopicsError where one is missing."""
        return self.cluster.partitions(self._inputs)

    def outputs(self, topic: str) -> Iterator[Record]:
        """The pool's committed records of a logical topic, in the order of their sequence."""
        return own_records(self._config, self.cluster, self._outputs[topic], self._pool)

    def origin(self) -> Origin | None:
        """What was found when the pool first started; None where it has committed nothing."""
        words = committed_words(self._config, self.cluster, self._identity, self.partitions)[1]
        return msgspec.json.decode(words, type=Words).origin if words else None

    def source(self) -> KafkaSource:
        """The inputs from the beginning of their logs to where they end now."""
        begins = self.cluster.begins(self.partitions)
        return KafkaSource(self._config, self.cluster, begins, group=READER_GROUP, finite=True)

    def inputs(self) -> KafkaSource:
        """The same, but to where what is committed ends: for who only looks and waits for no open transaction."""
        return self._committed(self.partitions, finite=True)

    def said(self, topics: list[str], *, finite: bool) -> KafkaSource:
        """Logical topics of outputs from the beginning: to where what is committed ends now, or on and on."""
        return self._committed(self.cluster.partitions(self._outputs[topic] for topic in topics), finite=finite)

    def _committed(self, partitions: list[Partition], *, finite: bool) -> KafkaSource:
        begins, ends = self.cluster.begins(partitions), self.cluster.ends(partitions)
        return KafkaSource(self._config, self.cluster, begins, group=READER_GROUP, finite=finite, until=ends)


def _first(settings: Settings, cluster: Cluster, ids: dict[str, str], begins: dict[Partition, int]) -> Origin:
    """Where deciding begins on topics that were not read before."""
    start_at = settings.worker.start_at
    start: dict[str, int] = {}
    if start_at is None or start_at == "end":
        start = offsets_named(cluster.ends(_counting(settings, begins)))
    start_ms = start_at if isinstance(start_at, int) else 0
    return Origin(ids, offsets_named(begins), start_ms, start)


def _counting(settings: Settings, partitions: Iterable[Partition]) -> list[Partition]:
    """Those that decisions come from."""
    topics = deciding_topics(settings)
    return [partition for partition in partitions if partition[0] in topics]


def _grown(
    origin: Origin, settings: Settings, cluster: Cluster, ids: dict[str, str], begins: dict[Partition, int]
) -> Origin:
    """The origin with topics that the settings have named since; a log time to start at counts for these alone."""
    new = {topic: found for topic, found in ids.items() if topic not in origin.topics}
    if not new:
        return origin
    begins = {where: begin for where, begin in begins.items() if where[0] in new}
    added = _first(settings, cluster, new, begins)
    if added.start_ms > origin.start_ms:
        where = _counting(settings, begins)
        ends, found = cluster.ends(where), cluster.at_time(where, added.start_ms)
        start = offsets_named({p: found[p] if found[p] >= 0 else ends[p] for p in where})
        added = Origin(added.topics, added.begins, 0, start)
    structlog.get_logger().info("adl.inputs_added", topics=sorted(new), start=added.start)
    return Origin(
        origin.topics | added.topics, origin.begins | added.begins, origin.start_ms, origin.start | added.start
    )


def _check_nothing_said(
    config: Mapping[str, Any], cluster: Cluster, settings: Settings, partitions: list[Partition]
) -> None:
    """Committed offsets can be deleted or expire; a pool that has spoken must not begin anew."""
    pool = settings.pool.name
    for record in records_of(config, cluster, [output_topics(settings)["adl-cuts"]]):
        if fields_of(record.value or b"{}").get("pool") == pool:
            if committed_words(config, cluster, identity(settings), partitions)[1]:
                raise FencedError("another process has opened the pool since this one did")
            raise LogLostError(
                f"{record.topic} holds cuts of pool {pool}, but no offsets are committed for it: they expired or were "
                "deleted; name another pool or environment, or restore them"
            )


def _check_topics(cluster: Cluster, settings: Settings) -> None:
    """Refuses what would lose the state; `adl topics check` tells the rest."""
    wanted = wanted_topics(settings)
    stops = [finding for finding in judge(wanted, cluster.facts(wanted)) if finding.level == Level.STOPS]
    if stops:
        raise WrongTopicsError("; ".join(f"topic {finding.topic}: {finding.sentence}" for finding in stops))
