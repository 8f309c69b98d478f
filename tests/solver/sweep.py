"""Ten thousand random problems solved and verified, whole: `python -m tests.solver.sweep --count 10000`.

Rule: a case is its seed. Seeds run through all shapes, then through all laws; what else is unusual about it (TRIMMINGS)
is drawn besides, so that every trimming meets every shape and law.
"""

import argparse
import math
import sys
import time
import traceback
import warnings
from collections import Counter
from typing import NamedTuple

import numpy as np

from solver import Problem, RiskModel, Scenarios, solve, verify
from tests.solver import shapes

# Tails in the order in which seeds run through them; those that venues use come more often.
LAWS = (4.0, math.inf, 2.5, "scenarios", 4.0, 1.2, math.inf, 3.0, 2.5, 8.0)
# What is unusual about a case besides its shape, and of how many cases.
TRIMMINGS = {
    "many_accounts": 0.06, "relaxed_only": 0.15, "protect_principal": 0.1, "not_eligible": 0.15, "lot_sizes": 0.5,
    "nothing_held": 0.1, "split_rows": 0.1, "no_tie_rank": 0.2,
}  # fmt: skip
ENDS = ("OPTIMAL", "RESIDUAL")


class Case(NamedTuple):
    """A problem, how it is to be solved, and the names under which it is counted."""

    problem: Problem
    risk: RiskModel | Scenarios
    options: dict
    names: tuple


