"""Policies beside each other on one stream: each decides on a book of its own, and one risk model measures them all.

Rule 1: a policy's decisions are those that the worker would make under it; what they take is held in its book.
Rule 2: the stream is read once; what is kept are the books, their open legs, and the figures of each decision.
A recording's updates hold for all: where they show executed trades of the policy that was in force, every book follows.
"""

from collections.abc import Callable, Sequence

import msgspec

from schemas import RiskModel
from worker.candidate import Candidate, Compared
from worker.curves import Curves
from worker.cut import CutPoint, Event
from worker.engine import Start
from worker.reader import Reader
from worker.record import Source
from worker.settings import Settings


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What is written of a comparison."""

    records: int
    settlement: str
    risk_models: list[str]  # ids of those that measured the expected losses, in order
    policies: list[Compared]


def compare(
    source: Source,
    settings: Settings,
    policies: Sequence[str],
    *,
    model: RiskModel | None = None,
    start: Start | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> tuple[Comparison, list[Curves]]:
    """Runs all policies over the whole source, side by side.

    `model` decides and measures in place of those on the stream; where there is neither, the default does.
    """
    candidates = [Candidate(settings, policy, model, start) for policy in policies]
    reader = Reader(source, settings)
    for steps in reader.steps():
        for step in steps:
            if isinstance(step, Event):
                step.messages, step.unread = step.read(), None  # once for all
            for candidate in candidates:
                if isinstance(step, CutPoint):
                    candidate.cut(step)
                else:
                    candidate.apply(step)
        progress(reader.records)
    results = [candidate.result() for candidate in candidates]
    models = {burst.risk_model: None for result in results for burst in result.bursts}
    comparison = Comparison(
        records=reader.records,
        settlement=settings.decision.settlement,
        risk_models=list(models) or [candidate.risk.name for candidate in candidates[:1]],
        policies=results,
    )
    return comparison, [candidate.curves() for candidate in candidates]
