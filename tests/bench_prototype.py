"""The solver beside the prototype it was designed from: python -m tests.bench_prototype FOLDER [--json FILE].

FOLDER holds the prototype (core.py, robust.py, fast.py, gen.py, bench.py); nothing of it is kept here. Both solve the
same problems in one process, in turns, first one, then the other: the core on random problems of every shape of the
prototype's generator, handed over column by column; the fast path on a large book, from arrays as each wants them.
Rule: times are processor times and only their ratio is meant; who is faster must not be worse.
"""

import argparse
import gc
import json
import math
import os
import sys
import time
from functools import partial
from itertools import chain
from pathlib import Path

os.environ["OMP_WAIT_POLICY"] = "passive"  # before numpy and numba: the prototype's threads spin otherwise
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np

from solver import Problem
from solver.loss.model import tail_of
from solver.optimum.account import Model, least_equity
from solver.optimum.candidates import Candidates, Demands
from solver.optimum.core import CLEARING_MAX, KKT_MAX, solve_core
from solver.optimum.fast import solve_fast
from solver.optimum.system import clearing, evaluate_all, level_floor, system, violation
from tests.bench_solver import machine

TAILS = (4.0, 2.5, math.inf)
FIRST_SEED = 700_000  # of the generator; none of its own tests use these
SHARES, DEMANDS = (0.1, 0.5, 0.9), (1, 50, 150)
UNIT = 0.01  # quote currency: large books are in whole lots of it
NONE = -1
NOTHING = 1e-30  # of the loss before: what is left below it is not compared


def prototype(folder):
    """The prototype's modules, imported from its folder without writing there."""
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    import bench
    import core
    import fast
    import gen
    import robust

    return {"bench": bench, "core": core, "fast": fast, "gen": gen, "robust": robust}


def drawn(rival, seed, tail):
    """The prototype's compressed problem of a seed, None where nothing is asked; who may not be asked is taken out.

    That are insolvent accounts and those whom a haircut would make more leveraged: both stand outside the optimum.
    """
    g = rival["gen"].make(seed)
    account = np.repeat(np.arange(g["ptr"].size - 1), np.diff(g["ptr"]))
    gross = np.bincount(account, np.abs(g["y"]), g["e"].size)
    equity, cut = g["e"][account], g["dl"][g["asset"]]
    able = (equity > 0) & ((cut <= 0) | (cut * gross[account] < equity))
    asked = (g["side"][g["asset"]] * g["y"] > 0) & (g["av"] > 0)
    held = np.bincount(g["asset"][asked], g["av"][asked], g["d"])
    left = np.bincount(g["asset"][asked & able], g["av"][asked & able], g["d"])
    z = g["z"] * np.divide(left, held, out=np.zeros(g["d"]), where=held > 0)
    side = np.where(z > 0, g["side"], 0)
    if not side.any():
        return None
    available = np.where(able, g["av"], 0.0)
    problem = rival["core"].build(
        g["ptr"], g["asset"], g["y"], available, g["e"], g["B"], g["D"], side, z, g["dl"], tail
    )  # fmt: skip
    return problem if problem.A else None


def handed_over(p):
    """(Candidates, Demands) of a compressed problem."""
    candidates = Candidates(
        p.ptr, p.acc, p.cj, p.pos, p.a, p.b, np.full(p.a.size, NONE), p.Gf, p.vf, p.e0
    )  # fmt: skip
    return candidates, Demands(p.var, p.Bs, p.D, p.dl, p.tot, p.z)


def clocked(work):
    """(processor ms, result)."""
    start = time.process_time()
    result = work()
    return (time.process_time() - start) * 1e3, result


def in_turns(ours, theirs, times, first):
    """(least ms of ours, of theirs, result of ours, of theirs)."""
    best, result = [math.inf, math.inf], [None, None]
    for turn in range(times):
        for who in (0, 1) if (first + turn) % 2 == 0 else (1, 0):
            ms, result[who] = clocked((ours, theirs)[who])
            best[who] = min(best[who], ms)
    return *best, *result


def judged(candidates, demands, model, level, u, w):
    """(expected loss, does the certificate hold?) of an answer, whoever gave it.

    Stricter than the product: beside levels only a small part of the marginals counts, and those at the solution.
    """
    K, columns = level.size, system(candidates, demands)
    loss, floor = evaluate_all(candidates, demands, model, u, w, columns), np.empty(K)
    level_floor(candidates, demands, columns, floor)
    wrong = violation(candidates, columns, level, floor, u, w, 0.0)
    return loss, wrong <= KKT_MAX and clearing(candidates, demands, u, w, np.empty(K)) <= CLEARING_MAX


def core_rows(rival, problems, times):
    """One row per tail: times of both, failures by each one's word, whose certificate does not hold, objectives."""
    for tail in TAILS:
        model, rows = Model(tail_of(tail), np.zeros(0)), []
        for seed in range(FIRST_SEED - 46, FIRST_SEED + problems):  # the first compile
            p = drawn(rival, seed, tail)
            if p is None:
                continue
            candidates, demands = handed_over(p)
            a, b, ours, theirs = in_turns(
                partial(solve_core, candidates, demands, model), partial(rival["robust"].solve, p),
                times if seed >= FIRST_SEED else 1, seed,
            )  # fmt: skip
            if seed < FIRST_SEED:
                continue
            known = least_equity(candidates, demands), demands, model
            most, certain = judged(*known, ours.level, ours.u, ours.w)
            least, certain_too = judged(*known, theirs["lam"], theirs["u"], theirs["w"])
            nothing = NOTHING * evaluate_all(*known, 0 * ours.u, 0 * ours.w + 1, system(candidates, demands))
            rows.append((
                a, b, ours.iterations, theirs["iters"], not ours.converged, theirs["status"] != "ok",
                not certain, not certain_too, (most - least) / max(least, nothing, 1e-300),
            ))  # fmt: skip
        yield core_row(tail, *np.array(rows, dtype=np.float64).T)


