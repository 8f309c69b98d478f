"""The certificate of policy `risk`: marginals against shadow prices, the objective, and lots from the largest marginal.

m is the risk removed per unit of notional reduced. Relaxed reductions x are optimal if and only if for some lambda
m <= lambda where x = 0, m = lambda between, m >= lambda where everything available is taken (Campbell et al. 2026).
"""

import numpy as np

from solver.verify.exposure import surveys
from solver.verify.losses import law

KKT_MAX = 1e-8
SAME = 1e-9  # two marginals nearer than this, relatively, may be one


def certify(view, asked, solution, risk, report):
    """Check shadow prices, objective and lots of a solution of policy `risk`; `asked` are positions it may take."""
    p, model = view.problem, law(risk)
    lots = solution.reduction_lots
    takes = [(None, 0), (solution.relaxed_lots, 0), *([] if lots is None else [(lots, 0), (lots, 1)])]
    before, after, *in_lots = surveys(p, model, asked, takes)
    _objective(p, before, after, solution, report)
    steepest = asked.demands.reduce(np.maximum, np.maximum(before.steepest, after.steepest), 0.0)
    scale = np.maximum(np.maximum(np.abs(solution.shadow_price), steepest), 1e-30)
    _shadow_price(asked, after, scale, solution, report)
    if view.taken is not None and report.ok:
        gave = asked.demands.reduce(np.add, asked.taken, 0)
        open_ones = (gave > 0) & (gave < asked.demands.reduce(np.add, asked.free, 0))
        if np.count_nonzero(open_ones) == 1:
            _one_at_a_time(view, asked, model, open_ones, scale, *in_lots, report)
        elif open_ones.any():
            _several(p, asked, open_ones, scale, *in_lots, report)


def _objective(p, before, after, solution, report):
    """Expected loss over solvent accounts, before and after."""
    solvent = p.equity > 0
    totals = [float(found.loss[solvent].sum()) for found in (before, after)]
    for name, total in zip(("objective_before", "objective_after"), totals, strict=True):
        stated = getattr(solution, name)
        same = abs(stated - total) <= 1e-9 * max(totals) + 1e-30
        report.check(same, f"{name} must be {total}, was {stated}")


def _shadow_price(asked, after, scale, solution, report):
    """The three lines of the certificate; where everything was taken lambda is the smallest marginal."""
    price = solution.shadow_price
    gave = asked.demands.reduce(np.add, asked.relaxed, 0.0)
    idle = gave == 0
    report.check(not price[idle].any(), "shadow_price must be 0 where solvent accounts gave nothing")
    whole = ~idle & (asked.demands.reduce(np.add, (asked.relaxed < asked.free).astype(np.int64), 0) == 0)
    least = asked.demands.reduce(np.minimum, after.slope - after.error, np.inf)
    least_at_most = asked.demands.reduce(np.minimum, after.slope + after.error, np.inf)
    slack = KKT_MAX * scale
    off = whole & ((price < least - slack) | (price > least_at_most + slack))
    report.check(not off.any(), f"shadow_price of closed demands {np.flatnonzero(off)[:5]} must be the least marginal")
    level = price[asked.k]
    above = (asked.relaxed < asked.free) & (after.slope - after.error > level + slack[asked.k]) & ~idle[asked.k]
    below = (asked.relaxed > 0) & (after.slope + after.error < level - slack[asked.k])
    report.check(not above.any(), f"relaxed: {above.sum()} positions with lots left are worth more than the price")
    report.check(not below.any(), f"relaxed: {below.sum()} positions were reduced that are worth less than the price")


