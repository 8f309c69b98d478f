"""The worker on Kafka: the bytes of a recording, once, however often it dies and whatever happens around it."""

import random
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import pytest

from schemas import Bankruptcy, decode_output, encode
from tests.kafka.killed import POINTS, STOP
from tests.kafka.topics import Topics, Worker, committed, expected, of_memory
from tests.worker.random_tape import PARTITIONS, random_log
from worker.demo.exchange import Exchange
from worker.demo.run import DemoSink, DemoSource
from worker.edge.code import code_digest
from worker.edge.recording import committed_outputs
from worker.loop import run
from worker.memory import MemorySink
from worker.output import CUTS, DECISIONS, TRADES
from worker.record import Record

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


class NamedDemo(DemoSource):
    """The demo's exchange on a test's topics."""

    def __init__(self, exchange, topics, records):
        super().__init__(exchange)
        self._topics, self._records = topics, records

    def partitions(self):
        return sorted((self._topics.named(topic), number) for topic, number in super().partitions())

    def poll(self, max_records):
        given = super().poll(max_records)
        self._records += given
        return self._topics.placed(given)


def test_the_demo_on_kafka_gives_the_bytes_of_the_demo(broker, tmp_path):
    """Trades, answers to them, new attempts: the loop that was closed without a broker, read from topics."""
    exchange = Exchange(1, accounts=600, symbols=4)
    topics = Topics(broker, exchange.offsets)
    settings = topics.settings()
    sink, records = MemorySink(), []
    run(NamedDemo(exchange, topics, records), DemoSink(sink, exchange), settings, code_digest=code_digest(settings))
    topics.publish(records)
    assert len(list(sink.outputs(TRADES))) > 50
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(len(list(sink.outputs(CUTS))), alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        assert topics.outputs() == of_memory(sink)
        code, words = worker.replayed("--from-offsets", "beginning", "--verify")
        assert code == 0, words
        code, words = worker.replayed("--from-offsets", "beginning", "--out", str(tmp_path / "again"))
        assert code == 0, words
    again = list(committed_outputs(tmp_path / "again"))
    for topic, said in topics.outputs().items():
        assert [r.value for r in again if r.topic == topics.named(topic)] == [value for _, value, _ in said]


def test_a_pool_that_starts_on_live_topics_leaves_older_bankruptcies_alone(topics, broker, tmp_path):
    """The ends found at the first start hold for every later one; what comes behind them is decided."""
    settings = topics.settings(*FLAGS, "worker.start_at=end")
    for life in range(2):
        with Worker(settings, tmp_path) as worker:
            topics.wait_until_read(alive=worker.alive)
            old = {decode_output(record.value).status for record in committed(broker, topics.named(DECISIONS))}
            assert (old - {"ALREADY_DECIDED"} == {"BEFORE_START"}) or life
            topics.publish([bankruptcy(f"new-{life}", 100_000 + life)])
            topics.wait_until_read(alive=worker.alive)
            newest = decode_output(committed(broker, topics.named(DECISIONS))[-1].value)
            assert (newest.bankruptcies[0].id, newest.status) == (f"new-{life}", "UNKNOWN_ACCOUNT")
            assert worker.stop() == 0, worker.words()
            code, words = worker.replayed("--from-offsets", "beginning", "--verify")
            assert code == 0, words


def test_two_pools_share_topics_and_each_finds_its_own_words(broker, records, tmp_path):
    """Also where outputs are spread over partitions: sequence and pool tell them apart."""
    topics = Topics(broker, PARTITIONS, output_partitions=3)
    topics.publish(records[:900])
    pools = {name: topics.settings(*FLAGS, f"pool.name={name}") for name in ("north", "south")}
    wanted = {name: expected(topics, records[:900], settings) for name, settings in pools.items()}
    count = sum(len(said[CUTS]) for said in wanted.values())
    for _ in range(2):
        with Worker(pools["north"], tmp_path) as north, Worker(pools["south"], tmp_path) as south:
            for worker in (north, south):
                worker.wait_until("adl.ready")
            topics.wait_for(count, alive=lambda: north.alive() and south.alive())
            assert (north.stop(), south.stop()) == (0, 0), north.words() + south.words()
        for name in pools:
            assert topics.outputs_of(name) == wanted[name]


def bankruptcy(name, ms):
    return Record("bankruptcies", 0, 0, ms, b"x", encode(Bankruptcy(id=name, account="nobody", event_time_ms=ms)))


def killed(settings, folder, lives):
    """One life after the other, each to its point; how those ended that were not killed."""
    with Worker(settings, folder, *lives) as worker:
        assert worker.wait(120) == 0, worker.words()
        ends = re.findall("life: (.+): (-?[0-9]+)\n", worker.words())  # also behind a line that a life left torn
    assert len(ends) == len(lives)
    return [(point, code) for point, code in ends if int(code) != -signal.SIGKILL]


def killed_and_finished(topics, records, folder, lives, ends=()):
    """The lives, and one more that is left alone; what it said in the end must be what an undisturbed run says.

    `ends`: of the lives that were not killed.
    """
    topics.publish(records)
    settings = topics.settings(*FLAGS)
    wanted = expected(topics, records, settings)
    assert killed(settings, folder, lives) == list(ends)
    with Worker(settings, folder) as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    assert topics.outputs() == wanted


def side_by_side(broker, records, folder, *lives, ends=()):
    """A pool on topics of its own for each list of lives: a takeover is mostly waiting for the broker."""
    pools = [Topics(broker, PARTITIONS) for _ in lives]
    with ThreadPoolExecutor() as threads:
        list(threads.map(killed_and_finished, pools, repeat(records), repeat(folder), lives, repeat(ends)))


def test_killed_at_every_point_the_outputs_are_those_of_an_undisturbed_run(broker, records, tmp_path):
    """3, 1: one life after the other ends at its point; nothing is lost, doubled or torn, and no chain has a gap."""
    rng = random.Random(1)
    lives = [[f"{point}={1 if point == 'ends are asked' else rng.randint(1, 9)}" for point in POINTS] for _ in range(2)]
    side_by_side(broker, records, tmp_path, *lives)


def test_killed_at_thirty_random_times_the_outputs_are_those_of_an_undisturbed_run(broker, records, tmp_path):
    """3: the times reach from the first record to after the last."""
    rng = random.Random(2)
    lives = [[f"after seconds={rng.uniform(0, 0.25):.4f}" for _ in range(15)] for _ in range(2)]
    side_by_side(broker, records, tmp_path, *lives)


def stopped_lives(rng, count):
    """Each is asked to stop at another time, from before it is opened to where it has nothing left to do."""
    return [f"{STOP}={rng.uniform(0, 1.2):.4f}" for _ in range(count)]


def test_stopped_at_forty_random_times_each_ends_in_ten_seconds_and_nothing_is_done_again(broker, records, tmp_path):
    """16: with exit code 0, whatever it was about to do."""
    rng = random.Random(3)
    parts = [stopped_lives(rng, 20) for _ in range(2)]
    side_by_side(broker, records, tmp_path, *parts, ends=[(STOP, "0")] * 20)
