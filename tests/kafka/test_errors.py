"""What an error of the Kafka client means: tried again, a new producer, another writer, or our bug."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from worker.edge.exits import ClientError, Exit, FencedError, StoppedError
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_sink import CALLS_MAX, Again, KafkaSink
from worker.edge.watchdog import Watchdog

CONFIG = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}  # nobody answers there


@pytest.fixture
def sink_of():
    watchdog = Watchdog()

    def make(stop=lambda: False):
        return KafkaSink(
            CONFIG, Cluster(CONFIG), {}, [], pool="p", identity="i", watchdog=watchdog, stop=stop
        )  # fmt: skip

    yield make
    watchdog.close()


def failing(error, times):
    """A client call that fails so often, and then answers; and how often it was called."""
    calls = []

    def call():
        calls.append(error)
        if len(calls) <= times:
            raise KafkaException(error)
        return "answer"

    return call, calls


RETRIABLE = KafkaError(KafkaError._TIMED_OUT, "", retriable=True)
ABORTABLE = KafkaError(KafkaError.ILLEGAL_GENERATION, "", txn_requires_abort=True)


def test_a_retriable_error_is_answered_by_the_same_call(sink_of):
    """As often as it takes, within a bound."""
    call, calls = failing(RETRIABLE, CALLS_MAX - 1)
    assert sink_of()._call("commit_transaction", call) == "answer"
    assert len(calls) == CALLS_MAX


def test_beyond_the_bound_the_transaction_is_given_up(sink_of):
    """A new producer finds out what happened to it."""
    call, calls = failing(RETRIABLE, 99)
    with pytest.raises(Again):
        sink_of()._call("commit_transaction", call)
    assert len(calls) == CALLS_MAX


def test_an_error_that_asks_for_an_abort_is_not_tried_again(sink_of):
    """The next call of its kind is on a new producer."""
    call, calls = failing(ABORTABLE, 99)
    with pytest.raises(Again):
        sink_of()._call("send_offsets_to_transaction", call)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "end", "code"),
    [
        (KafkaError(KafkaError._FENCED, "", fatal=True), FencedError, Exit.FENCED),
        (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "", fatal=True), FencedError, Exit.FENCED),
        (KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "", fatal=True), ClientError, Exit.CLIENT),
        (KafkaError(KafkaError._STATE, ""), ClientError, Exit.CLIENT),
    ],
)
def test_what_cannot_be_answered_ends_the_process_with_its_code(error, end, code, sink_of):
    """Another writer is told from a bug."""
    call, calls = failing(error, 99)
    with pytest.raises(end) as ended:
        sink_of()._call("commit_transaction", call)
    assert (ended.value.exit, len(calls)) == (code, 1)


def test_a_stop_is_heard_between_two_tries(sink_of):
    """A broker that is away does not hold up the end."""
    call, calls = failing(RETRIABLE, 99)
    with pytest.raises(StoppedError):
        sink_of(stop=lambda: True)._call("init_transactions", call)
    assert len(calls) == 1
