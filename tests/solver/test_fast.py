"""The fast path: the core's answer on large books, certified by `verify`, the same bits whatever runs it."""

import hashlib
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from solver import Problem, solve, verify
from solver.loss.model import tail_of
from solver.optimum import candidates, fast, threads
from solver.optimum.account import Model
from solver.optimum.dual import Search, _move
from solver.optimum.gradient import Response
from solver.optimum.sample import Lottery
from tests.solver import shapes
from tests.solver.cross_books import cross_margin, permuted
from tests.solver.test_optimum import certificate, demand_of_rows, free_lots
from tests.solver.thinning import thin


def found(problem, risk):
    """Return (demand of rows, lots asked, Candidates, Demands, Optimum) of the fast path."""
    demand = demand_of_rows(problem)
    asked = np.where(np.bincount(demand[demand >= 0], minlength=problem.demand_lots.size) > 0, problem.demand_lots, 0)
    optimum, chosen, demands = fast.solve_fast(
        problem, demand, asked, free_lots(problem), risk.loadings, risk.idiosyncratic,
        Model(tail_of(risk.tail), np.zeros(0)),
    )  # fmt: skip
    return demand, asked, chosen, demands, optimum


def digest(problem, risk):
    """Of levels and of what each account gives of each demand, in order of tie rank."""
    *_, chosen, _, optimum = found(problem, risk)
    holder = problem.rank()[np.repeat(chosen.account, np.diff(chosen.start))]
    parts = (optimum.level, holder, chosen.demand, optimum.u, optimum.w)
    return hashlib.blake2b(b"".join(np.ascontiguousarray(p).tobytes() for p in parts), digest_size=8).hexdigest()


@pytest.mark.parametrize("tail", [4.0, math.inf, 2.5])
def test_every_shape_is_solved_on_the_fast_path(tail, monkeypatch):
    """Where the core is usually faster, the fast path finds the optimum as well."""
    monkeypatch.setattr(fast, "FEW", 0)
    for seed in thin(range(3 * len(shapes.SHAPES))):
        problem, risk = shapes.problem(seed, tail)
        *context, optimum = found(problem, risk)
        if not optimum.level.size:
            continue
        assert optimum.converged, (seed, optimum)
        kkt, _, uncleared = certificate(problem, risk, *context, optimum)
        assert kkt <= 1e-8, (seed, kkt)
        assert uncleared <= 1e-9, (seed, uncleared)


CASES = [
    {"demands": 1},
    {"demands": 1, "share": 0.9, "haircut": 0.01},
    {"demands": 30, "share": 0.001, "tail": 2.5},
    {"demands": 40, "haircut": 0.02, "partial": True},
    {"demands": 40, "share": 0.9, "haircut": 0.01},
    {"demands": 40, "share": 0.9999},
    {"demands": 40, "share": 1.0},
    {"demands": 20, "share": 0.4, "both": True},
    {"demands": 60, "share": 0.999, "both": True},
    {"demands": 40, "share": 0.0},  # one lot
    {"demands": 10, "factors": 0, "tail": math.inf},
]

