"""`solve` beside general-purpose solvers in one run: python -m tests.bench_rivals [--small] [--limit S] [--json FILE].

The same problems for cvxpy with Clarabel (second-order cones, four degrees of freedom: the same optimum), for HiGHS
and Clarabel on scenarios (a linear program: ours blurs each by a kernel, and the line says what that costs), and for
scipy, which is told nothing but loss and gradient. Sizes grow until a rival takes longer than the limit.
Rule: what ours finds must not be worse than what a rival finds by more than WORSE, both judged by scipy once feasible.
Needs what requirements-bench.txt pins: `make bench` runs it in an environment of its own.
"""

import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy: processor time is compared, and scipy's threads spin

import numpy as np

from solver import Problem, Scenarios, solve
from tests.bench_rivals_book import Book
from tests.bench_rivals_programs import by_clarabel, by_highs
from tests.bench_solver import digest, machine
from tests.solver.cross_books import cross_margin
from tests.solver.rival import optimum as by_scipy

WORSE = 1e-8
LIMIT_S, RUNS = 20.0, 3
CONES = (100, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000)  # accounts; 20 assets, 3 factors, 10 demands
SCENARIOS = (100, 300, 1_000, 3_000, 10_000, 30_000)  # the same, 100 scenarios of heavy tails
KERNEL = 0.01  # standard deviation of a scenario's kernel, per asset
SCIPY = (10, 30, 100, 300)  # accounts; 4 assets, 2 factors, 3 demands


def book(accounts, assets=20, factors=3, demands=10, tail=4.0, haircut=0.0):
    arguments, risk = cross_margin(accounts, assets, factors, demands, 0.3, tail=tail, haircut=haircut)
    return Problem(**arguments), risk


def scenarios(risk, count=100, seed=5):
    """Scenarios drawn from the factors of a RiskModel, with four degrees of freedom each."""
    rng = np.random.default_rng(seed)
    assets, factors = risk.loadings.shape
    own = np.sqrt(risk.idiosyncratic) * rng.standard_t(4, size=(count, assets))
    returns = rng.standard_t(4, size=(count, factors)) @ risk.loadings.T + own
    return Scenarios(returns, np.full(count, 1.0 / count), np.full(assets, KERNEL**2))


def ours(problem, risk):
    """(least processor seconds of several runs after one that compiles, Solution)."""
    spent = math.inf
    for run in range(RUNS + 1):
        start = time.process_time()
        solution = solve(problem, risk=risk, lots=False)
        if run:
            spent = min(spent, time.process_time() - start)
    return spent, solution


def scipy_limited(view, problem, risk):
    """As `by_clarabel`, of scipy's SLSQP; without a limit of time."""
    start = time.process_time()
    found = by_scipy(problem, risk)
    taken = np.zeros(problem.account.size)
    taken[np.flatnonzero(problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)] >= 0)] = found[1]
    return time.process_time() - start, "done", taken[view.rows]


def compared(name, size, problem, risk, rival):
    """One row: times of both, how much worse ours is than the rival, judged alike."""
    view = Book(problem, risk)
    here, solution = ours(problem, risk)
    there, status, x = rival(view, problem, risk)
    row = {
        "rival": name, "size": f"{size} accounts, {view.available.size} positions", "ours_ms": round(here * 1e3, 2),
        "rival_ms": round(there * 1e3, 1), "ratio": round(there / here, 1), "rival_says": status,
        "ours_kkt": float(f"{solution.kkt_residual:.1e}"), "digest": digest(solution.relaxed_lots),
    }  # fmt: skip
    if x is not None:
        mine = view.taken(solution)
        row["worse"] = float(f"{view.loss(mine) / view.loss(x) - 1.0:.1e}")
        if isinstance(risk, Scenarios):
            row["kernel_costs"] = float(f"{view.loss(mine, kernel=False) / view.loss(x, kernel=False) - 1.0:.1e}")
    return row


def growing(name, sizes, make, rival, limit_s):
    """Rows of ever larger problems, up to the first on which the rival is over the limit."""
    for size in sizes:
        problem, risk = make(size)
        row = compared(name, size, problem, risk, rival)
        yield row
        if row["rival_ms"] > limit_s * 1e3 or "worse" not in row:
            break


def bench(small, limit_s):
    """All rows, as they are measured; a rival is stopped at three times the limit."""
    most = 2 if small else None

    def program(solver):
        return lambda view, *_: solver(view, 3.0 * limit_s)

    yield from growing("cvxpy, Clarabel: cones", CONES[:most], book, program(by_clarabel), limit_s)
    many = lambda size: (lambda problem, risk: (problem, scenarios(risk)))(*book(size))  # noqa: E731
    yield from growing("HiGHS: scenarios", SCENARIOS[:most], many, program(by_highs), limit_s)
    yield from growing("cvxpy, Clarabel: scenarios", SCENARIOS[:most], many, program(by_clarabel), limit_s)
    for tail in (4.0, 2.5, math.inf):
        make = lambda size, tail=tail: book(size, 4, 2, 3, tail, haircut=0.01)  # noqa: E731
        yield from growing(f"scipy SLSQP: tail {tail:g}", SCIPY[:most], make, scipy_limited, limit_s)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds of a rival that end its growth")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    print(machine())
    rows = []
    for row in bench(options.small, options.limit):
        rows.append(row)
        print(f"{row['rival']:<28}{row['size']:<36}", *(f"{k}={v}" for k, v in list(row.items())[2:]), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    worse = [row for row in rows if row.get("worse", 0.0) > WORSE]
    if worse:
        sys.exit(f"worse than a rival by more than {WORSE:g} in {len(worse)} of {len(rows)} problems")


if __name__ == "__main__":
    main()
