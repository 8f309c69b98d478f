"""10: inputs that change under a pool: while it runs, and between two starts."""

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewPartitions
from structlog.testing import capture_logs

from schemas import Bankruptcy, decode_output, encode
from tests.kafka.topics import Topics, Worker, committed
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge import kafka_inputs
from worker.edge.exits import Exit
from worker.edge.kafka_inputs import InputWatch
from worker.output import DECISIONS
from worker.record import Record

FLAGS = ("decision.accounts_max=12", "pool.currency=USD", "pool.currency_decimals=2")


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=10_000)


@pytest.fixture
def topics(broker, records):
    topics = Topics(broker, PARTITIONS)
    topics.publish(records)
    return topics


def finished(topics, settings, folder):
    """Runs a worker until everything is read, and stops it."""
    with Worker(settings, folder) as worker:
        worker.wait_until("adl.ready")
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        return worker


def made_anew(topics, name):
    """Deletes a topic and makes it again, empty."""
    admin = topics.broker.admin()
    for future in admin.delete_topics([topics.named(name)]).values():
        future.result(10)
    time.sleep(1)
    topics.broker.create_topics({topics.named(name): topics.inputs[topics.named(name)]}, retention_ms=-1)


def watch_of(monkeypatch, answer):
    """A watch that looks at each turn, and how often it has asked."""
    monkeypatch.setattr(kafka_inputs, "LOOK_SECONDS", -1)
    asked = []
    cluster = SimpleNamespace(describe=lambda ids: {topic: answer(asked.append(topic)) for topic in ids})
    return InputWatch(cluster, {"marks": "id"}, [("marks", 0)]), asked


def test_a_look_that_gets_no_answer_is_taken_again(monkeypatch):
    """The client forgets a question now and then; nobody would look for the rest of the run."""
    monkeypatch.setattr(kafka_inputs, "LOST_SECONDS", 0.05)
    watch, asked = watch_of(monkeypatch, lambda _: Future())
    for _ in range(3):
        watch.look()
    assert len(asked) == 1
    time.sleep(0.1)
    for _ in range(2):
        watch.look()
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("code", "told"),
    [(KafkaError.TOPIC_AUTHORIZATION_FAILED, 1), (KafkaError._TRANSPORT, 0), (KafkaError.UNKNOWN_TOPIC_OR_PART, 0)],
)
def test_a_look_that_is_not_allowed_is_told_once(code, told, monkeypatch):
    """Deleting a topic would not be noticed any more; a broker that is away is told by who reads it."""

    def refused(_):
        answer = Future()
        answer.set_exception(KafkaException(KafkaError(code)))
        return answer

    watch, asked = watch_of(monkeypatch, refused)
    with capture_logs() as lines:
        for _ in range(6):
            watch.look()
    assert len(asked) == 3
    assert [line["event"] for line in lines] == ["adl.input_not_watched"] * told


def test_a_partition_that_is_added_while_it_runs_ends_it_and_is_read_after_a_restart(topics, broker, tmp_path):
    """What it holds must not be missed; a supervisor's restart is all that it takes."""
    settings, marks = topics.settings(*FLAGS), topics.named("mark-prices")
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        admin, count = broker.admin(), topics.inputs[marks]
        for future in admin.create_partitions([NewPartitions(marks, count + 1)]).values():
            future.result(10)
        topics.publish([Record("mark-prices", count, 0, 20_000, b"BTC", b"no mark")])
        assert worker.wait(20) == Exit.MORE_PARTITIONS, worker.words()
        assert f"{marks} has {count + 1} partitions, {count} are read" in worker.sentence()
    topics.inputs[marks] += 1
    worker = finished(topics, settings, tmp_path)
    assert topics.last_cut()["basis"][f"{marks}:{count}"] == 1
    code, words = worker.replayed("--from-offsets", "beginning", "--verify")
    assert code == 0, words


@pytest.mark.parametrize("filled", [True, False])
def test_a_topic_that_is_made_anew_while_it_runs_ends_it(filled, topics, records, tmp_path):
    """Also when it holds as many records again."""
    settings = topics.settings(*FLAGS)
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        made_anew(topics, "mark-prices")
        if filled:
            topics.publish([record for record in records if record.topic == "mark-prices"])
        assert worker.wait(40) == Exit.STATE_LOST, worker.words()
        assert topics.named("mark-prices") in worker.sentence()


@pytest.mark.parametrize("start_at", ["end", 30_001])
def test_a_topic_that_the_settings_name_later_is_watched_like_the_first_ones(start_at, topics, broker, tmp_path):
    """It is read from its beginning, its bankruptcies from where worker.start_at says; made anew it is refused."""
    settings = topics.settings(*FLAGS)
    finished(topics, settings, tmp_path)
    added = topics.named("more")
    broker.create_topics({added: 1}, retention_ms=-1)
    topics.inputs[added] = 1
    old = Bankruptcy(id="old", account="nobody", event_time_ms=1)
    topics.publish([Record("more", 0, 0, 30_000, b"nobody", encode(old))])
    both = f"input.topics.bankruptcies={topics.named('bankruptcies')},{added}"
    settings = topics.settings(*FLAGS, both, f"worker.start_at={start_at}")
    finished(topics, settings, tmp_path)
    newest = decode_output(committed(broker, topics.named(DECISIONS))[-1].value)
    assert (newest.bankruptcies[0].id, newest.status) == ("old", "BEFORE_START")
    finished(topics, settings, tmp_path)  # by what the one before has committed
    made_anew(topics, "more")
    with Worker(settings, tmp_path) as worker:
        assert worker.wait() == Exit.STATE_LOST
        assert f"{added} was deleted and made anew" in worker.sentence()
