"""Times of one large decision, step by step: python -m tests.bench_engine [--small] [--json FILE].

Two books: a seeded one, and that of 10 October 2025 at its largest burst, where its data is beside the checkout. Every
run decides the same book: the legs are refused again after it. `decided` is what stands between a cut and its legs:
gather, solve, verify, legs in columns, booked as held. The digest is of the records, so faster cannot mean different.
"""

import argparse
import gc
import hashlib
import json
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from schemas import (
    AccountUpdate,
    Balance,
    Bankruptcy,
    BankruptcyLine,
    ForcedTradeResult,
    Instrument,
    MarkPrice,
    Position,
    text_of,
)
from tests.bench_solver import burst_book, machine
from tests.conftest import OCT10
from worker import decide as decide_room
from worker import rounds
from worker.book.book import Book
from worker.cut import BANKRUPTCY, KIND, CutPoint, Event
from worker.engine import Engine
from worker.loop import Reader
from worker.record import Record
from worker.settings import load

RUNS = 7
BURST_MS = 1760130964000  # 21:16:04, not to the ms
UNIT = 10**6  # minor units of a quote currency with six decimals


class Stopwatch:
    """Adds up the time spent in functions, by step."""

    def __init__(self):
        self.seconds = defaultdict(float)

    def of(self, step, function):
        def timed(*arguments, **options):
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[step] += time.perf_counter() - begin

        return timed


def event(message, offset, log_time_ms=1000):
    record = Record(type(message).__name__, 0, offset, log_time_ms, None, b"")
    return Event(record, [message], KIND[type(message)], None, log_time_ms)


