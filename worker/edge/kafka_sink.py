"""Topics as a sink: outputs, dead letters and input offsets in one transaction of the pool's one producer.

Rule 1: the transactional id never changes, so a pool has one writer: whoever asks last for it fences the others.
Rule 2: whether an uncertain commit took effect is not guessed. A new producer ends whatever is open, and the offsets
that are then committed say it: ours, and it did; those before, and the same bytes are sent again; others, and we stop.
Rule 3: nothing is sent to a topic that the settings do not name for it.

The state needs no rolling back for that: it is a function of the inputs, and the outputs of the cut are still in hand.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from worker.edge.exits import ClientError, FencedError, LogLostError, StoppedError, UnreachableError, WrongTopicsError
from worker.edge.kafka_cluster import PATIENCE_SECONDS, REPORT_SECONDS, Cluster
from worker.edge.kafka_commit import (
    CALL_SECONDS,
    MARK_BYTES_MAX,
    METADATA_BYTES_MAX,
    Origin,
    Words,
    read_committed,
)
from worker.edge.kafka_log import own_records, records_of
from worker.edge.kafka_producer import DEFAULTS, Again, PoolProducer, judged
from worker.edge.kafka_words import ClientWords
from worker.edge.watchdog import Watchdog
from worker.record import Committed, Output, Partition, Record

COMMITS_MAX: Final = 5  # of the same outputs before the process is given up
CERTAIN_SECONDS: Final = 1.0  # a commit that took longer may have been sent twice, and one of them be still under way
MARKERS_SECONDS: Final = 0.02  # a transaction's markers are written behind its commit, in about 5 ms
# After 60 the broker aborts a transaction and fences its producer, and a call that is begun may take ten of them.
WRITE_SECONDS: Final = 45.0
BEAT_SECONDS: Final = 1.0
ADVICE_SECONDS: Final = 1.0  # what is advisory may be lost; a stop must not wait for it


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
        self._config = dict(config)
        self._cluster, self._topics, self._pool = cluster, dict(topics), pool
        self._watchdog, self._stop = watchdog, stop
        self._producer = PoolProducer(config, identity, stop)
        self._partitions = sorted(partitions)
        # Offsets are committed under a group that nobody joins; its metadata is all that a transaction asks for.
        self._offsets_of = Consumer(
            {**config, "group.id": identity, "isolation.level": "read_committed"}, logger=ClientWords().logger
        )
        self._advisor = Producer({**DEFAULTS, "enable.idempotence": True, **config}, logger=ClientWords().logger)
        # By topic and key, the newest each, with its commit's time: what the client has no room for.
        self._advice: dict[tuple[str, bytes], tuple[Output, int]] = {}
        self._last: tuple[dict[Partition, int], str] = ({}, "")  # what is committed: offsets and words
        self._at = time.monotonic()
        self._since = self._told = 0.0  # when the transaction was begun, and a delay of it last told
        self.origin: Origin | None = None

    def open(self) -> None:
        """Takes the pool over: fences every older producer, ends what it left open, and reads what is committed."""
        self._producer.renew()
        self._last = self._read_committed()
        offsets, words = self._last
        if words:
            self.origin = msgspec.json.decode(words, type=Words).origin
        elif offsets:
            raise LogLostError("offsets are committed, but not what the worker has written beside them")

    def begin(self, origin: Origin, offsets: Mapping[Partition, int]) -> None:
        """Commits what was found at the first start, before anything is decided; WrongTopicsError where it is too much
        to be repeated beside the loop's words.
        """
        self._fits(origin)
        self.origin = origin
        self._commit([], offsets, "", 0)

    def grow(self, origin: Origin) -> None:
        """Commits it with topics that came to the first ones, before anything of them is decided; WrongTopicsError."""
        self._fits(origin)
        offsets, words = self._last
        self.origin = origin
        self._commit([], offsets, msgspec.json.decode(words, type=Words).mark, 0)

    def _fits(self, origin: Origin) -> None:
        size = len(msgspec.json.encode(Words(origin))) + MARK_BYTES_MAX
        if size > METADATA_BYTES_MAX:
            raise WrongTopicsError(
                "where each partition that decisions come from begins to count is kept beside an offset, and "
                f"{len(origin.start) + len(origin.begins)} of them need {size:,} bytes where {METADATA_BYTES_MAX:,} "
                "fit: these topics must have fewer partitions, or worker.start_at be beginning"
            )

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], metadata: str, log_time_ms: int
    ) -> None:
        """One transaction; returns when it is certain that it took effect."""
        self._refuse_others(outputs)
        self._commit(outputs, offsets, metadata, log_time_ms)

    def committed(self) -> Committed | None:
        """The last commit; None while only the start is committed."""
        offsets, words = self._last
        mark = msgspec.json.decode(words, type=Words).mark if words else ""
        return Committed(dict(offsets), mark) if mark else None

    def outputs(self, topic: str) -> Iterator[Record]:
        """The pool's committed records of a logical topic, in the order of their sequence."""
        return own_records(self._config, self._cluster, self._topics[topic], self._pool)

    def outputs_behind(self, topic: str, sequence: int, log_time_ms: int) -> Iterator[Record]:
        """The same behind a sequence; a record's time is its cut's, so the broker knows where that is."""
        return own_records(self._config, self._cluster, self._topics[topic], self._pool, sequence, log_time_ms)

    def advise(self, outputs: Sequence[Output], log_time_ms: int = 0) -> None:
        """Sends advisory outputs without waiting for anything; what the client has no room for goes first next time."""
        self._refuse_others(outputs)
        for output in outputs:
            self._advice.pop((output.topic, output.key), None)
            self._advice[output.topic, output.key] = output, log_time_ms
        while self._advice:
            place, (output, commit_ms) = next(iter(self._advice.items()))
            time_ms = commit_ms if output.log_time_ms is None else output.log_time_ms
            try:
                self._advisor.produce(self._topics[output.topic], output.value, output.key, timestamp=max(time_ms, 1))
            except BufferError:
                break
            except KafkaException:
                pass  # it may be lost
            del self._advice[place]
        self._advisor.poll(0)

    def advised(self, topic: str) -> Iterator[Record]:
        """What is kept of an advisory topic."""
        return records_of(self._config, self._cluster, [self._topics[topic]])

    def beat(self) -> None:
        """Commits the same once more when nothing was said for a second: a second writer, and a broker that drops
        offsets of groups that say nothing, are found early.
        """
        if self._last[1] and time.monotonic() - self._at > BEAT_SECONDS:
            self.assure()

    def assure(self) -> None:
        """Commits the same once more; FencedError where another process writes for this pool."""
        offsets, words = self._last
        self._commit([], offsets, msgspec.json.decode(words, type=Words).mark, 0)

    def close(self) -> None:
        """Closes the clients."""
        self._producer.let_go()
        self._offsets_of.close()
        self._advisor.flush(ADVICE_SECONDS)

    def _refuse_others(self, outputs: Sequence[Output]) -> None:
        """Raises ClientError, before any of them is sent, where one is none of the pool's outputs: that is our bug."""
        if others := sorted({output.topic for output in outputs} - self._topics.keys()):
            raise ClientError(f"nothing may be written but {', '.join(sorted(self._topics))}, was {', '.join(others)}")

    # --- one commit ---------------------------------------------------------------------------------------------------

    def _commit(self, outputs: Sequence[Output], offsets: Mapping[Partition, int], mark: str, log_time_ms: int) -> None:
        if self.origin is None:
            raise ClientError("nothing may be committed before the pool is open")
        words = msgspec.json.encode(Words(self.origin, mark)).decode()
        if len(words) > METADATA_BYTES_MAX:
            raise ClientError(f"what stands beside an offset must fit {METADATA_BYTES_MAX} bytes, was {len(words)}")
        before, wanted, doubt = self._last, (dict(offsets), words), ""
        for _ in range(COMMITS_MAX):
            doubt = self._doubt(outputs, offsets, words, log_time_ms)
            if doubt:
                structlog.get_logger().warning("adl.commit_uncertain", reason=doubt)
                if self._stop():
                    raise StoppedError(f"stopped while a commit was uncertain, the next start finds out: {doubt}")
                self._producer.renew()
                found, self._at = self._read_committed(), time.monotonic()
                if found == before and found != wanted:
                    continue
                if found != wanted:
                    raise FencedError("another process has committed for this pool")
            self._last, self._at = wanted, time.monotonic()
            return
        raise UnreachableError(f"a transaction failed {COMMITS_MAX} times; the last time: {doubt}")

    def _doubt(self, outputs: Sequence[Output], offsets: Mapping[Partition, int], words: str, log_time_ms: int) -> str:
        """Makes the transaction; why it is uncertain that it took effect, or nothing."""
        # Returned as text: an exception in somebody's hands holds the producer, which is to be destroyed.
        try:
            self._transaction(outputs, offsets, words, log_time_ms)
        except Again as again:
            return str(again)
        return ""

    def _transaction(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], words: str, log_time_ms: int
    ) -> None:
        producer, heard = self._producer.client, self._producer.words
        producer.poll(0)  # the client's log of before
        heard.uncertain = ""
        self._producer.call("begin_transaction", producer.begin_transaction)
        self._since = self._told = time.monotonic()
        failed = next((error for output in outputs if (error := self._write(output, log_time_ms)) is not None), None)
        first = min(offsets)
        places = [TopicPartition(*p, offset, words if p == first else "") for p, offset in sorted(offsets.items())]
        # Sent while the outputs are on their way, offsets make a transaction take 6.2 ms instead of 7.5. Right behind
        # another one they would race its markers, and wait 10 ms to be sent again: 6.4 ms become 10 to 15. An output
        # that fails beside them may show as `_STATE`; the next try, right behind, says what it was.
        beside = failed is not None or self._since - self._at >= MARKERS_SECONDS
        if beside:
            self._send_offsets(places)
        if failed is not None:  # and the offsets were taken all the same
            raise judged("produce", failed)
        if outputs:
            self._flush()
        if not beside:
            self._send_offsets(places)
        begun = time.monotonic()
        self._end()
        took = time.monotonic() - begun
        producer.poll(0)  # the client's log
        if took >= CERTAIN_SECONDS or heard.uncertain:
            raise Again(heard.uncertain or f"the commit took {took:.1f} s")

    def _write(self, output: Output, log_time_ms: int) -> KafkaError | None:
        """The error where the transaction has failed already: why, the client says to the next call, not to this."""
        producer = self._producer.client
        time_ms = log_time_ms if output.log_time_ms is None else output.log_time_ms
        while True:
            try:
                producer.produce(self._topics[output.topic], output.value, output.key, timestamp=max(time_ms, 1))
            except BufferError:
                producer.poll(0.05)
                self._waits("the client's queue is full")
            except KafkaException as error:
                if error.args[0].code() in (KafkaError._STATE, KafkaError._FATAL):  # noqa: SLF001  the library's names
                    return cast("KafkaError", error.args[0])
                raise judged("produce", error.args[0]) from None
            else:
                return None

    def _flush(self) -> None:
        """Returns when every output is acknowledged, or has failed, which the next call says; Again when none is."""
        flush, before = self._producer.client.flush, len(self._producer.client)
        while left := self._producer.call("flush", flush, CALL_SECONDS):
            if left >= before:
                raise Again(f"{left} outputs were not acknowledged in time")
            before = left
            self._waits(f"{left} outputs are not acknowledged yet")

    def _waits(self, why: str) -> None:
        """Says now and then what is waited for; raises StoppedError, or Again where the transaction takes too long."""
        if self._stop():
            raise StoppedError(f"stopped while {why}")
        now = time.monotonic()
        if now - self._since > WRITE_SECONDS:
            raise Again(f"{why} after {WRITE_SECONDS:.0f} s")
        if now - self._told >= REPORT_SECONDS:
            self._told = now
            structlog.get_logger().warning("adl.waiting", reason=why)

    def _send_offsets(self, places: list[TopicPartition]) -> None:
        self._producer.call(
            "send_offsets_to_transaction", self._producer.client.send_offsets_to_transaction,
            places, self._offsets_of.consumer_group_metadata(), CALL_SECONDS, until=self._since + WRITE_SECONDS,
        )  # fmt: skip

    def _end(self) -> None:
        commit, until = self._producer.client.commit_transaction, self._since + WRITE_SECONDS
        self._producer.call("commit_transaction", commit, CALL_SECONDS, until=until)

    def _read_committed(self) -> tuple[dict[Partition, int], str]:
        with self._watchdog.within(PATIENCE_SECONDS + 2 * CALL_SECONDS, "committed"):
            return read_committed(self._offsets_of, self._cluster, self._partitions)
