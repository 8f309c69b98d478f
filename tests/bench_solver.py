"""Times of `solve` beside a rival in the same run: python -m tests.bench_solver [--small] [--json FILE].

Every line says size, median and fastest of several runs, and a digest of the result, so that faster cannot mean
different. Rival: the water level found by sorting (numpy), relaxed, one demand.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np

from solver import Problem, solve, verify

RUNS = 9


def isolated_book(size, share=0.1, seed=0):
    """Longs of one asset, one account each, sizes with a power tail, leverages 1 to 50."""
    rng = np.random.default_rng(seed)
    quantity = (rng.pareto(1.2, size) * 1000 + 1).astype(np.int64)
    return {
        "account": np.arange(size), "asset": np.zeros(size, dtype=np.int64), "quantity_lots": quantity,
        "equity": quantity * 100.0 / rng.uniform(1, 50, size), "mark_price": [100.0],
        "demand_asset": [0], "demand_side": [1], "demand_lots": [int(quantity.sum() * share)],
    }  # fmt: skip


def burst_book(accounts, entries, assets=100, demands=44, seed=0):
    """Cross accounts over assets of falling popularity; longs of 30 assets and shorts of 14 are demanded."""
    rng = np.random.default_rng(seed)
    account = np.sort(np.concatenate([np.arange(accounts), rng.integers(0, accounts, entries - accounts)]))
    popularity = 1 / np.arange(1, assets + 1)
    asset = rng.choice(assets, entries, p=popularity / popularity.sum())
    _, first = np.unique(account * assets + asset, return_index=True)
    account, asset = account[first], asset[first]
    mark = 10 ** rng.uniform(-2, 4, assets)
    notional = rng.pareto(1.1, account.size) * 1000
    quantity = (np.rint(notional / mark[asset] * 100).astype(np.int64) + 1) * rng.choice([-1, 1], account.size)
    gross = np.bincount(account, np.abs(quantity) * mark[asset] * 0.01, minlength=accounts)
    longs = demands * 30 // 44
    pairs = [(a, 1) for a in range(longs)] + [(a, -1) for a in range(demands - longs)]
    held = np.array([np.abs(quantity[(asset == a) & (np.sign(quantity) == s)]).sum() for a, s in pairs])
    return {
        "account": account, "asset": asset, "quantity_lots": quantity,
        "equity": gross / rng.uniform(0.5, 40, accounts), "mark_price": mark, "lot_size": 0.01,
        "demand_asset": [a for a, _ in pairs], "demand_side": [s for _, s in pairs],
        "demand_lots": (held * rng.uniform(0.02, 0.3, held.size)).astype(np.int64),
        "entry_price": mark[asset] * np.exp(rng.normal(0, 0.2, account.size)),
    }  # fmt: skip


def sorted_level(problem):
    """The rival: sort by leverage, running sums, first level that is below its own account and not below the next."""
    price = problem.lot_price[0]
    leverage = price * problem.quantity_lots / problem.equity
    order = np.argsort(-leverage)
    lots = np.cumsum(problem.quantity_lots[order])
    levels = price * (lots - problem.demand_lots[0]) / np.cumsum(problem.equity[order])
    below = np.append(leverage[order][1:], 0.0)
    level = levels[np.argmax(levels >= below)]
    return np.maximum(problem.quantity_lots - level * problem.equity / price, 0.0)


def timed(work, runs):
    """Median and fastest of several runs in ms, after one that compiles; and the result."""
    result = work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        result = work()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times), min(times), result


def digest(array):
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()


def machine():
    """Processor and cores, without a name of the host."""
    model = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}, numpy {np.__version__}"


def bench(small=False, runs=RUNS):
    """Rows of {work, size, median_ms, best_ms, digest, ratio to the rival}."""
    size = 20_000 if small else 1_000_000
    accounts, entries = (4_000, 5_000) if small else (120_000, 150_000)
    rows = []

    def row(work, what, function, array, rival=None):
        median, best, result = timed(function, runs)
        ratio = round(rival["median_ms"] / median, 2) if rival else None
        rows.append({"work": work, "size": what, "median_ms": round(median, 3), "best_ms": round(best, 3),
                     "digest": digest(array(result)), "rival_over_this": ratio})  # fmt: skip
        return rows[-1]

    one = Problem(**isolated_book(size))
    positions = f"{size} positions, 1 demand"
    rival = row("rival: numpy sort, relaxed", positions, lambda: sorted_level(one), lambda x: np.round(x, 6))
    row("build Problem", positions, lambda: Problem(**isolated_book_cached(size)), lambda p: p.quantity_lots)
    row("waterfill, relaxed", positions, lambda: solve(one, policy="waterfill", lots=False),
        lambda s: s.relaxed_lots, rival)  # fmt: skip
    row("waterfill, lots", positions, lambda: solve(one, policy="waterfill"), lambda s: s.reduction_lots, rival)
    many = Problem(**burst_book(accounts, entries))
    what = f"{many.account.size} entries, {accounts} accounts, 44 demands"
    solved = solve(many, policy="waterfill")
    row("waterfill, lots", what, lambda: solve(many, policy="waterfill"), lambda s: s.reduction_lots)
    row("verify", what, lambda: verify(many, solved).failures, lambda failures: np.array(len(failures)))
    for name in ("queue:pnl_leverage", "queue:effective_leverage"):
        row(name, what, lambda name=name: solve(many, policy=name), lambda s: s.reduction_lots)
    return rows


_BOOKS = {}


def isolated_book_cached(size):
    """The same arrays again, so that building a Problem is timed and not the random numbers."""
    if size not in _BOOKS:
        _BOOKS[size] = isolated_book(size)
    return _BOOKS[size]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rows = bench(options.small, options.runs)
    print(machine())
    for r in rows:
        ratio = f"  {r['rival_over_this']:>6}x rival" if r["rival_over_this"] else ""
        print(
            f"{r['work']:<28}{r['size']:<46}{r['median_ms']:>10.2f} ms (best {r['best_ms']:.2f})  {r['digest']}{ratio}"
        )
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "runs": options.runs, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
