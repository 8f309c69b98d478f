"""Probes of a worker on Kafka: what a supervisor sees while it rebuilds, waits for the broker, stands still."""

import json
import threading
import time
from http.client import HTTPConnection

import pytest
from confluent_kafka import Producer

from tests.broker.broker import free_port
from tests.kafka.topics import Topics, Worker
from tests.worker.random_tape import PARTITIONS, random_log
from worker.cli.run import run_pool
from worker.edge.code import code_digest, worker_version

FLAGS = ("pool.currency=USD", "pool.currency_decimals=2")


@pytest.fixture
def topics(broker):
    topics = Topics(broker, PARTITIONS)
    topics.publish(random_log(5, accounts=60, end_ms=10_000))
    return topics


def ask(port, path):
    """Status and facts, None where nobody answers."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except ConnectionError:
        return None
    finally:
        connection.close()


def wait_until(port, path, status, seconds=30):
    """The facts as soon as a path answers so."""
    until = time.monotonic() + seconds
    while (found := ask(port, path)) is None or found[0] != status:
        assert time.monotonic() < until, f"{path} is {found}, not {status}, after {seconds} s"
        time.sleep(0.05)
    return found[1]


def test_ready_is_said_only_when_everything_that_was_there_is_read(topics, broker, tmp_path):
    """An open transaction in an input holds the rebuilding: live, not ready, until it ends."""
    port = free_port()
    settings = topics.settings(*FLAGS, f"health.port={port}")
    ends = topics.ends()
    ends[f"{topics.named('mark-prices')}:0"] += 1
    other = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": broker.unique("other")})
    other.init_transactions(20)
    other.begin_transaction()
    other.produce(topics.named("mark-prices"), b"{}", b"BTC", partition=0, timestamp=11_000)
    other.flush(10)
    with Worker(settings, tmp_path) as worker:
        worker.wait_until("adl.waiting")
        status, facts = ask(port, "/healthz/ready")
        assert (status, facts["rebuilt"]) == (503, False)
        assert ask(port, "/healthz/live")[0] == 200
        other.commit_transaction(10)
        assert wait_until(port, "/healthz/ready", 200)["rebuilt"]
        topics.wait_until_committed(ends, seconds=5, alive=worker.alive)
        facts = {"ok": True, "version": worker_version(), "code_digest": code_digest(settings)}
        assert ask(port, "/version") == (200, facts)
        assert worker.stop() == 0
        assert ask(port, "/healthz/live") is None


def test_a_broker_that_is_away_leaves_the_worker_live_and_not_ready(topics, broker, tmp_path):
    """For longer than a stall may last: to start the worker anew would not bring the broker back."""
    if not broker.ours:
        pytest.skip(f"cannot stop {broker.kind}")
    port = free_port()
    flags = (*FLAGS, f"health.port={port}", "health.stall_ms_max=7000", "health.lag_ms_max=1000")
    with Worker(topics.settings(*flags), tmp_path) as worker:
        wait_until(port, "/healthz/ready", 200)
        broker.stop()
        try:
            wait_until(port, "/healthz/ready", 503, seconds=15)
            until = time.monotonic() + 8
            while time.monotonic() < until:
                assert ask(port, "/healthz/live")[0] == 200, worker.words()
                assert ask(port, "/healthz/ready")[0] == 503
                time.sleep(0.2)
        finally:
            broker.start()
        wait_until(port, "/healthz/ready", 200)
        assert worker.stop() == 0, worker.words()


def test_a_loop_that_stands_still_is_not_live(topics):
    """While a decision takes longer than a stall may last; afterwards it is live again."""
    port, passed, stop = free_port(), threading.Event(), threading.Event()

    def slow(engine):
        cut = engine.cut

        def standing(point, published=None):
            passed.wait(20)
            return cut(point, published)

        engine.cut = standing

    settings = topics.settings(*FLAGS, f"health.port={port}", "health.stall_ms_max=1000", "log.level=error")
    loop = threading.Thread(target=run_pool, args=(settings, stop.is_set), kwargs={"on_engine": slow})
    loop.start()
    try:
        assert wait_until(port, "/healthz/live", 503)["alive_ms_ago"] > 1000
        assert ask(port, "/healthz/ready")[0] == 503
        passed.set()
        wait_until(port, "/healthz/ready", 200)
        assert ask(port, "/healthz/live")[0] == 200
    finally:
        passed.set()
        stop.set()
        loop.join(20)
    assert not loop.is_alive()
