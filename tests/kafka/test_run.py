"""The worker on Kafka: the bytes of a recording, once, whatever happens around it."""

import pytest

from tests.kafka.topics import Topics, Worker, said
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import CUTS

FLAGS = ("decision.accounts_max=40", "decision.attempts_max=3")


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=12_000)


def expected(topics, records, settings):
    """What a run on the recording says."""
    sink = MemorySink()
    run(RecordingSource(topics.placed(records), partitions=topics.partitions()), sink, settings, code_digest=digest())
    return said(sink)


def digest():
    from worker.edge.code import code_digest
    from worker.settings import Settings

    return code_digest(Settings())


def test_topics_that_were_filled_beforehand_give_the_bytes_of_the_recording(broker, records, tmp_path):
    """Same keys, values and times; a run that is stopped and started again adds nothing."""
    topics = Topics(broker, PARTITIONS)
    settings = topics.settings(*FLAGS)
    topics.publish(records)
    wanted = expected(topics, records, settings)
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        assert worker.stop() == 0
    assert topics.outputs() == wanted
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        import time

        time.sleep(4)
        assert worker.stop() == 0, worker.words()
    assert topics.outputs() == wanted
