"""Questions to the brokers, and topics read back: what a wait says, and that it hears a stop."""

import threading

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from tests.kafka.proxy import Act, Api, Proxy
from tests.kafka.rules import InTurn, both
from tests.kafka.topics import Topics
from worker.edge import kafka_cluster
from worker.edge.exits import Exit, NotAllowedError, StoppedError, UnreachableError
from worker.edge.kafka_cluster import FORBIDDEN, Cluster
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


def test_the_end_of_patience_does_not_repeat_what_an_older_question_met():
    """A warning of hours ago is not why this one gets no answer."""
    cluster = Cluster({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, patience_seconds=0.0)
    cluster._words.warning = "a wrong password, long ago"

    def unanswered():
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "no answer now", retriable=True))

    with pytest.raises(UnreachableError, match="no answer now"):
        cluster.ask("offsets", unanswered)


def test_a_stop_is_heard_before_the_next_question(monkeypatch):
    """Each may take five seconds, and a stop has ten in all."""
    stop, asked = threading.Event(), []
    cluster = Cluster({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}, stop.is_set)
    monkeypatch.setattr(cluster, "_refresh", stop.set)

    def unanswered():
        asked.append(1)
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "", retriable=True))

    with pytest.raises(StoppedError):
        cluster.ask("offsets", unanswered)
    assert len(asked) == 1


@pytest.mark.parametrize("code", FORBIDDEN)
def test_a_right_that_is_missing_is_for_a_person(code):
    """It is no bug, and no restart mends it."""

    def refused():
        raise KafkaException(KafkaError(code))

    with pytest.raises(NotAllowedError) as ended:
        Cluster({"bootstrap.servers": "127.0.0.1:1", "log_level": 0}).ask("offsets", refused)
    assert ended.value.exit == Exit.USAGE


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


@pytest.mark.parametrize("act", [Act.RESET, Act.HOLD])
@pytest.mark.parametrize("lost", both(Api.LIST_OFFSETS, Act.RESET))
def test_offsets_whose_request_or_answer_is_lost_are_asked_for_again(lost, act, broker):
    """5: the client says -1001 and no error; a log would seem empty, and its end reached."""
    topics, rule = Topics(broker, [("mark-prices", 0)]), InTurn([lost._replace(act=act)])
    topics.publish([Record("mark-prices", 0, number, 10, b"k", b"v") for number in range(7)])
    where = topics.named("mark-prices"), 0
    with Proxy(broker, rule) as proxy:
        assert Cluster({"bootstrap.servers": proxy.bootstrap}).ends([where]) == {where: 7}
    assert rule.left == []
