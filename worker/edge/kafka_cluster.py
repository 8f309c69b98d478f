"""What a cluster says of its topics: partitions, ids, where logs begin and end, how they are set up; and new topics.

Rule: a question that gets no answer is asked again, until patience ends or the worker is asked to stop.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Final, TypeVar

import structlog
from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from worker.edge.exits import (
    ClientError,
    LogLostError,
    NotAllowedError,
    StoppedError,
    UnreachableError,
    WrongTopicsError,
)
from worker.edge.kafka_words import ClientWords
from worker.edge.topics_check import TopicFacts
from worker.record import Partition

ASK_SECONDS: Final = 3.0
PATIENCE_SECONDS: Final = 120.0
REPORT_SECONDS: Final = 5.0
GONE_SECONDS: Final = 10.0  # a broker that has just started does not know its topics yet
Answer = TypeVar("Answer")

GONE: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID,
    KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001  the library's public names
)  # fmt: skip
# Reported as not to be retried, but all they say is that a broker is not there now.
_AWAY = (
    KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT,  # noqa: SLF001  the library's public names
    KafkaError._RESOLVE, KafkaError._TIMED_OUT_QUEUE, KafkaError._WAIT_COORD,  # noqa: SLF001  the library's public names
    KafkaError._AUTHENTICATION,  # noqa: SLF001  the library's public names
    KafkaError._NOENT,  # noqa: SLF001  "no leaders found", while a broker shuts down
    KafkaError.LEADER_NOT_AVAILABLE, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.REQUEST_TIMED_OUT, KafkaError.NETWORK_EXCEPTION,
    KafkaError.FENCED_LEADER_EPOCH, KafkaError.UNKNOWN_LEADER_EPOCH, KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.UNSTABLE_OFFSET_COMMIT,  # a transaction of the pool is open just now
)  # fmt: skip
FORBIDDEN: Final = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
)  # fmt: skip
_NOT_SHOWN = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def is_away(error: KafkaError) -> bool:
    """The broker may answer the same question later."""
    return bool(error.retriable()) or error.code() in _AWAY


class Cluster:
    """Questions to the brokers."""

    def __init__(
        self,
        config: Mapping[str, Any],
        stop: Callable[[], bool] = lambda: False,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._words = ClientWords()
        self._admin = AdminClient(dict(config), logger=self._words.logger)
        self._stop, self._patience_seconds = stop, patience_seconds

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
            return {topic: str(future.result().topic_id) for topic, future in self.describe(topics).items()}

        return self.ask("topic ids", answer)

    def describe(self, topics: Collection[str]) -> dict[str, Future[TopicDescription]]:
        """Ids and partitions, without waiting for them."""
        return self._admin.describe_topics(TopicCollection(sorted(topics)), request_timeout=ASK_SECONDS)

    def begins(self, partitions: Iterable[Partition]) -> dict[Partition, int]:
        """The oldest offset of each log."""
        return self._offsets(partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)

    def ends(self, partitions: Iterable[Partition], *, committed: bool = True) -> dict[Partition, int]:
        """The offset behind each log; with `committed` not beyond a transaction that is still open."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._offsets(partitions, OffsetSpec.latest(), level)

    def at_time(self, partitions: Iterable[Partition], log_time_ms: int) -> dict[Partition, int]:
        """The first offset of each log whose time is not before the one asked; -1 where there is none."""
        spec = OffsetSpec.for_timestamp(log_time_ms)
        return self._offsets(partitions, spec, IsolationLevel.READ_UNCOMMITTED)

    def brokers(self) -> int:
        """How many there are."""
        return len(self.ask("brokers", lambda: self._admin.list_topics(timeout=ASK_SECONDS).brokers))

    def facts(self, topics: Iterable[str]) -> dict[str, TopicFacts]:
        """What the cluster says of those of the topics that there are."""
        found = self.ask("topics", lambda: self._admin.list_topics(timeout=ASK_SECONDS).topics)
        there = [topic for topic in sorted(set(topics)) if topic in found and found[topic].error is None]
        settings = self.ask("topic settings", lambda: self._settings(there)) if there else {}
        return {
            topic: TopicFacts(
                partitions=len(found[topic].partitions),
                replicas=min((len(p.replicas) for p in found[topic].partitions.values()), default=0),
                settings=settings[topic],
            )
            for topic in there
        }

    def _settings(self, topics: list[str]) -> dict[str, dict[str, str] | None]:
        resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        futures = self._admin.describe_configs(resources, request_timeout=ASK_SECONDS)
        found: dict[str, dict[str, str] | None] = {}
        for resource, future in futures.items():
            try:
                found[resource.name] = {name: str(entry.value) for name, entry in future.result().items()}
            except KafkaException as error:
                if error.args[0].code() not in _NOT_SHOWN:
                    raise
                found[resource.name] = None
        return found

    def create(self, topic: str, partitions: int, replicas: int, settings: dict[str, str]) -> bool:
        """Makes a topic; False where it is there already, which stays as it is. WrongTopicsError where it cannot be."""

        def answer() -> bool:
            new = NewTopic(topic, partitions, replicas, config=settings)
            try:
                self._admin.create_topics([new], request_timeout=ASK_SECONDS)[topic].result()
            except KafkaException as error:
                reason = error.args[0]
                if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
                    return False
                if is_away(reason):
                    raise
                raise WrongTopicsError(f"{topic} cannot be made, Kafka says {reason.name()}: {reason.str()}") from None
            return True

        return self.ask("a new topic", answer)

    def wait_for_leaders(self, topics: Iterable[str]) -> None:
        """Returns when every partition can be read and written, which takes a moment after a topic was made."""
        wanted = set(topics)

        def answer() -> None:
            found = self._admin.list_topics(timeout=ASK_SECONDS).topics
            for topic in wanted:
                if topic not in found or any(p.leader < 0 for p in found[topic].partitions.values()):
                    raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, topic))

        self.ask("new topics", answer)

    def ask(self, what: str, question: Callable[[], Answer]) -> Answer:
        """The answer, asked for again while no broker is there."""
        begun, reports, self._words.warning = time.monotonic(), 1, ""
        while True:
            try:
                return question()
            except KafkaException as error:
                reason, waited = error.args[0], time.monotonic() - begun
                if reason.code() in GONE and waited > GONE_SECONDS:
                    raise LogLostError(f"a topic is gone: {reason.str()}") from None
                if reason.code() in FORBIDDEN:
                    said = f"asked for {what}, Kafka says {reason.name()}: {reason.str()}"
                    raise NotAllowedError(f"a right is missing (adl topics acls): {said}") from None
                if not is_away(reason) and reason.code() not in GONE:
                    raise ClientError(f"asked for {what}, Kafka says {reason.name()}: {reason.str()}") from None
                self.heed_stop(f"asking for {what}")
                if waited > self._patience_seconds:
                    raise UnreachableError(f"asked for {what} for {waited:.0f} s: {self._told(reason)}") from None
                if waited > reports * REPORT_SECONDS:
                    reports = int(waited / REPORT_SECONDS) + 1
                    words = {"asked_for": what, "seconds": round(waited), "reason": self._told(reason)}
                    structlog.get_logger().warning("adl.waiting", **words)
            time.sleep(0.1)
            self._refresh()
            self.heed_stop(f"asking for {what}")

    def heed_stop(self, what: str) -> None:
        """Raises StoppedError when the worker was asked to stop."""
        if self._stop():
            raise StoppedError(f"stopped while {what}")

    def _told(self, reason: KafkaError) -> str:
        """A wrong password or certificate looks like a broker that is away; only the client's log tells."""
        self._admin.poll(0)
        return self._words.warning or reason.str()

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
            found = {(place.topic, place.partition): future.result().offset for place, future in futures.items()}
            # The client answers so, without an error, where the request or its answer was lost.
            if OFFSET_INVALID in found.values():
                raise KafkaException(KafkaError(KafkaError._TRANSPORT, "the client has no offsets"))  # noqa: SLF001
            return found

        return self.ask("offsets", answer) if asked else {}
