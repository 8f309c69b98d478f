"""Times of policy `risk` on books of cross-margined accounts: python -m tests.bench_risk [--small] [--json FILE].

Every line says size, share of open interest, median and fastest of several runs, processor time, steps, the certificate
and a digest of levels and shares, so that faster cannot mean different. `solve_fast` is the relaxed optimum with all
passes over the book included; `solve` adds eligibility, lots and the solution's rows. Growth and memory come last:
peak memory of a process of its own, and the bandwidth that one pass over the book reaches of what a sum reaches.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from solver import Problem, RiskModel, solve
from solver.loss.model import tail_of
from solver.optimum.account import Model
from solver.optimum.fast import solve_fast
from solver.optimum.holders import holders
from solver.optimum.threads import Threads
from tests.bench_solver import machine
from tests.solver.cross_books import cross_margin

RUNS = 5
# accounts, assets, factors, demands, share of open interest, more; the time asked for in ms (design, section 9)
TABLE = [
    (4, 1, 1, 1, 0.3, {}, 1),
    (1_000, 1, 1, 1, 0.3, {}, 3),
    (10_000, 10, 3, 10, 0.1, {}, 20),
    (1_000_000, 200, 3, 1, 0.1, {}, 30),
    (1_000_000, 200, 3, 50, 0.1, {}, 250),
    (1_000_000, 200, 3, 150, 0.1, {}, 700),
    (1_000_000, 200, 3, 150, 0.5, {}, 2000),
    (1_000_000, 200, 3, 150, 0.9, {}, 2000),
    (1_000_000, 200, 3, 150, 0.999, {"haircut": 0.01}, 2000),
    (1_000_000, 200, 3, 150, 0.9, {"tail": 2.5}, 2000),
    (1_000_000, 200, 3, 150, 0.0, {}, 2000),  # one lot each
    (1_000_000, 200, 3, 150, 1.0, {}, 2000),
    (1_000_000, 200, 3, 1, 0.5, {}, 2000),
    (1_000_000, 200, 3, 1, 0.999, {}, 2000),
    (1_000_000, 200, 3, 50, 0.1, {"both": True}, 2000),  # longs and shorts of the same assets
    (1_000_000, 200, 3, 150, 0.5, {"both": True}, 2000),
    (1_000_000, 200, 3, 150, 0.9, {"both": True}, 2000),
    (1_000_000, 200, 3, 150, 0.999, {"both": True}, 2000),
    (1_000_000, 200, 0, 150, 0.5, {}, 2000),
]
GROWTH = [10**n for n in range(3, 8)]  # positions


def book(accounts, assets, factors, demands, share, more):
    """Return (Problem, RiskModel, demand of rows that may be asked); one factor stands alone, as in the paper."""
    arguments, risk = cross_margin(accounts, assets, factors, demands, share, **more)
    if factors == 1:
        risk = RiskModel(risk.loadings, np.zeros(assets), risk.tail)
    problem = Problem(**arguments)
    demand = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
    price, haircut = problem.lot_price[problem.asset], problem.haircut[demand]
    gross = np.bincount(problem.account, np.abs(problem.quantity_lots) * price, problem.equity.size)
    able = (haircut <= 0) | (haircut * gross[problem.account] < problem.equity[problem.account] * price)
    return problem, risk, np.where((demand >= 0) & able, demand, -1)


def fast(problem, risk, demand):
    model = Model(tail_of(risk.tail), np.zeros(0))
    return lambda: solve_fast(
        problem, demand, problem.demand_lots, None, risk.loadings, risk.idiosyncratic, model
    )  # fmt: skip


def timed(work, runs):
    """(median ms, fastest ms, least processor ms) after one run that compiles; and the result."""
    result = work()
    walls, cpus = [], []
    for _ in range(runs):
        wall, cpu = time.perf_counter(), time.process_time()
        result = work()
        walls.append((time.perf_counter() - wall) * 1e3)
        cpus.append((time.process_time() - cpu) * 1e3)
    return statistics.median(walls), min(walls), min(cpus), result


def digest(*arrays):
    data = b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def row(work, what, asked_ms, times, **more):
    median, best, cpu = times
    return {"work": work, "size": what, "asked_ms": asked_ms, "median_ms": round(median, 3), "best_ms": round(best, 3),
            "cpu_ms": round(cpu, 3), **more}  # fmt: skip


def table(sizes, runs):
    """Rows of the figures that the design asks for."""
    for accounts, assets, factors, demands, share, more, asked_ms in sizes:
        problem, risk, demand = book(accounts, assets, factors, demands, share, more)
        what = f"{accounts} accounts, {problem.account.size} positions, {demands} demands, {share:g}"
        what += "".join(f", {name} {value}" for name, value in more.items())
        *times, (optimum, candidates, _) = timed(fast(problem, risk, demand), runs)
        yield row("solve_fast", what, asked_ms, times, kkt=float(optimum.kkt), steps=optimum.iterations,
                  candidates=candidates.demand.size, digest=digest(optimum.level, optimum.u, optimum.w))  # fmt: skip
        *times, solution = timed(lambda problem=problem, risk=risk: solve(problem, risk=risk), runs)
        yield row("solve", what, asked_ms, times, kkt=float(solution.kkt_residual), steps=solution.iterations,
                  candidates=candidates.demand.size, digest=digest(solution.reduction_lots))  # fmt: skip


def growth(sizes, runs):
    """Rows of ever larger books, 20 demands, with nanoseconds a position."""
    for positions in sizes:
        problem, risk, demand = book(positions // 3, 50, 3, 20, 0.1, {})
        *times, (optimum, candidates, _) = timed(fast(problem, risk, demand), runs)
        size = problem.account.size
        yield row("growth", f"{size} positions", None, times, kkt=float(optimum.kkt), steps=optimum.iterations,
                  candidates=candidates.demand.size, digest=digest(optimum.level),
                  ns_a_position=round(times[1] * 1e6 / size, 1))  # fmt: skip


def bandwidth(accounts, runs):
    """GB/s of adding up an array, of one pass over the rows (who holds what is asked), and the pass's share of it."""
    problem, _, demand = book(accounts, 200, 3, 1, 0.1, {})
    plain = np.ones(3 * problem.account.size, dtype=np.int64)
    _, reading, _, _ = timed(plain.sum, runs)
    with Threads(0) as one:
        work = lambda: holders(problem, demand, problem.demand_lots, problem.quantity_lots, one)  # noqa: E731
        _, passing, _, _ = timed(work, runs)
    read = demand.nbytes / passing / 1e6
    return {"work": "bandwidth, one thread", "size": f"{problem.account.size} positions",
            "sum_gb_s": round(plain.nbytes / reading / 1e6, 2), "pass_gb_s": round(read, 2),
            "share": round(read / (plain.nbytes / reading / 1e6), 2)}  # fmt: skip


