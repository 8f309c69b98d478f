"""A live producer: decided once, at cuts that are written, and derived again from the topics alone."""

import random
import signal
import threading
import time
from collections import Counter

import pytest

from schemas import decode_output
from tests.kafka.topics import Topics, Worker, committed
from tests.worker.random_tape import PARTITIONS, random_log
from worker.output import CUTS, DEAD_LETTERS, DECISIONS

FLAGS = ("decision.accounts_max=12", "pool.currency=USD", "pool.currency_decimals=2")
SPEED = 10


@pytest.fixture(scope="module")
def records():
    return random_log(6, accounts=60, end_ms=40_000)


def publish_live(topics, records, late_ms, seed):
    """Writes each partition at the pace of its own log times; the named one comes later than the others."""
    rng = random.Random(seed)
    late = rng.choice([where for where in PARTITIONS if where[0] in ("positions", "mark-prices")])
    newest_ms, plan = dict.fromkeys(PARTITIONS, 0), []
    for number, record in enumerate(records):
        where = record.topic, record.partition
        newest_ms[where] = max(newest_ms[where], record.log_time_ms)
        plan.append((newest_ms[where] + (late_ms if where == late else 0), number))
    producer, begun = topics.producer(**{"linger.ms": 0}), time.monotonic()
    for at_ms, number in sorted(plan):
        time.sleep(max(0.0, begun + at_ms / SPEED / 1000 - time.monotonic()))
        topics.publish([records[number]], producer)


def decided(broker, topics):
    """How often each bankruptcy was decided, and whose ids a decision or a dead letter names at all."""
    count, named = Counter(), set()
    for record in committed(broker, topics.named(DECISIONS)):
        decision = decode_output(record.value)
        named |= {bankruptcy.id for bankruptcy in decision.bankruptcies}
        if decision.status not in ("HELD", "ALREADY_DECIDED") and decision.attempt <= 1:
            count.update(bankruptcy.id for bankruptcy in decision.bankruptcies)
    letters = [decode_output(record.value) for record in committed(broker, topics.named(DEAD_LETTERS))]
    return count, named, [letter.payload or b"" for letter in letters]


@pytest.mark.parametrize("late_ms", [0, 5000])
def test_a_live_producer_and_a_kill_in_between_leave_decisions_that_are_derived_again(
    late_ms, broker, records, tmp_path
):
    """Every bankruptcy is answered exactly once; a partition that lags is waited for by nobody."""
    topics = Topics(broker, PARTITIONS)
    settings = topics.settings(*FLAGS)
    with Worker(settings, tmp_path) as worker:
        worker.wait_until("adl.opened")
        producing = threading.Thread(target=publish_live, args=(topics, records, late_ms, 1))
        producing.start()
        topics.wait_for(30, alive=worker.alive)
        worker.process.kill()
        assert worker.wait() == -signal.SIGKILL
    with Worker(settings, tmp_path) as worker:
        producing.join()
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0
        count, named, letters = decided(broker, topics)
        assert set(count.values()) == {1}
        bankruptcies = [decode_id(record) for record in records if record.topic == "bankruptcies"]
        missing = [name for name in bankruptcies if name and name not in named]
        assert [name for name in missing if not any(name.encode() in payload for payload in letters)] == []
        times = [decode_output(record.value).log_time_ms for record in committed(broker, topics.named(CUTS))]
        assert times == sorted(times)
        for place in ("beginning", f"{topics.named('positions')}:0=40"):
            code, words = worker.replayed("--from-offsets", place, "--verify")
            assert code == 0, words
            assert "the same bytes" in words
        code, words = worker.replayed("--from-time", "20000", "--verify", "--json")
        assert code == 0, words


def decode_id(record):
    from schemas import Bankruptcy, Refused, decode

    try:
        return next((message.id for message in decode(record.value or b"") if isinstance(message, Bankruptcy)), None)
    except Refused:
        return None