def case(seed, law=None, shape=None):
    """The Case of a seed; law: a tail or "scenarios", else by the seed."""
    shape = shape or shapes.SHAPES[seed % len(shapes.SHAPES)]
    law = law or LAWS[seed // len(shapes.SHAPES) % len(LAWS)]
    rng = np.random.default_rng([seed, 1])
    has = {name for name, share in TRIMMINGS.items() if rng.random() < share}
    times = int(rng.integers(5, 30)) if "many_accounts" in has else 1
    arguments, loadings, idiosyncratic = shapes.draw(seed, shape, times)
    if "lot_sizes" in has:
        arguments["lot_size"] = size = 10.0 ** rng.integers(-3, 3, arguments["mark_price"].size)
        for name, of in (("mark_price", slice(None)), ("demand_price", arguments["demand_asset"])):
            if name in arguments:
                arguments[name] = arguments[name] / size[of]
    if "nothing_held" in has:
        _hold_nothing(rng, arguments)
    if "split_rows" in has:
        _split(rng, arguments)
    if "not_eligible" in has:
        arguments["eligible"] = rng.random(arguments["account"].size) < 0.8
    if "protect_principal" in has:
        arguments["entry_price"] = arguments["mark_price"][arguments["asset"]] * np.exp(
            rng.normal(0, 0.1, arguments["asset"].size)
        )
    if "no_tie_rank" in has:
        del arguments["tie_rank"]
    risk = _scenarios(rng, loadings) if law == "scenarios" else RiskModel(loadings, idiosyncratic, law)
    options = {"protect_principal": "protect_principal" in has, "lots": "relaxed_only" not in has}
    return Case(Problem(**arguments), risk, options, (shape, f"law {law}", *sorted(has)))


def _hold_nothing(rng, arguments):
    """Rows of no lots, and accounts without rows at the end."""
    none = rng.random(arguments["account"].size) < 0.1
    for name in ("quantity_lots", "available_lots"):
        if name in arguments:
            arguments[name] = np.where(none, 0, arguments[name])
    arguments["equity"] = np.append(arguments["equity"], [1.0, -1.0])
    arguments["tie_rank"] = np.append(arguments["tie_rank"], [arguments["equity"].size - 2, arguments["equity"].size])


def _split(rng, arguments):
    """A position in two rows of the same side."""
    lots = arguments["quantity_lots"]
    part = np.where(rng.random(lots.size) < 0.5, lots // 3, 0)
    order = np.argsort(np.tile(arguments["account"], 2), kind="stable")
    free = arguments.get("available_lots", np.abs(lots))
    first = np.minimum(free, np.abs(lots - part))
    for name in ("account", "asset"):
        arguments[name] = np.tile(arguments[name], 2)[order]
    arguments["quantity_lots"] = np.append(lots - part, part)[order]
    if "available_lots" in arguments:
        arguments["available_lots"] = np.append(first, free - first)[order]


def _scenarios(rng, loadings):
    """Heavy-tailed scenarios of a common and an own move, each blurred."""
    count, assets = int(rng.integers(1, 60)), loadings.shape[0]
    returns = 0.05 * rng.standard_t(4, size=(count, 1)) + 0.03 * rng.standard_t(4, size=(count, assets))
    return Scenarios(returns, rng.dirichlet(np.ones(count)), np.full(assets, 10.0 ** rng.uniform(-5, -3)))


def faults(drawn):
    """(status, seconds of solve, sentences): all that is wrong with the solution of a Case, by solver and verifier."""
    begin = time.perf_counter()
    solution = solve(drawn.problem, policy="risk", risk=drawn.risk, **drawn.options)
    seconds = time.perf_counter() - begin
    found = []
    if solution.status not in ENDS:
        found.append(f"{solution.status}: kkt {solution.kkt_residual}, clearing {solution.clearing_residual_lots}")
    numbers = ("relaxed_lots", "shadow_price", "kkt_residual", "clearing_residual_lots", "objective_before",
               "objective_after")  # fmt: skip
    found += [f"{name} is not a number" for name in numbers if not np.isfinite(getattr(solution, name)).all()]
    return solution.status, seconds, found + verify(drawn.problem, solution, risk=drawn.risk).failures


def sweep(seeds, law=None, shape=None):
    """Solve and verify; return (Counter of (name, status), list of (seconds, seed), list of (seed, sentence))."""
    ends, times, failed = Counter(), [], []
    for seed in seeds:
        drawn = case(seed, law, shape)
        try:
            with warnings.catch_warnings(action="error"):
                status, seconds, wrong = faults(drawn)
        except Exception:  # noqa: BLE001  # an exception is what must not be: it is counted like any other failure
            status, seconds, wrong = "exception", 0.0, [traceback.format_exc()]
        ends.update((name, status) for name in (*drawn.names, "all"))
        times.append((seconds, seed))
        failed += [(seed, f"{drawn.names}: {sentence}") for sentence in wrong]
    return ends, times, failed


def main():
    """Run from the command line; exit 1 where anything failed."""
    words = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    words.add_argument("--from", dest="first", type=int, default=0, help="first seed")
    words.add_argument("--count", type=int, default=10_000, help="how many seeds")
    words.add_argument(
        "--law", type=lambda word: word if word == "scenarios" else float(word), help="a tail, scenarios"
    )
    words.add_argument("--shape", choices=shapes.SHAPES)
    given = words.parse_args()
    ends, times, failed = sweep(range(given.first, given.first + given.count), given.law, given.shape)
    for name in dict.fromkeys(name for name, _ in sorted(ends, key=str)):
        of = {status: count for (other, status), count in sorted(ends.items()) if other == name}
        print(f"{name:20} {sum(of.values()):6}  " + "  ".join(f"{status} {count}" for status, count in of.items()))
    milliseconds = 1e3 * np.array([seconds for seconds, _ in times])
    print(f"solve ms: median {np.median(milliseconds):.1f}, 99 % {np.quantile(milliseconds, 0.99):.1f}")
    print("slowest:", ", ".join(f"seed {seed} {1e3 * seconds:.0f} ms" for seconds, seed in sorted(times)[:-6:-1]))
    for seed, sentence in failed:
        print(f"FAILED seed {seed} {sentence}")
    print(f"{len({seed for seed, _ in failed})} of {given.count} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
