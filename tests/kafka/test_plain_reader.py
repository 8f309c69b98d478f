"""A reader that is not ours, kcat, and ten lines that follow the README's words: nothing lost, doubled or torn."""

import hashlib
import json
import shutil
import signal
import subprocess

import pytest

from tests.kafka.topics import Topics, Worker, committed
from tests.worker.random_tape import PARTITIONS, TIERS, random_log
from worker.output import CHAINED, CUTS, TRADES

FLAGS = ("pool.currency=USD", "pool.currency_decimals=2", f"reductions.tiers={TIERS}")


def read(broker, topic, isolation):
    """Values of a topic in the order in which kcat prints them."""
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not installed")
    command = ["kcat", "-C", "-q", "-e", "-b", broker.bootstrap, "-t", topic, "-o", "beginning"]
    done = subprocess.run(
        [*command, "-X", f"isolation.level={isolation}", "-f", "%S\n%s\n"], capture_output=True, timeout=60, check=True
    )
    values, rest = [], done.stdout
    while rest:
        size, _, rest = rest.partition(b"\n")
        values.append(rest[: int(size)])
        rest = rest[int(size) + 1 :]
    return values


def broken(values, topic):
    """The first record that does not follow the one before, by sequence or chain; None where each does."""
    pool = json.loads(values[0])["pool"]
    before = f"{pool}/{topic}".encode()
    for number, value in enumerate(values, start=1):
        fields = json.loads(value)
        if fields["sequence"] != number or fields["chain"] != hashlib.sha256(before).hexdigest()[:32]:
            return number
        before = value
    return None


def test_kcat_reads_what_was_committed_and_can_prove_that_it_is_whole(broker, tmp_path):
    """After a life that was killed inside a transaction, whose records only an uncommitted read shows."""
    records = random_log(5, accounts=60, end_ms=20_000)
    topics = Topics(broker, PARTITIONS)
    topics.publish(records)
    settings = topics.settings(*FLAGS)
    with Worker(settings, tmp_path, "commit is due=2") as worker:
        assert worker.wait() == -signal.SIGKILL, worker.words()
    with Worker(settings, tmp_path) as worker:
        topics.wait_until_read(alive=worker.alive)
        assert worker.stop() == 0, worker.words()
    for topic in CHAINED:
        values = read(broker, topics.named(topic), "read_committed")
        assert values == [record.value for record in committed(broker, topics.named(topic))]
        assert broken(values, topic) is None
    cuts, trades = (read(broker, topics.named(topic), "read_committed") for topic in (CUTS, TRADES))
    assert len(read(broker, topics.named(CUTS), "read_uncommitted")) == len(cuts) + 1
    assert len(trades) > 10
    assert broken(trades[:4] + trades[5:], TRADES) == 5
    assert broken([*trades[:4], trades[3]], TRADES) == 5
    assert broken([*trades[:4], trades[4].replace(b'"side":"', b'"side": "'), *trades[5:]], TRADES) == 6
