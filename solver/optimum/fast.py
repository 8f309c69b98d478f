"""The general method for large books: levels from samples, then only the accounts that these levels may touch.

Rule: a shortcut changes the time, not the answer. Who was left out is checked against the levels found, and what does
not converge goes to the core; what the core fails on goes by levels alone.
"""

import numpy as np

from solver.loss.elementary import power as to_power
from solver.optimum import one_factor
from solver.optimum.candidates import Gatherer
from solver.optimum.core import Optimum, solve_core
from solver.optimum.dual import ascend
from solver.optimum.gradient import root_power
from solver.optimum.sample import Lottery
from solver.optimum.screen import first_levels
from solver.optimum.threads import Threads, bounds

FEW = 300  # holders: the core is faster
FIRST_SAMPLE, LAST_SAMPLE, GROWTH = 40, 1500, 6  # accounts per demand; each sample is so many times the one before
FEW_FIRST, FEW_LAST = 600, 5000  # accounts in samples of few demands
SAMPLE_MOST = 0.15  # of all holders: a larger sample costs more than it saves
# In the root of the level: who is not touched this far below it is left out; below this part of the largest marginal,
# where nearly everybody is touched and levels move by more than a part of themselves, nobody is.
MARGIN, SCREENED = 0.07, 0.2


def solve_fast(problem, demand, asked_lots, available, loading, idiosyncratic, model):
    """Return (Optimum, Candidates, Demands): the accounts that are touched, and some that are not, and what they give.

    demand int64[P] of rows that may be asked, by solvent accounts, else -1; asked_lots int64[demands] of them;
    available int64[P], None: whole positions; loading float[M, F], idiosyncratic float[M] and model of the risk model.
    Whoever holds something that is asked and is no candidate gives nothing.
    """
    with Threads(problem.account.size) as threads:
        gatherer = Gatherer(problem, demand, asked_lots, available, loading, idiosyncratic, threads)
        return *optimise(gatherer, problem.tie_rank, model), gatherer.demands


def optimise(gatherer, rank, model):
    """Return (Optimum, Candidates) of a Gatherer; rank int64[N] of accounts, None: their numbers."""
    threads = gatherer.threads
    if not gatherer.demands.index.size:
        none = np.zeros(0)
        return Optimum(True, none, none, none, 0.0, 0.0, 0), gatherer.nobody()
    if one_factor.fits(gatherer.demands, model):
        candidates, _ = gatherer.take()
        if (optimum := one_factor.in_closed_form(candidates, gatherer.demands, model)) is not None:
            return optimum, candidates
    if gatherer.holders.first.size <= FEW or model.weight.size:
        candidates, _ = gatherer.take()
        optimum = solve_core(candidates, gatherer.demands, model)
        if not optimum.converged and not model.weight.size:
            optimum = _by_levels(candidates, gatherer.demands, model, threads, optimum)
        return optimum, candidates
    level, peak, steps = _from_samples(gatherer, rank, model, threads)
    # A level found among too few is nearer to the true one than one from a sample.
    for margin in (MARGIN, MARGIN, 1.0):
        found = _on_candidates(gatherer, model, level, peak, margin, threads)
        if found is not None:
            optimum, candidates, level, peak, enough = found
            steps += optimum.iterations
            if enough or margin == 1.0:  # a level that is no number leaves nobody out either
                return optimum._replace(iterations=steps), candidates
    raise AssertionError("without a margin nobody is left out")


def _by_levels(candidates, demands, model, threads, failed):
    """What the core fails on, with tails so heavy that marginals hardly fall: the levels alone are searched for."""
    u, w = np.zeros(candidates.demand.size), np.ones(candidates.demand.size)
    level = first_levels(candidates, demands, model.tail)
    converged, level, _, kkt, error, steps = ascend(candidates, demands, model, level, u, w, threads)
    return Optimum(True, level, u, w, kkt, error, failed.iterations + steps) if converged else failed


def _from_samples(gatherer, rank, model, threads):
    """Return (levels or None, peaks, steps) from samples of growing size; None where the book is small."""
    size, K = gatherer.holders.first.size, gatherer.demands.index.size
    level, peak, steps = None, None, 0
    c = max(FIRST_SAMPLE, FEW_FIRST / K)
    if c * K >= SAMPLE_MOST * size:
        return level, peak, steps
    lottery = Lottery(gatherer, rank, threads, bounds(size))
    while c <= max(LAST_SAMPLE, FEW_LAST / K):
        found, weight = lottery.sample(c)
        if found.first.size >= SAMPLE_MOST * size:
            break
        candidates, _ = gatherer.take(found, weight)
        demands = _of_sample(gatherer.demands, candidates)
        if level is None:
            level = first_levels(candidates, demands, model.tail)
        u, w = np.zeros(candidates.demand.size), np.ones(candidates.demand.size)
        _, level, peak, _, _, more = ascend(candidates, demands, model, level, u, w, threads, rough=True)
        steps += more
        c *= GROWTH
    return level, peak, steps


def _of_sample(demands, candidates):
    """Demands that ask a sample for the share that they ask of all; nearly nothing where nobody is in the sample."""
    held = np.bincount(candidates.demand, candidates.available, demands.asked.size)
    asked = np.where(held > 0, np.minimum(demands.asked / demands.total, 1 - 1e-6) * held, 1e-300)
    return demands._replace(asked=asked, total=held)


def _on_candidates(gatherer, model, level, peak, margin, threads):
    """Solve for the accounts that may be touched down to a margin below the levels.

    Return (Optimum, Candidates, levels, peaks, is nobody else touched?), or None where these hold too little.
    """
    demands = gatherer.demands
    lowest = np.full(demands.asked.size, -np.inf)
    if level is not None and margin < 1.0:
        power = root_power(model.tail)
        lowest = np.where(level > to_power(SCREENED, power) * peak, to_power(1.0 - margin, power) * level, -np.inf)
    candidates, outside = gatherer.take(level=lowest, tail=model.tail)
    if (demands.total - outside <= demands.asked * (1 + 1e-4)).any() and (outside > 0).any():
        return None
    u, w = np.zeros(candidates.demand.size), np.ones(candidates.demand.size)
    if level is None:
        level = first_levels(candidates, demands, model.tail)
    converged, level, peak, kkt, error, steps = ascend(
        candidates, demands, model, level, u, w, threads, outside=outside
    )
    optimum = Optimum(converged, level, u, w, kkt, error, steps)
    if not converged:
        inside = demands._replace(total=demands.total - outside)
        optimum = solve_core(candidates, inside, model)
    return optimum, candidates, optimum.level, peak, (optimum.level >= lowest).all()
