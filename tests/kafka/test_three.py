"""Three brokers, of which one after the other is killed while the worker decides."""

import time

import pytest

from tests.kafka.killed import CUTS_TAKE
from tests.kafka.test_network import finished, wait_until
from tests.kafka.test_run import FLAGS
from tests.kafka.three import ThreeBrokers
from tests.kafka.topics import Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.output import CUTS

pytestmark = pytest.mark.night

FURTHER_SECONDS = 30  # a broker that was killed is given up after three, and then there are leaders to be found


@pytest.fixture(scope="module")
def three():
    brokers = ThreeBrokers()
    try:
        brokers.start()
        yield brokers
    finally:
        brokers.close()


def test_brokers_are_killed_one_after_the_other_and_nothing_is_lost(three, tmp_path):
    """9: the coordinator of the transaction, and who leads what is written; each comes back before the next goes."""
    records = random_log(5, accounts=60, end_ms=60_000)
    topics = Topics(three, PARTITIONS)
    topics.publish(records)
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    with Worker(settings, tmp_path, f"{CUTS_TAKE}=0.1") as worker:
        topics.wait_for(5, alive=worker.alive)
        killed = []
        for topic in ("__transaction_state", topics.named(CUTS), "__consumer_offsets"):
            wait_until(three.whole, 60, three.log)
            killed.append(three.leader(topic))
            three.nodes[killed[-1]].kill()
            time.sleep(0.5)
            count = len(topics.outputs(CUTS)[CUTS])
            assert count < len(wanted[CUTS]), "everything was said before the last broker was killed"
            topics.wait_for(min(count + 5, len(wanted[CUTS])), seconds=FURTHER_SECONDS, alive=worker.alive)
            three.nodes[killed[-1]].start()
        finished(topics, wanted, worker)
