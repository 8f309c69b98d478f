"""One policy of a comparison: the worker's own engine under it, which notes what each of its decisions did.

Rule: nothing that is noted changes what is decided. Amounts are in quote currency.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import AdlDecision, Control, ForcedTradeResult, RiskModel
from solver import Problem
from solver.metrics import Metrics, Tally
from worker.book.market import Market
from worker.book.views import Gathered
from worker.burden import Burden
from worker.curves import Curves
from worker.cut import Event
from worker.decide import Case, Rules
from worker.engine import Engine, Start
from worker.held import Legs
from worker.settings import Settings
from worker.states import States

ZERO = Decimal(0)


class Burst(msgspec.Struct, frozen=True, kw_only=True):
    """One decision under one policy."""

    decision_id: str
    cut_time_ms: int
    status: str
    bankruptcies: int
    accounts: int
    risk_model: str  # by which the expected losses are measured
    deficit: Decimal
    fund: Decimal
    haircut: Decimal
    bad_debt: Decimal
    residuals: int  # symbols and sides of which something is left open
    metrics: Metrics | None  # of the accounts on demanded sides; None where nobody was asked


class InAll(msgspec.Struct, frozen=True, kw_only=True):
    """All decisions of one policy; what is named as in `Metrics` means the same here."""

    decisions: dict[str, int]  # by status
    accounts_touched: int
    accounts_closed: int
    repeat_hits: int  # accounts that gave something in more than one decision
    notional: float  # taken, at the marks
    deficit: Decimal
    fund: Decimal
    haircut: Decimal
    bad_debt: Decimal
    overshoot: Decimal
    residuals: int
    haircut_to_equity_max: float  # in one decision
    haircut_to_profit_max: float | None
    haircut_gini: float | None  # over all accounts that could be asked in any decision
    profit_to_deficits: float | None  # PTSR
    profit_to_largest_deficit: float | None  # PMR
    loss_removed: float  # fall of the expected losses, of all decisions together
    leverage_after_max: float  # largest right after any decision
    expected_loss_end: float  # at the end of the stream, of all solvent accounts
    leverage_end_max: float
    accounts_insolvent_end: int


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One policy."""

    policy: str
    in_all: InAll
    bursts: list[Burst]


