"""Whole lots of policies that minimise a loss: was every one given where the marginal was largest at that time?

One demand: whoever gave a lot stood, before its last one, no lower than anybody with lots left. Several: the whole
parts of the relaxed lots first, then the missing ones, one by one, each from the largest present marginal.

Let the level be the smallest marginal at which a lot was given so far. It only falls, so every demand closes at some
level; until then an account gives whenever it stands as high as the level, whatever the others do. Hence accounts are
followed one by one, and the lots are those of the rule if and only if in every demand nobody was passed over at a
level above one at which somebody gave.
"""

import numpy as np

from solver.verify.exposure import Part, survey

NOTHING = 1e-140  # marginals below are no part of the promise: the solver's normal tail is one of powers by then


def certify(view, asked, law, now, report):
    """Check the lots of the positions `asked`; `now` is their Survey with all lots gone."""
    gave = asked.demands.reduce(np.add, asked.taken, 0)
    open_ones = (gave > 0) & (gave < asked.demands.reduce(np.add, asked.free, 0))
    if not open_ones.any():
        return
    base = np.maximum(asked.taken - 1, 0) if np.count_nonzero(open_ones) == 1 else _whole_parts(asked, gave)
    base = np.where(open_ones[asked.k], base, asked.taken)
    lost = asked.taken < base
    report.check(not lost.any(), f"{lost.sum()} positions have fewer lots than the whole part of the relaxed ones")
    if lost.any():  # what was moved is given by others, lot by lot: there may be no end of them
        return
    owed, waits = np.maximum(asked.taken - base, 0), open_ones[asked.k] & (asked.taken < asked.free)
    given, passed = _followed(view, asked, law, now, owed, waits)
    highest = asked.demands.reduce(np.maximum, np.where(waits, passed, -np.inf), -np.inf)
    slack = law.same * np.abs(np.nan_to_num(highest, neginf=0.0)) + NOTHING
    early = given < (highest - slack)[asked.k]
    report.check(not early.any(), f"{early.sum()} positions gave a lot before one of larger present marginal")
    lowest, edge = asked.demands.reduce(np.minimum, given, np.inf), 1e3 * slack
    at_level = waits & (passed >= (lowest - edge)[asked.k]), (owed > 0) & (given <= (highest + edge)[asked.k])
    # Of who gave missing lots of several positions nobody knows in which order, so what it stood at is not known.
    gave_in = np.bincount(asked.account, owed > 0, view.problem.equity.size)
    sure = gave_in[asked.account] == (owed > 0)
    _ties(view, asked, *(at & sure for at in at_level), report)


def _whole_parts(asked, gave):
    """Lots that a position gives whatever comes; where they exceed a demand, of reductions lessened in proportion.

    The rule of the solver, written a second time on purpose.
    """
    whole = np.minimum(np.floor(asked.relaxed).astype(np.int64), asked.free)
    sums = asked.demands.reduce(np.add, whole, 0)
    if (sums <= gave).all():
        return whole
    count = asked.demands.reduce(np.add, np.ones(asked.k.size, dtype=np.int64), 0)
    less = np.where(sums > gave, np.minimum((sums - gave + count) / np.maximum(sums, 1), 1.0), 0.0)
    return np.minimum(np.floor(asked.relaxed * (1.0 - less[asked.k])).astype(np.int64), asked.free)


