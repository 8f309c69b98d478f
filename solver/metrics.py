"""What a reduction did to the accounts: the figures by which policies are compared. For reports; nothing is decided.

Rule 1: an account is a row of the problem, so an isolated position is one of its own. Rule 2: a decision may take
several rounds, each a Problem of the same rows with what is left; the figures are of the whole.
"""

from dataclasses import dataclass

import numpy as np

from solver.objective import Rows, added_up, losses
from solver.policies.risk import columns_of


@dataclass(frozen=True)
class Metrics:
    """Of the accounts that hold a demanded side; amounts in quote currency, None where there is nothing to say.

    Profit of an account: the positive unrealised profits of its entries on demanded sides, before anything is taken.
    """

    expected_loss_before: float | None  # of solvent accounts together, by a risk model
    expected_loss_after: float | None
    leverage_max_before: float  # of a solvent account
    leverage_max_after: float
    insolvent_left: int  # accounts that still hold something on equity that is not positive
    touched: int
    closed: int  # touched, and nothing is left
    haircut: float  # given up against the marks, less bonuses
    haircut_of_equity_max: float  # largest share of its equity that an account gives up
    haircut_of_profit_max: float | None  # the same of its profit; infinite where one pays that has none
    overshoot: float  # haircut less the deficit
    gini: float | None  # of haircuts over solvent accounts that could be asked: 0 all pay alike, near 1 one pays
    ptsr: float | None  # largest remaining profit / deficit covered
    pmr: float | None  # largest remaining profit / largest single deficit covered


def measure(problem, solution, risk=None, deficit=(), covered=None):
    """The Metrics of one Solution; arguments as of `Tally.metrics`."""
    tally = Tally(problem)
    tally.add(problem, solution.reduction_lots)
    return tally.metrics(risk, deficit, covered)


class Tally:
    """What the rounds of one decision took; made of its first Problem, before that round is applied."""

    def __init__(self, problem):
        self.problem = problem
        self.equity = problem.equity.copy()  # whoever solves in rounds may write the next ones into the same array
        self.taken = np.zeros(problem.account.size, dtype=np.int64)
        self.paid = np.zeros(problem.equity.size)
        self.asked = np.zeros(problem.account.size, dtype=bool)  # entries of demanded sides that may be taken
        self.demanded = np.zeros(problem.account.size, dtype=bool)

    def add(self, problem, reduction_lots):
        """Adds a round: its Problem and int64[P] lots taken."""
        demand = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
        demanded = (demand >= 0) & (problem.quantity_lots != 0)
        self.demanded |= demanded
        self.asked |= demanded if problem.eligible is None else demanded & problem.eligible
        self.taken += reduction_lots
        rows = np.flatnonzero(reduction_lots)
        self.paid += self._by_account(problem.haircut[demand[rows]] * reduction_lots[rows], rows)

    def metrics(self, risk=None, deficit=(), covered=None):
        """The Metrics: `deficit` float[B] is what counterparties are asked to cover of each liquidated account.

        `covered` float[B]: what of it they cover; default all. `risk`: the model of expected losses.
        """
        before, after = self.leverage(before=True), self.leverage()
        touched = np.zeros(self.equity.size, dtype=bool)
        touched[self.problem.account[self.taken > 0]] = True
        haircut, profit = float(self.paid.sum()), self.profit()
        payers = np.flatnonzero((self.paid > 0) & (self.equity > 0))
        remaining = max(0.0, float((profit - self.paid).max(initial=0.0))) if profit is not None else None
        covered = np.asarray(deficit if covered is None else covered, dtype=np.float64)
        return Metrics(
            expected_loss_before=None if risk is None else added_up(self.expected_loss(risk, before=True)),
            expected_loss_after=None if risk is None else added_up(self.expected_loss(risk)),
            leverage_max_before=float(before[np.isfinite(before)].max(initial=0.0)),
            leverage_max_after=float(after[np.isfinite(after)].max(initial=0.0)),
            insolvent_left=int(np.isinf(after).sum()),
            touched=int(touched.sum()),
            closed=int((touched & (after == 0.0)).sum()),
            haircut=haircut,
            haircut_of_equity_max=float((self.paid[payers] / self.equity[payers]).max(initial=0.0)),
            haircut_of_profit_max=None if profit is None else _largest_share(self.paid[payers], profit[payers]),
            overshoot=haircut - float(np.sum(deficit)),
            gini=gini(np.maximum(self.paid[self.could_pay()], 0.0)),
            ptsr=_ratio(remaining, covered.sum()),
            pmr=_ratio(remaining, covered.max(initial=0.0)),
        )

    def could_pay(self):
        """bool[N]: solvent accounts with an entry that may be taken."""
        could = np.zeros(self.equity.size, dtype=bool)
        could[self.problem.account[self.asked]] = True
        return could & (self.equity > 0)

    def notional(self):
        """float[N]: notional taken, at the marks."""
        return self._by_account(self.taken * self.problem.lot_price[self.problem.asset])

    def leverage(self, *, before=False):
        """float[N]: gross notional over equity; infinite where something is held on equity that is not positive."""
        lots = np.abs(self.problem.quantity_lots) - (0 if before else self.taken)
        equity = self.equity if before else self.equity - self.paid
        gross = self._by_account(lots * self.problem.lot_price[self.problem.asset])
        result = np.where(gross > 0, np.inf, 0.0)
        np.divide(gross, equity, out=result, where=equity > 0)
        return result

    def profit(self):
        """float[N]: positive unrealised profits of entries on demanded sides, before; None without entry prices."""
        problem = self.problem
        if problem.entry_price is None:
            return None
        move = (problem.mark_price[problem.asset] - problem.entry_price) * problem.lot_size[problem.asset]
        return self._by_account(np.maximum(problem.quantity_lots * move, 0.0) * self.demanded)

    def expected_loss(self, risk, *, before=False):
        """float[N]: expected loss of the accounts that were solvent before, by a RiskModel or Scenarios."""
        problem, (loading, idiosyncratic, model) = self.problem, columns_of(risk)
        lots = problem.quantity_lots - (0 if before else np.sign(problem.quantity_lots) * self.taken)
        equity = self.equity if before else self.equity - self.paid
        rows = Rows(
            problem.account, problem.asset, lots, np.full(lots.size, -1, dtype=np.int64),
            np.where(self.equity > 0, equity, 0.0), problem.lot_price, problem.haircut, problem.demand_side, loading,
            idiosyncratic, model,
        )  # fmt: skip
        return losses(rows, np.zeros(lots.size))[0]

    def _by_account(self, values, rows=None):
        account = self.problem.account if rows is None else self.problem.account[rows]
        return np.bincount(account, weights=values, minlength=self.equity.size)


def gini(amounts):
    """Gini coefficient of float[n] amounts, none negative; None where nobody pays.

    Half the mean absolute difference of two amounts over their mean, by sorting: sum (2i - n - 1) x_i / (n sum x_i).
    """
    total, size = float(amounts.sum()), amounts.size
    if total <= 0:
        return None
    return float(((2 * np.arange(1, size + 1) - size - 1) * np.sort(amounts)).sum()) / (size * total)


def _largest_share(paid, profit):
    if (profit[paid > 0] <= 0).any():
        return np.inf
    return float((paid / profit).max(initial=0.0))


def _ratio(remaining, covered):
    return None if remaining is None or covered <= 0 else remaining / float(covered)
