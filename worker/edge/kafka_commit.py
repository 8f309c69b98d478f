"""What stands in a commit beside the offsets: the loop's words, and what the pool's state has rested on from its start.

Offsets are committed under the pool's name as a group that nobody ever joins; reading them changes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from worker.edge.kafka_cluster import FORBIDDEN, Cluster
from worker.edge.kafka_words import ClientWords
from worker.record import Partition

CALL_SECONDS: Final = 5.0
METADATA_BYTES_MAX: Final = 4096  # the broker's default for what stands beside an offset
MARK_BYTES_MAX: Final = 704  # of them the loop's words, quotation marks escaped; the longest are 656


class Origin(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was found when the pool first started; repeated in every commit, because the state rests on it."""

    topics: dict[str, str]  # name -> id
    begins: dict[str, int] = {}  # "topic:partition" -> first offset that was read, where it is not 0
    start_ms: int = 0  # bankruptcies with a smaller log time, or before their offset, are not the worker's
    start: dict[str, int] = {}


class Words(msgspec.Struct, frozen=True, omit_defaults=True):
    """What stands beside the first partition's offset."""

    origin: Origin
    mark: str = ""  # the loop's own words; empty before the first cut


def read_committed(
    consumer: Consumer, cluster: Cluster, partitions: Sequence[Partition]
) -> tuple[dict[Partition, int], str]:
    """The offsets committed for a consumer's group, and the words beside them; both empty where there are none."""
    places = [TopicPartition(*partition) for partition in partitions]

    def answer() -> list[TopicPartition]:
        try:
            found = consumer.committed(places, CALL_SECONDS)
        except KafkaException:
            # That the group is not for us to see does not end the call: it takes its time, and the reason comes apart.
            heard = consumer.poll(0)
            reason = None if heard is None else heard.error()
            if reason is not None and reason.code() in FORBIDDEN:
                raise KafkaException(reason) from None
            raise
        for place in found:
            if place.error is not None:  # no offset then means nothing: it is not that none is committed
                raise KafkaException(place.error)
        return found

    committed = [place for place in cluster.ask("committed offsets", answer) if place.offset >= 0]
    offsets = {(place.topic, place.partition): place.offset for place in committed}
    return offsets, next((place.metadata for place in committed if place.metadata), "")


def committed_words(
    config: Mapping[str, Any], cluster: Cluster, group: str, partitions: Sequence[Partition]
) -> tuple[dict[Partition, int], str]:
    """`read_committed` by a consumer of its own that joins nothing."""
    consumer = Consumer({**config, "group.id": group, "isolation.level": "read_committed"}, logger=ClientWords().logger)
    try:
        return read_committed(consumer, cluster, partitions)
    finally:
        consumer.close()
