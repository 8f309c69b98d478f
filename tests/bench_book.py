"""What an account update and a mark cost from bytes to book: python -m tests.bench_book [--small] [--json FILE].

Every line says size, processor time a record, and its ratio to a bare `msgspec` decode of the same bytes in the same
run, taken in turns with it, for a busy machine slows both. The state digest says that faster is not different.
"""

import argparse
import gc
import json
import os
import platform
import random
import resource
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

import worker.lines  # noqa: F401  kernels of recordings, which would else be loaded while the first one is timed
from schemas import AccountUpdate, Balance, Instrument, MarkPrice, Position, PositionBatch, decode, encode
from worker.cut import KIND, CutPoint, Event
from worker.edge.jsonlines import read_records, write_records
from worker.edge.recording import RecordingSource
from worker.inputs import Inputs
from worker.loop import Reader
from worker.record import Record
from worker.settings import KINDS, load

SYMBOLS = 200
POSITIONS = 3  # of each account of a PositionBatch
CHUNK = 2000  # records between two looks at the clock
_bare = msgspec.json.Decoder(AccountUpdate | MarkPrice).decode


def instruments():
    return [
        Instrument(
            symbol=f"S{number}", tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
            maintenance_margin_fraction="0.01",
        )
        for number in range(SYMBOLS)
    ]  # fmt: skip


def updates(count, rng, seq=1):
    """Full updates as exchanges send them: half the accounts without a position, some with many."""
    for number in range(count):
        symbols = rng.sample(range(SYMBOLS), rng.choices([0, 1, 2, 8], weights=[50, 40, 8, 2])[0])
        yield AccountUpdate(
            account=f"account-{number:08d}", epoch=1, seq=seq, full=True,
            balances=[Balance(currency="USDT", amount=f"{rng.uniform(0, 1e5):.6f}")],
            positions=[
                Position(
                    symbol=f"S{symbol}", quantity=f"{rng.uniform(-50, 50):.3f}", entry_price=f"{100 * rng.random():.4f}"
                )
                for symbol in symbols
            ],
        )  # fmt: skip


def marks(count, rng):
    for number in range(count):
        yield MarkPrice(
            symbol=f"S{rng.randrange(SYMBOLS)}", mark_price=f"{rng.uniform(90, 110):.2f}", event_time_ms=1000 + number
        )


def recorded(topic, messages, log_time_ms):
    return [Record(topic, 0, at, log_time_ms, None, encode(message)) for at, message in enumerate(messages)]


def batch_of(accounts, rng):
    """A PositionBatch of full updates."""
    many, size = np.random.default_rng(rng.randrange(1 << 30)), len(accounts)
    said, rows = np.zeros((size, 8), "<i8"), np.zeros((POSITIONS * size, 8), "<i8")
    said[:] = np.column_stack([
        np.arange(size), *np.tile([[1], [9], [0], [1], [1]], size), many.integers(0, 10**11, size),
        np.full(size, POSITIONS),
    ])  # fmt: skip
    rows[:, 0], rows[:, 3], rows[:, 4] = np.repeat(np.arange(size), POSITIONS), 1, 9
    first = np.repeat(many.integers(0, SYMBOLS, size), POSITIONS)
    rows[:, 1] = (first + np.tile(7 * np.arange(POSITIONS), size)) % SYMBOLS
    rows[:, 6] = many.integers(1, 50_000, len(rows))
    rows[:, 7] = rows[:, 6] * 90_000
    return PositionBatch(
        accounts=[f"account-{number:08d}" for number in accounts], symbols=[f"S{number}" for number in range(SYMBOLS)],
        updates=said.tobytes(), positions=rows.tobytes(),
    )  # fmt: skip


