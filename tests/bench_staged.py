"""What staged reductions cost at a watch cut: python -m tests.bench_staged [--small] [--json FILE].

Nothing fires: every account is looked at, none is near a tier. All fire: a tenth of them fall through a tier at once.
They wait: the same accounts at the next cut, with their tiers used up. The digest is of what was written.
"""

import argparse
import gc
import hashlib
import json
import os
import platform
import random
import statistics
import time
from pathlib import Path

from schemas import AccountUpdate, Balance, Instrument, MarkPrice, Position
from worker.cut import KIND, CutPoint, Event
from worker.engine import Engine
from worker.record import Record
from worker.settings import load

SYMBOLS = 200
RUNS = 7
TENTH = 10  # of all accounts one is thin


def event(message):
    return Event(Record(type(message).__name__, 0, 0, 1000, None, b""), [message], KIND[type(message)], None, 1000)


def engine_of(accounts):
    """A book with 1.5 positions an account; a tenth of the accounts has equity of 1.35 maintenance requirements."""
    engine, rng = Engine(load(flags=["worker.mode=live", "reductions.tiers=1.2:0.25, 1.1:1"])), random.Random(1)
    for number in range(SYMBOLS):
        symbol = f"S{number}"
        instrument = Instrument(
            symbol=symbol, tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
            maintenance_margin_fraction="0.01",
        )  # fmt: skip
        engine.apply(event(instrument))
        engine.apply(event(MarkPrice(symbol=symbol, mark_price="100", event_time_ms=1)))
    for number in range(accounts):
        symbols = rng.sample(range(SYMBOLS), rng.choices([1, 2, 8], weights=[80, 18, 2])[0])
        lots = rng.randint(100, 100_000)  # 0.001 each: requirement lots / 1000 for each position
        cash = lots * len(symbols) * (1350 if number % TENTH == 0 else 20_000) // 1000
        update = AccountUpdate(
            account=f"account-{number:08d}", epoch=1, seq=1, full=True,
            balances=[Balance(currency="USDT", amount=f"{cash / 1000:.3f}")],
            positions=[
                Position(symbol=f"S{s}", quantity=f"{rng.choice((-1, 1)) * lots / 1000:.3f}", entry_price="100")
                for s in symbols
            ],
        )  # fmt: skip
        engine.apply(event(update))
    engine.settle()
    return engine


def watched(engine, at_ms):
    """Seconds of the staged reductions alone, and what they wrote."""
    gc.collect()
    begin = time.process_time()
    engine._reduce(CutPoint(at_ms, {}))
    return time.process_time() - begin, engine.outputs.take()


def bench_all(accounts):
    """Prints and returns the lines."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {accounts:,} accounts")
    engine, lines = engine_of(accounts), []

    def line(name, runs):
        seconds, written = statistics.median(run[0] for run in runs), runs[0][1]
        digest = hashlib.blake2b(b"".join(output.value for output in written), digest_size=8).hexdigest()
        lines.append({"name": name, "accounts": accounts, "ms": 1e3 * seconds, "said": len(written), "digest": digest})
        print(f"{name:28} {1e3 * seconds:9.2f} ms  {len(written):8,} reductions  {digest}", flush=True)

    line("nothing fires", [watched(engine, 1000) for _ in range(RUNS)])
    for number in range(SYMBOLS):  # longs lose 0.2, shorts win 0.2 of a requirement of 1
        mark = "99.8" if number % 2 else "100.2"
        engine.apply(event(MarkPrice(symbol=f"S{number}", mark_price=mark, event_time_ms=2)))
    line("a part of the tenth fires", [watched(engine, 2000)])
    line("they wait", [watched(engine, 3000 + run) for run in range(RUNS)])
    return lines


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--small", action="store_true")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    gc.set_threshold(1_000_000, 50, 100)  # as the command line does
    lines = bench_all(5_000 if options.small else 1_000_000)
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