def memory(work, accounts, demands, share):
    """Peak memory of one solve above the warm baseline, inputs included, and its ratio to the inputs, in MB."""
    code = f"from tests.bench_risk import peak; print(peak({work!r}, {accounts}, {demands}, {share}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    peak_mb, input_mb = (float(word) for word in done.stdout.split()[-2:])
    return {"work": f"peak memory, {work}", "size": f"{accounts} accounts, {demands} demands, {share:g}",
            "peak_mb": round(peak_mb, 1), "input_mb": round(input_mb, 1),
            "ratio": round(peak_mb / input_mb, 2)}  # fmt: skip


def peak(work, accounts, demands, share):
    """In a process of its own: 'peak MB above the warm baseline, input MB'. The book is built by another process."""

    def run(problem, risk, demand):
        return fast(problem, risk, demand)() if work == "solve_fast" else solve(problem, risk=risk)

    run(*book(3_000, 200, 3, demands, share, {}))
    path = Path(f"/tmp/bench_risk_{os.getpid()}.npz")  # noqa: S108  a scratch file of this process
    code = f"""
import numpy as np
from tests.bench_risk import book
p, r, d = book({accounts}, 200, 3, {demands}, {share}, {{}})
np.savez({str(path)!r}, account=p.account, asset=p.asset, quantity_lots=p.quantity_lots, equity=p.equity, d=d,
    mark_price=p.mark_price, lot_size=p.lot_size, demand_asset=p.demand_asset, demand_side=p.demand_side,
    demand_lots=p.demand_lots, loadings=r.loadings, own=r.idiosyncratic)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before = resident("VmRSS")
    columns = dict(np.load(path))
    path.unlink()
    demand, loadings, own = (columns.pop(name) for name in ("d", "loadings", "own"))
    if work == "solve":  # finds out by itself who may be asked
        demand = demand[:0].copy()
    problem = Problem(**columns)
    run(problem, RiskModel(loadings, own), demand)
    inputs = sum(problem.__dict__[name].nbytes for name in ("account", "asset", "quantity_lots", "equity"))
    return f"{resident('VmHWM') - before} {(inputs + demand.nbytes) / 2**20}"


def resident(name):
    """MB of this process; getrusage would count what the process was started from."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def bench(small=False, runs=RUNS):
    """All rows, as they are measured."""
    yield from table([line for line in TABLE if not small or line[0] <= 10_000], runs)
    yield from growth(GROWTH[:2] if small else GROWTH, runs)
    yield bandwidth(3_000 if small else 1_000_000, runs)
    for work in ("solve_fast", "solve"):
        for share in (0.1, 0.9):
            yield memory(work, 3_000 if small else 1_000_000, 150, share)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    where = f"{machine()}, {platform.system()}"
    print(where)
    rows = []
    for line in bench(options.small, options.runs):
        rows.append(line)
        work, size = line["work"], line["size"]
        print(f"{work:<22}{size:<72}", *(f"{k}={v}" for k, v in line.items() if k not in ("work", "size")), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": where, "runs": options.runs, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
