"""Why this account, under the policy `risk`: what its reduction removed of its risk, at first, in the end, and alone.

Rule: as worker/explain.py, only what stands in the outputs. What would have been one place lower is reckoned on a
straight line between the figures at first and in the end, and therefore said with "about".
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from schemas import AdlDecision, DecidedDemand, ForcedTrade

UNIT = "of expected loss per unit of notional"
SAME = 1e-3  # figures nearer than this, relatively, are the same to a person


def risk_of_trade(
    trade: ForcedTrade, demand: DecidedDemand | None, peers: Sequence[ForcedTrade], facts: dict[str, Any]
) -> list[str]:
    """Figures before and after, the line, hedges, and one place lower; nothing for an account without equity."""
    if trade.score is None or trade.score_after is None:
        return []
    line = demand.shadow_price if demand is not None else None
    text = f"Taking from it removed {trade.score:.4g} {UNIT} at first and {trade.score_after:.4g} in the end"
    if line is not None:
        text += f"; the line between who was taken from and who was not is {line:.4g}"
    say = [text + "."]
    facts["risk"] = {"before": trade.score, "after": trade.score_after, "alone": trade.score_alone, "line": line}
    say += _hedges(trade)
    say += _one_lower(trade, peers, facts)
    return say


def _hedges(trade: ForcedTrade) -> list[str]:
    alone, score = trade.score_alone, trade.score or 0.0
    if alone is None or abs(alone - score) <= SAME * max(abs(alone), abs(score)):
        return []
    figure = f"did it hold nothing else, on the same equity, it would be {alone:.4g}"
    if alone > score:
        return [f"Its other positions hedge this one and spared it: {figure}."]
    return [f"Its other positions add to the risk of this one: {figure}."]


def _one_lower(trade: ForcedTrade, peers: Sequence[ForcedTrade], facts: dict[str, Any]) -> list[str]:
    """What the account would have given with the figure of the next one below, everything else equal."""
    ranked = sorted((-(peer.score or 0.0), peer.account, peer.trade_id) for peer in peers if peer.score is not None)
    place = next(index for index, item in enumerate(ranked) if item[2] == trade.trade_id)
    score, after, quantity = trade.score or 0.0, trade.score_after or 0.0, Decimal(trade.quantity)
    if place + 1 == len(ranked):
        return ["One place lower nothing would have been taken from it: nobody below it gave anything."]
    below = -ranked[place + 1][0]
    share = min(1.0, (score - below) / (score - after)) if score > after else 0.0
    fewer = f"{Decimal(f'{float(quantity) * share:.3g}'):f}"
    facts["one_lower"] = {"score": below, "fewer": fewer}
    if share < SAME:
        return [f"One place lower ({below:.4g}) it would have given about as much."]
    return [f"One place lower ({below:.4g}) it would have given about {fewer} less of its {quantity}."]


def risk_of_decision(decision: AdlDecision) -> list[str]:
    """Which model, who had none, and what the expected loss was and is."""
    if decision.risk_model is None:
        return []
    if decision.risk_model_digest is None:
        say = ["Risk: no model was there, so every symbol's scale is half of its maintenance margin fraction."]
    else:
        say = [f"Risk: model {decision.risk_model}, digest {decision.risk_model_digest}."]
    if decision.risk_defaults:
        say.append(f"The model does not name {', '.join(decision.risk_defaults)}: the default scale held.")
    for certificate in decision.certificates:
        before, after = certificate.objective_before, certificate.objective_after
        if before is not None and after is not None:
            say.append(
                f"Round {certificate.round}: those who could be asked expected to lose {before:.6g} beyond their "
                f"equity, afterwards {after:.6g}."
            )
    return say
