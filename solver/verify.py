"""`verify`: a second opinion on a solution, in plain numpy and by other formulas than the solver's.

Shares no kernel with the solver. Every check that fails leaves one sentence; no failure, no doubt.
"""

from dataclasses import dataclass, field

import numpy as np

from solver.solve import misfit
from solver.view import Positions, View, leverage_of

KKT_MAX = 1e-7  # looser than the solver's own bound: sums here are plain float sums
SAME = 1e-9  # two leverages nearer than this, relatively, may be one


@dataclass
class Report:
    """What verification found: failures as sentences, none when the solution stands."""

    failures: list = field(default_factory=list)

    @property
    def ok(self):
        return not self.failures

    def check(self, holds, sentence):
        if not holds:
            self.failures.append(sentence)


def verify(problem, solution, risk=None):  # noqa: ARG001  policy `risk` will need it
    """Check a solution of `problem` independently; the report has .ok and .failures (sentences)."""
    report = Report()
    if solution.status == "INVALID":
        report.check(bool(solution.reason), "an INVALID solution must say why")
        return report
    reason = misfit(problem, solution.policy, solution.options["protect_principal"])
    report.check(not reason, reason)
    if reason or not _shapes(problem, solution, report):
        return report
    status = "RESIDUAL" if solution.residual_lots.any() else "OPTIMAL"
    report.check(solution.status == status, f"status must be {status}, was {solution.status}")
    view = View(problem, solution)
    _box(view, solution, report)
    _clearing(view, solution, report)
    if not report.ok:
        return report
    _insolvent(view, solution, report)
    _nobody_harmed(view, report)
    if solution.policy == "waterfill":
        asked = Positions(view, view.solvent & view.must)
        lowest, highest = _relaxed(view, asked, report)
        if view.taken is None:
            _level(view, asked, asked.relaxed, highest, lowest, solution, report)
        else:
            _lots(view, asked, solution, report)
    else:
        _queue_order(view, solution, report)
    return report


def _shapes(problem, solution, report):
    entries, demands = problem.account.shape, problem.demand_lots.shape
    relaxed, lots = solution.relaxed_lots, solution.reduction_lots
    report.check(relaxed is not None and relaxed.shape == entries, "relaxed_lots must have one value per entry")
    if report.ok:
        report.check(bool(np.isfinite(relaxed).all()), "relaxed_lots must be finite")
    if solution.options["lots"]:
        fits = lots is not None and lots.shape == entries and lots.dtype == np.int64
        report.check(fits, "reduction_lots must be whole lots, one per entry")
    for name in ("residual_lots", "insolvent_lots"):
        left = getattr(solution, name)
        report.check(left is not None and left.shape == demands, f"{name} must have one value per demand")
    filled = solution.policy == "waterfill"
    for name, shape, has in (("level", demands, filled), ("score", entries, not filled)):
        given = getattr(solution, name)
        fits = given is not None and given.shape == shape and not np.isnan(given).any()
        wanted = f"numbers of shape {shape}" if has else "None"
        report.check(fits if has else given is None, f"{name} must be {wanted}")
    residual = solution.kkt_residual
    fits = residual is not None and 0 <= residual <= KKT_MAX if filled else residual is None
    report.check(fits, f"kkt_residual must be {f'0 to {KKT_MAX}' if filled else 'None'}, was {residual}")
    return report.ok


def _box(view, solution, report):
    p = view.problem
    asked = np.zeros(p.account.size, dtype=bool)
    asked[view.rows[view.may]] = True
    for name, lots in (("reduction_lots", solution.reduction_lots), ("relaxed_lots", solution.relaxed_lots)):
        if lots is None:
            continue
        stray = (lots != 0) & ~asked
        report.check(
            not stray.any(), f"{name}: entries {np.flatnonzero(stray)[:5]} are not eligible, must not be reduced"
        )
        report.check(lots.size == 0 or lots.min() >= 0, f"{name} must not be negative")
        over = lots[view.rows] > view.free
        report.check(not over.any(), f"{name} must not exceed the available lots, does at {over.sum()} entries")


