"""A pool at exchange size, rebuilt from its topics: python -m tests.bench_rebuild [--small] [--accounts N] [--hours H].

3 M accounts with 10 M positions in 1,000 symbols stand in topics of a local broker, as PositionBatch records, as JSON
updates, or half so and half so, with their log times spread over hours. `adl run` reads them twice: at a first start,
which takes and commits every watch cut, and again from nothing, as after a crash. Each line says what that took until
the worker was ready; its digest is that of a book filled in memory, so faster cannot mean different.
"""

import argparse
import itertools
import os
import re
import tempfile
import time
from pathlib import Path

import msgspec
import numpy as np

from schemas import AccountUpdate, Instrument, MarkPrice, PositionBatch, encode
from tests.bench_solver import machine
from tests.broker.broker import Broker
from tests.broker.choice import Choice, choose
from tests.broker.machine import look
from tests.broker.start import start
from tests.kafka.topics import Topics, Worker
from worker.engine import Engine
from worker.settings import load

ACCOUNTS, SYMBOLS, HOURS = 3_000_000, 1000, 24.0
FORMS = ("batch", "json", "mixed")
PARTITIONS = 4
TOGETHER = 1000  # accounts of a PositionBatch
HELD, WEIGHTS = (1, 2, 3, 5, 10, 34), (0.38, 0.25, 0.15, 0.13, 0.07, 0.02)  # positions of an account: 3.36 on average
STEPS = (1, 3, 7, 11, 13, 17)  # between the symbols of an account
LOT, ENTRY = 1000, "99.5"  # lots of one contract; cents of a lot of a thousandth
FIRST_MS = 1_760_000_000_000
TICK = os.sysconf("SC_CLK_TCK")
READY_SECONDS = 1800


