"""What a mark costs with ladders current: python -m tests.bench_ladder [--small] [--json FILE].

A book of 1,000,000 accounts with three cross positions each in 200 symbols, one of them held by 300,000, and the same
once a third of the accounts has closed all it had and opened anew, so that neighbours in memory have nothing to do with
each other. Every line says size, processor time, and a digest of all ladders; "no ladders" is with every account
lifted out, so that values and equities move but no ladder does.
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

import numpy as np

from schemas.messages import AccountUpdate, Balance, Instrument, MarkPrice, Position
from worker.book.book import Book

SYMBOLS = 200
TICKS = 9


def instrument(number):
    return Instrument(
        symbol=f"S{number}", tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
        maintenance_margin_fraction="0.01",
    )  # fmt: skip


class Bench:
    """A book whose symbol S0 is held by three in ten accounts; marks are near 100."""

    def __init__(self, accounts, isolated=False):
        self.rng = random.Random(1)
        self.accounts = accounts
        self.isolated = isolated
        self.prices = [100.0] * SYMBOLS
        self.clock = 0
        self.lines = []
        self.book = Book("USDT", 6)
        for number in range(SYMBOLS):
            self.book.set_instrument(instrument(number))
            self.tick(number, 0)
        self.seq = 0
        self.open(range(accounts))

    def open(self, numbers):
        """Opens accounts, as a rebuild does, in batches; two symbols at random, and S0 or a third."""
        self.seq += 1
        openings, batch = self.book.openings(), []
        for number in numbers:
            update = self.update(number)
            if not openings.add(update):
                self.book.apply_update(update)
            batch.append(update)
            if len(batch) == 4096:
                self.book.open_accounts(openings)
                openings, batch = self.book.openings(), []
        self.book.open_accounts(openings)
        self.book.prepare()

    def update(self, number):
        rng = self.rng
        symbols = [*rng.sample(range(1, SYMBOLS - 1), 2), 0 if rng.random() < 0.3 else SYMBOLS - 1]
        values = [rng.lognormvariate(6, 2) for _ in symbols]
        margin = f"{sum(values) / rng.lognormvariate(1.5, 0.8):.6f}"
        mode = {"margin_mode": "isolated", "isolated_margin": margin} if self.isolated else {}
        positions = [
            Position(
                symbol=f"S{symbol}", quantity=f"{rng.choice((-1, 1)) * value / 100:.3f}", entry_price="100", **mode
            )
            for symbol, value in zip(symbols, values, strict=True)
            if value >= 0.1
        ]
        balances = [Balance(currency="USDT", amount=margin)]
        return AccountUpdate(
            account=f"account-{number:08d}", epoch=1, seq=self.seq, full=True, balances=balances, positions=positions
        )

    def churn(self):
        """A third of the accounts, in random order, close everything and later open anew."""
        chosen = self.rng.sample(range(self.accounts), self.accounts // 3)
        for number in chosen:
            self.book.remove_account(f"account-{number:08d}")
        for number in self.rng.sample(chosen, len(chosen)):
            self.seq += 1
            self.book.apply_update(self.update(number))
        self.book.prepare()

    def tick(self, number, size):
        self.clock += 1
        self.prices[number] *= 1 + size * self.rng.choice((-1, 1))
        mark = MarkPrice(symbol=f"S{number}", mark_price=f"{self.prices[number]:.6f}", event_time_ms=self.clock)
        clock = time.process_time()
        self.book.set_mark(mark, self.clock)
        return time.process_time() - clock

    def digest(self):
        """Of all ladders, whatever the order in which accounts and symbols came."""
        hashed = hashlib.blake2b(digest_size=6)
        for number in range(SYMBOLS):
            for side in (1, -1):
                hashed.update(repr(self.book.depth(f"S{number}", side)).encode())
        return hashed.hexdigest()

    def line(self, name, size, seconds, note=""):
        digest = self.digest()
        self.lines.append({"name": name, "size": size, "ms": 1e3 * seconds, "digest": digest})
        per = 1e9 * seconds / max(size, 1)
        print(f"{name:58} {size:9,} {1e3 * seconds:9.3f} ms {per:7.1f} ns each  {digest} {note}", flush=True)

    def ticks(self, name, size):
        """Medians of ticks of S0, with ladders and without."""
        holders = len(self.book.holders("S0"))
        self.line(name, holders, statistics.median(self.tick(0, size) for _ in range(TICKS)))

    def without(self, name, size):
        seconds = []
        for _ in range(TICKS):
            self.book._lift_many(np.arange(len(self.book.accounts)))
            seconds.append(self.tick(0, size))
        self.book.place_lifted()
        self.line(name, len(self.book.holders("S0")), statistics.median(seconds))

    def second(self, name, size):
        """All symbols tick once: the share of a core that 1 Hz takes."""
        seconds = statistics.median(sum(self.tick(number, size) for number in range(SYMBOLS)) for _ in range(3))
        positions = sum(market.size for market in self.book.markets)
        self.line(name, positions, seconds, f"{100 * seconds:.1f} % of a core")

    def questions(self):
        name = self.book.top("S0", 1, 1)[0].account
        for what, ask in {
            "depth of a side": lambda: self.book.depth("S0", 1),
            "first 10 of a side": lambda: self.book.top("S0", 1, 10),
            "rank of the first": lambda: self.book.rank(name, "S0", 1),
        }.items():
            clock = time.process_time()
            for _ in range(5):
                ask()
            seconds = (time.process_time() - clock) / 5
            self.line(what, len(self.book.holders("S0")), seconds)


def bench_all(accounts):
    """Prints and returns the lines for so many accounts."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {accounts:,} accounts")
    bench = Bench(accounts)
    bench.ticks("tick of 0.02 %, as loaded", 0.0002)
    bench.ticks("tick of 0.2 %, as loaded", 0.002)
    bench.ticks("tick of 3 %, as loaded", 0.03)
    bench.without("tick, no ladders, as loaded", 0.002)
    bench.second("every symbol ticks once, 0.02 %, as loaded", 0.0002)
    bench.questions()
    bench.churn()
    bench.tick(0, 0)
    bench.ticks("tick of 0.02 %, a third opened anew", 0.0002)
    bench.without("tick, no ladders, a third opened anew", 0.0002)
    bench.second("every symbol ticks once, 0.02 %, a third opened anew", 0.0002)
    alone = Bench(accounts // 4, isolated=True)
    alone.ticks("tick of 0.2 %, all isolated", 0.002)
    alone.questions()
    return bench.lines + alone.lines


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
