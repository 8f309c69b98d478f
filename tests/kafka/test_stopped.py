"""A worker that stands still: stopped in an open transaction, overtaken by another or by retention, long deciding."""

import os
import signal
import time

import pytest
from confluent_kafka import TopicPartition

from tests.kafka.killed import DECISION_TAKES, TRANSACTION_SECONDS, TRANSACTIONS_LAST
from tests.kafka.proxy import Act, Api, Proxy
from tests.kafka.test_network import finished, through, wait_until
from tests.kafka.test_run import FLAGS
from tests.kafka.topics import Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.exits import Exit
from worker.edge.kafka_cluster import Cluster
from worker.output import CHAINED, CUTS

pytestmark = pytest.mark.night

LOOKS_SECONDS = 10  # the broker looks so often for transactions that have lasted too long


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=20_000)


@pytest.fixture
def topics(broker, records):
    topics = Topics(broker, PARTITIONS)
    topics.publish(records)
    return topics


class Stops:
    """Stops the worker when the offsets of its n-th transaction are on their way: open, outputs written, not ended."""

    def __init__(self, count):
        self.pid, self._left = None, count
        self.happened = False

    def __call__(self, frame):
        if not frame.answer and frame.api == Api.TXN_OFFSET_COMMIT:
            self._left -= 1
            if self._left == 0:
                os.kill(self.pid, signal.SIGSTOP)
                self.happened = True
        return Act.GO


@pytest.fixture
def stopped(broker, topics, records, tmp_path):
    """Settings, what an undisturbed run says, and a worker that stands still in its tenth transaction."""
    rule = Stops(10)
    with Proxy(broker, rule) as proxy:
        settings = through(proxy, topics)
        wanted = expected(topics, records, settings)
        with Worker(settings, tmp_path, f"{TRANSACTIONS_LAST}={TRANSACTION_SECONDS}") as worker:
            rule.pid = worker.process.pid
            wait_until(lambda: rule.happened, 60, worker.words)
            yield topics.settings(*FLAGS), wanted, worker


def is_open(broker, topics):
    """Whether a transaction in an output is open."""
    places, cluster = [(topics.named(topic), 0) for topic in CHAINED], Cluster({"bootstrap.servers": broker.bootstrap})
    return cluster.ends(places) != cluster.ends(places, committed=False)


def test_a_worker_that_slept_past_its_transactions_time_is_fenced_and_writes_nothing(stopped, broker, topics, tmp_path):
    """6, 7: the broker has ended the transaction; who wakes up in it ends too, and the next start is exact."""
    settings, wanted, worker = stopped
    assert is_open(broker, topics)
    seconds = TRANSACTION_SECONDS + 2 * LOOKS_SECONDS
    wait_until(lambda: not is_open(broker, topics), seconds, lambda: "the transaction is still open")
    said = topics.outputs()
    worker.process.send_signal(signal.SIGCONT)
    assert worker.wait() == Exit.FENCED, worker.words()
    assert "another process writes for this pool" in worker.sentence()
    time.sleep(0.5)
    assert topics.outputs() == said
    with Worker(settings, tmp_path) as after:
        finished(topics, wanted, after)


def test_a_worker_that_was_replaced_while_it_slept_is_fenced_and_writes_nothing(stopped, topics, tmp_path):
    """6: a second process with its identity has taken over and gone on; what the first held open is gone."""
    settings, wanted, worker = stopped
    with Worker(settings, tmp_path) as newer:
        topics.wait_for(len(wanted[CUTS]), alive=newer.alive)
        worker.process.send_signal(signal.SIGCONT)
        assert worker.wait() == Exit.FENCED, worker.words()
        time.sleep(0.5)
        finished(topics, wanted, newer)


def test_a_decision_that_takes_longer_than_a_transaction_may_is_not_fenced(topics, records, tmp_path):
    """7: no transaction is open while the solver runs."""
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    seconds = TRANSACTION_SECONDS + LOOKS_SECONDS + 1
    with Worker(settings, tmp_path, f"{DECISION_TAKES}={seconds}") as worker:
        finished(topics, wanted, worker)
        assert "adl.commit_uncertain" not in worker.events()


def test_retention_that_overtakes_a_reader_stops_it(broker, records, tmp_path):
    """10: records that it has not read are gone; it ends with one line and never jumps over them."""
    topics = Topics(broker, PARTITIONS)
    settings = topics.settings(*FLAGS)
    half = len(records) // 2
    topics.publish(records[:half])
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        said = topics.outputs()
        worker.process.send_signal(signal.SIGSTOP)
        topics.publish(records[half:])
        topic, admin = topics.named("mark-prices"), broker.admin()
        end = topics.ends()[f"{topic}:0"]
        for future in admin.delete_records([TopicPartition(topic, 0, end)]).values():
            future.result(10)
        worker.process.send_signal(signal.SIGCONT)
        assert worker.wait() == Exit.STATE_LOST, worker.words()
        assert f"{topic}:0" in worker.sentence()
    now = topics.outputs()
    for name, before in said.items():
        assert now[name][: len(before)] == before
    with Worker(settings, tmp_path) as worker:
        assert worker.wait() == Exit.STATE_LOST, worker.words()
    assert topics.outputs() == now