def _clearing(view, solution, report):
    p = view.problem

    def total(values):
        return view.demands.reduce(np.add, values, 0)

    least = np.minimum(p.demand_lots, total(view.free * view.must))
    most = np.minimum(p.demand_lots, total(view.free * view.may))
    met = p.demand_lots - solution.residual_lots
    short = (met < least) | (met > most)
    report.check(not short.any(), f"residual_lots: demands {np.flatnonzero(short)[:5]} must take all that is eligible")
    if view.taken is not None:
        given = total(view.taken)
        report.check((given == met).all(), f"lots of demands {np.flatnonzero(given != met)[:5]} must sum to the demand")
    # A level good to 1e-11 moves a large position by 1e-11 of it, which may be much against a small demand; and a lot
    # may be far below the rounding of what its account holds elsewhere.
    largest = view.demands.reduce(np.maximum, view.lots, 1)
    rounding = np.where(view.relaxed > 0, 8e-15 * view.gross[view.account] / view.price, 0.0)
    bound = 1e-9 * np.maximum(met, largest) + total(rounding)
    missed = np.abs(total(view.relaxed) - met)
    off = missed > bound
    report.check(not off.any(), f"relaxed lots of demands {np.flatnonzero(off)[:5]} must sum to the demand")
    stated, most = solution.clearing_residual_lots, bound.max(initial=0.0)
    fits = stated is not None and abs(stated - missed.max(initial=0.0)) <= most
    report.check(fits, f"clearing_residual_lots must be {missed.max(initial=0.0)}, was {stated}")


def _insolvent(view, solution, report):
    """Insolvent accounts are first, most under water per unit held before the others."""
    given = view.demands.reduce(np.add, view.given * ~view.solvent, 0)
    report.check((given == solution.insolvent_lots).all(), "insolvent_lots must be what insolvent accounts gave")
    rows = ~view.solvent & view.must
    if not rows.any():
        return
    demands = view.problem.demand_lots
    met = np.minimum(demands, view.demands.reduce(np.add, view.free * rows, 0))
    lots = view.given
    given = view.demands.reduce(np.add, lots * rows, 0)
    report.check((given == met).all(), "insolvent accounts must fill every demand before solvent ones")
    worst = view.equity[rows] / view.gross[view.account[rows]]
    _greedy(view.k[rows], worst, None, lots[rows], view.free[rows], "insolvent accounts", report)


def _greedy(k, order, rank, taken, free, who, report):
    """Per demand: everything before the last one reached is closed, everything after it untouched.

    `order` ascends; equal orders are settled by `rank`, or not looked at without one.
    """
    last_touched = np.full(k.max() + 1, -np.inf)
    touched = taken > 0
    np.maximum.at(last_touched, k[touched], order[touched])
    open_before = (taken < free) & (order < last_touched[k] - 1e-12 * np.abs(last_touched[k]))
    report.check(not open_before.any(), f"{who}: {open_before.sum()} entries with a better score were left open")
    if rank is None:
        return
    edge = order == last_touched[k]
    last_rank = np.full(k.max() + 1, np.iinfo(np.int64).min)
    np.maximum.at(last_rank, k[edge & touched], rank[edge & touched])
    skipped = edge & (taken < free) & (rank < last_rank[k])
    report.check(not skipped.any(), f"{who}: {skipped.sum()} entries of an equal score but smaller tie rank were left")


def _nobody_harmed(view, report):
    """Nobody solvent is made insolvent, and being taken never raises a leverage."""
    gross, equity = view.after(view.given)
    touched = np.zeros(gross.size, dtype=bool)
    touched[view.account[(view.given > 0) & view.solvent]] = True
    one = np.flatnonzero(touched)
    before = view.problem.equity[one]
    noise = 1e-9 * before
    # An account drained of everything may end at the last bit of nothing.
    harmed = equity[one] < -noise
    report.check(not harmed.any(), f"accounts {one[harmed][:5]} must not become insolvent")
    raised = gross[one] * before > view.gross[one] * (equity[one] + noise)
    report.check(not raised.any(), f"{raised.sum()} accounts must not be more levered for being taken")


def _relaxed(view, asked, report):
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


def _queue_order(view, solution, report):
    """Scores are what the formula says, and better scores are closed before worse ones are touched."""
    p, rows = view.problem, view.rows
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = lev = view.gross[view.account] / view.equity
        if solution.policy == "queue:pnl_leverage":
            entry = p.entry_price[rows]
            gain = np.sign(p.quantity_lots[rows]) * (p.mark_price[p.asset[rows]] - entry)
            part = gain / np.abs(entry)
            expected = np.where(gain > 0, part * lev, part / lev)
            expected[gain == 0] = 0.0
    expected = np.where(view.solvent, expected, 0.0)
    score = solution.score[rows]
    same = np.isclose(score, expected, rtol=1e-9, atol=0.0)
    report.check(bool(same.all()), f"{(~same).sum()} scores are not what {solution.policy} gives")
    ask = view.solvent & view.must
    if ask.any():
        rank = view.rank(view.account[ask])
        _greedy(view.k[ask], -score[ask], rank, view.given[ask], view.free[ask], solution.policy, report)