def seeded(accounts, entries, demand_share):
    """A seeded book in an engine, and the bankruptcies of one burst over 44 symbol sides."""
    book = burst_book(accounts, entries)
    engine = Engine(load(flags=["worker.mode=live", "cut.watch_ms=1000"]))
    lots, asset, account = (book[name].tolist() for name in ("quantity_lots", "asset", "account"))
    messages = []
    marks = np.maximum(1, np.rint(book["mark_price"] * 10**6)).astype(np.int64).tolist()  # scaled, six decimals
    for symbol, mark in enumerate(marks):
        messages.append(
            Instrument(
                symbol=f"S{symbol:03}-PERP", tick_size="0.000001", lot_size="0.01", settlement_currency="USDT",
                maintenance_margin_fraction="0.01", price_decimals=6,
            )
        )  # fmt: skip
        messages.append(MarkPrice(symbol=f"S{symbol:03}-PERP", mark_price=text_of(mark, 6), event_time_ms=1000))
    positions = defaultdict(list)
    for name, symbol, held in zip(account, asset, lots, strict=True):
        # Entered at the mark, so that equity is the balance.
        entry = text_of(held * marks[symbol] // 100, 6)
        positions[name].append(Position(symbol=f"S{symbol:03}-PERP", quantity=text_of(held, 2), entry_value=entry))
    equity = np.rint(book["equity"] * UNIT).astype(np.int64).tolist()
    for name, held in positions.items():
        balance = [Balance(currency="USDT", amount=text_of(equity[name], 6))]
        messages.append(
            AccountUpdate(account=f"account-{name:06}", epoch=1, seq=1, full=True, balances=balance, positions=held)
        )
    for offset, message in enumerate(messages):
        engine.apply(event(message, offset))
    burst = []
    demands = zip(book["demand_asset"], book["demand_side"], book["demand_lots"].tolist(), strict=True)
    for number, (symbol, side, wanted) in enumerate(demands):
        wanted = max(1, int(wanted * demand_share))
        deficit = wanted * marks[symbol] // 100 // 200  # half a per cent of what is taken over
        line = BankruptcyLine(symbol=f"S{symbol:03}-PERP", quantity=text_of(-side * wanted, 2))
        message = Bankruptcy(
            id=f"burst-{number}", account=f"bankrupt-{number}", event_time_ms=1000, lines=[line],
            equity=text_of(-deficit, 6), insurance=text_of(deficit // 2, 6),
        )  # fmt: skip
        burst.append(event(message, number))
    assert not engine._letters, engine._letters[:3]
    return engine, CutPoint(1000, {}, burst)


def oct10():
    """The engine as it stands before the largest burst of 10 October 2025, and that cut."""
    from tests.oct10.convert import convert  # parquet is an extra
    from worker.edge.recording import RecordingSource

    settings = load(flags=["worker.mode=live", "pool.currency=USDC"])
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "oct10.jsonl.gz"
        convert(recording)
        source = RecordingSource(recording)
        engine = Engine(settings)
        for steps in Reader(source, settings).steps():
            for step in steps:
                if isinstance(step, Event):
                    engine.apply(step)
                elif step.log_time_ms // 1000 == BURST_MS // 1000 and any(e.kind == BANKRUPTCY for e in step.cutting):
                    return engine, step
                else:
                    engine.cut(step)
    raise LookupError("the recording has no burst at 21:16:04")


def measure(engine, point, runs):
    """Seconds of each step, a list per step, and what came out."""
    for item in point.cutting:
        engine.apply(item)
    group, engine._waiting = engine._waiting, []
    engine._admit(group, point, silent=False)
    (case,) = engine._cases
    engine.book.prepare()
    seconds = defaultdict(list)
    found = {}
    watch = Stopwatch()
    kept = (Book.gather, rounds.solve, rounds.verify, decide_room.run_rounds)
    Book.gather = watch.of("gather", Book.gather)
    rounds.solve, rounds.verify = watch.of("solve", rounds.solve), watch.of("verify", rounds.verify)
    decide_room.run_rounds = watch.of("rounds", decide_room.run_rounds)
    try:
        for _ in range(runs + 1):
            gc.collect()
            watch.seconds.clear()
            one(engine, case, point, watch, found)
            for step, spent in watch.seconds.items():
                seconds[step].append(spent)
    finally:
        Book.gather, rounds.solve, rounds.verify, decide_room.run_rounds = kept
    return {step: values[1:] for step, values in seconds.items()}, found  # the first one compiles


def one(engine, case, point, watch, found):
    """Decides, publishes and books once; then refuses all legs, so that the book is what it was."""
    before = engine.book.digest()
    heads = dict(engine.outputs.heads)
    funds = engine.funds.available()
    decided = watch.of("decide", decide_room.decide)(engine.book, case, engine._rules(), funds)
    decision, legs = watch.of("publish", engine._write_decision)(case, point, decided)
    watch.of("held", engine._adopt)(case, decision, legs)
    records = engine.outputs.take()[1:]
    found.update(legs=len(records), demands=len(decided.demands), digest=digest(records))
    if "results" not in found:  # slow to undo one by one, so it is timed once
        results = [ForcedTradeResult(trade_id=trade, account="", filled_quantity="0") for trade in legs.trade_id]
        found["results"] = len(results)
    begin = time.perf_counter()
    for trade_id in legs.trade_id:
        leg = engine.held.find(trade_id)
        engine.held.answer(leg, 0)
    watch.seconds["refuse"] += time.perf_counter() - begin
    assert engine.book.digest() == before, "refused legs must leave nothing in the book"
    engine._cases.append(case)
    engine.outputs.heads = heads


def digest(records):
    """Of what the trades say, without numbers that go on from run to run."""
    hashed = hashlib.blake2b(digest_size=8)
    for record in records:
        fields = json.loads(record.value)
        hashed.update(repr([fields[name] for name in ("trade_id", "quantity", "quote_amount", "price")]).encode())
    return hashed.hexdigest()


STEPS = ("decided", "gather", "solve", "verify", "rounds, other", "legs", "held", "publish", "refuse")


def bench(small=False, runs=RUNS):
    """Rows of {book, size, step, median_ms, best_ms, per_leg_us, digest}."""
    books = {"seeded": lambda: seeded(*((4_000, 5_000, 1.0) if small else (120_000, 150_300, 0.06)))}
    if OCT10.is_dir() and not small:
        books["10 October 2025, 21:16:04"] = oct10
    rows = []
    for name, made in books.items():
        engine, point = made()
        seconds, found = measure(engine, point, runs)
        seconds["legs"] = [a - b for a, b in zip(seconds["decide"], seconds["rounds"], strict=True)]
        parts = zip(*(seconds[step] for step in ("rounds", "gather", "solve", "verify")), strict=True)
        seconds["rounds, other"] = [whole - sum(rest) for whole, *rest in parts]
        seconds["decided"] = [a + b for a, b in zip(seconds["decide"], seconds["held"], strict=True)]
        size = f"{engine.book._slots.positions} positions, {found['demands']} demands"
        for step in STEPS:
            median = statistics.median(seconds[step])
            rows.append({
                "book": name, "size": size, "legs": found["legs"], "step": step, "median_ms": round(median * 1e3, 2),
                "best_ms": round(min(seconds[step]) * 1e3, 2), "per_leg_us": round(median / found["legs"] * 1e6, 2),
                "digest": found["digest"],
            })  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = bench(options.small, options.runs)
    print(machine())
    title = None
    for r in rows:
        if title != (title := f"{r['book']}: {r['size']}, {r['legs']} legs, digest {r['digest']}"):
            print(title)
        print(f"  {r['step']:<16}{r['median_ms']:>9.2f} ms (best {r['best_ms']:.2f}){r['per_leg_us']:>8.2f} us a leg")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "runs": options.runs, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
