"""`verify`: a second opinion on a solution, in plain numpy and by other formulas than the solver's.

Shares no kernel with the solver. Every check that fails leaves one sentence; no failure, no doubt.
"""

from dataclasses import dataclass, field

import numpy as np

from solver.view import View

KKT_MAX = 1e-7  # looser than the solver's own bound: sums here are plain float sums


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
    report.check(
        solution.status in ("OPTIMAL", "RESIDUAL"), f"status must be OPTIMAL or RESIDUAL, was {solution.status}"
    )
    if not _shapes(problem, solution, report):
        return report
    view = View(problem, solution)
    _box(view, solution, report)
    _clearing(view, solution, report)
    if not report.ok:
        return report
    _insolvent(view, report)
    _nobody_harmed(view, report)
    if solution.policy == "waterfill":
        _level(view, solution, report)
        if view.taken is not None:
            _lots_order(view, solution, report)
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
    left = solution.residual_lots
    report.check(left is not None and left.shape == demands, "residual_lots must have one value per demand")
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
    least = np.minimum(p.demand_lots, view.per_demand(view.free, view.must))
    most = np.minimum(p.demand_lots, view.per_demand(view.free, view.may))
    met = p.demand_lots - solution.residual_lots
    short = (met < least) | (met > most)
    report.check(not short.any(), f"residual_lots: demands {np.flatnonzero(short)[:5]} must take all that is eligible")
    if view.taken is not None:
        total = view.per_demand(view.taken, slice(None))
        report.check((total == met).all(), f"lots of demands {np.flatnonzero(total != met)[:5]} must sum to the demand")
    total = np.bincount(view.k, weights=view.relaxed, minlength=met.size)
    # A level good to 1e-11 moves a large position by 1e-11 of it, which may be much against a small demand.
    largest = np.ones(met.size)
    np.maximum.at(largest, view.k, view.lots)
    off = np.abs(total - met) > 1e-9 * np.maximum(met, largest)
    report.check(not off.any(), f"relaxed lots of demands {np.flatnonzero(off)[:5]} must sum to the demand")


def _insolvent(view, report):
    """Insolvent accounts are first, most under water per unit held before the others."""
    rows = ~view.solvent & view.must
    if not rows.any():
        return
    demands = view.problem.demand_lots
    met = np.minimum(demands, view.per_demand(view.free, rows))
    lots = view.relaxed if view.taken is None else view.taken
    given = np.bincount(view.k[rows], weights=lots[rows], minlength=demands.size)
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


def _after(view, lots):
    """Leverage of the account of every row after `lots`, gross built from what remains."""
    p = view.problem
    held = np.abs(p.quantity_lots).astype(np.float64)
    held[view.rows] -= lots
    gross = np.bincount(p.account, weights=held * p.lot_price[p.asset], minlength=p.equity.size)
    equity = p.equity - view.per_account(view.haircut * lots) if p.haircut.any() else p.equity
    return gross, equity


def _nobody_harmed(view, report):
    """Nobody solvent is made insolvent, and being taken never raises a leverage."""
    lots = view.relaxed if view.taken is None else view.taken
    gross, equity = _after(view, lots)
    touched = np.zeros(gross.size, dtype=bool)
    touched[view.account[(lots > 0) & view.solvent]] = True
    one = np.flatnonzero(touched)
    before = view.problem.equity[one]
    noise = 1e-9 * before
    # An account drained of everything may end at the last bit of nothing.
    harmed = equity[one] < -noise
    report.check(not harmed.any(), f"accounts {one[harmed][:5]} must not become insolvent")
    raised = gross[one] * before > view.gross[one] * (equity[one] + noise)
    report.check(not raised.any(), f"{raised.sum()} accounts must not be more levered for being taken")


def _level(view, solution, report):
    """Untouched accounts are not above their level, open ones on it, closed ones not below it."""
    ask = view.solvent & view.must
    k, x, free = view.k[ask], view.relaxed[ask], view.free[ask]
    gross, equity = _after(view, view.relaxed)
    account = view.account[ask]
    equity = np.maximum(equity[account], 0)
    lev = np.divide(gross[account], equity, out=np.zeros(k.size), where=equity > 0)
    noise = np.divide(8e-15 * view.gross[account], equity, out=np.full(k.size, np.inf), where=equity > 0)
    level = solution.level[k]
    # An entry of several that share account and demand is open while any of them is.
    several = _with_company(account)
    _, group = np.unique(account[several] * np.int64(solution.level.size) + k[several], return_inverse=True)
    x, free = x.copy(), free.astype(np.float64)
    x[several], free[several] = (np.bincount(group, weights=v[several])[group] for v in (x, free))
    bound = KKT_MAX * np.where(np.isfinite(level), level, 0) + noise
    asked = np.isfinite(level)
    high = asked & (x < free) & (lev > level + bound)
    low = asked & (x > 0) & (lev < level - bound)
    silent = ~asked & (x > 0)
    report.check(not high.any(), f"{high.sum()} accounts above the level must be drained to it")
    report.check(not low.any(), f"{low.sum()} accounts were drained below the level")
    report.check(not silent.any(), "a demand that took solvent lots must have a finite level")


