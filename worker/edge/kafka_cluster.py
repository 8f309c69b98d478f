"""What a cluster says of its topics: partitions, ids, where logs begin and end, how they are cleaned.

Rule: a question that gets no answer is asked again, until PATIENCE_SECONDS have passed or the worker is asked to stop.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from worker.edge.exits import ClientError, LogLostError, StoppedError, UnreachableError, WrongTopicsError
from worker.edge.kafka_words import ClientWords
from worker.record import Partition

ASK_SECONDS: Final = 3.0
PATIENCE_SECONDS: Final = 120.0
GONE_SECONDS: Final = 10.0  # a broker that has just started does not know its topics yet
Answer = TypeVar("Answer")

_GONE = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)  # noqa: SLF001
# Reported as not to be retried, but all they say is that a broker is not there now.
_AWAY = (
    KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._RESOLVE,  # noqa: SLF001
    KafkaError._TIMED_OUT_QUEUE, KafkaError._WAIT_COORD, KafkaError._AUTHENTICATION,  # noqa: SLF001
    KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE,
)  # fmt: skip


def is_away(error: KafkaError) -> bool:
    """The broker may answer the same question later."""
    return bool(error.retriable()) or error.code() in _AWAY


class Cluster:
    """Questions to the brokers."""

    def __init__(self, config: Mapping[str, Any], stop: Callable[[], bool] = lambda: False) -> None:
        self._admin = AdminClient(dict(config), logger=ClientWords().logger)
        self._stop = stop

    def partitions(self, topics: Iterable[str]) -> list[Partition]:
        """Every partition of the topics, sorted; WrongTopicsError names those that are missing."""
        wanted = sorted(set(topics))
        found = self.ask("topics", lambda: self._admin.list_topics(timeout=ASK_SECONDS).topics)
        missing = [topic for topic in wanted if topic not in found or found[topic].error is not None]
        if missing:
            raise WrongTopicsError(f"these topics must exist: {', '.join(missing)}")
        return sorted((topic, number) for topic in wanted for number in found[topic].partitions)

    def ids(self, topics: Collection[str]) -> dict[str, str]:
        """The id that a topic got when it was made; another one made under its name has another."""

        def answer() -> dict[str, str]:
            futures = self._admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=ASK_SECONDS)
            return {topic: str(future.result().topic_id) for topic, future in futures.items()}

        return self.ask("topic ids", answer)

    def begins(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The oldest offset of each log."""
        return self._offsets(partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)

    def ends(self, partitions: Iterable[Partition], *, committed: bool = True) -> dict[Partition, int]:
        """The offset behind each log; with `committed` not beyond a transaction that is still open."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._offsets(partitions, OffsetSpec.latest(), level)

    def cleanup(self, topics: Collection[str]) -> dict[str, str]:
        """The `cleanup.policy` of each topic."""

        def answer() -> dict[str, str]:
            resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in sorted(topics)]
            futures = self._admin.describe_configs(resources, request_timeout=ASK_SECONDS)
            return {resource.name: future.result()["cleanup.policy"].value for resource, future in futures.items()}

        return self.ask("topic settings", answer)

    def ask(self, what: str, question: Callable[[], Answer]) -> Answer:
        """The answer, asked for again while no broker is there."""
        begun = time.monotonic()
        while True:
            try:
                return question()
            except KafkaException as error:
                reason, waited = error.args[0], time.monotonic() - begun
                if reason.code() in _GONE and waited > GONE_SECONDS:
                    raise LogLostError(f"a topic is gone: {reason.str()}") from None
                if not is_away(reason) and reason.code() not in _GONE:
                    raise ClientError(f"asked for {what}, Kafka says {reason.name()}: {reason.str()}") from None
                self.heed_stop(f"asking for {what}")
                if waited > PATIENCE_SECONDS:
                    raise UnreachableError(f"asked for {what} for {PATIENCE_SECONDS:.0f} s: {reason.str()}") from None
            time.sleep(0.1)
            self._refresh()

    def heed_stop(self, what: str) -> None:
        """Raises StoppedError when the worker was asked to stop."""
        if self._stop():
            raise StoppedError(f"stopped while {what}")

    def _refresh(self) -> None:
        """Lets the client see who leads now: after a broker's restart it goes on asking with the old leader's epoch."""
        with suppress(KafkaException):
            self._admin.list_topics(timeout=ASK_SECONDS)

    def _offsets(
        self, partitions: Iterable[Partition], spec: OffsetSpec, level: IsolationLevel
    ) -> dict[Partition, int]:
        # One request to each broker, 0.5-1 ms; the consumer's own answer waits behind its fetch, 11 ms a partition.
        asked = {TopicPartition(*partition): spec for partition in partitions}

        def answer() -> dict[Partition, int]:
            futures = self._admin.list_offsets(dict(asked), isolation_level=level, request_timeout=ASK_SECONDS)
            return {(place.topic, place.partition): future.result().offset for place, future in futures.items()}

        return self.ask("offsets", answer) if asked else {}
