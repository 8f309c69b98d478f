"""What a run's outputs say in sum: who was liquidated, what was taken, who paid, what was left, and whether it adds up.

Rule 1: made of the outputs alone, so that anyone with the topics can make it again. Rule 2: sums are exact decimals.
"""

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal
from math import fsum

import msgspec

from schemas import AdlDecision, Cut, DeadLetter, ForcedTrade, decode_output
from worker.chains import Break, Chained, Chains
from worker.record import Record

DONE = ("DECIDED", "RESIDUAL")
ZERO = Decimal(0)
LEFT_OPEN = "LIQUIDATED_LEG_REFUSED"


class Liquidated(msgspec.Struct, frozen=True, kw_only=True):
    """One bankruptcy and who paid for it."""

    account: str
    bankruptcy_id: str
    decision_id: str
    equity: Decimal
    deficit: Decimal
    fund: Decimal
    haircut: Decimal
    bad_debt: Decimal


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """What one decision took in one symbol from one side, in one round."""

    decision_id: str
    symbol: str
    side: str
    round: int
    quantity: Decimal
    price: Decimal
    mark_price: Decimal
    notional: Decimal  # quote paid by or to the counterparties; 0 in shadow mode, which writes no trades
    accounts: int
    leverage_before_max: float | None
    leverage_after_max: float | None


class Residual(msgspec.Struct, frozen=True, kw_only=True):
    decision_id: str
    symbol: str
    side: str
    quantity: Decimal
    reason: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One promise and what was found of it; `failures` names the first few."""

    promise: str
    checked: int
    failures: list[str] = []

    @property
    def ok(self) -> bool:
        return not self.failures


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Everything `adl demo` and `adl replay` print in the end."""

    mode: str
    policies: list[str]
    decisions: dict[str, int]  # by status
    reasons: dict[str, int]  # of what was not simply decided
    cuts: int
    trades: int
    counterparties: int
    deficit: Decimal
    fund: Decimal
    haircut: Decimal
    bad_debt: Decimal
    leverage_before_max: float | None
    leverage_after_max: float | None
    risk_models: list[str]
    expected_loss_before: float | None  # beyond their equity, of those who could be asked, over all rounds
    expected_loss_after: float | None
    liquidated: list[Liquidated]
    taken: list[Taken]
    residuals: list[Residual]
    dead_letters: dict[str, int]  # by reason
    checks: list[Check]


def summarise(records: Iterable[Record]) -> Summary:
    """The summary of committed output records, in their order."""
    decisions: list[AdlDecision] = []
    trades: dict[str, list[ForcedTrade]] = {}
    letters: Counter[str] = Counter()
    chains, breaks = Chains(), list[Break]()
    seen = cuts = 0
    for record in records:
        message = decode_output(record.value or b"")
        breaks += [step for step in chains.see(record, message) if isinstance(step, Break)]
        seen += isinstance(message, Chained)
        if isinstance(message, AdlDecision):
            decisions.append(message)
        elif isinstance(message, ForcedTrade):
            trades.setdefault(message.decision_id, []).append(message)
        elif isinstance(message, DeadLetter):
            letters[message.reason] += 1
        elif isinstance(message, Cut):
            cuts += 1
    breaks += [step for step in chains.settle() if isinstance(step, Break)]
    done = [decision for decision in decisions if decision.status in DONE]
    liquidated = [item for decision in done if decision.attempt == 1 for item in _liquidated(decision)]
    taken = [item for decision in done for item in _taken(decision, trades.get(decision.decision_id, []))]
    return Summary(
        mode="/".join(sorted({decision.mode for decision in decisions})),
        policies=sorted({decision.policy for decision in done if decision.policy}),
        decisions=dict(sorted(Counter(decision.status for decision in decisions).items())),
        reasons=dict(sorted(Counter(decision.reason for decision in decisions if decision.reason).items())),
        cuts=cuts,
        trades=sum(map(len, trades.values())),
        counterparties=len({t.account for group in trades.values() for t in group if t.role == "COUNTERPARTY"}),
        deficit=sum((item.deficit for item in liquidated), ZERO),
        fund=sum((Decimal(decision.fund) for decision in done), ZERO),
        # What a later attempt takes at the mark was a haircut of the first, and is bad debt now.
        haircut=sum((Decimal(d.haircut) if d.attempt == 1 else -Decimal(d.bad_debt) for d in done), ZERO),
        bad_debt=sum((Decimal(decision.bad_debt) for decision in done), ZERO),
        leverage_before_max=max(
            (t.leverage_before_max for t in taken if t.leverage_before_max is not None), default=None
        ),
        leverage_after_max=max((t.leverage_after_max for t in taken if t.leverage_after_max is not None), default=None),
        risk_models=sorted({decision.risk_model for decision in done if decision.risk_model}),
        expected_loss_before=_expected_loss(done, "objective_before"),
        expected_loss_after=_expected_loss(done, "objective_after"),
        liquidated=sorted(liquidated, key=lambda item: (-item.deficit, item.account)),
        taken=sorted(taken, key=lambda item: (-item.notional, item.decision_id, item.symbol, item.side, item.round)),
        residuals=_standing(done),
        dead_letters=dict(sorted(letters.items())),
        checks=[
            _whole(seen, breaks),
            _zero_sum(done, trades),
            _counted(done, trades),
            _certified(done),
            _reasons(done),
            _paid(done),
        ],
    )


def _whole(seen: int, breaks: list[Break]) -> Check:
    failures = [found.sentence for found in breaks[:5]]
    return Check(promise="no output lost, doubled or torn", checked=seen, failures=failures)


