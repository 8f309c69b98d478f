"""The certificate of policy `risk`: marginals against shadow prices, the objective, and lots from the largest marginal.

m is the risk removed per unit of notional reduced. Relaxed reductions x are optimal if and only if for some lambda
m <= lambda where x = 0, m = lambda between, m >= lambda where everything available is taken (Campbell et al. 2026).
"""

import numpy as np

from solver.verify import lots
from solver.verify.exposure import Part, Survey, survey
from solver.verify.losses import law

KKT_MAX = 1e-8
NOTHING = 1e-30  # marginals that are all below it are no risk, and any reduction is as good as another
TOLD = 1e-9  # a residual may be stated too small by so much: what tails are good to


def certify(view, asked, solution, risk, report):
    """Check shadow prices, objective and lots of a solution of policy `risk`; `asked` are positions it may take."""
    p, model = view.problem, law(risk)
    before = survey(p, model, asked, None, loss=True)
    touched = np.zeros(p.equity.size, dtype=bool)
    touched[view.account[(view.relaxed > 0) | (view.given > 0)]] = True
    part = Part(p, asked, touched)
    after = _changed(before, part, model, touched, solution.relaxed_lots)
    _objective(p, before, after, solution, report)
    steepest = asked.demands.reduce(np.maximum, np.maximum(before.steepest, after.steepest), 0.0)
    scale = np.maximum(np.maximum(np.abs(solution.shadow_price), steepest), NOTHING)
    _shadow_price(p, asked, after, scale, solution, report)
    if view.taken is not None and report.ok:
        now = _changed(before, part, model, None, solution.reduction_lots)
        lots.certify(view, asked, model, now, report)


def _changed(before, part, model, touched, taken):
    """The Survey after `taken`, given the one before; with losses where `touched`, the part's accounts, are told."""
    found = survey(part.problem, model, part.asked, taken[part.rows], loss=touched is not None)
    slope, error, steepest, loss = before.slope.copy(), before.error.copy(), before.steepest.copy(), None
    slope[part.positions], error[part.positions], steepest[part.positions] = found.slope, found.error, found.steepest
    if touched is not None:
        loss = before.loss.copy()
        loss[touched] = found.loss
    return Survey(slope, error, steepest, loss)


def _objective(p, before, after, solution, report):
    """Expected loss over solvent accounts, before and after."""
    solvent = p.equity > 0
    totals = [float(found.loss[solvent].sum()) for found in (before, after)]
    for name, total in zip(("objective_before", "objective_after"), totals, strict=True):
        stated = getattr(solution, name)
        same = abs(stated - total) <= 1e-9 * max(totals) + 1e-30
        report.check(same, f"{name} must be {total}, was {stated}")


def _shadow_price(p, asked, after, scale, solution, report):
    """The three lines of the certificate; where everything was taken lambda is the smallest marginal."""
    price = solution.shadow_price
    gave = asked.demands.reduce(np.add, asked.relaxed, 0.0)
    idle = gave == 0
    report.check(not price[idle].any(), "shadow_price must be 0 where solvent accounts gave nothing")
    # In lots: of 2**53 and more the relaxed sum cannot tell all of them from all but one.
    met = p.demand_lots - solution.residual_lots - solution.insolvent_lots
    whole = ~idle & (asked.demands.reduce(np.add, asked.free, 0) == met)
    least = asked.demands.reduce(np.minimum, after.slope - after.error, np.inf)
    least_at_most = asked.demands.reduce(np.minimum, after.slope + after.error, np.inf)
    slack = KKT_MAX * scale
    off = whole & ((price < least - slack) | (price > least_at_most + slack))
    report.check(not off.any(), f"shadow_price of closed demands {np.flatnonzero(off)[:5]} must be the least marginal")
    level, size = price[asked.k], scale[asked.k]
    left, gave = (asked.relaxed < asked.free) & ~idle[asked.k], asked.relaxed > 0
    over = np.where(left, after.slope - after.error - level, 0.0) / size
    under = np.where(gave, level - after.slope - after.error, 0.0) / size
    above, below = over > KKT_MAX, under > KKT_MAX
    report.check(not above.any(), f"relaxed: {above.sum()} positions with lots left are worth more than the price")
    report.check(not below.any(), f"relaxed: {below.sum()} positions were reduced that are worth less than the price")
    least = max(over.max(initial=0.0), under.max(initial=0.0))
    report.check(
        solution.kkt_residual >= least - TOLD, f"kkt_residual must be {least} at least, was {solution.kkt_residual}"
    )
