"""What holds for every policy: the box, the demands met in lots, insolvent accounts first, nobody harmed."""

import numpy as np


def box(view, solution, report):
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


def clearing(view, solution, report):
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
    stated, largest = solution.clearing_residual_lots, missed.max(initial=0.0)
    fits = abs(stated - largest) <= bound.max(initial=0.0)
    report.check(fits, f"clearing_residual_lots must be {largest}, was {stated}")


def insolvent(view, solution, report):
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
    report.check((view.relaxed == lots)[rows].all(), "relaxed_lots of insolvent accounts must be their reduction_lots")
    worst = view.equity[rows] / view.gross[view.account[rows]]
    greedy(view.k[rows], worst, None, lots[rows], view.free[rows], "insolvent accounts", report)
    _equally_insolvent(view, np.flatnonzero(rows), report)


def _equally_insolvent(view, rows, report):
    """Of insolvent accounts that hold and owe the same, the one of smaller tie rank gives first."""
    p, whole, gave = view.problem, {}, {}
    left, rank = (view.free - view.given)[rows] > 0, view.rank(view.account[rows])
    same = np.isin(view.equity[rows], view.equity[rows[left]])  # nothing to compare is the rule
    for at in np.flatnonzero(same).tolist():
        held = slice(*np.searchsorted(p.account, [view.account[rows[at]], view.account[rows[at]] + 1]).tolist())
        holdings = tuple(sorted(zip(p.asset[held].tolist(), p.quantity_lots[held].tolist(), strict=True)))
        state = view.k[rows[at]], view.equity[rows[at]], holdings
        if left[at]:
            whole[state] = min(rank[at], whole.get(state, rank[at]))
        if view.given[rows[at]] > 0:
            gave[state] = max(rank[at], gave.get(state, rank[at]))
    late = sum(rank > whole.get(state, rank) for state, rank in gave.items())
    report.check(late == 0, f"{late} insolvent accounts gave before an equal one of smaller tie rank")


def greedy(k, order, rank, taken, free, who, report):
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


def nobody_harmed(view, _, report):
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
