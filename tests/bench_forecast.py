"""Times of one forecast and of the records it gives: python -m tests.bench_forecast [--small] [--json FILE].

A seeded book of cross accounts, some isolated positions among them, moved by 20 shocks of each symbol alone and of all
together. The digest is of the records, so faster cannot mean different.
"""

import argparse
import gc
import hashlib
import json
import random
import statistics
import time
from pathlib import Path

from schemas import AccountUpdate, Balance, Instrument, MarkPrice, Position, encode, text_of
from tests.bench_solver import machine
from worker.book.book import Book
from worker.cut import CutPoint
from worker.risk import Risk
from worker.settings import load
from worker.states import Facts, States

SHOCKS = "0.01,0.02,0.03,0.05,0.075,0.1,0.15,0.2,0.3,0.5"  # down and up: 20
RUNS = 5
CHUNK = 1000  # accounts opened at a time


def book_of(accounts, symbols, seed=1):
    """Accounts with one to five positions at leverages from 1 to 25, entered near the mark."""
    rng = random.Random(seed)
    book = Book("USDT", 6)
    for number in range(symbols):
        book.set_instrument(
            Instrument(
                symbol=f"S{number:04}-PERP", tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
                maintenance_margin_fraction="0.01", price_decimals=2, fund_id=f"fund-{number % 4}",
            )
        )  # fmt: skip
        book.set_mark(MarkPrice(symbol=f"S{number:04}-PERP", mark_price="100", event_time_ms=1), 1)
    new = book.openings()
    for number in range(accounts):
        held = rng.choices([1, 2, 3, 5], weights=[70, 20, 8, 2])[0]
        isolated = rng.random() < 0.15
        positions, gross = [], 0
        for symbol in rng.sample(range(symbols), held):
            lots = max(1, int(1000 / max(rng.random(), 1e-3)))
            gross += lots * 100_000  # minor units: a lot is worth 0.1
            sign = rng.choice((1, -1))
            positions.append(
                Position(
                    symbol=f"S{symbol:04}-PERP", quantity=text_of(sign * lots, 3),
                    entry_price=text_of(rng.randint(9_900, 10_100), 2),
                    margin_mode="isolated" if isolated else "cross",
                    isolated_margin=text_of(lots * 100_000 * 10 // rng.randint(20, 250), 6) if isolated else None,
                )
            )  # fmt: skip
        balance = Balance(currency="USDT", amount=text_of(gross * 10 // rng.randint(10, 250), 6))
        update = AccountUpdate(
            account=f"account-{number:08d}", epoch=1, seq=1, full=True, balances=[balance], positions=positions
        )
        if not new.add(update):
            book.apply_update(update)
        if number % CHUNK == CHUNK - 1 or number == accounts - 1:
            assert all(book.open_accounts(new))
            new = book.openings()
    return book


def bench(accounts, symbols):
    """Prints and returns one line for a book of so many accounts."""
    book = book_of(accounts, symbols)
    settings = load(flags=["state.forecast_ms=1", f"state.shocks={SHOCKS}"]).state
    funds = {f"fund-{number}": 10**12 for number in range(4)}
    made, said, digest = [], [], ""
    for _ in range(RUNS):
        states = States(settings, "main")
        clock = time.process_time()
        messages = list(states.watch(CutPoint(1000, {}), Facts(book, Risk(), funds, {}, ())))
        made.append(1e3 * (time.process_time() - clock))
        clock = time.process_time()
        records = [encode(message) for _, message in messages]
        said.append(1e3 * (time.process_time() - clock))
        again = hashlib.sha256(b"".join(records)).hexdigest()[:12]
        assert digest in ("", again), "a forecast of the same book differs"
        digest = again
    pool = next(message for key, message in messages if key == "*")
    line = {
        "accounts": accounts, "positions": book._slots.used, "symbols": symbols, "shocks": len(SHOCKS.split(",")) * 2,
        "forecast_ms": statistics.median(made), "encode_ms": statistics.median(said), "records": len(records),
        "bankrupt": max(shock.accounts for shock in pool.shocks), "digest": digest,
    }  # fmt: skip
    print(
        f"{accounts:9,} accounts {line['positions']:9,} positions {symbols:5} symbols: forecast "
        f"{line['forecast_ms']:7.1f} ms, {line['records']} records encoded in {line['encode_ms']:.1f} ms  {digest}",
        flush=True,
    )
    return line


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--small", action="store_true")
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    print(machine())
    gc.set_threshold(1_000_000, 50, 100)  # as the command line does
    sizes = [(2_000, 20)] if options.small else [(100_000, 200), (1_000_000, 200), (1_000_000, 1000)]
    lines = [bench(accounts, symbols) for accounts, symbols in sizes]
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
