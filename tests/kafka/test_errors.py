"""What an error or silence of the Kafka client means: tried again, a new producer, another writer, a limit, a bug."""

import gc
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import msgspec
import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from worker.edge import caller, kafka_producer, kafka_sink
from worker.edge.exits import (
    ClientError,
    Exit,
    FencedError,
    HangingError,
    NotAllowedError,
    StoppedError,
    UnreachableError,
    WrongTopicsError,
)
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_commit import MARK_BYTES_MAX, Origin, Words, read_committed
from worker.edge.kafka_producer import CALLS_MAX, Again, PoolProducer
from worker.edge.kafka_sink import KafkaSink
from worker.edge.watchdog import Watchdog
from worker.output import CHAINED, TRADES
from worker.rebuild import Mark
from worker.record import Output

CONFIG = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}  # nobody answers there
OUTPUT = Output(TRADES, b"key", b"value", 5)


@pytest.fixture
def sink_of():
    watchdog = Watchdog()

    def make(client=None, stop=lambda: False):
        sink = KafkaSink(
            CONFIG, Cluster(CONFIG), {TRADES: TRADES}, [], pool="p", identity="i", watchdog=watchdog, stop=stop
        )  # fmt: skip
        sink._producer._client = client
        sink._begun = sink._told = time.monotonic()
        return sink

    yield make
    watchdog.close()


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


# --- what an error means ----------------------------------------------------------------------------------------------


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


def test_a_record_that_the_client_itself_finds_too_large_is_no_bug(sink_of):
    """It says so before anything is sent."""
    sink = sink_of(Producer({**CONFIG, "message.max.bytes": 1000}))
    with pytest.raises(NotAllowedError, match="MSG_SIZE_TOO_LARGE"):
        sink._write(msgspec.structs.replace(OUTPUT, value=b"x" * 2000), 5)


def test_a_stop_is_heard_between_two_tries():
    """A broker that is away does not hold up the end."""
    call, calls = failing(RETRIABLE, 99)
    with pytest.raises(StoppedError):
        producer_of(stop=lambda: True).call("init_transactions", call)
    assert len(calls) == 1


# --- calls that hang, and producers that go ---------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    """A call counts as hung after 0.02 s, and not after ten."""
    monkeypatch.setattr(kafka_producer, "CALL_SECONDS", 0.01)
    monkeypatch.setattr(caller, "LOOK_SECONDS", 0.01)


@pytest.mark.usefixtures("quick")
def test_calls_that_hang_again_and_again_end_the_process():
    """Six within the hour."""
    release, producer = threading.Event(), producer_of()
    for _ in range(kafka_producer.HUNG_MAX):
        with pytest.raises(Again):
            producer.call("flush", release.wait)
    with pytest.raises(HangingError, match="6 calls did not come back within an hour, the last flush"):
        producer.call("flush", release.wait)
    release.set()


@pytest.mark.usefixtures("quick")
def test_calls_that_hang_now_and_then_do_not_add_up_for_months(monkeypatch):
    """Those of an hour ago are forgotten."""
    monkeypatch.setattr(caller, "HUNG_SECONDS", 0.2)
    release, producer = threading.Event(), producer_of()
    for _ in range(kafka_producer.HUNG_MAX + 3):
        with pytest.raises(Again):
            producer.call("flush", release.wait)
        time.sleep(0.05)
    release.set()


@pytest.mark.usefixtures("quick")
def test_the_thread_of_a_call_that_comes_back_late_ends():
    """Threads do not pile up."""
    before, release, producer = set(threading.enumerate()), threading.Event(), producer_of()
    for _ in range(3):
        with pytest.raises(Again):
            producer.call("flush", release.wait)
    mine = set(threading.enumerate()) - before
    assert len(mine) == 4
    release.set()
    until = time.monotonic() + 5
    while sum(thread.is_alive() for thread in mine) > 1 and time.monotonic() < until:
        time.sleep(0.01)
    assert sum(thread.is_alive() for thread in mine) == 1


@pytest.fixture
def watched():
    """A producer class of whose end it is known, and when; without the collector, which may come any time."""

    gone = []

    class Watched(Producer):
        def __del__(self):
            gone.append(threading.current_thread().name)

    gc.collect()
    gc.disable()
    yield Watched, gone
    gc.enable()


def ask(client):
    client.init_transactions(0.01)


def fail(_client):
    raise KafkaException(ABORTABLE)


@pytest.mark.parametrize("call", [ask, fail])
def test_a_producer_is_destroyed_when_it_is_let_go_of_and_not_any_time_later(call, watched):
    """Where it hangs somebody must be watching; what its last error left must not hold it."""
    producer, (producer_class, gone) = producer_of(), watched
    producer._client = producer_class({**CONFIG, "transactional.id": "i"})
    with suppress(Again):
        producer.call("call", call, producer.client)
    assert gone == []
    producer.let_go()
    assert gone == ["kafka-calls"]


@pytest.mark.usefixtures("quick")
def test_a_producer_whose_call_hangs_is_left_to_that_call(watched):
    """To destroy it would hang as well; it goes when the call comes back."""
    producer, release, (producer_class, gone) = producer_of(), threading.Event(), watched
    producer._client = producer_class({**CONFIG, "transactional.id": "i"})

    def hang(_client):
        release.wait()

    with suppress(Again):
        producer.call("commit_transaction", hang, producer.client)
    producer.let_go()
    assert gone == []
    release.set()
    until = time.monotonic() + 5
    while not gone and time.monotonic() < until:
        time.sleep(0.01)
    assert gone == ["kafka-calls"]