def _expected_loss(done: list[AdlDecision], field: str) -> float | None:
    found = [getattr(certificate, field) for decision in done for certificate in decision.certificates]
    known = [value for value in found if value is not None]
    return fsum(known) if known else None


def _liquidated(decision: AdlDecision) -> list[Liquidated]:
    return [
        Liquidated(
            account=item.account,
            bankruptcy_id=item.id,
            decision_id=decision.decision_id,
            equity=Decimal(item.equity),
            deficit=Decimal(item.deficit),
            fund=Decimal(item.fund),
            haircut=Decimal(item.haircut),
            bad_debt=Decimal(item.bad_debt),
        )
        for item in decision.bankruptcies
    ]


def _taken(decision: AdlDecision, trades: list[ForcedTrade]) -> list[Taken]:
    notional: dict[tuple[str, str, int], Decimal] = {}
    for trade in trades:
        if trade.role == "COUNTERPARTY":
            key = trade.symbol, "LONG" if trade.side == "SELL" else "SHORT", trade.round
            notional[key] = notional.get(key, ZERO) + abs(Decimal(trade.quote_amount))
    return [
        Taken(
            decision_id=decision.decision_id,
            symbol=demand.symbol,
            side=demand.side,
            round=demand.round,
            quantity=Decimal(demand.taken),
            price=Decimal(demand.price),
            mark_price=Decimal(demand.mark_price),
            notional=notional.get((demand.symbol, demand.side, demand.round), ZERO),
            accounts=demand.accounts,
            leverage_before_max=demand.leverage_before_max,
            leverage_after_max=demand.leverage_after_max,
        )
        for demand in decision.demands
        if Decimal(demand.taken)
    ]


def _residuals(decision: AdlDecision) -> list[Residual]:
    return [
        Residual(
            decision_id=decision.decision_id,
            symbol=demand.symbol,
            side=demand.side,
            quantity=Decimal(demand.residual),
            reason=demand.residual_reason or "",
        )
        for demand in decision.demands
        if Decimal(demand.residual)
    ]


def _standing(done: list[AdlDecision]) -> list[Residual]:
    """Residuals as they stand in the end: what a liquidated side leaves open is said anew whenever it changes."""
    newest: dict[object, str] = {}
    kept: list[Residual] = []
    for decision in reversed(done):
        name, group = decision.decision_id, tuple(item.id for item in decision.bankruptcies)
        for demand in decision.demands:
            if demand.residual_reason == LEFT_OPEN:
                newest.setdefault((group, demand.symbol, demand.side), name)
        said = _residuals(decision)[::-1]
        kept += [x for x in said if x.reason != LEFT_OPEN or newest[group, x.symbol, x.side] == name]
    return kept[::-1]


def _zero_sum(done: list[AdlDecision], trades: dict[str, list[ForcedTrade]]) -> Check:
    failures = []
    checked = 0
    for decision in done:
        if decision.attempt > 1:  # stands in for refused legs, whose liquidated side has traded already
            continue
        sums: dict[str, list[Decimal]] = {}
        for trade in trades.get(decision.decision_id, []):
            total = sums.setdefault(trade.symbol, [ZERO, ZERO])
            total[0] += Decimal(trade.quantity) if trade.side == "BUY" else -Decimal(trade.quantity)
            total[1] += Decimal(trade.quote_amount)
        checked += len(sums)
        failures += [f"{decision.decision_id} {symbol} {total}" for symbol, total in sums.items() if any(total)]
    promise = "per decision and symbol, quantities and cash sum to zero"
    return Check(promise=promise, checked=checked, failures=failures[:5])


def _counted(done: list[AdlDecision], trades: dict[str, list[ForcedTrade]]) -> Check:
    live = [decision for decision in done if decision.mode == "live"]
    failures = [
        f"{decision.decision_id} says {decision.trades}, {len(trades.get(decision.decision_id, []))} are there"
        for decision in live
        if decision.trades != len(trades.get(decision.decision_id, []))
    ]
    orphans = set(trades) - {decision.decision_id for decision in live}
    failures += [f"trades of {name} without their decision" for name in sorted(orphans)]
    return Check(promise="every decision's forced trades are there", checked=len(live), failures=failures[:5])


def _certified(done: list[AdlDecision]) -> Check:
    found = [(decision, certificate) for decision in done for certificate in decision.certificates]
    failures = [f"{decision.decision_id} round {c.round}: {c.failures}" for decision, c in found if not c.ok]
    return Check(promise="every round's solution was verified", checked=len(found), failures=failures[:5])


def _reasons(done: list[AdlDecision]) -> Check:
    left = [item for decision in done for item in _residuals(decision)]
    failures = [f"{item.decision_id} {item.symbol} {item.side}" for item in left if not item.reason]
    return Check(promise="every residual has its reason", checked=len(left), failures=failures)


def _paid(done: list[AdlDecision]) -> Check:
    failures = []
    checked = 0
    for decision in done:
        if decision.attempt > 1:
            continue
        for item in decision.bankruptcies:
            amounts = [Decimal(text) for text in (item.deficit, item.fund, item.haircut, item.bad_debt)]
            # One smallest amount for each leg, which is rounded in the bankrupt account's favour.
            unit = Decimal(1).scaleb(min(int(amount.as_tuple().exponent) for amount in amounts))
            checked += 1
            left = max(ZERO, amounts[0] - amounts[1] - amounts[2])  # prices of the event's own may take too much
            if abs(left - amounts[3]) > unit * (decision.trades + 1):
                failures.append(f"{decision.decision_id} {item.id}: bad debt must be {left}, was {item.bad_debt}")
    promise = "per bankruptcy, bad debt is what fund and haircuts leave of the deficit, to the rounding of its legs"
    return Check(promise=promise, checked=checked, failures=failures[:5])