def _one_at_a_time(view, asked, model, open_ones, scale, now, last, report):
    """One demand: whoever gave a lot stood, before its last one, no lower than anybody with lots left."""
    p, k = view.problem, int(np.flatnonzero(open_ones)[0])
    mine = asked.k == k
    waits, gave = mine & (asked.taken < asked.free), mine & (asked.taken > 0)
    highest = (now.slope - now.error)[waits].max()
    slack = SAME * abs(highest) + 1e-3 * KKT_MAX * scale[k] * 1e-3
    early = gave & (last.slope + last.error < highest - slack)
    report.check(not early.any(), f"{early.sum()} accounts gave a lot before an account of larger present marginal")
    if not p.haircut[k]:
        edge = 1e-6 * max(abs(highest), 1e-3 * KKT_MAX * scale[k])
        near = now.slope + now.error >= highest - edge
        _twins(view, asked, model, waits & near, gave & (last.slope - last.error <= highest + edge), report)


def _twins(view, asked, model, waits, gave, report):
    """At the mark: equal accounts, to the bit of what they hold besides, are told apart by tie rank."""
    p = view.problem
    if not waits.any():
        return
    rows = np.abs(p.quantity_lots) > 0
    other = rows & (p.asset != p.demand_asset[asked.k[waits][0]])
    columns = [p.equity]
    notional = p.quantity_lots * p.lot_price[p.asset] * other
    columns += [np.bincount(p.account, notional * loading[p.asset], p.equity.size) for loading in model.loadings.T]
    columns.append(np.bincount(p.account, model.idiosyncratic[p.asset] * notional**2, p.equity.size))
    net = np.bincount(p.account, p.quantity_lots * (rows & ~other), p.equity.size)
    side = p.demand_side[asked.k]

    def states(mask, back):
        left = net[asked.account[mask]] - side[mask] * (asked.taken[mask] - back)
        return zip(*(column[asked.account[mask]].tolist() for column in columns), left.tolist(), strict=True)

    first = {}
    for state, rank in zip(states(waits, 0), view.rank(asked.account[waits]).tolist(), strict=True):
        first[state] = min(rank, first.get(state, rank))
    wrong = 0
    for state, rank in zip(states(gave, 1), view.rank(asked.account[gave]).tolist(), strict=True):
        wrong += rank > first.get(state, rank)
    report.check(wrong == 0, f"{wrong} accounts gave a lot before an equal one of smaller tie rank")


def _several(p, asked, open_ones, scale, now, last, report):
    """Several demands: the whole part of the relaxed lots, then missing ones from the largest present marginal.

    Where whole parts exceed a demand, they are those of relaxed reductions lessened in proportion to what is available.
    An account that gave missing lots of two positions moved its own marginals in an order that the solution does not
    tell, so it is judged by its whole parts alone. Of all others the marginals now and before the last lot are those
    of the time at which that lot was given, or bound them.
    """
    whole = np.floor(asked.relaxed)
    sums = asked.demands.reduce(np.add, whole, 0.0)
    excess = sums - asked.demands.reduce(np.add, asked.taken, 0)
    count = asked.demands.reduce(np.add, np.ones(asked.k.size), 0.0)
    less = np.where(excess > 0, 2.0 * (excess + count) / np.maximum(sums, 1.0), 1e-14)
    base = np.maximum(np.floor(asked.relaxed * (1.0 - less[asked.k])), 0)
    lost = asked.taken < base
    report.check(not lost.any(), f"{lost.sum()} positions have fewer lots than the whole part of the relaxed ones")
    missing = np.maximum(asked.taken - base, 0.0)
    pull = np.bincount(asked.account, missing, p.equity.size)[asked.account] - missing
    drift = np.where(pull > 0, np.inf, now.error + last.error)
    open_item = open_ones[asked.k]
    waits = open_item & (asked.taken < asked.free)
    gave = open_item & (asked.taken > whole)
    highest = asked.demands.reduce(np.maximum, np.where(waits, now.slope - drift, -np.inf), -np.inf)
    slack = SAME * np.maximum(np.abs(np.nan_to_num(highest, neginf=0.0)), 1e-3 * KKT_MAX * scale)
    early = gave & (last.slope + drift < (highest - slack)[asked.k])
    report.check(not early.any(), f"{early.sum()} positions gave a lot before one of larger present marginal")
