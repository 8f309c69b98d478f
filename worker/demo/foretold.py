"""What the forecasts said of the demo's largest burst, a minute before it came."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

from schemas import AdlDecision, AdlPoolState

LEAD_MS: Final = 60_000
_DONE = ("DECIDED", "RESIDUAL")


class Burst(NamedTuple):
    """Bankruptcies that were decided together for the first time."""

    cut_time_ms: int
    accounts: int
    deficit: Decimal


def largest_burst(decisions: Iterable[AdlDecision]) -> Burst:
    """The decision about most accounts; none at all gives one of nobody."""
    bursts = [
        Burst(decision.cut_time_ms, len(decision.bankruptcies), sum_of(decision))
        for decision in decisions
        if decision.attempt == 1 and decision.status in _DONE
    ]
    return max(bursts, key=lambda burst: burst.accounts, default=Burst(0, 0, Decimal(0)))


def sum_of(decision: AdlDecision) -> Decimal:
    """The deficits of a decision's bankruptcies."""
    return sum((Decimal(bankruptcy.deficit) for bankruptcy in decision.bankruptcies), Decimal(0))


def foretold(decisions: list[AdlDecision], states: Iterable[AdlPoolState]) -> str:
    """One line: what fell in the minute until the largest burst, and what forecasts before it said of falls."""
    burst = largest_burst(decisions)
    before = [state for state in states if (state.forecast_time_ms or 0) <= burst.cut_time_ms - LEAD_MS]
    if not before:
        return "no forecast was made a minute before the largest burst"
    state = before[-1]
    came = [
        decision
        for decision in decisions
        if decision.attempt == 1
        and decision.status in _DONE
        and (state.forecast_time_ms or 0) < decision.cut_time_ms <= burst.cut_time_ms
    ]
    falls = [
        f"by {shock.shock}: {shock.accounts:,} with deficits of {Decimal(shock.deficit):,.2f}"
        for shock in state.shocks
        if shock.shock in ("-0.05", "-0.1", "-0.2")
    ]
    accounts, deficit = sum(len(decision.bankruptcies) for decision in came), sum(map(sum_of, came), Decimal(0))
    return (
        f"a minute before the largest burst, accounts bankrupt if all symbols moved {', '.join(falls)}; "
        f"then came {accounts:,} with {deficit:,.2f}"
    )
