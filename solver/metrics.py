"""What a solution did to whom: figures by which policies are compared on the same event.

Rule: sums are added up on a grid, so no figure depends on the order of the problem's rows.
"""

from dataclasses import dataclass

import numpy as np

from solver.objective import Rows, added_up, losses
from solver.policies.risk import columns_of
from solver.solution import leverage


@dataclass(frozen=True, slots=True)
class Metrics:
    """Money in quote currency; None where what it needs was not given (risk, entry prices, deficits, hit_before)."""

    expected_loss_before: float | None  # of solvent accounts
    expected_loss_after: float | None
    leverage_after_max: float  # gross notional over equity, solvent accounts
    accounts_insolvent: int  # that still hold something
    accounts_touched: int
    accounts_closed: int  # touched, and left without a position
    haircut_total: float  # paid by counterparties; what bonuses gave them is subtracted
    haircut_to_equity_max: float  # of solvent accounts
    haircut_to_profit_max: float | None  # profit: positive unrealised profits of all of an account's positions
    overshoot: float | None  # haircuts less the deficits they were taken for
    haircut_gini: float  # among touched accounts: 0 all pay the same, towards 1 one pays everything
    repeat_hits: int | None  # touched accounts that had been touched before
    profit_to_deficits: float | None  # PTSR: largest profit left to an account / sum of deficits
    profit_to_largest_deficit: float | None  # PMR: largest profit left to an account / largest deficit


def metrics(problem, solution, *, risk=None, deficits=None, hit_before=None):
    """Figures of a solution, in lots where it has them, else relaxed.

    deficits: float per liquidated account that is covered; hit_before: bool[N], accounts that were touched earlier.
    """
    p = problem
    taken = solution.relaxed_lots if solution.reduction_lots is None else solution.reduction_lots
    k = p.demand_of[2 * p.asset + (p.quantity_lots < 0)]
    size = p.equity.size
    paid = np.zeros(size)
    rows = np.flatnonzero(taken)
    np.add.at(paid, p.account[rows], p.haircut[k[rows]] * taken[rows])
    touched = np.zeros(size, dtype=bool)
    touched[p.account[rows]] = True
    holds = np.zeros(size, dtype=bool)
    holds[p.account[np.abs(p.quantity_lots) > taken]] = True
    left, solvent = p.equity - paid, p.equity > 0
    before, after = (None, None) if risk is None else _expected(p, k, taken, risk)
    lev = leverage(p, taken)
    profit = _profits(p)
    to_profit = ptsr = pmr = None
    if profit is not None:
        earning = profit > 0
        to_profit = float(np.max(paid[earning] / profit[earning], initial=0.0))
        most = float(np.max(profit - paid, initial=0.0))
        if deficits is not None and max(deficits, default=0.0) > 0:
            ptsr, pmr = most / float(np.sum(deficits)), most / float(np.max(deficits))
    total = added_up(np.maximum(paid, 0.0)) - added_up(np.maximum(-paid, 0.0))
    return Metrics(
        expected_loss_before=before,
        expected_loss_after=after,
        leverage_after_max=float(np.max(lev[solvent & (left > 0)], initial=0.0)),
        accounts_insolvent=int(np.count_nonzero(holds & (left <= 0))),
        accounts_touched=int(np.count_nonzero(touched)),
        accounts_closed=int(np.count_nonzero(touched & ~holds)),
        haircut_total=total,
        haircut_to_equity_max=float(np.max(paid[solvent] / p.equity[solvent], initial=0.0)),
        haircut_to_profit_max=to_profit,
        overshoot=None if deficits is None else total - float(np.sum(deficits)),
        haircut_gini=gini(np.maximum(paid[touched], 0.0)),
        repeat_hits=None if hit_before is None else int(np.count_nonzero(touched & np.asarray(hit_before, dtype=bool))),
        profit_to_deficits=ptsr,
        profit_to_largest_deficit=pmr,
    )


def gini(values):
    """Half the mean absolute difference of all pairs over the mean; 0 where nothing is paid."""
    ordered = np.sort(values)
    total = ordered.sum()
    if total <= 0:
        return 0.0
    place = np.arange(1, ordered.size + 1)
    return float((2.0 * place - ordered.size - 1) @ ordered / (ordered.size * total))


def _profits(p):
    """Positive unrealised profits per account; None without entry prices."""
    if p.entry_price is None:
        return None
    gain = (p.mark_price[p.asset] - p.entry_price) * (p.quantity_lots * p.lot_size[p.asset])
    return np.bincount(p.account, np.maximum(gain, 0.0), p.equity.size)


def _expected(p, k, taken, risk):
    """Expected loss of solvent accounts before and after."""
    loading, idiosyncratic, model = columns_of(risk)
    rows = Rows(
        p.account, p.asset, p.quantity_lots, k, p.equity, p.lot_price, p.haircut, p.demand_side, loading,
        idiosyncratic, model,
    )  # fmt: skip
    return tuple(added_up(column) for column in losses(rows, taken.astype(np.float64)))