# Levels hang together: many demands, much of each, one factor, hedged accounts.
HANGING = [
    {"demands": 100, "share": 0.9, "both": True, "factors": 1},
    {"demands": 118, "share": 0.97, "both": True},
    {"demands": 118, "share": 0.9, "both": True, "tail": 8.0},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_large_book_is_certified(case):
    """Every account, those left out as well, is where its marginals and the levels want it; lots meet the demands."""
    arguments, risk = cross_margin(8_000, assets=60, **case)
    problem = Problem(**arguments)
    solution = solve(problem, risk=risk)
    assert solution.status == "OPTIMAL"
    assert solution.kkt_residual <= 1e-8
    assert verify(problem, solution, risk=risk).failures == []


def test_the_dual_method_itself_solves_large_books(monkeypatch):
    """The core, which would hide that the dual method fails, is not asked.

    One lot of millions is left to it: what a level's last bit moves there is more than a clearing error may be.
    """
    monkeypatch.setattr(fast, "solve_core", lambda *_: pytest.fail("asked the core"))
    for case in [*CASES, *HANGING]:
        if case.get("share") == 0.0:
            continue
        arguments, risk = cross_margin(8_000, assets=60, seed=2, **case)
        *_, optimum = found(Problem(**arguments), risk)
        assert optimum.converged


def test_a_level_leaves_0_where_everything_is_taken():
    """The next marginal there is 0, and no part of it beyond it moves anybody."""
    level, one = np.zeros(1), np.ones(1)
    response = Response(np.zeros((1, 1)), one, 0.0 * one, 0.0 * one, 0.0 * one, one, -np.inf * one, 0.0 * one)
    search = Search(-np.inf * one, np.inf * one, 0.5 * one, *np.zeros((3, 1)))
    _move(level, 0.5 * one, 0.0 * one, 0.5 * one, 0.5 * one, response, 3.0, search)
    assert 0.0 < level[0] <= 1.0


def test_candidates_are_canonical():
    """The order of accounts and rows changes no bit of any column."""
    arguments, risk = cross_margin(3_000, assets=30, demands=12, both=True, partial=True, haircut=0.01)
    moved, order = permuted(arguments)
    columns = []
    for given in (arguments, moved):
        problem = Problem(**given)
        chosen, demands = candidates.gather(
            problem, demand_of_rows(problem), problem.demand_lots, free_lots(problem), risk.loadings,
            risk.idiosyncratic,
        )  # fmt: skip
        row = chosen.row if given is arguments else order[chosen.row]
        account = problem.rank()[chosen.account]
        columns.append([c.tobytes() for c in (*chosen._replace(row=row, account=account), *demands)])
    assert columns[0] == columns[1]


def large():
    """A book large enough for samples, a screen and several parts."""
    return cross_margin(20_000, assets=60, demands=25, share=0.2, haircut=0.005)


def test_the_order_of_accounts_changes_no_bit():
    """Accounts are taken by tie rank and sums are made in that order."""
    arguments, risk = large()
    assert digest(Problem(**permuted(arguments)[0]), risk) == digest(Problem(**arguments), risk)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_number_of_threads_changes_no_bit(count, monkeypatch):
    """Parts are fixed and added up in their order; a fresh process with another hash seed agrees."""
    monkeypatch.setattr(threads.config, "NUMBA_NUM_THREADS", count)
    arguments, risk = large()
    assert digest(Problem(**arguments), risk) == fresh_digest()


_FRESH = []


def fresh_digest():
    """The digest of the large book from a process of its own."""
    if not _FRESH:
        code = "from tests.solver.test_fast import *; a, r = large(); print(digest(Problem(**a), r))"
        environment = os.environ | {"PYTHONHASHSEED": "7", "NUMBA_NUM_THREADS": "2"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        _FRESH.append(done.stdout.strip())
    return _FRESH[0]


def test_two_solves_at_once_do_not_disturb_each_other():
    """No state is shared between solves: two threads of one process find the same bits."""
    arguments, risk = large()
    problem = Problem(**arguments)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: digest(problem, risk), range(2)))
    assert both == [digest(problem, risk)] * 2


def test_a_sample_carries_the_demands():
    """Weighted, what a sample may give is what all may give, to the error of a sample of this size."""
    arguments, risk = cross_margin(50_000, demands=20)
    problem = Problem(**arguments)
    with threads.Threads(0) as one:
        gatherer = candidates.Gatherer(
            problem, demand_of_rows(problem), problem.demand_lots, None, risk.loadings, risk.idiosyncratic, one
        )
        holders, weight = Lottery(gatherer, None, one, threads.bounds(gatherer.holders.first.size)).sample(400)
        chosen, _ = gatherer.take(holders, weight)
    held = np.bincount(chosen.demand, chosen.available, 20)
    assert holders.first.size < 0.25 * gatherer.holders.first.size
    assert np.abs(held / gatherer.demands.total - 1).max() < 0.25
