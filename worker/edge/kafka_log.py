"""Records of topics read back by themselves: no group, `read_committed`, up to the ends that are there now."""

from collections.abc import Iterator, Mapping
from typing import Any

from schemas import fields_of
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_source import KafkaSource
from worker.edge.topics import READER_GROUP
from worker.record import Partition, Record

POLL_RECORDS = 1000


def records_of(
    config: Mapping[str, Any], cluster: Cluster, topics: list[str], log_time_ms: int = 0
) -> Iterator[Record]:
    """Every committed record of the topics, from the first on that is not older; offset order inside a partition."""
    partitions = cluster.partitions(topics)
    begins = cluster.begins(partitions)
    if log_time_ms > 0:
        found, ends = cluster.at_time(partitions, log_time_ms), cluster.ends(partitions, committed=False)
        begins = {where: found[where] if found[where] >= 0 else ends[where] for where in partitions}
    yield from until_end(KafkaSource(config, cluster, begins, group=READER_GROUP, finite=True), cluster)


def own_records(
    config: Mapping[str, Any], cluster: Cluster, topic: str, pool: str, sequence: int = 0, log_time_ms: int = 0
) -> Iterator[Record]:
    """A pool's own records of an output topic in the order of their sequence, over all partitions.

    `sequence`: those up to it are left out; `log_time_ms`: that none of the others is older than.
    """
    early: dict[int, list[Record]] = {}  # of partitions that are read faster
    next_sequence = sequence + 1
    for record in records_of(config, cluster, [topic], log_time_ms):
        fields = fields_of(record.value or b"{}")
        if fields.get("pool") != pool or int(str(fields["sequence"])) <= sequence:
            continue
        early.setdefault(int(str(fields["sequence"])), []).append(record)
        while (found := early.pop(next_sequence, None)) is not None:
            yield from found
            next_sequence += 1
    # A gap or a repeat is the caller's to judge: what is behind it comes in order all the same.
    for sequence in sorted(early):
        yield from early[sequence]


def until_end(source: KafkaSource, cluster: Cluster) -> Iterator[Record]:
    """What a finite source gives; closes it. StoppedError where the worker was asked to stop."""
    try:
        source.ends()
        while not source.at_end():
            cluster.heed_stop("reading topics back")  # each turn, for it is a sign of life too
            yield from source.poll(POLL_RECORDS)
    finally:
        source.close()


def offsets_named(offsets: Mapping[Partition, int]) -> dict[str, int]:
    """Offsets as they are written, zeros left out."""
    return {f"{topic}:{number}": offset for (topic, number), offset in sorted(offsets.items()) if offset}
