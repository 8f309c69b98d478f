"""The certificates of `pro_rata:contracts`, `pro_rata:profit` and `min_max_haircut`: shares, and lots next to them."""

import numpy as np

NAMES = ("pro_rata:contracts", "pro_rata:profit", "min_max_haircut")
SAME = 1e-8  # two shares nearer than this, relatively, may be one


def certify(view, solution, report):
    """Check relaxed reductions against their rule, and that lots are these, rounded."""
    p, ask = view.problem, view.solvent & view.must
    k, account = view.k[ask], view.account[ask]
    free, x = view.free[ask].astype(float), view.relaxed[ask]
    given, weight = x, free if solution.policy == "pro_rata:contracts" else view.profit[ask]
    if solution.policy == "min_max_haircut":
        haircut, costly = view.haircut[ask], view.haircut[ask] > 0
        paid = np.bincount(account, np.where(costly, haircut * x, 0.0), p.equity.size)
        given, weight = np.where(costly, paid[account], x), np.where(costly, view.owned[ask], weight)
        _pro_rata_within(k[costly], account[costly], free[costly], x[costly], p.equity.size, report)
    size = p.demand_lots.size
    share = given / weight
    noise = 1e-13 * np.maximum(share, free / weight)
    highest, lowest = np.full(size, -np.inf), np.full(size, np.inf)
    gave, left = x > SAME * free, x < free * (1 - SAME)
    np.maximum.at(highest, k[gave], (share - noise)[gave])
    np.minimum.at(lowest, k[left], (share + noise)[left])
    wrong = highest > lowest * (1 + SAME)
    report.check(not wrong.any(), f"relaxed: demands {np.flatnonzero(wrong)[:5]} are not shared as {solution.policy}")
    if view.taken is not None:
        _rounded(k, x, free, view.taken[ask], view.rank(account), size, report)


def _pro_rata_within(k, account, free, x, size, report):
    """Entries of one account in one demand give the same part of what they may."""
    _, group = np.unique(k * np.int64(size) + account, return_inverse=True)
    whole, total = np.bincount(group, free), np.bincount(group, x)
    off = np.abs(x - total[group] * free / whole[group]) > SAME * free + 1e-9
    report.check(not off.any(), f"relaxed: {off.sum()} entries do not give pro rata to their account's others")


def _rounded(k, x, free, lots, rank, size, report):
    """Whole parts, and a lot more from the largest remainders; equal ones by tie rank."""
    close = 1e-9 * (1.0 + x)
    off = (lots < np.floor(x - close)) | (lots > np.ceil(x + close))
    report.check(not off.any(), f"{off.sum()} entries are not rounded to one of the lots next to them")
    remainder = x - np.floor(x)
    more, less = lots > x, (lots < x) & (lots < free)
    lowest, highest = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(lowest, k[more], remainder[more])
    np.maximum.at(highest, k[less], (remainder - close)[less])
    wrong = highest > lowest + 1e-9
    report.check(not wrong.any(), f"demands {np.flatnonzero(wrong)[:5]}: a smaller remainder was rounded up")
    first = {}
    for at, r, value in zip(k[less].tolist(), rank[less].tolist(), x[less].tolist(), strict=True):
        first[at, value] = min(r, first.get((at, value), r))
    late = sum(
        r > first.get((at, value), r)
        for at, r, value in zip(k[more].tolist(), rank[more].tolist(), x[more].tolist(), strict=True)
    )
    report.check(late == 0, f"{late} entries were rounded up before an equal one of smaller tie rank")