class Accounts:
    """Accounts [begin, end) of the pool, always the same: amounts, and positions one account's behind the other's."""

    def __init__(self, begin, end, symbols):
        rng = np.random.default_rng((begin, symbols))
        self.begin, self.count = begin, end - begin
        self.amounts = rng.integers(0, 10**6, self.count)
        self.held = np.minimum(rng.choice(HELD, self.count, p=WEIGHTS), symbols // 20)
        self.ends = np.cumsum(self.held)
        number = np.arange(self.ends[-1]) - np.repeat(self.ends - self.held, self.held)
        first = np.repeat(rng.integers(0, symbols, self.count), self.held)
        self.symbols = (first + number * np.repeat(rng.choice(STEPS, self.count), self.held)) % symbols
        self.contracts = rng.integers(1, 99, self.ends[-1]) * rng.choice((-1, 1), self.ends[-1])
        self.names = [f"account-{(begin + at) * 7919 % 10**7:07d}-{begin + at}" for at in range(self.count)]

    def json(self):
        """(key, one AccountUpdate) of each."""
        says = [
            f'{{"symbol":"S{symbol}","quantity":"{contracts}","entry_price":"{ENTRY}"}}'
            for symbol, contracts in zip(self.symbols.tolist(), self.contracts.tolist(), strict=True)
        ]
        begin = 0
        for name, amount, end in zip(self.names, self.amounts.tolist(), self.ends.tolist(), strict=True):
            yield (
                name.encode(),
                f'{{"type":"AccountUpdate","account":"{name}","epoch":1,"seq":1,"full":true,"balances":'
                f'[{{"currency":"USDT","amount":"{amount}"}}],"positions":[{",".join(says[begin:end])}]}}'.encode(),
            )
            begin = end

    def batch(self):
        """(key, one PositionBatch) of all of them, as MessagePack."""
        updates = columns(np.arange(self.count), 1, 1, 0, 1, 1, self.amounts * 10**6, self.held)
        lots, entry = self.contracts * LOT, self.contracts * int(float(ENTRY) * 10**6)
        account = np.repeat(np.arange(self.count), self.held)
        positions = columns(account, self.symbols, 0, 1, 1, 0, lots, entry)
        symbols = [f"S{number}" for number in range(self.symbols.max() + 1)]
        batch = PositionBatch(self.names, symbols, *(block.astype("<i8").tobytes() for block in (updates, positions)))
        yield self.names[0].encode(), msgspec.msgpack.encode(batch)


def columns(*said):
    """Rows of these numbers, each one for all rows or one for each."""
    return np.stack(np.broadcast_arrays(*said), axis=1)


def instruments(symbols):
    for number in range(symbols):
        yield Instrument(
            symbol=f"S{number}", tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
            maintenance_margin_fraction="0.01",
        )  # fmt: skip


def blocks(accounts, symbols):
    for begin in range(0, accounts, TOGETHER):
        yield Accounts(begin, min(begin + TOGETHER, accounts), symbols)


def marks(symbols, seconds):
    """The log's marks: one of each symbol, then one a second, each symbol in its turn."""
    for number in range(symbols + seconds):
        second = max(0, number - symbols + 1)
        price = "100" if number < symbols else f"{100 + number % 7 / 100:.2f}"
        now_ms = FIRST_MS + 1000 * second
        yield now_ms, MarkPrice(symbol=f"S{number % symbols}", mark_price=price, event_time_ms=now_ms)


def fill(producer, topics, form, accounts, symbols, seconds):
    """Writes the topics in the order of log time, ends of batches between their marks; returns how many records."""
    sent = itertools.count()

    def send(topic, partition, ms, key, value):
        next(sent)
        while True:
            try:
                producer.produce(topic, value, key, partition, timestamp=ms)
                return
            except BufferError:
                producer.poll(0.05)

    for message in instruments(symbols):
        send(topics.named("instruments"), 0, FIRST_MS, message.symbol.encode(), encode(message))
    for now_ms, mark in marks(symbols, seconds):
        send(topics.named("mark-prices"), 0, now_ms, mark.symbol.encode(), encode(mark))
    for block in blocks(accounts, symbols):
        as_batch = form == "batch" or (form == "mixed" and block.begin < accounts // 2)
        topic, said = ("batches", block.batch()) if as_batch else ("positions", block.json())
        now_ms = FIRST_MS + 1 + 1000 * seconds * block.begin // accounts
        step_ms = 1000 * seconds * block.count // accounts
        for number, (key, value) in enumerate(said):
            partition = (block.begin // TOGETHER + number) % PARTITIONS
            send(topics.named(topic), partition, now_ms + step_ms * number // block.count, key, value)
        producer.poll(0)
    assert producer.flush(120) == 0
    return next(sent)


def digest(accounts, symbols, seconds):
    """The state digest of a book that is told the same in memory, message by message."""
    engine = Engine(load())
    book = engine.book
    for message in instruments(symbols):
        book.set_instrument(message)
    for block in blocks(accounts, symbols):
        waiting = book.openings()
        for _, text in block.json():
            assert waiting.add(msgspec.json.decode(text, type=AccountUpdate))
        assert all(book.open_accounts(waiting))
    newest = {mark.symbol: (now_ms, mark) for now_ms, mark in marks(symbols, seconds)}
    for now_ms, mark in newest.values():
        book.set_mark(mark, now_ms)
    return engine.digest()


def taken(process):
    """What a process has taken so far: seconds of processor, those of its first thread, the peak of its memory."""
    place, seconds = Path(f"/proc/{process.pid}"), {}
    for task in (place / "task").iterdir():
        try:
            fields = (task / "stat").read_text().rpartition(")")[2].split()
        except FileNotFoundError:  # a thread that ends while it is looked at
            continue
        seconds[task.name] = (int(fields[11]) + int(fields[12])) / TICK
    peak = int(re.search(r"VmHWM:\s+(\d+)", (place / "status").read_text())[1])
    return {
        "cpu_seconds": sum(seconds.values()), "loop_seconds": seconds[place.name], "peak_mb": peak * 1024 / 1e6,
    }  # fmt: skip


def run(settings, folder, until):
    """Runs `adl run` until it is ready and `until(worker)` returns: what that took, and its last digest."""
    with Worker(settings, folder) as worker:
        worker.wait_until("adl.opened", READY_SECONDS)
        opened, before = time.monotonic(), taken(worker.process)  # kernels are loaded
        worker.wait_until("adl.ready", READY_SECONDS)
        until(worker)
        facts = taken(worker.process) | {"seconds": time.monotonic() - opened}
        facts |= {name: facts[name] - before[name] for name in ("cpu_seconds", "loop_seconds")}
        assert worker.stop(seconds=60) == 0, worker.words()[-2000:]
        said = [msgspec.json.decode(line) for line in worker.words().splitlines() if '"adl.stopped"' in line]
    return facts | {"cuts": said[-1]["cuts"], "digest": said[-1]["digest"]}


def measured(broker, form, accounts=ACCOUNTS, symbols=SYMBOLS, hours=HOURS):
    """Name and facts of the first start and of the rebuild, and how many records there were; topics are deleted."""
    seconds = int(hours * 3600)
    topics = Topics(broker, [("positions", PARTITIONS - 1)])
    batches = topics.named("batches")
    broker.create_topics({batches: PARTITIONS}, retention_ms=-1)
    try:
        producer = topics.producer(**{"linger.ms": 20, "acks": 1, "queue.buffering.max.kbytes": 200_000})
        count = fill(producer, topics, form, accounts, symbols, seconds)
        flags = (
            f"input.topics.positions={topics.named('positions')},{batches}",
            f"format.topics.{batches}=msgpack",
        )  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            # No forecast is made while there are no commits: 1,440 of them would be another benchmark's matter.
            first = run(topics.settings(*flags, "state.forecast_ms=86400000"), Path(folder), lambda worker: (
                topics.wait_until_read(READY_SECONDS, worker.alive)
            ))  # fmt: skip
            again = run(topics.settings(*flags), Path(folder), lambda _: None)
    finally:
        admin = broker.admin()
        for future in admin.delete_topics([*topics.inputs, batches]).values():
            future.result(30)
    return {"first start": first, "rebuild": again}, count


def lines(broker, forms=FORMS, accounts=ACCOUNTS, symbols=SYMBOLS, hours=HOURS):
    """What was measured, for people."""
    positions = sum(len(block.symbols) for block in blocks(accounts, symbols))
    yield f"{accounts:,} accounts with {positions:,} positions in {symbols:,} symbols; log times over {hours:g} h"
    wanted = digest(accounts, symbols, int(hours * 3600))
    for form in forms:
        found, count = measured(broker, form, accounts, symbols, hours)
        for name, facts in found.items():
            assert facts["digest"] == wanted, (facts, wanted)
            yield (
                f"{form:6} {name:12} {facts['seconds']:7.1f} s  {facts['cpu_seconds']:7.1f} s of processor, "
                f"{facts['loop_seconds']:.1f} s of them the loop's thread  "
                f"peak {facts['peak_mb']:,.0f} MB  {count:,} records, {facts['cuts']:,} cuts  {facts['digest'][:12]}"
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bootstrap", help="a broker that is there")
    parser.add_argument("--accounts", type=int, default=ACCOUNTS)
    parser.add_argument("--hours", type=float, default=HOURS, help="of log time, with a watch cut each second")
    parser.add_argument("--form", choices=FORMS, action="append", help="one of them only; may be said again")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    options = parser.parse_args()
    found = look()
    choice = choose(found)
    if options.bootstrap is None and choice is Choice.NONE:
        print(choice.value)
        return
    broker = Broker(options.bootstrap, "given") if options.bootstrap else start(choice, found)
    sizes = (3000, 100, 0.01) if options.small else (options.accounts, SYMBOLS, options.hours)
    try:
        print(f"{machine()}\nKafka: {broker.kind}; load {os.getloadavg()[0]:.1f}")
        for line in lines(broker, options.form or FORMS, *sizes):
            print(line, flush=True)
    finally:
        broker.close()


if __name__ == "__main__":
    main()
