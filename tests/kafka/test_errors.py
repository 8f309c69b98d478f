"""What an error or silence of the Kafka client means: tried again, a new producer, another writer, a limit, a bug."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from worker.edge.exits import (
    ClientError,
    Exit,
    FencedError,
    NotAllowedError,
    StoppedError,
)
from worker.edge.kafka_producer import CALLS_MAX, Again, PoolProducer

CONFIG = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}  # nobody answers there


def producer_of(stop=lambda: False):
    return PoolProducer(CONFIG, "i", stop)


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


def test_a_retriable_error_is_answered_by_the_same_call():
    """As often as it takes, within a bound."""
    call, calls = failing(RETRIABLE, CALLS_MAX - 1)
    assert producer_of().call("commit_transaction", call) == "answer"
    assert len(calls) == CALLS_MAX


def test_beyond_the_bound_the_transaction_is_given_up():
    """A new producer finds out what happened to it."""
    call, calls = failing(RETRIABLE, 99)
    with pytest.raises(Again):
        producer_of().call("commit_transaction", call)
    assert len(calls) == CALLS_MAX


def test_an_error_that_asks_for_an_abort_is_not_tried_again():
    """The next call of its kind is on a new producer."""
    call, calls = failing(ABORTABLE, 99)
    with pytest.raises(Again):
        producer_of().call("send_offsets_to_transaction", call)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("error", "end", "code"),
    [
        (KafkaError(KafkaError._FENCED, "", fatal=True), FencedError, Exit.FENCED),
        (KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "", fatal=True), FencedError, Exit.FENCED),
        (KafkaError(KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER, "", fatal=True), ClientError, Exit.CLIENT),
        (KafkaError(KafkaError._STATE, ""), ClientError, Exit.CLIENT),
        (KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "", txn_requires_abort=True), NotAllowedError, Exit.USAGE),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "", txn_requires_abort=True), NotAllowedError, Exit.USAGE),
        (KafkaError(KafkaError.OFFSET_METADATA_TOO_LARGE, "", txn_requires_abort=True), NotAllowedError, Exit.USAGE),
        (KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "", fatal=True), NotAllowedError, Exit.USAGE),
    ],
)
def test_what_cannot_be_answered_ends_the_process_with_its_code(error, end, code):
    """Another writer and a limit or right are told from a bug, at once."""
    call, calls = failing(error, 99)
    with pytest.raises(end) as ended:
        producer_of().call("commit_transaction", call)
    assert (ended.value.exit, len(calls)) == (code, 1)


def test_a_stop_is_heard_between_two_tries():
    """A broker that is away does not hold up the end."""
    call, calls = failing(RETRIABLE, 99)
    with pytest.raises(StoppedError):
        producer_of(stop=lambda: True).call("init_transactions", call)
    assert len(calls) == 1
