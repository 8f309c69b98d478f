"""10 October 2025 as fast as it goes: python -m tests.oct10.bench [--policies A,B] [--small] [--kafka [HOST:PORT]].

From a recording: seconds for the opening book and for the event behind it, ranks, states and forecasts on, outputs in
memory. Through Kafka: each burst appended to topics that are quiet, until its decision is committed and until its last
trade is read, beside what is asked. A busy machine is part of each number, so processor seconds and the load are told.
"""

import argparse
import gc
import hashlib
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Consumer, TopicPartition

from schemas import decode_output
from tests.bench_solver import machine
from tests.broker.broker import Broker
from tests.broker.choice import Choice, choose
from tests.broker.machine import look
from tests.broker.start import start
from tests.kafka.topics import Topics, Worker
from tests.oct10.convert import convert
from tests.oct10.data import CURRENCY, T0_MS, data_dir
from worker.cut import CutPoint
from worker.edge.jsonlines import read_records
from worker.edge.recording import RecordingSource
from worker.engine import Engine
from worker.loop import run
from worker.memory import MemorySink
from worker.output import DECISIONS, TRADES
from worker.record import Output, Record
from worker.settings import load

FLAGS = (f"pool.currency={CURRENCY}", "ranks.records_per_second=1000")  # states and forecasts are on by default
SPEED = 100  # times real time that are asked for
ASKED_MS, ASKED_MS_PER_LEG = 50.0, 0.008
RUNS = 3
SMALL_END_MS = T0_MS + 70_000  # behind the first bursts


class Instant(NamedTuple):
    """A moment by the clock and by the processor seconds of this process."""

    clock_s: float
    cpu_s: float

    @staticmethod
    def now() -> "Instant":
        return Instant(time.perf_counter(), time.process_time())

    def since(self, other: "Instant") -> str:
        return f"{self.clock_s - other.clock_s:.1f} s ({self.cpu_s - other.cpu_s:.1f} s of processors)"


class Watched:
    """The cuts of a run: where the opening book ends, and how long each took."""

    def __init__(self) -> None:
        self.book_ends: Instant | None = None
        self.deciding: list[tuple[float, int]] = []  # seconds, trades
        self.watching_s: list[float] = []

    def hook(self, engine: Engine) -> None:
        real = engine.cut

        def cut(point: CutPoint, *published: object) -> list[Output]:
            begin = time.perf_counter()
            outputs = real(point, *published)  # type: ignore[arg-type]
            took = time.perf_counter() - begin
            if self.book_ends is None:  # the first watch cut stands behind everything of the opening time
                self.book_ends = Instant.now()
            elif point.cutting:
                self.deciding.append((took, sum(output.topic == TRADES for output in outputs)))
            else:
                self.watching_s.append(took)
            return outputs

        engine.cut = cut  # type: ignore[method-assign]


def from_recording(path: Path, policy: str) -> Iterator[str]:
    """One run, in words."""
    watched, sink = Watched(), MemorySink()
    gc.collect()
    gc.disable()  # as `adl run` does
    begin = Instant.now()
    report = run(
        RecordingSource(path), sink, load(flags=["worker.mode=live", f"decision.policy={policy}", *FLAGS]),
        on_engine=watched.hook,
    )  # fmt: skip
    end = Instant.now()
    gc.enable()
    book = watched.book_ends or begin
    event_s = (sink.records[-1].log_time_ms - T0_MS) / 1000
    times = event_s / (end.clock_s - book.clock_s)
    deciding, trades = sum(took for took, _ in watched.deciding), sum(count for _, count in watched.deciding)
    slowest = max(watched.deciding, default=(0.0, 0))
    yield f"{policy}: {report.records:,} records, {report.trades:,} trades, {len(sink.advice):,} advisory records"
    yield f"  opening book {book.since(begin)}; event of {event_s:.0f} s in {end.since(book)}"
    yield f"  = {times:.0f} times real time (asked: {SPEED})"
    yield (
        f"  {len(watched.deciding)} cuts with decisions {deciding:.1f} s, {deciding / max(1, trades) * 1e6:.1f} us a "
        f"trade, the slowest {slowest[0] * 1000:.0f} ms with {slowest[1]:,} trades"
    )
    slowest_ms = max(watched.watching_s, default=0.0) * 1000
    yield (
        f"  {len(watched.watching_s)} watch cuts {sum(watched.watching_s):.1f} s, the slowest {slowest_ms:.0f} ms, "
        "with forecasts and rankings in them"
    )
    digest = hashlib.blake2b(digest_size=8)
    for record in sink.records:
        digest.update(record.value or b"")
    yield f"  digest {digest.hexdigest()}"


class Burst(NamedTuple):
    """One burst through Kafka; milliseconds since its last takeover was appended."""

    trades: int
    committed_ms: float  # its decision can be read
    read_ms: float  # and all of its trades


