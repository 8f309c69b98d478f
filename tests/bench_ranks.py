"""What the feed of ranks costs, step by step: python -m tests.bench_ranks [--small] [--json FILE].

A seeded book of 1 M positions of 400,000 accounts in 200 symbols, cross and isolated. `whole` is one ranking of
everything with what is due of it, the first and one after every mark has moved; the steps are those it is made of.
Processor time. The digest is of all places, so faster cannot mean different.
"""

import argparse
import hashlib
import json
import random
import statistics
import time
from pathlib import Path

import numpy as np

from schemas import AccountUpdate, Balance, Instrument, MarkPrice, Position
from solver.places import places
from solver.standing import TIERS, figures, tiers
from tests.bench_solver import machine
from worker import ranks
from worker.cut import KIND, Event
from worker.inputs import Inputs
from worker.output import RANKS, OutputLog
from worker.record import Record
from worker.risk import NEEDED_BY
from worker.settings import load

SYMBOLS, ACCOUNTS, POSITIONS_EACH = 200, 400_000, (1, 2, 2, 5)
POLICIES = ("risk", "queue:pnl_leverage", "queue:binance", "waterfill", "pro_rata:contracts")
RUNS = 5
SAID = 20_000  # records, for the cost of one


def apply(inputs, message, offset):
    record = Record(type(message).__name__, 0, offset, 1000, None, b"")
    inputs.apply(Event(record, [message], KIND[type(message)], None, 1000))


def set_marks(inputs, rng):
    for number in range(SYMBOLS):
        price = f"{rng.uniform(95, 105):.2f}"
        apply(inputs, MarkPrice(symbol=f"S{number:03}", mark_price=price, event_time_ms=1000), number)
    inputs.settle()


def seeded(accounts):
    """A book like an exchange's: most accounts with a leverage of 1 to 20, a third of the positions isolated."""
    rng = random.Random(1)
    inputs = Inputs(load(flags=["worker.mode=live"]))
    for number in range(SYMBOLS):
        instrument = Instrument(
            symbol=f"S{number:03}", tick_size="0.01", lot_size="0.001", settlement_currency="USDT",
            maintenance_margin_fraction="0.01",
        )  # fmt: skip
        apply(inputs, instrument, number)
    set_marks(inputs, rng)
    for number in range(accounts):
        held, gross = [], 0.0
        for symbol in rng.sample(range(SYMBOLS), rng.choice(POSITIONS_EACH)):
            lots, isolated = rng.uniform(-50, 50), rng.random() < 1 / 3
            gross += 100 * abs(lots)
            held.append(
                Position(
                    symbol=f"S{symbol:03}", quantity=f"{lots:.3f}", entry_price=f"{rng.uniform(95, 105):.2f}",
                    margin_mode="isolated" if isolated else "cross",
                    isolated_margin=f"{100 * abs(lots) / rng.uniform(1, 20):.2f}" if isolated else None,
                )
            )  # fmt: skip
        balance = [Balance(currency="USDT", amount=f"{gross / rng.uniform(1, 20):.2f}")]
        name = f"account-{rng.randrange(10**9):09}-{number:07}"
        update = AccountUpdate(account=name, epoch=1, seq=1, full=True, balances=balance, positions=held)
        apply(inputs, update, number)
    inputs.settle()
    inputs.book.prepare()
    assert not inputs._letters, inputs._letters[:3]
    return inputs


def timed(function, runs):
    """(median milliseconds of processor time, what came out)."""
    times, out = [], None
    for _ in range(runs):
        begin = time.process_time()
        out = function()
        times.append(time.process_time() - begin)
    return statistics.median(times) * 1e3, out


def steps(inputs, policy, runs):
    """Milliseconds of each part of a ranking."""
    book = inputs.book
    gather_ms, gathered = timed(
        lambda: book.gather([(market.row, side) for market in book.markets for side in (1, -1)]), runs
    )
    held = ranks._held(book, gathered)
    line = 2 * gathered.asset + (gathered.quantity_lots < 0)
    bucket = TIERS * line + tiers(held, gathered.adl_class == 1)
    markets = [book.markets[row] for row in gathered.assets.tolist()]
    model = inputs.risk.returns(markets, policy) if policy in NEEDED_BY else None
    figures(held, policy, model, bucket)  # compiled
    score_ms, score = timed(lambda: figures(held, policy, model, bucket), runs)
    place_ms, (place, _) = timed(lambda: places(score, bucket, 2 * len(markets), TIERS), runs)
    digest = hashlib.sha256(np.stack((place, gathered.account, line)).tobytes()).hexdigest()[:12]
    return {"gather": gather_ms, "scores": score_ms, "places": place_ms}, len(place), digest


def whole(inputs, policy, runs):
    """Milliseconds of a first ranking, of one after all marks moved, and microseconds of a record said."""
    # So much of a second that a single cut says everything.
    settings = load(flags=["ranks.records_per_second=100000", "cut.watch_ms=60000", "ranks.interval_ms=1"])
    first, moved, due = [], [], 0
    for run in range(runs):
        feed = ranks.Ranks(settings)
        begin = time.process_time()
        feed._rank(inputs.book, policy, inputs.risk, f"{policy}/1")
        first.append(time.process_time() - begin)
        feed._credit = len(feed._due) * 1000
        for _ in feed._say(inputs.book):
            pass
        set_marks(inputs, random.Random(2 + run % 2))
        begin = time.process_time()
        feed._rank(inputs.book, policy, inputs.risk, f"{policy}/1")
        moved.append(time.process_time() - begin)
        due = len(feed._due)
    log, feed = OutputLog("main"), ranks.Ranks(settings)
    feed._rank(inputs.book, policy, inputs.risk, f"{policy}/1")
    feed._credit = SAID * 1000
    begin, count = time.process_time(), 0
    for key, message in feed._say(inputs.book):
        log.put(RANKS, key, message, 1000)
        count += 1
    said_us = (time.process_time() - begin) / max(count, 1) * 1e6
    return {
        "first ranking": statistics.median(first) * 1e3, "after all marks moved": statistics.median(moved) * 1e3,
    }, due, said_us  # fmt: skip


def bench(accounts, runs=RUNS):
    """One row per policy."""
    inputs, rows = seeded(accounts), []
    for policy in POLICIES:
        parts, positions, digest = steps(inputs, policy, runs)
        wholes, due, said_us = whole(inputs, policy, runs)
        rows.append({
            "policy": policy, "positions": positions, "digest": digest, "due": due, "said_us": round(said_us, 2),
            "ms": {name: round(ms, 1) for name, ms in (wholes | parts).items()},
        })  # fmt: skip
        set_marks(inputs, random.Random(9))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = bench(500, 2) if options.small else bench(ACCOUNTS)
    print(machine())
    for row in rows:
        print(f"{row['policy']}: {row['positions']:,} positions, digest {row['digest']}")
        for name, ms in row["ms"].items():
            print(f"  {name:<24}{ms:>9.1f} ms")
        print(f"  due after all marks moved: {row['due']:,}; {row['said_us']:.1f} us a record to say")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
