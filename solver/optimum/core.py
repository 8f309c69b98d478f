"""The general method, for any problem: interior point, then polish, and a descent demand by demand as last resort."""

from typing import NamedTuple

import numpy as np

from solver.optimum.account import least_equity
from solver.optimum.barrier import Point, approach, start
from solver.optimum.polish import BOLD, CERTAIN, CLEAR, CLEARING, TOLERANCE, polish
from solver.optimum.system import level_floor, system

FIRST_POLISH = 1e-7  # gap at which the bounds can be told from the rest; then after each further factor of 100
LAST_POLISH = 1e-26


class Optimum(NamedTuple):
    """Shares that minimise the expected loss; K demands, I items."""

    converged: bool
    level: np.ndarray  # float[K], lambda, per unit of notional
    u: np.ndarray  # float[I], share taken of what is available
    w: np.ndarray  # float[I], share kept, 1 - u
    kkt: float  # largest violation of the certificate, relative to lambda, beyond rounding
    clearing: float  # largest part of a demand that is not met
    iterations: int


def solve_core(candidates, demands, model):
    """Return the Optimum of Candidates and Demands under a Model."""
    candidates = least_equity(candidates, demands)
    sys = system(candidates, demands)
    point = start(candidates, demands, model, sys)
    floor = level_floor(candidates, demands, sys)
    origin = Point(*(np.empty_like(column) for column in point))
    best, steps, until = None, 0, FIRST_POLISH
    while True:
        steps, gap = approach(candidates, demands, model, floor, point, origin, sys, steps, until)
        for kind in (BOLD, CLEAR, CERTAIN):
            kkt, uncleared, level, u, w = polish(candidates, demands, model, floor, point, kind, sys)
            found = Optimum(kkt <= TOLERANCE and uncleared <= CLEARING, level, u, w, kkt, uncleared, steps)
            if found.converged:
                return found
            if best is None or found.kkt < best.kkt:
                best = found
        if gap >= until or until < LAST_POLISH:
            return best
        until = min(until, gap) * 1e-2
