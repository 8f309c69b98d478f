"""Questions to the brokers, and topics read back: what a wait says, and that it hears a stop."""

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from tests.kafka.topics import Topics
from worker.edge import kafka_cluster
from worker.edge.exits import StoppedError, UnreachableError
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_log import records_of
from worker.record import Record


def test_a_broker_that_does_not_answer_is_reported_now_and_then(monkeypatch):
    """Not only at the end of patience: an operator who waits sees for what."""
    monkeypatch.setattr(kafka_cluster, "REPORT_SECONDS", 0.4)
    monkeypatch.setattr(kafka_cluster, "ASK_SECONDS", 0.1)

    def unanswered():
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "", retriable=True))

    cluster = Cluster({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, patience_seconds=1.5)
    with capture_logs() as lines, pytest.raises(UnreachableError):
        cluster.ask("offsets", unanswered)
    waiting = [line for line in lines if line["event"] == "adl.waiting"]
    assert {line["asked_for"] for line in waiting} == {"offsets"}
    assert 2 <= len(waiting) <= 4


def test_reading_back_hears_a_stop_while_there_is_more_to_read(broker):
    """At each turn, which is a sign of life too, and not only when nothing comes."""
    topics = Topics(broker, [("mark-prices", 0)])
    topics.publish([Record("mark-prices", 0, 0, 10 + number, b"k", b"v") for number in range(5000)])
    stop = threading.Event()
    config = {"bootstrap.servers": broker.bootstrap}
    reading = records_of(config, Cluster(config, stop.is_set), [topics.named("mark-prices")])
    next(reading)
    stop.set()
    with pytest.raises(StoppedError):
        list(reading)
