"""A book at exchange size: python -m tests.bench_size [--small] [--json FILE].

3 M accounts with 10 M positions in 1,000 symbols: resident memory of the whole process, time, the longest pause of a
single step, and what is left behind by accounts that come and go. Times are of the processor, system included; the
digest says that faster is not different.
"""

import argparse
import gc
import json
import os
import platform
import random
import time
from pathlib import Path

from schemas import AccountUpdate, Balance, Instrument, MarkPrice, Position
from worker.book.book import Book

BATCH = 1000  # accounts opened together, as the worker does
HELD, WEIGHTS = (1, 2, 3, 5, 10, 34), (38, 25, 15, 13, 7, 2)  # positions of an account: 3.36 on average
ROUNDS = 5  # of accounts that come and go
_PAGE = os.sysconf("SC_PAGE_SIZE")


def resident():
    """Bytes of memory that the process has now."""
    return _PAGE * int(Path("/proc/self/statm").read_text().split()[1])


class Pauses:
    """Processor time of steps: how long altogether, and the longest."""

    def __init__(self):
        self.seconds = self.longest = self.steps = 0.0

    def time(self, step, *arguments):
        clock = time.process_time()
        found = step(*arguments)
        seconds = time.process_time() - clock
        self.seconds, self.longest, self.steps = self.seconds + seconds, max(self.longest, seconds), self.steps + 1
        return found


class Bench:
    """One book; every line says what was done, how often, what it took and how much memory there is then."""

    def __init__(self, accounts, symbols):
        self.size, self.rng, self.lines = accounts, random.Random(1), []
        self.book = Book("USDT", 6)
        self.names = [f"S{number}" for number in range(symbols)]
        self.born = 0
        for name in self.names:
            self.book.set_instrument(
                Instrument(
                    symbol=name, tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
                    maintenance_margin_fraction="0.01",
                )
            )  # fmt: skip
            self.book.set_mark(MarkPrice(symbol=name, mark_price="100", event_time_ms=1), 1)

    def line(self, name, size, pauses):
        line = {
            "name": name, "size": size, "us": 1e6 * pauses.seconds / max(size, 1), "longest_ms": 1e3 * pauses.longest,
            "resident_mb": resident() / 1e6, "accounts": len(self.book.accounts),
            "digest": f"{self.book.digest():032x}",
        }  # fmt: skip
        self.lines.append(line)
        print(
            f"{name:44} {size:10,} {line['us']:8.2f} us  longest {line['longest_ms']:7.2f} ms  "
            f"{line['resident_mb']:6,.0f} MB  {line['digest'][:12]}",
            flush=True,
        )

    def position(self, symbol):
        rng = self.rng
        return Position(symbol=symbol, quantity=f"{rng.choice((-1, 1)) * rng.randrange(1, 99)}", entry_price="99.5")

    def updates(self, count):
        """Full updates of new accounts."""
        rng = self.rng
        for _ in range(count):
            self.born += 1
            held = rng.sample(self.names, rng.choices(HELD, WEIGHTS)[0])
            yield AccountUpdate(
                account=f"account-{rng.randrange(10**7):07d}-{self.born}", epoch=1, seq=1, full=True,
                balances=[Balance(currency="USDT", amount=f"{rng.randrange(10**6)}")],
                positions=[self.position(symbol) for symbol in held],
            )  # fmt: skip

    def open(self, count, pauses):
        """Opens accounts, a batch at a time; returns their names."""
        names, waiting = [], self.book.openings()
        for number, update in enumerate(self.updates(count), 1):
            names.append(update.account)
            waiting.add(update)
            if len(waiting) == BATCH or number == count:
                assert all(pauses.time(self.book.open_accounts, waiting))
                waiting = self.book.openings()
        return names

    def fill(self):
        pauses = Pauses()
        self.sample = self.open(self.size, pauses)[:: max(1, self.size // 20_000)]
        self.line("new accounts, a step is a batch of them", self.book._slots.positions, pauses)

    def change(self):
        """Positions opened, changed and closed in accounts anywhere, one update a step."""
        pauses = Pauses()
        for seq, name in enumerate(self.sample, 2):
            position = self.position(self.rng.choice(self.names))
            if seq % 3 == 0:
                held = self.book.positions(name)
                position = Position(symbol=held[0].symbol, quantity="0") if held else position
            update = AccountUpdate(account=name, epoch=1, seq=seq, full=False, positions=[position])
            pauses.time(self.book.apply_update, update)
        self.line("updates of one position", len(self.sample), pauses)

    def widen(self):
        """One account to as many positions as there may be, one update a step."""
        pauses, name = Pauses(), self.sample[0]
        for seq, symbol in enumerate(self.names, 10**6):
            update = AccountUpdate(account=name, epoch=1, seq=seq, full=False, positions=[self.position(symbol)])
            pauses.time(self.book.apply_update, update)
        self.line("one account in every symbol", len(self.names), pauses)

    def crowd(self):
        """A mark of each symbol."""
        pauses = Pauses()
        for name in self.names:
            pauses.time(self.book.set_mark, MarkPrice(symbol=name, mark_price="101", event_time_ms=2), 2)
        self.line("a mark of every symbol, for each holder", self.book._slots.positions, pauses)

    def order(self):
        pauses = Pauses()
        pauses.time(self.book.accounts.order)
        self.line("the order of all names", len(self.book.accounts), pauses)
        pauses = Pauses()
        for _ in range(10):
            self.open(1, Pauses())
            pauses.time(self.book.accounts.order)
        self.line("the order again after a new name", 10, pauses)

    def churn(self, number):
        """A tenth of the accounts goes, as many others come."""
        gone, pauses = self.coming, Pauses()
        for at, name in enumerate(gone, 1):
            pauses.time(self.book.remove_account, name)
            if at % BATCH == 0 or at == len(gone):
                pauses.time(self.book.let_go, lambda rows: rows < 0)
        self.coming = self.open(len(gone), pauses)
        self.line(f"accounts gone and come, {number}", len(gone), pauses)


def bench_all(accounts, symbols):
    """Prints and returns the lines."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}; {resident() / 1e6:,.0f} MB"
    )
    bench = Bench(accounts, symbols)
    bench.fill()
    bench.change()
    bench.widen()
    bench.crowd()
    bench.order()
    bench.coming = bench.open(accounts // 10, Pauses())
    for number in range(1, ROUNDS + 1):
        bench.churn(number)
    return bench.lines


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--small", action="store_true")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    gc.set_threshold(1_000_000, 50, 100)  # as the command line does
    lines = bench_all(*((3000, 50) if options.small else (3_000_000, 1000)))
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
