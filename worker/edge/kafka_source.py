"""Topics as a source: all partitions assigned statically, read with `read_committed`, in rounds to ends asked once.

Rule 1: what lies behind the ends of a round is not given before the round is over.
Rule 2: offsets have gaps (control records, compaction), so a partition is at its end when the client says so.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from worker.edge.exits import ClientError, LogLostError, NotAllowedError
from worker.edge.kafka_cluster import FORBIDDEN, GONE, REPORT_SECONDS, Cluster, is_away
from worker.edge.kafka_words import ClientWords
from worker.fetched import Fetched, Span, packed
from worker.record import END, Partition, Record

POLL_SECONDS: Final = 0.05  # signals are seen between two polls
AHEAD_MS: Final = 60_000  # clocks that are kept agree to less
CONSUMER: Final[dict[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 10,
    "fetch.error.backoff.ms": 50,
    "queued.max.messages.kbytes": 4096,  # of one partition
    "fetch.queue.backoff.ms": 5,  # its default waits a second when that is full: 100,000 records a second, not 530,000
}


@dataclass(slots=True)
class Arrived:
    """Messages of one partition in offset order, and the end that the client has reported behind them."""

    messages: list[Message] = field(default_factory=list)
    end: int = 0

    def beyond(self, offset: int) -> list[Message]:
        """The messages from an offset on."""
        count = bisect_left(self.messages, offset, key=_offset)
        return self.messages[count:]


def _offset(message: Message) -> int:
    return message.offset() or 0  # None only where there is an error


class KafkaSource:
    """The pool's inputs; `finite` stops at the ends that were there when they were first asked, or at `until`."""

    def __init__(
        self,
        config: Mapping[str, Any],
        cluster: Cluster,
        begins: Mapping[Partition, int],
        *,
        group: str,
        finite: bool = False,
        until: Mapping[Partition, int] | None = None,
        on_poll: Callable[[], None] = lambda: None,
    ) -> None:
        self._cluster = cluster
        self._finite = finite
        self._until = until or {}
        self._on_poll = on_poll
        self._partitions = sorted(begins)
        self._next = dict(begins)  # what was given, or the end the client has reported
        self._ends = dict(begins)
        self._behind: set[Partition] = set()  # not read up to their ends
        self._newest_ms = dict.fromkeys(begins, -END)
        self._last_ms = dict.fromkeys(begins, -END)  # of the last record given, which may be older
        self._ids = cluster.ids({topic for topic, _ in begins})
        self._waiting: dict[Partition, Arrived] = {}  # fetched, behind the ends of the round
        self._held: set[Partition] = set()
        self._asked = 0
        self._came = time.monotonic()
        self._empty = 0  # polls in vain since, or since that was reported
        self._consumer = Consumer(  # the group is named, never joined
            {**config, **CONSUMER, "group.id": group}, logger=ClientWords().logger
        )
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in begins.items()])

    def partitions(self) -> list[Partition]:
        """Every partition, sorted."""
        return self._partitions

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Begins at these offsets where they are behind its own; before the first poll."""
        self._next = {where: max(offset, offsets.get(where, 0)) for where, offset in self._next.items()}
        self._ends = dict(self._next)
        self._consumer.assign([TopicPartition(*partition, offset) for partition, offset in self._next.items()])

    def ends(self) -> dict[Partition, int]:
        """Asks once where the logs end.

        The first time that is the high watermark, and an open transaction of somebody else is waited for: a recovery
        must not miss what was decided upon. Later its records count as late.
        """
        if not (self._finite and self._asked):
            ends = self._cluster.ends(self._partitions, committed=self._asked > 0)
            until = {} if self._asked else self._until  # who follows and asks again wants what came since
            self._ends = {partition: min(end, until.get(partition, END)) for partition, end in ends.items()}
            self._behind = {p for p in self._partitions if self._next[p] < self._ends[p]}
        self._asked += 1
        return dict(self._ends)

    def complete_until_ms(self, partition: Partition) -> int:
        """END when the partition is read up to its end, or the newest log time given."""
        return self._newest_ms[partition] if partition in self._behind else END

    def poll(self, max_records: int) -> list[Record]:
        """What is there, at most about `max_records`; waits a moment when nothing is."""
        return list(self.fetch(max_records).records())

    def fetch(self, max_records: int) -> Fetched:
        """As `poll`, the records as columns."""
        self._on_poll()
        fetched = self._given(self._waiting)
        if not len(fetched):
            fetched = self._given(self._fetch(max_records))
        if len(fetched):
            self._came, self._empty = time.monotonic(), 0
        elif self._behind:
            self._report()
        return fetched

    def hold(self, partitions: Collection[Partition]) -> None:
        """Pauses these and resumes the others.

        A pause throws away what was fetched of the partition, so it must be rare. Measured, 800,000 records, one of two
        partitions far ahead: without 380,000 wait in memory; with it 21,000, two pauses, the time of a consumer per
        partition (which also keeps 20,000, for five threads and a connection each); not calling `consume` stops all.
        """
        wanted = set(partitions)
        if resumed := self._held - wanted:
            self._consumer.resume([TopicPartition(*partition) for partition in sorted(resumed)])
        if paused := wanted - self._held:
            self._consumer.pause([TopicPartition(*partition) for partition in sorted(paused)])
        self._held = wanted

    def quiet_ms(self) -> int:
        """For how long nothing came; a finite source that is read is quiet for ever."""
        return END if self.at_end() else int((time.monotonic() - self._came) * 1000)

    def at_end(self) -> bool:
        """Only a finite source has an end."""
        return self._finite and self._asked > 0 and not self._behind

    def caught_up(self) -> bool:
        """What was there at the start has been read."""
        return self._asked > 1 or (self._asked == 1 and not self._behind)

    def lag_ms(self) -> int:
        """The age of the newest record given while others are still to be read, else 0.

        One whose clock is far ahead says nothing about age.
        """
        now_ms = int(time.time() * 1000)
        newest_ms = max((ms for ms in self._last_ms.values() if ms <= now_ms + AHEAD_MS), default=-END)
        return max(0, now_ms - max(newest_ms, 0)) if self._behind else 0

    def ahead_ms(self) -> dict[Partition, int]:
        """By how much a partition's newest log time is ahead of this machine's clock, where it is by much."""
        now_ms = int(time.time() * 1000)
        return {p: ms - now_ms for p, ms in self._newest_ms.items() if ms > now_ms + AHEAD_MS}

    def close(self) -> None:
        """Leaves the cluster."""
        self._consumer.close()

    def _fetch(self, max_records: int) -> "dict[Partition, Arrived]":
        """What waits, and behind it what comes now."""
        arrived, self._waiting = self._waiting, {}
        # `consume` waits until it has all it was asked for, so the first record comes by `poll`.
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return arrived
        for message in (first, *self._consumer.consume(max_records - 1, 0)):
            topic, number, error = message.topic(), message.partition(), message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001  the library's name
                self._judge(error, str(topic), f"{topic}:{number}")
                continue
            if topic is None or number is None or message.offset() is None:
                raise ClientError("a record came without its place")
            of = arrived.get((topic, number))
            if of is None:
                of = arrived[topic, number] = Arrived()
            if error is None:
                of.messages.append(message)
            else:
                of.end = int(message.offset() or 0)
        return arrived

    def _given(self, arrived: "dict[Partition, Arrived]") -> Fetched:
        """Sorts out what may be given now; the rest waits."""
        in_round = bool(self._behind)
        self._waiting = {}
        spans: list[Span] = []
        given: list[Message] = []
        for where, of in arrived.items():
            messages, waiting = of.messages, of.beyond(self._ends[where]) if in_round else []
            if waiting:
                self._waiting[where] = Arrived(waiting, of.end)
                messages = messages[: len(messages) - len(waiting)]
            elif of.end > self._next[where]:
                self._next[where] = of.end
            if messages:
                spans.append((where, len(given), len(given) + len(messages)))
                given += messages
        fetched = packed(
            spans,
            [_offset(message) for message in given],
            [message.timestamp()[1] for message in given],
            [message.key() for message in given],
            [message.value() for message in given],
        )
        for where, begin, end in spans:
            self._next[where] = max(int(fetched.offsets[end - 1]) + 1, self._next[where])
            self._last_ms[where] = int(fetched.log_times[end - 1])
            self._newest_ms[where] = max(int(fetched.log_times[begin:end].max()), self._newest_ms[where])
        waits = self._waiting.keys()
        self._behind = {p for p in self._behind if self._next[p] < self._ends[p] and p not in waits}
        return fetched

    def _report(self) -> None:
        # By polls, not by the clock: what the caller did with the last records since they came is no silence.
        self._empty += 1
        if self._empty * POLL_SECONDS > REPORT_SECONDS:
            self._empty = 0
            names = [f"{topic}:{number}" for topic, number in sorted(self._behind)]
            structlog.get_logger().warning(
                "adl.waiting", partitions=names, reason="open transaction of another producer, or broker away"
            )

    def _judge(self, error: KafkaError, topic: str, where: str) -> None:
        """Returns where the client goes on by itself; raises an EdgeError where it cannot."""
        words = f"Kafka says {error.name()}: {error.str()}"
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001  the library's name
            raise LogLostError(f"the log of {where} does not have the next offset any more: {words}")
        if error.code() in GONE:
            self._confirm(topic, words)
        elif error.code() in FORBIDDEN:
            raise NotAllowedError(f"a right is missing to read {where} (adl topics acls): {words}")
        elif error.fatal() or not is_away(error):
            raise ClientError(f"reading {where}, {words}")

    def _confirm(self, topic: str, words: str) -> None:
        """Raises LogLostError where the topic is gone or another: a broker that has just started knows none either."""
        try:
            found = self._cluster.ids([topic])[topic]
        except LogLostError:
            raise LogLostError(f"{topic} was deleted: {words}") from None
        if found != self._ids[topic]:
            raise LogLostError(f"{topic} was deleted and made anew: {words}")