def _followed(view, asked, law, now, owed, waits):
    """Per position the level at which it gave its last lot, at most, and the one at which it was passed over, at least.

    `owed` are the missing lots that it gave. Infinite where none was given, or nobody was passed over. An account
    gives from its highest position that still owes one; a position above that one, and more than rounding, that owes
    none was passed over: its demand had closed.
    """
    given, passed = np.full(owed.size, np.inf), np.where(waits, now.slope - now.error, -np.inf)
    owed, open_ones, noted = owed.copy(), waits.copy(), np.zeros(owed.size, dtype=bool)
    chosen = np.zeros(view.problem.equity.size, dtype=bool)
    chosen[asked.account[owed > 0]] = True
    part = Part(view.problem, asked, chosen)
    ids, lots = part.positions, view.reduction_lots[part.rows]
    low = high = np.full(part.problem.equity.size, np.inf)  # level that the account has come down to
    while ids.size:
        own, who, gone = owed[ids] > 0, part.asked.account, lots.copy()
        gone[part.asked.row] -= owed[ids]
        found = survey(part.problem, law, part.asked, gone)
        first = _highest(who, np.where(own, found.slope, -np.inf))
        near = found.error + law.same * np.abs(found.slope)
        near = near + near[first][who]
        above = open_ones[ids] & ~own & (found.slope - near > found.slope[first][who])
        passed[ids[above]] = np.minimum(low[who], found.slope - found.error)[above]
        open_ones[ids[above]] = False
        low = np.minimum(low, (found.slope - found.error)[first])
        high = np.minimum(high, (found.slope + found.error)[first])
        # Who owes as much as the highest, but for rounding, may have been before it: this level counts for both.
        tied = own & ~noted[ids] & (found.slope + near >= found.slope[first][who])
        given[ids[tied]] = high[who[tied]]
        noted[ids[tied]], noted[ids[first]] = True, False
        owed[ids[first]] -= 1
        over = ~np.logical_or.reduceat(owed[ids] > 0, np.flatnonzero(np.append(True, who[1:] != who[:-1])))
        last = ids[over[who] & open_ones[ids]]
        passed[last] = np.minimum(passed[last], low[who[over[who] & open_ones[ids]]])
        part = Part(part.problem, part.asked, ~over)
        ids, lots, low, high = ids[part.positions], lots[part.rows], low[~over], high[~over]
    return given, passed


def _highest(who, values):
    """Per account, numbered 0, 1, ... in order, the place of its largest value; the first of equal ones."""
    start = np.flatnonzero(np.append(True, who[1:] != who[:-1]))
    best = np.flatnonzero(values == np.maximum.reduceat(values, start)[who])
    return best[np.append(True, who[best[1:]] != who[best[:-1]])]


def _ties(view, asked, waits, gave, report):
    """Of two accounts that are one but for a lot, the one of smaller tie rank is ahead; both are at the level."""
    equity = view.problem.equity[asked.account]
    waits, gave = np.flatnonzero(waits), np.flatnonzero(gave)
    gave = gave[np.isin(equity[gave], equity[waits])]
    waits = waits[np.isin(equity[waits], equity[gave])]
    rank, first, late = view.rank(asked.account), {}, 0
    for at in waits.tolist():
        state = asked.k[at], *_holdings(view, asked, at, 0)
        first[state] = min(rank[at], first.get(state, rank[at]))
    for at in gave.tolist() if first else ():
        late += rank[at] > first.get((asked.k[at], *_holdings(view, asked, at, 1)), rank[at])
    report.check(late == 0, f"{late} accounts gave a lot before an equal one of smaller tie rank")


def _holdings(view, asked, at, back):
    """All that an account has after it got back that many lots of a position."""
    p, account, k = view.problem, asked.account[at], asked.k[at]
    rows = slice(*np.searchsorted(p.account, [account, account + 1]).tolist())
    net = {int(p.demand_asset[k]): int(p.demand_side[k]) * back}
    lots = p.quantity_lots[rows] - np.sign(p.quantity_lots[rows]) * view.reduction_lots[rows]
    for asset, left in zip(p.asset[rows].tolist(), lots.tolist(), strict=True):
        net[asset] = net.get(asset, 0) + left
    own = range(*np.searchsorted(asked.account, [account, account + 1]).tolist())
    paid = p.haircut.any()
    gave = tuple((asked.k[i], (asked.taken[i] - back * (i == at)) * paid) for i in own)
    return p.equity[account], tuple(sorted(net.items())), gave
