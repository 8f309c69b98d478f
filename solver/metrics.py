"""What a reduction did to the accounts: the figures by which policies are compared. For reports; nothing is decided.

Rule 1: an account is a row of the problem, so an isolated position is one of its own. Rule 2: a decision may take
several rounds, each a Problem of the same rows with what is left; the figures are of the whole.
"""

from dataclasses import dataclass

import numpy as np

from solver.objective import Rows, added_up, losses
from solver.policies.risk import columns_of


@dataclass(frozen=True, slots=True)
class Metrics:
    """Money in quote currency; None where what a figure needs was not given, or where there is nothing to divide by.

    Profit of an account: the positive unrealised profits of its entries that could be asked, before they are.
    """

    expected_loss_before: float | None  # of solvent accounts
    expected_loss_after: float | None
    leverage_after_max: float  # gross notional over equity, solvent accounts
    accounts_insolvent: int  # that still hold something
    accounts_touched: int
    accounts_closed: int  # touched, and left without a position
    repeat_hits: int | None  # touched accounts that had been touched before
    haircut_total: float  # paid by counterparties; what bonuses gave them is subtracted
    haircut_to_equity_max: float  # of solvent accounts
    haircut_to_profit_max: float | None  # infinite where one pays that has no profit
    haircut_gini: float | None  # over solvent accounts that could be asked: 0 all pay the same, towards 1 one pays all
    overshoot: float | None  # haircuts less the deficits they were taken for
    profit_to_deficits: float | None  # PTSR: largest profit left to an account / sum of deficits covered
    profit_to_largest_deficit: float | None  # PMR: largest profit left to an account / largest deficit covered


def metrics(problem, solution, *, risk=None, deficits=None, hit_before=None):
    """Metrics of one Solution, in lots where it has them, else relaxed; arguments as of `Tally.metrics`.

    Raises ValueError for an INVALID one, which took nothing.
    """
    lots = solution.relaxed_lots if solution.reduction_lots is None else solution.reduction_lots
    if lots is None:
        raise ValueError(f"an INVALID solution has no metrics: {solution.reason}")
    tally = Tally(problem)
    tally.add(problem, lots)
    return tally.metrics(risk=risk, deficits=deficits, hit_before=hit_before)


