"""Calls to the Kafka client that hang, and producers that go: a new one, or the end."""

import gc
import threading
import time
from contextlib import suppress

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from tests.kafka.test_errors import ABORTABLE, CONFIG, producer_of
from tests.kafka.topics import Topics
from worker.cli.run import run_pool
from worker.edge import caller, kafka_producer
from worker.edge.exits import Exit, HangingError
from worker.edge.kafka_producer import Again
from worker.edge.kafka_sink import KafkaSink


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


def fenced(_client):
    raise KafkaException(KafkaError(KafkaError._FENCED, "", fatal=True))


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


@pytest.mark.parametrize("where", ["open", "beat"])
def test_a_run_that_fails_destroys_its_producer_while_somebody_watches(where, broker, watched, monkeypatch):
    """Before it is opened and after, whatever the error that ended it holds."""
    producer_class, gone = watched
    monkeypatch.setattr(kafka_producer, "Producer", producer_class)

    def failed(sink):
        sink._producer.call("call", fenced, sink._producer.client)

    class Failing(KafkaSink):
        def open(self):
            super().open()
            if where == "open":
                failed(self)

        def beat(self):
            failed(self)

    settings = Topics(broker, [("mark-prices", 0)]).settings()
    with pytest.raises(SystemExit) as ended:
        run_pool(settings, lambda: False, sink_class=Failing)
    assert (ended.value.code, gone) == (Exit.FENCED, ["kafka-calls"])


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
