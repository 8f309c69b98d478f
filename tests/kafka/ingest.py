"""Ingest from Kafka: JSON account updates and marks into the book, beside two others who keep the newest of each key.

Each reader reads all topics from the beginning in a process of its own, in turns, for a busy machine slows all. The
state digest is that of a run on the same records in memory, so faster cannot mean different.
"""

import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from itertools import chain
from pathlib import Path
from zlib import crc32

from schemas import AccountUpdate, encode
from tests.bench_book import instruments, marks, updates
from tests.kafka.topics import ROOT, Topics
from worker.edge.code import code_digest
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.record import Record
from worker.settings import to_toml

ACCOUNTS, MARKS, ROUNDS = 100_000, 100_000, 5
PARTITIONS = {"instruments": 1, "positions": 4, "mark-prices": 2}
RECORDS_PER_MS = 10
NOW_MS = 1_760_000_000_000
NAMES = {
    "bare": "bare client: consume, decode",
    "quixstreams": "quixstreams: decode, keep newest",
    "faust": "faust-streaming: decode, keep newest",
    "in_order": "adl: consume, decode, put in order",
    "worker": "adl: from consume to book",
}

OTHERS = ("quixstreams", "faust")


def records(accounts, mark_count, seed=1):
    """Instruments; then every account twice and the marks, mixed, ten records a millisecond."""
    rng = random.Random(seed)
    said = [("mark-prices", mark.symbol, mark) for mark in marks(mark_count, rng)]
    said += [
        ("positions", update.account, update) for update in chain(updates(accounts, rng), updates(accounts, rng, seq=2))
    ]
    rng.shuffle(said)
    said.sort(key=lambda item: isinstance(item[2], AccountUpdate) and item[2].seq)  # stable: no account goes back
    offsets = Counter()
    for number, (topic, key, message) in enumerate(
        [*(("instruments", instrument.symbol, instrument) for instrument in instruments()), *said]
    ):
        where = topic, crc32(key.encode()) % PARTITIONS[topic]
        yield Record(*where, offsets[where], NOW_MS + number // RECORDS_PER_MS, key.encode(), encode(message))
        offsets[where] += 1


def measured(broker, others, accounts=ACCOUNTS, mark_count=MARKS, rounds=ROUNDS):
    """What each reader found in each round, by its name, and the number of records.

    others: the Python of an environment that has quixstreams and faust-streaming.
    """
    log = list(records(accounts, mark_count))
    topics = Topics(broker, {(record.topic, record.partition) for record in log})
    topics.publish(log)
    settings = topics.settings()
    memory = RecordingSource(topics.placed(log), partitions=topics.partitions())
    digest = run(memory, MemorySink(), settings, code_digest=code_digest(settings)).state_digest
    task = {
        "bootstrap": broker.bootstrap,
        "records": len(log),
        "partitions": [[topics.named(topic), number] for topic, count in PARTITIONS.items() for number in range(count)],
    }
    pythons = dict.fromkeys(NAMES, sys.executable) | dict.fromkeys(OTHERS, others)
    found = {name: [] for name, python in pythons.items() if name not in OTHERS or has(python, name)}
    with tempfile.TemporaryDirectory() as folder:
        task["settings"] = str(Path(folder) / "settings.toml")
        Path(task["settings"]).write_text(to_toml(settings))
        for _ in range(rounds):
            for name, rows in found.items():
                task["group"] = broker.unique("bench")
                done = subprocess.run(
                    [pythons[name], "-m", "tests.kafka.readers", name, json.dumps(task)],
                    cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
                )  # fmt: skip
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                assert rows[-1]["records"] == len(log), rows[-1]
    assert {row["digest"] for row in found["worker"]} == {digest}
    return found, len(log)


def has(python, name):
    """Whether that Python is there and has a library."""
    asked = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return Path(python).exists() and subprocess.run([python, "-c", asked], check=False).returncode == 0


def lines(broker, others, accounts=ACCOUNTS, mark_count=MARKS, rounds=ROUNDS):
    """What was measured, for people."""
    found, count = measured(broker, others, accounts, mark_count, rounds)
    yield (
        f"ingest of {2 * accounts:,} account updates and {mark_count:,} marks as JSON, {sum(PARTITIONS.values())} "
        f"partitions; medians of {rounds} rounds, ratios within a round"
    )
    yield f"  {'':<37}{'records/s':>9}{'us':>7}{'CPU us':>8}{'to bare':>9}{'to quix':>9}  digest"
    for name, title in NAMES.items():
        if name not in found:
            yield f"  {title:<37}not installed: make bench installs it where packages can be had"
            continue
        rows = found[name]
        us, cpu_us = (
            statistics.median(row[field] for row in rows) / count * 1e6 for field in ("seconds", "cpu_seconds")
        )
        ratios = [
            f"{statistics.median(b['seconds'] / a['seconds'] for a, b in zip(rows, found[other], strict=True)):.2f}"
            if other in found else "" for other in ("bare", "quixstreams")
        ]  # fmt: skip
        yield (
            f"  {title:<37}{1e6 / us:>9,.0f}{us:>7.2f}{cpu_us:>8.2f}{ratios[0]:>9}{ratios[1]:>9}  "
            f"{rows[0]['digest'] or f'{count:,} records'}"
        )
