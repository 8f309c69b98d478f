"""The worker on Kafka: the bytes of a recording, once, however often it dies and whatever happens around it."""

import random
import signal

import pytest

from tests.kafka.killed import POINTS
from tests.kafka.topics import Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.output import CUTS

FLAGS = ("decision.accounts_max=12", "pool.currency=USD", "pool.currency_decimals=2")


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=60_000)


@pytest.fixture
def topics(broker, records):
    """Topics that hold the whole log."""
    topics = Topics(broker, PARTITIONS)
    topics.publish(records)
    return topics


def test_topics_that_were_filled_beforehand_give_the_bytes_of_the_recording(topics, records, tmp_path):
    """Same keys, values and times; a run that is stopped and started again adds nothing."""
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        with Worker(settings, tmp_path) as worker:
            worker.wait_until("adl.opened")
            topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
            assert worker.stop(number) == 0, worker.words()
        assert topics.outputs() == wanted


def test_killed_at_every_point_the_outputs_are_those_of_an_undisturbed_run(topics, records, tmp_path):
    """One life after the other ends at its point; nothing is lost, doubled or torn, and no chain has a gap."""
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    rng = random.Random(1)
    for point in (*POINTS, *POINTS):
        count = 1 if point == "ends are asked" else rng.randint(1, 3)
        with Worker(settings, tmp_path, point, str(count)) as worker:
            assert worker.wait() == -signal.SIGKILL, f"{point}: {worker.words()}"
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    assert topics.outputs() == wanted


def test_killed_at_thirty_random_times_the_outputs_are_those_of_an_undisturbed_run(topics, records, tmp_path):
    """The times reach from the first record to after the last."""
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    rng = random.Random(2)
    for _ in range(30):
        with Worker(settings, tmp_path, "after seconds", f"{rng.uniform(0, 0.25):.4f}") as worker:
            assert worker.wait() == -signal.SIGKILL, worker.words()
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    assert topics.outputs() == wanted
