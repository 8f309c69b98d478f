"""A part of some topics: from offsets or a time to offsets, a time, or where the logs end now.

Rule: an offset that is given must be there; what is not there is never jumped over.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from worker.edge.exits import LogLostError, WrongTopicsError
from worker.edge.kafka_cluster import Cluster
from worker.record import Partition


@dataclass(frozen=True)
class Place:
    """A place in the logs: offsets of the partitions that are named, a time for all, or neither."""

    offsets: Mapping[Partition, int]
    log_time_ms: int | None = None


@dataclass(frozen=True)
class LogRange:
    """Offsets of each partition: the first to read and the first not to read, and where its log begins."""

    begins: dict[Partition, int]
    ends: dict[Partition, int]
    log_begins: dict[Partition, int]


def range_of(cluster: Cluster, partitions: list[Partition], first: Place, last: Place) -> LogRange:
    """The range between two places; raises LogLostError or WrongTopicsError where an offset is not in its log."""
    oldest, newest = cluster.begins(partitions), cluster.ends(partitions, committed=False)
    for where in (*first.offsets, *last.offsets):
        if where not in oldest:
            raise WrongTopicsError(f"{where[0]}:{where[1]} is not among the partitions that are read")
    begins = oldest if first.log_time_ms is None else _at(cluster, partitions, first.log_time_ms, newest)
    ends = newest if last.log_time_ms is None else _at(cluster, partitions, last.log_time_ms, newest)
    begins, ends = begins | dict(first.offsets), ends | dict(last.offsets)
    for (topic, number), begin in begins.items():
        if begin < oldest[topic, number]:
            raise LogLostError(f"the log of {topic}:{number} begins at {oldest[topic, number]}, asked for was {begin}")
        if max(begin, ends[topic, number]) > newest[topic, number]:
            asked = max(begin, ends[topic, number])
            raise LogLostError(f"the log of {topic}:{number} ends at {newest[topic, number]}, asked for was {asked}")
    return LogRange(begins, {where: max(end, begins[where]) for where, end in ends.items()}, oldest)


def _at(
    cluster: Cluster, partitions: list[Partition], log_time_ms: int, newest: Mapping[Partition, int]
) -> dict[Partition, int]:
    found = cluster.at_time(partitions, log_time_ms)
    return {where: newest[where] if offset < 0 else offset for where, offset in found.items()}