def through_kafka(broker: Broker, records: list[Record], policy: str, folder: Path) -> list[Burst]:
    """Every burst in turn on a worker that has read the opening book, each when the one before it is done."""
    book = [record for record in records if record.log_time_ms == T0_MS]
    topics = Topics(
        broker, {(record.topic, record.partition) for record in records}, message_timestamp_type="CreateTime"
    )
    topics.publish(book)
    settings = topics.settings(*FLAGS, f"decision.policy={policy}", "worker.start_at=end")
    outputs = Consumer(
        {
            "bootstrap.servers": broker.bootstrap, "group.id": "bench", "isolation.level": "read_committed",
            "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10, "enable.auto.commit": False,
        }
    )  # fmt: skip
    outputs.assign([TopicPartition(topics.named(topic), 0, 0) for topic in (DECISIONS, TRADES)])
    bursts = []
    # What is flushed at once is one batch, so that the takeovers of a burst arrive together.
    producer = topics.producer(**{"linger.ms": 100})
    with Worker(settings, folder) as worker:
        topics.wait_until_read(300, worker.alive)
        for _, said in groupby(records[len(book) :], key=lambda record: record.log_time_ms):
            burst = list(said)
            topics.publish([record for record in burst if record.topic != "bankruptcies"], producer)
            time.sleep(0.05)
            topics.publish([record for record in burst if record.topic == "bankruptcies"], producer)
            bursts.append(_awaited(outputs, topics, worker))
        assert worker.stop() == 0, worker.words()[-2000:]
    outputs.close()
    return bursts


def _awaited(outputs: Consumer, topics: Topics, worker: Worker) -> Burst:
    """Reads until everything that the next decision announces is there."""
    begin = time.perf_counter()
    trades, announced, committed_ms = 0, None, 0.0
    while announced is None or trades < announced:
        messages = outputs.consume(10_000, 0.005)
        assert messages or worker.alive(), worker.words()[-2000:]
        for message in messages:
            if message.topic() == topics.named(DECISIONS):
                announced = decode_output(message.value()).trades
                committed_ms = (time.perf_counter() - begin) * 1000
            else:
                trades += 1
    return Burst(trades, committed_ms, (time.perf_counter() - begin) * 1000)


def kafka_lines(broker: Broker, records: list[Record], policy: str, runs: int) -> Iterator[str]:
    """Medians over the runs, of the largest burst and of all."""
    with tempfile.TemporaryDirectory() as folder:
        measured = [through_kafka(broker, records, policy, Path(folder)) for _ in range(runs)]
    rows = [
        (same[0].trades, *(statistics.median(getattr(burst, name) for burst in same) for name in Burst._fields[1:]))
        for same in zip(*measured, strict=True)
    ]
    within = sum(read <= ASKED_MS + ASKED_MS_PER_LEG * trades for trades, _, read in rows)
    yield f"{policy} through Kafka ({broker.kind}), medians of {runs} runs; load {os.getloadavg()[0]:.1f}"
    for trades, committed, read in sorted(rows, reverse=True)[:3]:
        asked = ASKED_MS + ASKED_MS_PER_LEG * trades
        yield f"  {trades:,} trades: committed in {committed:.0f} ms, read in {read:.0f} ms (asked: {asked:.0f} ms)"
    yield f"  {within} of {len(rows)} bursts read within 50 ms + 8 us a trade"


def bench(options: argparse.Namespace) -> Iterable[str]:
    """Everything that was asked for, line by line."""
    yield f"{machine()}; load {os.getloadavg()[0]:.1f}"
    with tempfile.TemporaryDirectory() as folder:
        path = options.recording or Path(folder) / "oct10.jsonl"
        if options.recording is None:
            convert(path, with_survivors=not options.small)
        for policy in options.policies.split(","):
            yield from from_recording(path, policy)
        if options.kafka is None:
            return
        records = [record for block in read_records(path) for record in block]
    if options.small:
        records = [record for record in records if record.log_time_ms < SMALL_END_MS]
    found = look()
    choice = choose(found)
    if not options.kafka and choice is Choice.NONE:
        yield str(choice.value)
        return
    broker = Broker(options.kafka, "given") if options.kafka else start(choice, found)
    try:
        for policy in options.policies.split(","):
            yield from kafka_lines(broker, records, policy, 1 if options.small else RUNS)
    finally:
        broker.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--policies", default="waterfill,risk")
    parser.add_argument("--recording", type=Path, help="of tests.oct10.convert, instead of making it")
    parser.add_argument("--kafka", nargs="?", const="", help="also through a broker, the tests' where none is named")
    parser.add_argument("--small", action="store_true", help="without survivors, and few bursts on Kafka")
    options = parser.parse_args()
    if not data_dir().is_dir():
        print("the data of 10 October 2025 is not beside the checkout")
        return
    for line in bench(options):
        print(line, flush=True)


if __name__ == "__main__":
    main()
