"""The general method, for any problem: interior point, then polish; where that fails, again with blunted kinks.

Tried and dropped: exact treatment of accounts of equity 0 that close (equity stays above 0 here), descent demand by
demand as last resort (levels alone do it, fast.py), bent residuals in the interior point (half of the problems failed).
"""

import math
from typing import NamedTuple

import numpy as np

from solver.optimum.account import least_equity
from solver.optimum.barrier import Point, approach, scratch, start
from solver.optimum.polish import BOLD, CERTAIN, CLEAR, CLEARING, PATIENCE, STEPS_MAX, TOLERANCE, guess, polish
from solver.optimum.system import evaluate_all, level_floor, system

# Gap at which the bounds can be told from the rest; then after each further factor of 100. Where the inside point was
# led astray, bounds near the start may be the right ones.
FIRST_POLISH, EARLY_POLISH = 1e-7, 1e-4
LAST_POLISH, ENOUGH = 1e-40, 1e-15  # the last gap; the one from which a tenth of what is allowed is good enough
# What counts as solved in the end, where the loss is too flat for more.
KKT_MAX, CLEARING_MAX = 1e-8, 1e-9
# Attempts: without equity lent, with, with more; and then with a level counted as no less than a part of the largest
# marginal before anything is taken: where levels vanish beside it, and all that is left has no risk, nothing else tells
# what is small.
ATTEMPTS = (0.0, False), (1.0, False), (5.0, False), (1.0, True), (5.0, True), (0.0, True)
PART = 0.1


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
    best = None
    for blunt, coarse in ATTEMPTS:
        best = _attempt(candidates, demands, model, blunt * blunting(candidates, demands, model), coarse, best)
        if _distance(best) <= 1.0:
            break
    return best._replace(converged=_distance(best) <= 1.0)


def blunting(candidates, demands, model):
    """What accounts are lent on the way so that their loss has no kink, per unit of mu: float[A], equity or sigma.

    The loss of an account with almost no equity is a cone: without a net position it has a kink, across which Newton's
    method jumps. Equity of the order of mu times what may be taken, over the largest marginal, changes it by about mu.
    Scenarios with a narrow kernel have a kink each, which a wider one takes away: there sigma is lent.
    """
    k, holder = candidates.demand, np.repeat(np.arange(candidates.account.size), np.diff(candidates.start))
    size = np.bincount(holder, candidates.available, candidates.account.size)
    if model.weight.size:
        return 10.0 * size
    unit = np.sqrt(demands.idiosyncratic + (demands.loading**2).sum(axis=1))
    largest = np.zeros(candidates.account.size)
    np.maximum.at(largest, holder, unit[k])
    return 2.0 * size / np.maximum(largest, 1e-30)


def _distance(found):
    """How far from solved: above 1 it is not."""
    if not (math.isfinite(found.kkt) and math.isfinite(found.clearing)):
        return math.inf
    return max(found.kkt / KKT_MAX, found.clearing / CLEARING_MAX)


def _attempt(candidates, demands, model, lent, coarse, best):
    """The best of `best` and what interior point and polish find; lent float[A] as of `blunting`, or zeros.

    coarse: a level counts as no less than PART of the largest marginal that its demand's items have at first.
    """
    sys, work = system(candidates, demands), scratch(candidates.demand.size, demands.index.size)
    if coarse:
        none = np.zeros(candidates.demand.size)
        evaluate_all(candidates, demands, model, none, none + 1.0, sys)
        np.maximum.at(sys.least, candidates.demand, PART * sys.marginal)
    point = start(candidates, demands, model, sys)
    level_floor(candidates, demands, sys, work.floor)
    origin = Point(*(np.empty_like(column) for column in point))
    blunt = candidates._replace(equity=candidates.equity.copy(), variance=candidates.variance.copy())
    # Most are solved at once, and fast; of those that were not, nothing is given up.
    steps, until, patience = (0, FIRST_POLISH, PATIENCE) if best is None else (0, EARLY_POLISH, STEPS_MAX)
    while True:
        steps, gap = approach(blunt, demands, model, point, origin, sys, work, candidates, lent, steps, until)
        tried = set()
        for kind in (BOLD, CLEAR, CERTAIN):
            side = guess(candidates, demands, point, kind)
            if side.tobytes() in tried:
                continue
            tried.add(side.tobytes())
            kkt, uncleared, level, u, w = polish(candidates, demands, model, point, side, sys, patience)
            found = Optimum(kkt <= TOLERANCE and uncleared <= CLEARING, level, u, w, kkt, uncleared, steps)
            if found.converged:
                return found
            if best is None or _distance(found) < _distance(best):
                best = found
        if _distance(best) <= 0.1 and gap < ENOUGH:
            return best
        if gap >= until or until < LAST_POLISH:
            return best
        until = min(until, gap) * 1e-2
