"""Topics as a sink: outputs, dead letters and input offsets in one transaction of the pool's one producer.

Rule 1: the transactional id never changes, so a pool has one writer: whoever asks last for it fences the others.
Rule 2: whether an uncertain commit took effect is not guessed. A new producer ends whatever is open, and the offsets
that are then committed say it: ours, and it did; those before, and the same bytes are sent again; others, and we stop.

The state needs no rolling back for that: it is a function of the inputs, and the outputs of the cut are still in hand.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from worker.edge.caller import Caller, HungError
from worker.edge.exits import (
    ClientError,
    FencedError,
    HangingError,
    LogLostError,
    StoppedError,
    UnreachableError,
)
from worker.edge.kafka_cluster import Cluster, is_away
from worker.edge.kafka_commit import CALL_SECONDS, METADATA_BYTES_MAX, Origin, Words, read_committed
from worker.edge.kafka_log import own_records
from worker.edge.kafka_words import ClientWords
from worker.edge.watchdog import Watchdog
from worker.record import Committed, Output, Partition, Record

CALLS_MAX: Final = 4  # of one kind before the transaction is given up
COMMITS_MAX: Final = 5  # of the same outputs before the process is
PATIENCE_SECONDS: Final = 120.0
CERTAIN_SECONDS: Final = 1.0  # a commit that took longer may have been sent twice, and one of them be still under way
HUNG_MAX: Final = 5  # calls that were left behind before the process ends
BEAT_SECONDS: Final = 1.0
RENEW_SECONDS: Final = 0.2  # between two producers: an error that comes at once would make thousands of them
ADVICE_SECONDS: Final = 1.0  # what is advisory may be lost; a stop must not wait for it
PRODUCER: Final[dict[str, Any]] = {
    "linger.ms": 0,
    "retry.backoff.ms": 10,
    "metadata.recovery.strategy": "none",
    # While the broker is away send_offsets_to_transaction comes back with attempts to connect, whatever its timeout:
    # measured 3 s with this, and 10 s, which is the watchdog's, with the client's own 10,000.
    "reconnect.backoff.max.ms": 1000,
    # A request that was under way when the broker went is given up after this, and not after 60 s.
    "socket.timeout.ms": 5000,
    "partitioner": "murmur2_random",  # a key's partition is the one that the Java client would choose
}
_DEFAULTS: Final[dict[str, Any]] = {"compression.type": "lz4"}  # the operator's may win
_FENCED: Final = (
    KafkaError._FENCED,  # noqa: SLF001  the library's public names
    KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED,
)  # fmt: skip


class Again(Exception):  # noqa: N818  an answer, not an end
    """The transaction must be tried again with a new producer."""


class KafkaSink:
    """The pool's outputs. `open` before anything else; raises an EdgeError where it must not go on."""

    def __init__(
        self,
        config: Mapping[str, Any],
        cluster: Cluster,
        topics: Mapping[str, str],
        partitions: Sequence[Partition],
        *,
        pool: str,
        identity: str,
        watchdog: Watchdog,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._config = {**_DEFAULTS, **config, **PRODUCER, "transactional.id": identity}
        self._cluster, self._topics, self._pool = cluster, dict(topics), pool
        self._watchdog, self._stop = watchdog, stop
        self._caller = Caller(stop)
        self._left_behind: list[Producer] = []  # a call of theirs hangs: to let go of them would hang as well
        self._partitions = sorted(partitions)
        # Offsets are committed under a group that nobody joins; its metadata is all that a transaction asks for.
        self._offsets_of = Consumer(
            {**config, "group.id": identity, "isolation.level": "read_committed"}, logger=ClientWords().logger
        )
        self._advisor = Producer({**_DEFAULTS, **config}, logger=ClientWords().logger)
        self._words = ClientWords()
        self._producer: Producer | None = None
        self._last: tuple[dict[Partition, int], str] = ({}, "")  # what is committed: offsets and words
        self._at = time.monotonic()
        self.origin: Origin | None = None

    def open(self) -> None:
        """Takes the pool over: fences every older producer, ends what it left open, and reads what is committed."""
        self._renew()
        self._last = self._read_committed()
        offsets, words = self._last
        if words:
            self.origin = msgspec.json.decode(words, type=Words).origin
        elif offsets:
            raise LogLostError("offsets are committed, but not what the worker has written beside them")

    def begin(self, origin: Origin, offsets: Mapping[Partition, int]) -> None:
        """Commits what was found at the first start, before anything is decided."""
        self.origin = origin
        self._commit([], offsets, "", 0)

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], metadata: str, log_time_ms: int
    ) -> None:
        """One transaction; returns when it is certain that it took effect."""
        self._commit(outputs, offsets, metadata, log_time_ms)

    def committed(self) -> Committed | None:
        """The last commit; None while only the start is committed."""
        offsets, words = self._last
        mark = msgspec.json.decode(words, type=Words).mark if words else ""
        return Committed(dict(offsets), mark) if mark else None

    def outputs(self, topic: str) -> Iterator[Record]:
        """The pool's committed records of a logical topic, in the order of their sequence."""
        return own_records(self._config_of_reader(), self._cluster, self._topics[topic], self._pool)

    def advise(self, outputs: Sequence[Output], log_time_ms: int = 0) -> None:
        """Sends advisory outputs without waiting for anything."""
        for output in outputs:
            time_ms = log_time_ms if output.log_time_ms is None else output.log_time_ms
            try:
                self._advisor.produce(self._topics[output.topic], output.value, output.key, timestamp=max(time_ms, 1))
            except (BufferError, KafkaException):
                break  # they may be lost
        self._advisor.poll(0)

    def beat(self) -> None:
        """Commits the same once more when nothing was said for a second: a second writer, and a broker that drops
        offsets of groups that say nothing, are found early.
        """
        offsets, words = self._last
        if words and time.monotonic() - self._at > BEAT_SECONDS:
            self._commit([], offsets, msgspec.json.decode(words, type=Words).mark, 0)

    def close(self) -> None:
        """Closes the clients."""
        self._offsets_of.close()
        self._advisor.flush(ADVICE_SECONDS)

    # --- one commit ---------------------------------------------------------------------------------------------------

    def _commit(self, outputs: Sequence[Output], offsets: Mapping[Partition, int], mark: str, log_time_ms: int) -> None:
        if self.origin is None:
            raise ClientError("nothing may be committed before the pool is open")
        words = msgspec.json.encode(Words(self.origin, mark)).decode()
        if len(words) > METADATA_BYTES_MAX:
            raise ClientError(f"what stands beside an offset must fit {METADATA_BYTES_MAX} bytes, was {len(words)}")
        before, wanted, reason = self._last, (dict(offsets), words), ""
        for _ in range(COMMITS_MAX):
            try:
                self._transaction(outputs, offsets, words, log_time_ms)
            except Again as again:
                reason = str(again)
                structlog.get_logger().warning("adl.commit_uncertain", reason=reason)
                self._renew()
                found = self._read_committed()
                if found == before and found != wanted:
                    continue
                if found != wanted:
                    raise FencedError("another process has committed for this pool") from None
            self._last, self._at = wanted, time.monotonic()
            return
        raise UnreachableError(f"a transaction failed {COMMITS_MAX} times; the last time: {reason}")

    def _transaction(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], words: str, log_time_ms: int
    ) -> None:
        producer = self._live_producer()
        producer.poll(0)  # the client's log of before
        self._words.uncertain = ""
        self._call("begin_transaction", producer.begin_transaction)
        for output in outputs:
            self._write(output, log_time_ms)
        # Without it transactions that follow each other take 100 ms: offsets race the markers of the last one.
        if outputs and self._call("flush", producer.flush, CALL_SECONDS):
            raise Again("outputs were not acknowledged in time")
        first = min(offsets)
        places = [TopicPartition(*p, offset, words if p == first else "") for p, offset in sorted(offsets.items())]
        self._send_offsets(places)
        begun = time.monotonic()
        self._end()
        took = time.monotonic() - begun
        producer.poll(0)  # the client's log
        if took >= CERTAIN_SECONDS or self._words.uncertain:
            raise Again(self._words.uncertain or f"the commit took {took:.1f} s")

    def _write(self, output: Output, log_time_ms: int) -> None:
        producer = self._live_producer()
        time_ms = log_time_ms if output.log_time_ms is None else output.log_time_ms
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                producer.produce(self._topics[output.topic], output.value, output.key, timestamp=max(time_ms, 1))
            except BufferError:
                producer.poll(0.05)
                if time.monotonic() > until:
                    raise Again("the client's queue stays full") from None
            except KafkaException as error:
                raise self._judged("produce", error.args[0]) from None
            else:
                return

    def _send_offsets(self, places: list[TopicPartition]) -> None:
        self._call(
            "send_offsets_to_transaction", self._live_producer().send_offsets_to_transaction,
            places, self._offsets_of.consumer_group_metadata(), CALL_SECONDS,
        )  # fmt: skip

    def _end(self) -> None:
        self._call("commit_transaction", self._live_producer().commit_transaction, CALL_SECONDS)

    # --- the client ---------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """A new producer under the same id: the broker fences what an older one may still have sent."""
        old, self._producer = self._producer, None
        if old is not None and old not in self._left_behind:
            with self._watchdog.within(2 * CALL_SECONDS, "purge"):
                old.purge()
                del old
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            producer = Producer(self._config, logger=self._words.logger)
            try:
                self._call("init_transactions", producer.init_transactions, CALL_SECONDS)
            except Again as again:
                structlog.get_logger().warning("adl.producer_not_ready", reason=str(again))
                self._left_behind.append(producer)
                if self._stop():
                    raise StoppedError("stopped without a producer") from None
                if time.monotonic() > until:
                    raise UnreachableError(f"no producer for {PATIENCE_SECONDS:.0f} s: {again}") from None
                time.sleep(RENEW_SECONDS)
                continue
            self._producer = producer
            return

    def _read_committed(self) -> tuple[dict[Partition, int], str]:
        with self._watchdog.within(PATIENCE_SECONDS + 2 * CALL_SECONDS, "committed"):
            return read_committed(self._offsets_of, self._cluster, self._partitions)

    def _call(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """The same call again while the client says that it may be; raises Again, or an EdgeError."""
        for _ in range(CALLS_MAX):
            try:
                return self._caller.call(2 * CALL_SECONDS, function, *args)
            except HungError:
                if self._producer is not None:
                    self._left_behind.append(self._producer)
                if self._stop():
                    raise StoppedError(f"stopped while {name} did not come back") from None
                if self._caller.hung > HUNG_MAX:
                    raise HangingError(f"{self._caller.hung} calls did not come back, the last {name}") from None
                raise Again(f"{name} did not come back") from None
            except KafkaException as error:
                judged = self._judged(name, error.args[0])
                if not isinstance(judged, Again) or not error.args[0].retriable():
                    raise judged from None
                if self._stop():
                    raise StoppedError(f"stopped in {name}") from None
        raise Again(f"{name} was tried {CALLS_MAX} times")

    def _judged(self, name: str, error: KafkaError) -> Exception:
        """What an error means: another writer, try again, or our bug."""
        words = f"{name}: Kafka says {error.name()}: {error.str()}"
        if error.code() in _FENCED:
            return FencedError(f"another process writes for this pool; {words}")
        if error.fatal():
            return ClientError(words)
        if error.retriable() or error.txn_requires_abort() or is_away(error):
            return Again(words)
        return ClientError(words)

    def _live_producer(self) -> Producer:
        if self._producer is None:
            raise ClientError("the pool is not open")
        return self._producer

    def _config_of_reader(self) -> dict[str, Any]:
        own = {*PRODUCER, *_DEFAULTS, "transactional.id"}
        return {name: value for name, value in self._config.items() if name not in own}
