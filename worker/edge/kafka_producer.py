"""The pool's one transactional producer: calls to it, what their errors mean, and another one in its place.

Rule 1: a producer whose transaction failed, or whose commit is uncertain, is not used again. `init_transactions` of
another one under the same id ends what it left open and fences what it may still have sent; librdkafka allows that call
once a producer (then `_STATE`), and `abort_transaction` keeps the epoch, so it fences no commit that was sent twice.
Rule 2: nobody else holds a producer. One that is let go of is destroyed then, and where that hangs it is left behind.
"""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from worker.edge.caller import Caller, HungError
from worker.edge.exits import (
    ClientError,
    EdgeError,
    FencedError,
    HangingError,
    NotAllowedError,
    StoppedError,
    UnreachableError,
)
from worker.edge.kafka_cluster import FORBIDDEN, PATIENCE_SECONDS, is_away
from worker.edge.kafka_commit import CALL_SECONDS
from worker.edge.kafka_words import ClientWords

CALLS_MAX: Final = 4  # of one kind before the transaction is given up
HUNG_MAX: Final = 5  # calls that were left behind within an hour before the process ends
RENEW_SECONDS: Final = 0.2  # between two producers: an error that comes at once would make thousands of them
DEFAULTS: Final[dict[str, Any]] = {"compression.type": "lz4"}  # the operator's may win
PRODUCER: Final[dict[str, Any]] = {
    "linger.ms": 0,
    "retry.backoff.ms": 10,
    "metadata.recovery.strategy": "none",
    # While the broker is away send_offsets_to_transaction comes back with attempts to connect, whatever its timeout:
    # measured 3 s with this, and 10 s, which is when a call counts as hung, with the client's own 10,000.
    "reconnect.backoff.max.ms": 1000,
    # A request that was under way when the broker went is given up after this, and not after 60 s.
    "socket.timeout.ms": 5000,
    "partitioner": "murmur2_random",  # a key's partition is the one that the Java client would choose
}
_FENCED: Final = (
    KafkaError._FENCED,  # noqa: SLF001  the library's public names
    KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED,
)  # fmt: skip
# The client calls them abortable, but the same bytes would be refused again. They come by way of the transaction: what
# the broker says of a record is given by the next call after the flush, which itself says nothing.
_NOT_ALLOWED: Final = (
    KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE, KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP, KafkaError.POLICY_VIOLATION, KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
    KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT, KafkaError.OFFSET_METADATA_TOO_LARGE,
    KafkaError.INVALID_COMMIT_OFFSET_SIZE, KafkaError.INVALID_TRANSACTION_TIMEOUT, *FORBIDDEN,
)  # fmt: skip


class Again(Exception):  # noqa: N818  an answer, not an end
    """The transaction must be tried again with a new producer."""


class PoolProducer:
    """The producer of one transactional id; `renew` before anything else."""

    def __init__(self, config: Mapping[str, Any], identity: str, stop: Callable[[], bool]) -> None:
        self._config = {**DEFAULTS, **config, **PRODUCER, "transactional.id": identity}
        self._stop = stop
        self._caller = Caller(stop)
        self._client: Producer | None = None
        self.words = ClientWords()

    @property
    def client(self) -> Producer:
        """The producer itself; ClientError where there is none. Not to be kept."""
        if self._client is None:
            raise ClientError("the pool is not open")
        return self._client

    def renew(self) -> None:
        """A new producer under the same id: the broker fences what an older one may still have sent."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            self.let_go()
            if self._stop():
                raise StoppedError("stopped without a producer")
            self._client = Producer(self._config, logger=self.words.logger)
            try:
                self.call("init_transactions", self._client.init_transactions, CALL_SECONDS)
            except Again as again:
                reason = str(again)
            else:
                return
            structlog.get_logger().warning("adl.producer_not_ready", reason=reason)
            if time.monotonic() > until:
                raise UnreachableError(f"no producer for {PATIENCE_SECONDS:.0f} s: {reason}")
            time.sleep(RENEW_SECONDS)

    def let_go(self) -> None:
        """Destroys the producer, if there is one."""
        if self._client is None:
            return
        last, self._client = [self._client], None
        with suppress(HungError):
            self._caller.call(2 * CALL_SECONDS, _destroy, last)

    def call(self, name: str, function: Callable[..., Any], *args: Any, until: float = math.inf) -> Any:
        """The same call again while the client says that it may be; raises Again, or an EdgeError.

        `until`: of the monotonic clock; no call is begun behind it.
        """
        for _ in range(CALLS_MAX):
            if time.monotonic() > until:
                raise Again(f"no time was left for {name}")
            try:
                return self._caller.call(2 * CALL_SECONDS, function, *args)
            except HungError:
                self._client = None  # the thread that was left behind holds it; to destroy it would hang as well
                if self._stop():
                    raise StoppedError(f"stopped while {name} did not come back") from None
                if (hung := self._caller.hung()) > HUNG_MAX:
                    raise HangingError(f"{hung} calls did not come back within an hour, the last {name}") from None
                raise Again(f"{name} did not come back") from None
            except KafkaException as error:
                if not may_repeat(error.args[0]):
                    raise judged(name, error.args[0]) from None
                if self._stop():
                    raise StoppedError(f"stopped in {name}") from None
        raise Again(f"{name} was tried {CALLS_MAX} times")


def may_repeat(error: KafkaError) -> bool:
    """The same call may be made again."""
    return bool(error.retriable()) and not error.fatal() and error.code() not in (*_FENCED, *_NOT_ALLOWED)


def judged(name: str, error: KafkaError) -> Again | EdgeError:
    """What an error of a call that is not repeated means: another writer, a right or limit, try again, or our bug."""
    words = f"{name}: Kafka says {error.name()}: {error.str()}"
    if error.code() in _FENCED:
        return FencedError(f"another process writes for this pool; {words}")
    if error.code() in _NOT_ALLOWED:
        return NotAllowedError(
            f"Kafka does not let the worker write, which is for its rights or limits to mend; {words}"
        )
    if error.fatal():
        return ClientError(words)
    if error.retriable() or error.txn_requires_abort() or is_away(error):
        return Again(words)
    return ClientError(words)


def _destroy(last: list[Producer]) -> None:
    last[0].purge()
    last.clear()
