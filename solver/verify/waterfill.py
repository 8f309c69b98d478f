"""The certificate of policy `waterfill`: one level per demand, and lots taken from the largest present leverage."""

import numpy as np

from solver.verify.view import leverage_of

KKT_MAX = 1e-7  # looser than the solver's own bound: sums here are plain float sums
SAME = 1e-9  # two leverages nearer than this, relatively, may be one


def certify(view, asked, solution, report):
    """Check levels, relaxed reductions and lots; `asked` are positions that may be asked."""
    lowest, highest = _relaxed(view, asked, solution, report)
    if view.taken is None:
        _level(view, asked, asked.relaxed, highest, lowest, solution, report)
    else:
        _lots(view, asked, solution, report)


def _relaxed(view, asked, solution, report):
    """The certificate: nobody with lots left stands above anybody who was drained; both bounds per demand come back."""
    gross, equity = view.after(view.relaxed)
    lev, noise = leverage_of(gross, equity), leverage_of(8e-15 * view.gross, equity)
    noise[~(noise < np.inf)] = np.finfo(float).max  # an account drained of its equity binds nobody
    at_least, at_most = lev - noise, lev + noise
    left, drained = asked.relaxed < asked.free, asked.relaxed > 0
    highest = asked.demands.reduce(np.maximum, np.where(left, at_least[asked.account], 0.0), 0.0)
    lowest = asked.demands.reduce(np.minimum, np.where(drained, at_most[asked.account], np.inf), np.inf)
    wrong = highest > lowest * (1 + KKT_MAX)
    report.check(not wrong.any(), f"relaxed: demands {np.flatnonzero(wrong)[:5]} drain accounts below others' leverage")
    with np.errstate(invalid="ignore", divide="ignore"):
        apart = (highest - lowest) / (highest + lowest)  # no level is nearer to both than this
    least = np.nan_to_num(apart, nan=0.0).max(initial=0.0)
    fits = solution.kkt_residual >= least - SAME
    report.check(fits, f"kkt_residual must be {least} at least, was {solution.kkt_residual}")
    return lowest, highest


def _level(view, asked, lots, low, high, solution, report):
    """The level is between the leverages low and high; it is infinite where solvent accounts gave nothing."""
    gave = asked.demands.reduce(np.add, lots, 0) > 0
    level = solution.level
    silent = gave != np.isfinite(level)
    report.check(not silent.any(), "a level must be finite where solvent accounts gave, and only there")
    bound = KKT_MAX if view.taken is None else SAME
    above, below = gave & (low > level * (1 + bound)), gave & (level > high * (1 + bound))
    report.check(not above.any(), f"demands {np.flatnonzero(above)[:5]}: accounts with lots left stand above the level")
    report.check(not below.any(), f"level of demands {np.flatnonzero(below)[:5]} must not be above every account")


def _lots(view, asked, solution, report):
    """Nobody with lots left, taken or not, stands above the level; whoever was taken stood there before its last lot.

    "Stood there" is exact where one demand is open. Where several are, lots are the whole part of the relaxed ones,
    which need no further reason, and missing ones given in an order that the solution does not tell: an account that
    gave some stood at the level at least before anything beyond the whole parts was taken from its other positions.
    """
    gross, equity = view.after(view.taken)
    lev = leverage_of(gross, equity)[asked.account]
    left = asked.taken < asked.free
    highest = asked.demands.reduce(np.maximum, np.where(left, lev, -1.0), -1.0)
    # Where nobody has lots left the level is the smallest leverage.
    lowest = asked.demands.reduce(np.minimum, lev, np.inf)
    floor_level = np.where(highest < 0, lowest, highest)
    # An entry at the edge of eligibility may have been asked and hold the level up.
    edge = np.bincount(view.k[view.may & ~view.must], minlength=highest.size) > 0
    _level(view, asked, asked.taken, floor_level, np.where(edge, np.inf, floor_level), solution, report)
    open_demands = np.count_nonzero((asked.demands.reduce(np.add, asked.taken, 0) > 0) & (highest >= 0))
    base = asked.taken
    if open_demands > 1:
        base = np.floor(asked.relaxed).astype(np.int64)
        missing = np.maximum(asked.taken - base, 0)
        gross = gross + np.bincount(asked.account, asked.price * missing, gross.size)
        if view.problem.haircut.any():
            equity = equity + np.bincount(asked.account, asked.haircut * missing, gross.size)
        _given_back(asked, base, gross, equity, report)
    step = asked.taken - 1 - base
    held, own = gross[asked.account] - asked.price * step, equity[asked.account] - asked.haircut * step
    early = (asked.taken > base if open_demands > 1 else asked.taken > 0) & (
        held < highest[asked.k] * own * (1 - 1e-12)
    )
    report.check(not early.any(), f"{early.sum()} accounts gave a lot before an account of larger present leverage")
    if open_demands == 1 and view.problem.one_entry_each and not view.problem.haircut.any():
        _ties(view, asked, highest, report)


def _given_back(asked, base, gross, equity, report):
    """Fewer lots than the whole part of the relaxed ones only where those exceed a demand, and then the last ones.

    `gross` and `equity` are of accounts that gave back what they did and nothing beyond the whole parts.
    """
    back = np.maximum(base - asked.taken, 0)
    if not back.any():
        return
    too_many = asked.demands.reduce(np.add, base, 0) > asked.demands.reduce(np.add, asked.taken, 0)
    lost = (back > 0) & ~too_many[asked.k]
    report.check(not lost.any(), f"{lost.sum()} positions have fewer lots than the whole part of the relaxed ones")
    # Somebody's other positions gave back before or after: all of it counts for who kept a lot, none for who did not.
    other = np.bincount(asked.account, asked.price * back, gross.size)[asked.account] - asked.price * back
    owed = np.bincount(asked.account, asked.haircut * back, gross.size)[asked.account] - asked.haircut * back
    stands = leverage_of(gross[asked.account] - other, equity[asked.account] - owed)
    stood = leverage_of(gross[asked.account] + asked.price, equity[asked.account] + asked.haircut)
    highest = asked.demands.reduce(np.maximum, np.where(back > 0, stands, 0.0), 0.0)
    lowest = asked.demands.reduce(np.minimum, np.where(asked.taken > 0, stood, np.inf), np.inf)
    wrong = highest > lowest * (1 + 1e-12)
    report.check(not wrong.any(), f"demands {np.flatnonzero(wrong)[:5]}: others than the last lots were given back")


def _ties(view, asked, highest, report):
    """One entry per account at the mark: the same bits on both sides, so equal leverages are told apart by tie rank."""
    rank, best, equity = view.rank(asked.account), highest[asked.k], view.problem.equity[asked.account]
    now = asked.price * (asked.lots - asked.taken) / equity
    last = asked.price * (asked.lots - (asked.taken - 1)) / equity
    waits = (asked.taken < asked.free) & (now == best)
    first = asked.demands.reduce(np.minimum, np.where(waits, rank, np.iinfo(np.int64).max), np.iinfo(np.int64).max)
    tie = (asked.taken > 0) & (last == best) & (rank > first[asked.k])
    report.check(not tie.any(), f"{tie.sum()} accounts gave a lot before an equal one of smaller tie rank")