def _with_company(account):
    """Places of a sorted array whose value occurs more than once."""
    same = account[1:] == account[:-1]
    return np.flatnonzero(np.append(same, False) | np.append(False, same)) if account.size else np.zeros(0, dtype=int)


def _lots_order(view, solution, report):
    """Lots follow the relaxed solution; with one demand they are the ones of largest present leverage, to the tie."""
    p = view.problem
    ask = view.solvent & view.must & np.isfinite(solution.level[view.k])
    # A demand that takes everything there is leaves nothing to round; one open demand beside it is the only one.
    size = p.demand_lots.size
    given = np.bincount(view.k[ask], weights=view.taken[ask], minlength=size)
    there = np.bincount(view.k[ask], weights=view.free[ask], minlength=size)
    several = np.count_nonzero((given > 0) & (given < there)) > 1
    both = _with_company(view.account[ask]).size > 0
    if several:
        lost = view.taken[ask] < np.floor(view.relaxed[ask] - 1e-9 * view.lots[ask])
        if not both:
            report.check(
                not lost.any(), f"{lost.sum()} entries have fewer lots than the whole part of the relaxed ones"
            )
    if both or not ask.any():
        return  # accounts with several entries in play have no order of their own to compare
    k, x, free = view.k[ask], view.taken[ask], view.free[ask]
    price, rank = view.price[ask], view.rank[ask]
    others = _others(view, ask)
    haircut, lots, equity = view.haircut[ask], view.lots[ask], view.equity[ask]

    def lev(n):
        own = equity - haircut * n
        held = others + price * (lots - n)
        return np.divide(held, own, out=np.zeros(held.size), where=(held > 0) & (own > 0))

    # Best lot not taken, per demand, against the worst taken one: (leverage, tie rank, account).
    more = x < free
    next_lot = np.full(p.demand_lots.size, -np.inf)
    np.maximum.at(next_lot, k[more], lev(x)[more])
    floor = np.floor(view.relaxed[ask]) if several else np.zeros(k.size)
    extra = x > floor
    last = lev(x - 1)
    wrong = extra & (last < next_lot[k] * (1 - 1e-12))
    report.check(not wrong.any(), f"{wrong.sum()} accounts gave a lot before an account of larger present leverage")
    exact = not p.haircut.any() and bool((others == 0).all())
    if not exact:
        return
    # One entry per account at the mark: the same bits on both sides, so ties are checked exactly.
    at = more & (lev(x) == next_lot[k])
    best = np.full(p.demand_lots.size, np.iinfo(np.int64).max)
    np.minimum.at(best, k[at], rank[at])
    tie = extra & (last == next_lot[k]) & (rank > best[k])
    report.check(not tie.any(), f"{tie.sum()} accounts gave a lot before an equal one of smaller tie rank")


def _others(view, ask):
    """Gross notional of the account outside the row, by adding up the other rows."""
    p = view.problem
    if p.one_entry_each:
        return np.zeros(int(ask.sum()))
    rest = np.abs(p.quantity_lots) * p.lot_price[p.asset]
    rest[view.rows[ask]] = 0.0
    return np.bincount(p.account, weights=rest, minlength=p.equity.size)[view.account[ask]]


def _queue_order(view, solution, report):
    """Scores are what the formula says, and better scores are closed before worse ones are touched."""
    ask = view.solvent & view.must
    if not ask.any():
        return
    p = view.problem
    lev = view.gross[view.account[ask]] / view.equity[ask]
    expected = lev
    if solution.policy == "queue:pnl_leverage":
        rows = view.rows[ask]
        entry = p.entry_price[rows]
        gain = np.sign(p.quantity_lots[rows]) * (p.mark_price[p.asset[rows]] - entry)
        with np.errstate(divide="ignore", invalid="ignore"):
            part = gain / np.abs(entry)
            expected = np.where(gain > 0, part * lev, part / lev)
        expected[gain == 0] = 0.0
    score = solution.score[view.rows[ask]]
    same = np.isclose(score, expected, rtol=1e-9, atol=0.0)
    report.check(bool(same.all()), f"{(~same).sum()} scores are not what {solution.policy} gives")
    lots = view.relaxed if view.taken is None else view.taken
    _greedy(view.k[ask], -score, view.rank[ask], lots[ask], view.free[ask], solution.policy, report)