class Bench:
    """Loads records step by step, and measures each step beside the bare decode."""

    def __init__(self):
        self.inputs = Inputs(load(flags=["worker.mode=live"]))
        self.lines = []

    def load(self, name, records):
        """Decode and apply of records in memory, without sequencing."""
        bare = decoded = applied = 0.0
        for begin in range(0, len(records), CHUNK):
            chunk = records[begin : begin + CHUNK]
            clock = time.process_time()
            for record in chunk:
                _bare(record.value)
            bare += -clock + (clock := time.process_time())
            for record in chunk:
                decode(record.value)
            decoded += -clock + (clock := time.process_time())
            for record in chunk:
                self.inputs.apply(Event(record, (), 0, None, record.log_time_ms, decode))
            self.inputs.settle()
            applied += -clock + time.process_time()
        self.line(f"{name}: decode", len(records), decoded, bare)
        self.line(f"{name}: decode and apply", len(records), applied, bare)

    def batches(self, count, rng):
        """Decode and apply of PositionBatches in MessagePack, all positions anew; figures are of a row (a position)."""
        seconds = bare = 0.0
        for begin in range(0, count, CHUNK):
            accounts = range(begin, min(begin + CHUNK, count))
            value, said = encode(batch_of(accounts, rng), "msgpack"), [encode(u) for u in updates(len(accounts), rng)]
            clock = time.process_time()
            for update in said:
                _bare(update)
            bare += -clock + (clock := time.process_time())
            (message,) = decode(value, "msgpack")
            record = Record("positions", 0, begin, 4000, None, value)
            self.inputs.apply(Event(record, [message], KIND[PositionBatch], None, 4000))
            seconds += time.process_time() - clock
        self.line("PositionBatch: decode and apply, by row", POSITIONS * count, seconds, POSITIONS * bare)

    def line(self, name, size, seconds, bare):
        digest = f"{self.inputs.book.digest():032x}"
        line = {"name": name, "records": size, "us": 1e6 * seconds / size, "ratio": seconds / bare, "digest": digest}
        self.lines.append(line)
        print(f"{name:44} {size:9,} {line['us']:8.2f} us {line['ratio']:6.1f} x  {digest[:12]}", flush=True)


def whole(path, records):
    """A recording's file to a book, every step of it; returns (Inputs, seconds, bare seconds)."""
    write_records(path, records)
    bare = 0.0
    for block in read_records(path):
        values = [record.value for record in block if record.topic == "positions"]
        clock = time.process_time()
        for value in values:
            _bare(value)
        bare += time.process_time() - clock
    settings = load(flags=["worker.mode=live"])
    inputs = Inputs(settings)
    clock = time.process_time()
    reader = Reader(RecordingSource(path, partitions=[(kind, 0) for kind in KINDS]), settings, batches=True)
    for steps in reader.steps():
        for step in steps:
            if not isinstance(step, CutPoint):
                inputs.apply(step)
    inputs.settle()
    return inputs, time.process_time() - clock, bare


def bench_all(count):
    """Prints and returns the lines for so many accounts."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {count:,} accounts")
    rng = random.Random(1)
    bench = Bench()
    for record in recorded("instruments", instruments(), 0):
        bench.inputs.apply(Event(record, decode(record.value), 0))
    first = [MarkPrice(symbol=f"S{number}", mark_price="100", event_time_ms=1) for number in range(SYMBOLS)]
    for record in recorded("mark-prices", first, 0):
        bench.inputs.apply(Event(record, decode(record.value), 0))
    start = recorded("positions", updates(count, rng), 1000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bench.load("new accounts", start)
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    book = bench.inputs.book
    print(f"memory: {grown / count:,.0f} bytes an account, with {book._slots.positions / count:.2f} positions each")
    bench.load("marks", recorded("mark-prices", marks(count // 100, rng), 2000))
    bench.load("accounts again, all positions anew", recorded("positions", updates(count // 4, rng, seq=2), 3000))
    bench.batches(count, rng)
    with tempfile.TemporaryDirectory() as folder:
        for ending in ("jsonl", "jsonl.gz"):
            path = Path(folder) / f"recording.{ending}"
            bench.inputs, seconds, bare = whole(path, recorded("instruments", instruments(), 0) + start)
            bench.line(f"new accounts: a recording's .{ending} to the book", count, seconds, bare)
    return bench.lines


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--small", action="store_true")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    gc.set_threshold(1_000_000, 50, 100)  # as the command line does
    lines = bench_all(5_000 if options.small else 200_000)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