# --- waiting for the broker inside a transaction ----------------------------------------------------------------------


class Slow:
    """A client whose flush leaves so many behind, one call after the other; no broker can be made to do so."""

    def __init__(self, *left):
        self._left = list(left)

    def __len__(self):
        return self._left[0]

    def flush(self, _seconds):
        self._left.pop(0)
        return self._left[0]


def test_a_flush_goes_on_while_outputs_are_acknowledged(sink_of, monkeypatch):
    """However slowly, and it is said."""
    monkeypatch.setattr(kafka_sink, "REPORT_SECONDS", 0)
    with structlog.testing.capture_logs() as said:
        sink_of(Slow(9, 8, 7, 6, 5, 4, 3, 2, 1, 0))._flush()
    assert [line["event"] for line in said] == ["adl.waiting"] * 8
    assert said[0]["reason"] == "8 outputs are not acknowledged yet"


def test_a_flush_that_gets_no_further_is_given_up(sink_of):
    """A new producer finds the leader, or waits for it."""
    with pytest.raises(Again, match="7 outputs were not acknowledged in time"):
        sink_of(Slow(9, 7, 7))._flush()
    with pytest.raises(Again, match="1 outputs were not acknowledged in time"):
        sink_of(Slow(1, 1))._flush()


def test_a_flush_does_not_outlast_the_transaction(sink_of, monkeypatch):
    """The broker would abort it and fence us, which looks like another writer."""
    monkeypatch.setattr(kafka_sink, "WRITE_SECONDS", -1)
    with pytest.raises(Again, match="8 outputs are not acknowledged yet after"):
        sink_of(Slow(9, 8, 0))._flush()


def test_a_stop_is_heard_while_outputs_are_not_acknowledged(sink_of):
    """What is not committed is derived again."""
    with pytest.raises(StoppedError, match="stopped while 8 outputs"):
        sink_of(Slow(9, 8, 0), stop=lambda: True)._flush()


def test_a_full_queue_is_reported_and_hears_the_stop(sink_of, monkeypatch):
    """Nobody takes anything from it."""
    monkeypatch.setattr(kafka_sink, "REPORT_SECONDS", 0.1)
    turns = []
    full = Producer({**CONFIG, "queue.buffering.max.messages": 1})
    sink = sink_of(full, stop=lambda: turns.append(1) or len(turns) > 5)
    sink._write(OUTPUT, 5)
    with structlog.testing.capture_logs() as said, pytest.raises(StoppedError):
        sink._write(OUTPUT, 5)
    assert [line["reason"] for line in said] == ["the client's queue is full"] * len(said)
    assert said


class Told:
    """A client that does everything asked of it at once, and notes the order."""

    def __init__(self):
        self.calls = []

    def __len__(self):
        return 0

    def __getattr__(self, name):
        return lambda *_, **__: self.calls.append(name)


def test_offsets_wait_for_the_outputs_only_where_a_transaction_has_just_ended(sink_of, monkeypatch):
    """They would race its markers; in every order they are sent before the commit, and the outputs acknowledged."""
    client = Told()
    sink = sink_of(client)
    sink.origin = Origin({})
    for seconds in (0, 1000):  # that count as just ended
        monkeypatch.setattr(kafka_sink, "MARKERS_SECONDS", seconds)
        sink.commit([OUTPUT], {("marks", 0): 1}, "", 5)
    begun, sent = ["poll", "begin_transaction", "produce"], "send_offsets_to_transaction"
    ended = ["commit_transaction", "poll"]
    assert client.calls == [*begun, sent, "flush", *ended, *begun, "flush", sent, *ended]


# --- what stands beside an offset -------------------------------------------------------------------------------------


def test_too_many_partitions_are_refused_before_anything_is_decided(sink_of):
    """Not at the first decision, when the loop's words come beside them."""
    start = {f"bankruptcies:{number}": 10**9 for number in range(130)}
    with pytest.raises(WrongTopicsError, match=r"130 of them need 4,\d\d\d bytes where 4,096 fit") as ended:
        sink_of().begin(Origin({"bankruptcies": "0123456789012345678901"}, start=start), {("bankruptcies", 0): 0})
    assert ended.value.exit == Exit.USAGE


def test_as_many_partitions_as_fit_leave_room_for_the_longest_words():
    """The limits' relation: escaped, as words inside words."""
    long = 2**63 - 1
    mark = Mark(long, long, "f" * 32, dict.fromkeys(CHAINED, (long, "f" * 32)))
    words = msgspec.json.encode(mark).decode()
    empty, full = (len(msgspec.json.encode(Words(Origin({}), text))) for text in ("", words))
    assert full - empty <= MARK_BYTES_MAX


def test_an_offset_with_an_error_is_asked_for_again_and_is_not_none():
    """A first start would follow, on a pool that has committed."""
    unstable = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)
    place = SimpleNamespace(topic="t", partition=0, offset=-1001, metadata=None, error=unstable)
    good = SimpleNamespace(topic="t", partition=0, offset=7, metadata="words", error=None)
    answers = [[place], [good]]
    consumer = SimpleNamespace(committed=lambda *_: answers.pop(0))
    assert read_committed(consumer, Cluster(CONFIG), [("t", 0)]) == ({("t", 0): 7}, "words")
    consumer = SimpleNamespace(committed=lambda *_: [place])
    with pytest.raises(UnreachableError):
        read_committed(consumer, Cluster(CONFIG, patience_seconds=0.0), [("t", 0)])
