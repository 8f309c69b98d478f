"""Whether the inputs are still the topics that they were: at the start by what was committed, later by a look at them.

Rule: the loop never waits for the look; its answer comes from a thread of the client and is judged at a later turn.
"""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import TopicDescription

from worker.edge.exits import LogLostError, MorePartitionsError, WrongTopicsError
from worker.edge.kafka_cluster import ASK_SECONDS, GONE, Cluster, is_away
from worker.edge.kafka_commit import Origin
from worker.record import Partition

LOOK_SECONDS: Final = 5.0
LOST_SECONDS: Final = 2 * ASK_SECONDS  # an answer that is not there then does not come


class InputWatch:
    """Looks at the inputs while the worker runs; `look` is called at each turn."""

    def __init__(self, cluster: Cluster, ids: Mapping[str, str], partitions: Iterable[Partition]) -> None:
        self._cluster, self._ids = cluster, dict(ids)
        self._counts = Counter(topic for topic, _ in partitions)
        self._asked: dict[str, Future[TopicDescription]] = {}
        self._at = time.monotonic()
        self._told: set[str] = set()  # topics that are not shown to us

    def look(self) -> None:
        """Asks when it is time, and judges what has come; raises LogLostError or MorePartitionsError."""
        now = time.monotonic()
        if not self._asked:
            if now - self._at > LOOK_SECONDS:
                self._asked, self._at = self._cluster.describe(self._ids), now
        elif not all(answer.done() for answer in self._asked.values()):
            if now - self._at > LOST_SECONDS:
                self._asked, self._at = {}, now
        else:
            asked, self._asked, self._at = self._asked, {}, now
            for topic, answer in asked.items():
                self._judge(topic, answer)

    def _judge(self, topic: str, answer: "Future[TopicDescription]") -> None:
        try:
            found = answer.result()
        except KafkaException as error:
            reason = error.args[0]
            # A broker that is away, and a topic that is gone, are told by who reads it.
            if not is_away(reason) and reason.code() not in GONE and topic not in self._told:
                self._told.add(topic)
                words = f"Kafka says {reason.name()}: {reason.str()}"
                structlog.get_logger().warning("adl.input_not_watched", topic=topic, reason=words)
            return
        check_id(topic, str(found.topic_id), self._ids[topic])
        if (count := len(found.partitions)) > self._counts[topic]:
            raise MorePartitionsError(
                f"{topic} has {count} partitions, {self._counts[topic]} are read: a restart reads the new ones too"
            )


def check_id(topic: str, is_now: str, was: str) -> None:
    """Raises LogLostError where another topic has the name."""
    if is_now != was:
        raise LogLostError(f"{topic} was deleted and made anew (id {is_now}, was {was}); its log is another")


def check_logs(
    origin: Origin,
    committed: Mapping[Partition, int],
    ids: Mapping[str, str],
    begins: Mapping[Partition, int],
    ends: Mapping[Partition, int],
) -> None:
    """Raises an EdgeError where the logs are not those that the pool's state rests on."""
    for topic, old in origin.topics.items():
        if topic not in ids:
            raise WrongTopicsError(f"{topic} was an input when the pool started, and must stay one")
        check_id(topic, ids[topic], old)
    for (topic, number), begin in begins.items():
        first = origin.begins.get(f"{topic}:{number}", 0)
        if topic in origin.topics and begin > first:
            raise LogLostError(
                f"the log of {topic}:{number} begins at {begin}, the pool's state rests on it from {first}: "
                "its records left retention"
            )
    for (topic, number), offset in committed.items():
        end = ends.get((topic, number), 0)
        if offset > end:
            raise LogLostError(f"the log of {topic}:{number} ends at {end}, {offset} was committed: it was cut off")
