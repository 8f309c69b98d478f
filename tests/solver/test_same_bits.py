"""The same bits on another processor: compiled for a generic one, with a C library that must not use FMA or AVX2.

Inputs travel as a file: numpy's own exp and log, which make random books, may differ between processors.
"""

import hashlib
import math
import os
import pickle
import subprocess
import sys

import numpy as np

from solver import Problem, RiskModel, Scenarios, solve
from tests.solver.cross_books import cross_margin

POLICIES = ("risk", "factor", "waterfill", "queue:hyperliquid", "pro_rata:contracts", "min_max_haircut")


def cases():
    """(arguments of a Problem, policy, risk) of every road through the solver."""
    large, small = cross_margin(6_000, 30, 3, 12, 0.3, haircut=0.004), cross_margin(60, 8, 2, 5, 0.4, both=True)
    single = cross_margin(400, 8, 1, 1, 0.3)
    rng = np.random.default_rng(8)
    for arguments, _ in (large, small, single):
        arguments["entry_price"] = arguments["mark_price"][arguments["asset"]] * (0.9 + 0.2 * rng.random(
            arguments["asset"].size))  # fmt: skip
    for arguments, risk in (large, small, single):
        for tail in (4.0, 2.5, math.inf):
            yield arguments, "risk", RiskModel(risk.loadings, risk.idiosyncratic, tail)
        one = RiskModel(np.abs(risk.loadings[:, :1]), np.zeros(risk.idiosyncratic.size))
        for policy in POLICIES[1:]:
            yield arguments, policy, one
    for accounts in (60, 25_000):  # one entry each: closed forms, and the fast road of water filling
        rows = np.arange(accounts)
        lots = rng.integers(1, 10_000, accounts)
        isolated = {
            "account": rows, "asset": np.zeros(accounts, dtype=np.int64), "quantity_lots": lots,
            "equity": lots / (1.0 + rng.integers(0, 40, accounts)), "mark_price": [1.0], "demand_asset": [0],
            "demand_side": [1], "demand_lots": [int(0.3 * lots.sum())], "demand_price": [0.999],
        }  # fmt: skip
        for policy in ("risk", "waterfill"):
            yield isolated, policy, RiskModel(0.1 * rng.random((1, 3)), [0.001], 4.0)
    history = 0.05 * rng.standard_normal((50, 8))
    yield small[0], "risk", Scenarios(history, np.full(50, 0.02), np.full(8, 1e-4))


def digest(given):
    """Of all numbers of the solutions."""
    total = hashlib.blake2b(digest_size=16)
    for arguments, policy, risk in given:
        solution = solve(Problem(**arguments), policy, risk=risk)
        for column in ("reduction_lots", "relaxed_lots", "residual_lots", "shadow_price", "level", "score"):
            numbers = getattr(solution, column)
            total.update(b"none" if numbers is None else numbers.tobytes())
        ends = solution.status, solution.kkt_residual, solution.objective_before, solution.objective_after
        total.update(repr(ends).encode())
    return total.hexdigest()


def test_a_generic_processor_finds_the_same_bits(tmp_path):
    """In a process of its own, with four threads and another hash seed; it compiles for itself."""
    given = list(cases())
    file = tmp_path / "cases"
    file.write_bytes(pickle.dumps(given))
    code = f"from tests.solver.test_same_bits import *; print(digest(pickle.loads(open({str(file)!r}, 'rb').read())))"
    environment = os.environ | {
        "NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_NUM_THREADS": "4", "PYTHONHASHSEED": "7",
        "OPENBLAS_CORETYPE": "Prescott",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-FMA4,-FMA4_Usable",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == digest(given)
