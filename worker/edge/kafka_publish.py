"""Records written to their own partitions by a plain idempotent producer: order kept, memory bounded, no error lost.

Rule: one record that cannot be written ends it; what comes behind it in its partition is not written either.
"""

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from worker.edge.exits import ClientError, EdgeError, UnreachableError
from worker.edge.kafka_cluster import is_away
from worker.edge.kafka_words import ClientWords
from worker.record import Record

PATIENCE_SECONDS: Final = 120.0
PRODUCER: Final[dict[str, Any]] = {
    "enable.idempotence": True,
    "linger.ms": 5,
    "queue.buffering.max.kbytes": 65_536,
    "delivery.timeout.ms": int(PATIENCE_SECONDS * 1000),
    "delivery.report.only.error": True,
}


class Publisher:
    """Writes records; every call raises an EdgeError once something could not be written."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._failed: list[tuple[str, KafkaError]] = []
        settings = {"compression.type": "lz4", **config, **PRODUCER, "on_delivery": self._delivered}
        self._producer = Producer(settings, logger=ClientWords().logger)
        self._taken = 0

    def put(self, record: Record, *, timed: bool) -> None:
        """Takes a record, waits while too many are on their way; `timed`: with its own time, else with that of now."""
        time_ms = record.log_time_ms if timed else 0  # for the client 0 is now
        while True:
            try:
                self._producer.produce(
                    record.topic, record.value, record.key, partition=record.partition, timestamp=time_ms
                )
                self._taken += 1
                break
            except BufferError:
                self.wait(0.1)
            except KafkaException as error:
                self._delivered(error.args[0], None)
                self._check()
        if self._taken % 1000 == 0:
            self.wait(0)

    def wait(self, seconds: float) -> None:
        """Lets the client report; raises when it reports a failure."""
        self._producer.poll(seconds)
        self._check()

    def flush(self) -> None:
        """Returns when everything is written."""
        until = time.monotonic() + PATIENCE_SECONDS + 10.0  # the client gives each record up before
        while self._producer.flush(0.5):
            self._check()
            if time.monotonic() > until:
                raise UnreachableError(f"{len(self._producer):,} of {self._taken:,} records were not acknowledged")
        self._check()

    def _delivered(self, error: KafkaError | None, message: Message | None) -> None:
        if error is not None:
            where = "" if message is None else f"{message.topic()}:{message.partition()}"
            self._failed.append((where, error))

    def _check(self) -> None:
        if not self._failed:
            return
        # The first cause, not those that only followed from it.
        where, error = self._failed[0]
        away = is_away(error) or error.code() == KafkaError._MSG_TIMED_OUT  # noqa: SLF001  the library's name
        kind: type[EdgeError] = UnreachableError if away else ClientError
        raise kind(
            f"records were not written, the first to {where or 'the client'}: Kafka says {error.name()}: "
            f"{error.str()}; those before it are in the topics"
        )