class Tally:
    """What the rounds of one decision took; made of its first Problem, before that round is applied."""

    def __init__(self, problem):
        self.problem = problem
        self.equity = problem.equity.copy()  # whoever solves in rounds may write the next ones into the same array
        self.taken = np.zeros(problem.account.size)
        self.paid = np.zeros(problem.equity.size)
        self.asked = np.zeros(problem.account.size, dtype=bool)  # entries that could be asked

    def add(self, problem, lots):
        """Adds a round: its Problem and the lots taken of each entry."""
        demand = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
        demanded = (demand >= 0) & (problem.quantity_lots != 0)
        self.asked |= demanded if problem.eligible is None else demanded & problem.eligible
        self.taken += lots
        rows = np.flatnonzero(lots)
        self.paid += self._by_account(problem.haircut[demand[rows]] * lots[rows], rows)

    def metrics(self, *, risk=None, deficits=None, covered=None, hit_before=None):
        """The Metrics. `risk`: the model of expected losses; `hit_before` bool[N]: accounts that were touched earlier.

        `deficits` float[B]: what counterparties are asked to cover of each liquidated account; `covered` float[B]: what
        of it they cover, all where not given.
        """
        after, touched, profit = self.leverage(), self.touched(), self.profit()
        total = added_up(np.maximum(self.paid, 0.0)) - added_up(np.maximum(-self.paid, 0.0))
        payers = np.flatnonzero((self.paid > 0) & (self.equity > 0))
        paid = self.paid[payers]
        covered = deficits if covered is None else covered
        left = None if profit is None or covered is None else float(np.max(profit - self.paid, initial=0.0))
        return Metrics(
            expected_loss_before=None if risk is None else added_up(self.expected_loss(risk, before=True)),
            expected_loss_after=None if risk is None else added_up(self.expected_loss(risk)),
            leverage_after_max=float(np.max(after[np.isfinite(after)], initial=0.0)),
            accounts_insolvent=int(np.count_nonzero(np.isinf(after))),
            accounts_touched=int(np.count_nonzero(touched)),
            accounts_closed=int(np.count_nonzero(touched & (after == 0.0))),
            repeat_hits=None if hit_before is None else int(np.count_nonzero(touched & hit_before)),
            haircut_total=total,
            haircut_to_equity_max=float(np.max(paid / self.equity[payers], initial=0.0)),
            haircut_to_profit_max=None if profit is None else _largest_share(paid, profit[payers]),
            haircut_gini=gini(np.maximum(self.paid[self.could_pay()], 0.0)),
            overshoot=None if deficits is None else total - float(np.sum(deficits)),
            profit_to_deficits=_ratio(left, np.sum(covered)) if left is not None else None,
            profit_to_largest_deficit=_ratio(left, np.max(covered, initial=0.0)) if left is not None else None,
        )

    def touched(self):
        """bool[N]: accounts that gave something."""
        return self._by_account(self.taken > 0) > 0

    def could_pay(self):
        """bool[N]: solvent accounts with an entry that could be asked."""
        return (self._by_account(self.asked) > 0) & (self.equity > 0)

    def notional(self):
        """float[N]: notional taken, at the marks."""
        return self._by_account(self.taken * self.problem.lot_price[self.problem.asset])

    def leverage(self, *, before=False):
        """float[N]: gross notional over equity; infinite where something is held on equity that is not positive."""
        lots = np.abs(self.problem.held_lots()) - (0 if before else self.taken)
        equity = self.equity if before else self.equity - self.paid
        gross = self._by_account(lots * self.problem.lot_price[self.problem.asset])
        result = np.where(gross > 0, np.inf, 0.0)
        np.divide(gross, equity, out=result, where=equity > 0)
        return result

    def profit(self):
        """float[N]: positive unrealised profits of entries that could be asked; None without entry prices."""
        problem = self.problem
        if problem.entry_price is None:
            return None
        gain = (problem.mark_price[problem.asset] - problem.entry_price) * problem.lot_size[problem.asset]
        return self._by_account(np.maximum(problem.quantity_lots * gain, 0.0) * self.asked)

    def expected_loss(self, risk, *, before=False):
        """float[N]: expected loss of the accounts that were solvent before, by a RiskModel or Scenarios."""
        problem, (loading, idiosyncratic, model) = self.problem, columns_of(risk)
        equity = self.equity if before else self.equity - self.paid
        rows = Rows(
            problem.account, problem.asset, problem.quantity_lots, np.full(problem.account.size, -1, dtype=np.int64),
            np.where(self.equity > 0, equity, 0.0), problem.lot_price, problem.haircut, problem.demand_side, loading,
            idiosyncratic, model,
        )  # fmt: skip
        was, now = losses(rows, self.taken)  # haircuts are in the equity
        return was if before else now

    def _by_account(self, values, rows=None):
        account = self.problem.account if rows is None else self.problem.account[rows]
        return np.bincount(account, weights=values, minlength=self.equity.size)


def gini(amounts):
    """Half the mean absolute difference of all pairs of float[n], none negative, over the mean; None where that is 0.

    By sorting: sum (2i - n - 1) x_i / (n sum x_i).
    """
    ordered, size = np.sort(amounts), amounts.size
    total = float(ordered.sum())
    if total <= 0:
        return None
    return float((2.0 * np.arange(1, size + 1) - size - 1) @ ordered) / (size * total)


def _largest_share(paid, profit):
    if (profit <= 0).any():
        return np.inf
    return float(np.max(paid / profit, initial=0.0))


def _ratio(profit, covered):
    return profit / float(covered) if covered > 0 else None
