"""A transaction that does not go as it should: outputs that wait, time that runs out, and what its errors are."""

import time
from types import SimpleNamespace

import msgspec
import pytest
import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.kafka.test_errors import ABORTABLE, CONFIG, RETRIABLE
from worker.edge import kafka_sink
from worker.edge.exits import (
    ClientError,
    Exit,
    FencedError,
    NotAllowedError,
    StoppedError,
    UnreachableError,
    WrongTopicsError,
)
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_commit import MARK_BYTES_MAX, Origin, Words, read_committed
from worker.edge.kafka_producer import Again
from worker.edge.kafka_sink import KafkaSink
from worker.edge.watchdog import Watchdog
from worker.output import CHAINED, TRADES
from worker.rebuild import Mark
from worker.record import Output

OUTPUT = Output(TRADES, b"key", b"value", 5)


@pytest.fixture
def sink_of():
    watchdog = Watchdog()

    def make(client=None, stop=lambda: False):
        sink = KafkaSink(
            CONFIG, Cluster(CONFIG), {TRADES: TRADES}, [], pool="p", identity="i", watchdog=watchdog, stop=stop
        )  # fmt: skip
        sink._producer._client = client
        sink._since = sink._told = time.monotonic()
        return sink

    yield make
    watchdog.close()


def test_a_record_that_the_client_itself_finds_too_large_is_no_bug(sink_of):
    """It says so before anything is sent."""
    sink = sink_of(Producer({**CONFIG, "message.max.bytes": 1000}))
    with pytest.raises(NotAllowedError, match="MSG_SIZE_TOO_LARGE"):
        sink._write(msgspec.structs.replace(OUTPUT, value=b"x" * 2000), 5)


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


class Failed:
    """A client whose transaction has failed: only the first call that is not `produce` says why."""

    def __init__(self, produced, cause):
        self.produced, self.cause, self.writes = produced, cause, 0

    def produce(self, *_, **__):
        self.writes += 1
        raise KafkaException(KafkaError(self.produced))

    def send_offsets_to_transaction(self, *_):
        raise KafkaException(self.cause)

    def __getattr__(self, name):
        return lambda *_, **__: None


@pytest.mark.parametrize("produced", [KafkaError._STATE, KafkaError._FATAL])
@pytest.mark.parametrize(
    ("cause", "end"),
    [
        (KafkaError(KafkaError._FENCED, "", fatal=True), FencedError),
        (KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "", txn_requires_abort=True), NotAllowedError),
        (KafkaError(KafkaError.INVALID_TIMESTAMP, "", txn_requires_abort=True), NotAllowedError),
        (ABORTABLE, Again),
    ],
)
@pytest.mark.parametrize("beside", [True, False])
def test_a_transaction_that_fails_while_outputs_are_written_ends_by_its_cause(sink_of, produced, cause, end, beside):
    """The client refuses the next output without saying why; nothing more is written, and the next call says it."""
    client = Failed(produced, cause)
    sink = sink_of(client)
    sink._at = time.monotonic() + (-1 if beside else 1)
    with pytest.raises(end):
        sink._transaction([OUTPUT, OUTPUT], {("marks", 0): 1}, "", 5)
    assert client.writes == 1


@pytest.mark.parametrize("late", ["send_offsets_to_transaction", "commit_transaction"])
def test_no_call_is_begun_that_could_outlast_the_transaction(sink_of, late, monkeypatch):
    """One deadline for all of them; behind it the broker would fence us, which looks like another writer."""
    monkeypatch.setattr(kafka_sink, "WRITE_SECONDS", 0.05)
    client = SimpleNamespace(calls=[])
    sink = sink_of(client)

    def call(name):
        def answer(*_, **__):
            client.calls.append(name)
            if name == late:
                time.sleep(0.1)
                raise KafkaException(RETRIABLE)

        return answer

    for name in ("begin_transaction", "poll", "send_offsets_to_transaction", "commit_transaction"):
        setattr(client, name, call(name))
    sink._at = 0.0
    with pytest.raises(Again, match=f"no time was left for {late}"):
        sink._transaction([], {("marks", 0): 1}, "", 5)
    assert client.calls.count(late) == 1


def test_a_stop_is_heard_before_a_new_producer(sink_of):
    """A new one and what it finds out may take fifteen seconds; the next start finds the same."""
    sink = sink_of(Told(), stop=lambda: True)
    sink.origin = Origin({})
    sink._doubt = lambda *_: "the answer was lost"
    with pytest.raises(StoppedError, match="the answer was lost"):
        sink.commit([], {("marks", 0): 1}, "", 5)
    assert sink._producer.client.calls == []
    with pytest.raises(StoppedError):
        sink._producer.renew()
    with pytest.raises(ClientError, match="not open"):
        sink._producer.client.poll(0)


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


def test_topics_that_came_later_are_refused_and_committed_like_the_first_ones(sink_of):
    """At the start, and not at the next commit, when something of them may have been decided."""
    client = Told()
    sink = sink_of(client)
    first = Origin({"bankruptcies": "0"})
    sink._last = {("bankruptcies", 0): 7}, msgspec.json.encode(Words(first, "mark")).decode()
    many = {f"bankruptcies:{number}": 10**9 for number in range(130)}
    with pytest.raises(WrongTopicsError):
        sink.grow(Origin({"bankruptcies": "0"}, start=many))
    assert client.calls == []
    grown = Origin({"bankruptcies": "0", "more": "1"}, start={"more:0": 3})
    sink.grow(grown)
    assert "commit_transaction" in client.calls
    assert sink._last == ({("bankruptcies", 0): 7}, msgspec.json.encode(Words(grown, "mark")).decode())
    assert sink.origin == grown


def test_as_many_partitions_as_fit_leave_room_for_the_longest_words():
    """The limits' relation: escaped, as words inside words."""
    long = 2**63 - 1
    mark = Mark(long, long, "f" * 32, dict.fromkeys(CHAINED, (long, "f" * 32)), "f" * 32, "f" * 32, long)
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