def core_row(tail, ours, theirs, steps, their_steps, failed, they_failed, uncertain, they_uncertain, excess):
    """From columns of all problems of a tail."""
    row = {
        "work": "core", "tail": str(tail), "problems": ours.size, "failed": int(failed.sum()),
        "prototype_failed": int(they_failed.sum()), "uncertified": int(uncertain.sum()),
        "prototype_uncertified": int(they_uncertain.sum()),
    }  # fmt: skip
    figures = {"median": np.median, "p99": lambda t: np.quantile(t, 0.99), "longest": np.max, "sum": np.sum}
    for name, figure in figures.items():
        row |= {f"{name}_ms": round(figure(ours), 2), f"prototype_{name}_ms": round(figure(theirs), 2),
                f"{name}_ratio": round(figure(theirs) / figure(ours), 2)}  # fmt: skip
    # Of two that solved the same problem only.
    both = they_uncertain == 0
    return row | {
        "slower": int((ours > theirs)[both].sum()), "slower_at_most_ms": round((ours - theirs)[both].max(), 2),
        "steps": round(steps.mean(), 1), "prototype_steps": round(their_steps.mean(), 1),
        "objective_excess": float(f"{excess.max():.1e}"), "objective_gain": float(f"{-excess.min():.1e}"),
    }  # fmt: skip


def book(rival, accounts, assets=200, factors=3):
    """The prototype's large book in whole lots: (its arrays, lots)."""
    ptr, asset, y, e, B, D = rival["bench"].build(accounts, assets, factors, 3.0)
    lots = np.where(y > 0, 1, -1) * np.maximum(1, np.rint(np.abs(y) / UNIT)).astype(np.int64)
    y = lots * UNIT
    return (ptr, asset, y, np.abs(y), e, B, D), lots


def asked(arrays, lots, demands, share):
    """(sides per asset, lots asked of each) of the demands that the prototype's own benchmark makes."""
    side = np.zeros(arrays[6].size, np.int64)
    side[:demands] = np.where(np.arange(demands) % 3 == 0, -1, 1)
    able = side[arrays[1]] * lots > 0
    total = np.bincount(arrays[1][able], np.abs(lots[able]), side.size)
    return side, np.maximum(1, total * share).astype(np.int64) * (side != 0)


def book_rows(rival, accounts, times):
    """One row per demands and share; the rival's first run, on a small book, compiles."""
    model = Model(tail_of(4.0), np.zeros(0))
    for size in (3_000, accounts):
        arrays, lots = book(rival, size)
        ptr, asset, _, _, e, B, D = arrays
        account = np.repeat(np.arange(size), np.diff(ptr))
        for demands, share in ((d, s) for d in DEMANDS for s in SHARES):
            side, z = asked(arrays, lots, demands, share)
            k = np.arange(demands)
            problem = Problem(
                account, asset, lots, e, np.ones(D.size), UNIT, demand_asset=k, demand_side=side[k], demand_lots=z[k]
            )
            demand = problem.demand_of[2 * problem.asset + (lots < 0)]
            gc.collect()
            a, b, (optimum, _, _), theirs = in_turns(
                partial(solve_fast, problem, demand, z[k], None, B, D, model),
                partial(rival["fast"].solve_large, arrays, side, z * UNIT, np.zeros(D.size)),
                times if size == accounts else 1, demands,
            )  # fmt: skip
            if size == accounts:
                level = theirs[1]
                apart = np.abs(optimum.level - level) / np.maximum(np.abs(level), 1e-300)
                yield {
                    "work": "book", "accounts": size, "positions": lots.size, "demands": demands, "share": share,
                    "cpu_ms": round(a, 1), "prototype_cpu_ms": round(b, 1), "ratio": round(b / a, 2),
                    "steps": optimum.iterations, "converged": bool(optimum.converged), "kkt": float(optimum.kkt),
                    "prototype_ok": theirs[4]["ok"], "prototype_clearing": float(theirs[4]["rel"]),
                    "levels_apart": float(f"{apart.max():.1e}"),
                }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where the prototype is")
    parser.add_argument("--problems", type=int, default=1150, help="random problems per tail; 0: none")
    parser.add_argument("--accounts", type=int, default=1_000_000, help="of the large book; 0: none")
    parser.add_argument("--runs", type=int, default=3, help="turns; the fastest counts")
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    options = parser.parse_args()
    rival, rows = prototype(options.folder.resolve()), []
    print(machine())
    parts = [core_rows(rival, options.problems, options.runs)] if options.problems else []
    parts += [book_rows(rival, options.accounts, options.runs)] if options.accounts else []
    for row in chain.from_iterable(parts):
        rows.append(row)
        print(*(f"{name}={value}" for name, value in row.items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
