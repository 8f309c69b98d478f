"""After `warm()` a first decision compiles nothing; a stop while it compiles is heard."""

import json
import os
import signal
import subprocess
import sys
import time

import numba

from tests.worker.test_cli import adl
from worker.inputs import POLICIES
from worker.warm import warm

FIRST_SOLVES = """
from numba.core.dispatcher import Dispatcher
from solver import Problem, solve, verify
from solver.risk import default_risk_model
from tests.bench_solver import burst_book, isolated_book
from worker.inputs import POLICIES
from worker.warm import warm

assert warm() > 0
compiled, compile_ = [], Dispatcher.compile
Dispatcher.compile = lambda self, signature: compiled.append(self.py_func.__name__) or compile_(self, signature)
for policy in POLICIES:
    books = isolated_book(300), isolated_book(30_000), burst_book(200, 400), burst_book(21_000, 50_000)
    for book in (*books, isolated_book(300, 1.0), isolated_book(300, 2.0)):
        size = len(book["equity"])
        book = {"entry_price": [90.0] * len(book["account"]), "tie_rank": range(size)} | book
        problem = Problem(**book, balance=[1.0] * size, maintenance_margin=[1.0] * size)
        risk = default_risk_model([0.1] * problem.mark_price.size)
        verify(problem, solve(problem, policy, risk=risk), risk=risk)
assert not compiled, compiled
"""


def test_no_solve_waits_for_a_compiler_once_warm_ran():
    """Small and large, one demand and many, under every policy; in a process of its own, for others compile too."""
    subprocess.run([sys.executable, "-c", FIRST_SOLVES], check=True)


def test_each_kernel_that_is_compiled_is_a_sign_of_life(monkeypatch):
    """So that a start with nothing cached, a minute or two, is never taken for a hang."""
    signs, at_compiling = [], []

    def decide(_):
        at_compiling.append(len(signs))
        return numba.njit(lambda x: x + 1)(1)

    monkeypatch.setattr("worker.warm._decide", decide)
    assert warm(lambda: signs.append("alive"), lambda: signs.append("decided")) == 2 * len(POLICIES)
    first = signs[: signs.index("decided")]
    assert at_compiling[0] == 0
    assert len(first) >= 3  # it began, it ended, the policy is done
    assert signs.count("decided") == len(POLICIES)
    numba.njit(lambda x: x + 2)(1)
    assert signs[-1] == "decided"  # nobody listens any more


def test_adl_warmup_says_how_long_each_policy_took(capsys):
    """All of them, in seconds."""
    code, said, _ = adl(capsys, "warmup", "--json")
    assert (code, json.loads(said)["policies"].keys()) == (0, set(POLICIES))
    assert "all in " in adl(capsys, "warmup")[1]


def test_a_stop_while_kernels_are_compiled_ends_the_worker_at_once(tmp_path):
    """16: with nothing cached that is half a minute, before Kafka is asked anything."""
    cache = tmp_path / "cache"
    with subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "run", "--set", "kafka.bootstrap=127.0.0.1:1"],
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)}, stderr=subprocess.PIPE, text=True,
    ) as worker:  # fmt: skip
        until = time.monotonic() + 60
        while not list(cache.rglob("*.nbi")):
            assert time.monotonic() < until
            time.sleep(0.05)
        worker.send_signal(signal.SIGTERM)
        words = worker.communicate(timeout=10)[1]
    assert worker.returncode == 0, words
    assert json.loads(words.splitlines()[-1])["reason"] == "stopped while compiling"
