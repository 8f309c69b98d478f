"""After `warm()` a first decision compiles nothing."""

import json
import subprocess
import sys

from tests.worker.test_cli import adl
from worker.inputs import POLICIES

FIRST_SOLVES = """
from numba.core.dispatcher import Dispatcher
from solver import Problem, solve, verify
from tests.bench_solver import burst_book, isolated_book
from worker.inputs import POLICIES
from worker.warm import warm

assert warm() > 0
compiled, compile_ = [], Dispatcher.compile
Dispatcher.compile = lambda self, signature: compiled.append(self.py_func.__name__) or compile_(self, signature)
for policy in POLICIES:
    for book in (isolated_book(300), isolated_book(30_000), burst_book(200, 400), burst_book(21_000, 50_000)):
        size = len(book["equity"])
        book = {"entry_price": [90.0] * len(book["account"]), "tie_rank": range(size)} | book
        problem = Problem(**book, balance=[1.0] * size, maintenance_margin=[1.0] * size)
        verify(problem, solve(problem, policy))
assert not compiled, compiled
"""


def test_no_solve_waits_for_a_compiler_once_warm_ran():
    """Small and large, one demand and many, under every policy; in a process of its own, for others compile too."""
    subprocess.run([sys.executable, "-c", FIRST_SOLVES], check=True)


def test_adl_warmup_says_how_long_each_policy_took(capsys):
    """All of them, in seconds."""
    code, said, _ = adl(capsys, "warmup", "--json")
    assert (code, json.loads(said)["policies"].keys()) == (0, set(POLICIES))
    assert "all in " in adl(capsys, "warmup")[1]