class Candidate(Engine):
    """The engine under one policy, whatever the stream's controls say of policies; always live, so that it holds.

    Results are left out: they answer trades of the policy that was in force, also where this one has asked the same.
    """

    def __init__(self, settings: Settings, policy: str, model: RiskModel | None, start: Start | None) -> None:
        replace = msgspec.structs.replace
        worker, decision = replace(settings.worker, mode="live"), replace(settings.decision, policy=policy)
        super().__init__(replace(settings, worker=worker, decision=decision), start=start)
        self.states = States(replace(settings.state, forecast_ms=None), self.pool)  # nobody reads its advice
        self._given = model is not None
        if model is not None:
            self.risk.set(model)
        self._bursts: list[Burst] = []
        self._burden = Burden()
        self._covered: list[float] = []  # by haircuts, per bankruptcy
        self._tally: Tally | None = None  # of the decision that is being made
        self._asked: tuple[Gathered, Sequence[Market]] | None = None

    def _on_control(self, message: Control, event: Event) -> None:
        if message.action != "POLICY":
            super()._on_control(message, event)

    def _on_risk_model(self, message: RiskModel, event: Event) -> None:
        if not self._given:
            super()._on_risk_model(message, event)

    def _on_result(self, message: ForcedTradeResult, event: Event) -> None:
        """Takes no answer to another policy's trades."""

    def _let_go(self) -> None:
        """Keeps the rows of accounts that went: who bore what is summed by row."""

    def _rules(self) -> Rules:
        self._tally = self._asked = None  # what was seen last may have been held back, and is decided anew
        return super()._rules()._replace(observe=self._see)

    def _see(self, gathered: Gathered, markets: Sequence[Market], problem: Problem, lots: NDArray[np.int64]) -> None:
        if self._tally is None:
            self._tally, self._asked = Tally(problem), (gathered, markets)
        self._tally.add(problem, lots)

    def _adopt(self, case: Case, decision: AdlDecision, legs: Legs) -> None:
        super()._adopt(case, decision, legs)
        wanted = [Decimal(item.deficit) - Decimal(item.fund) for item in decision.bankruptcies]
        debts = (Decimal(item.bad_debt) for item in decision.bankruptcies)
        covered = [float(max(ZERO, part - debt)) for part, debt in zip(wanted, debts, strict=True)]
        metrics = None
        if self._tally is not None and self._asked is not None and decision.status != "REFUSED":
            gathered, markets = self._asked
            row_account, accounts = gathered.row_account, self.book.accounts.used
            metrics = self._tally.metrics(
                risk=self.risk.returns(markets), deficits=[float(part) for part in wanted], covered=covered,
                hit_before=self._burden.hit(row_account),
            )  # fmt: skip
            self._burden.add(self._tally, row_account, accounts)
            self._covered += covered
        self._tally = self._asked = None
        self._bursts.append(self._burst(decision, metrics))

    def _burst(self, decision: AdlDecision, metrics: Metrics | None) -> Burst:
        return Burst(
            decision_id=decision.decision_id, cut_time_ms=decision.cut_time_ms, status=decision.status,
            bankruptcies=len(decision.bankruptcies), accounts=decision.accounts,
            risk_model=self.risk.name, deficit=_sum(Decimal(item.deficit) for item in decision.bankruptcies),
            fund=Decimal(decision.fund), haircut=Decimal(decision.haircut), bad_debt=Decimal(decision.bad_debt),
            residuals=sum(Decimal(demand.residual) > 0 for demand in decision.demands), metrics=metrics,
        )  # fmt: skip

    def result(self) -> Compared:
        """All figures; the end is where the stream is now."""
        return Compared(policy=self.policy, in_all=self._in_all(), bursts=self._bursts)

    def curves(self) -> Curves:
        """What is drawn of it."""
        return self._burden.curves(self.policy)

    def _in_all(self) -> InAll:
        done = [burst for burst in self._bursts if burst.status in ("DECIDED", "RESIDUAL")]
        found = [burst.metrics for burst in done if burst.metrics is not None]
        deficit, fund = _sum(burst.deficit for burst in done), _sum(burst.fund for burst in done)
        haircut = _sum(burst.haircut for burst in done)
        shares = (metrics.haircut_to_profit_max for metrics in found)
        remaining, covered = self._burden.remaining_profit_max(), sum(self._covered)
        end = self._end()
        return InAll(
            decisions=dict(sorted(Counter(burst.status for burst in self._bursts).items())),
            accounts_touched=self._burden.accounts(), accounts_closed=sum(metrics.accounts_closed for metrics in found),
            repeat_hits=self._burden.accounts(2), notional=self._burden.notional(),
            deficit=deficit, fund=fund, haircut=haircut, bad_debt=_sum(burst.bad_debt for burst in done),
            overshoot=haircut - (deficit - fund), residuals=sum(burst.residuals for burst in done),
            haircut_to_equity_max=max((metrics.haircut_to_equity_max for metrics in found), default=0.0),
            haircut_to_profit_max=max((share for share in shares if share is not None), default=None),
            haircut_gini=self._burden.gini(), profit_to_deficits=remaining / covered if covered else None,
            profit_to_largest_deficit=remaining / max(self._covered) if covered else None,
            loss_removed=sum(_removed(metrics) for metrics in found),
            leverage_after_max=max((metrics.leverage_after_max for metrics in found), default=0.0),
            expected_loss_end=end.expected_loss_after or 0.0, leverage_end_max=end.leverage_after_max,
            accounts_insolvent_end=end.accounts_insolvent,
        )  # fmt: skip

    def _end(self) -> Metrics:
        """The whole book, nothing being asked of it."""
        gathered = self.book.gather(
            [(market.row, side) for market in self.book.markets for side in (1, -1)], with_collateral=True
        )
        markets = [self.book.markets[row] for row in gathered.assets.tolist()]
        problem = Problem(
            gathered.account, gathered.asset, gathered.quantity_lots, gathered.equity,
            np.array([market.scale.price_float(market.mark) for market in markets], np.float64),
            demand_asset=[], demand_side=[], demand_lots=[], collateral=gathered.collateral,
        )  # fmt: skip
        metrics: Metrics = Tally(problem).metrics(risk=self.risk.returns(markets))
        return metrics


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)


def _removed(metrics: Metrics) -> float:
    return (metrics.expected_loss_before or 0.0) - (metrics.expected_loss_after or 0.0)
