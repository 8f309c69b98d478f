"""Outputs as lines: one for each decision, trade, staged reduction and dead letter; cuts say nothing to a reader."""

from datetime import UTC, datetime

from schemas import AdlDecision, DeadLetter, ForcedTrade, MarginReduction, encode

NAMED_MAX = 3  # bankruptcies and demands of one decision that a line names
ID_CHARS = 12  # of an id; enough for `adl explain`


Line = AdlDecision | ForcedTrade | MarginReduction | DeadLetter


def line(message: Line, log_time_ms: int, *, json: bool = False) -> str:
    """A line of words, or the message as JSON."""
    return encode(message).decode() if json else f"{_time(log_time_ms)} {_words(message)}"


def _words(message: Line) -> str:
    if isinstance(message, AdlDecision):
        return _decision(message)
    if isinstance(message, ForcedTrade):
        return _trade(message)
    if isinstance(message, MarginReduction):
        return _reduction(message)
    return f"dead letter {message.reason} {message.topic}:{message.partition}@{message.offset}: {message.sentence}"


def _decision(decision: AdlDecision) -> str:
    status = f"{decision.status} {decision.reason}" if decision.reason else decision.status
    who = [f"{item.account} (deficit {item.deficit})" for item in decision.bankruptcies]
    what = [f"{d.side} {d.taken}/{d.quantity} {d.symbol} at {d.price}" for d in decision.demands]
    parts = [f"decision {decision.decision_id[:ID_CHARS]} {status}: {_named(who)}"]
    if what:
        parts += [_named(what), f"{decision.trades:,} trades with {decision.accounts:,} accounts"]
        parts += [f"fund {decision.fund}, haircut {decision.haircut}, bad debt {decision.bad_debt}"]
    if decision.attempt > 1:
        parts += [f"attempt {decision.attempt}"]
    if decision.mode == "shadow":
        parts += ["shadow, nothing was traded"]
    return "; ".join(parts)


def _trade(trade: ForcedTrade) -> str:
    side = "" if trade.position_side == "NET" else f" ({trade.position_side})"
    leverage = "" if trade.leverage is None else f", leverage {trade.leverage:.1f}x"
    return (
        f"trade {trade.trade_id[:ID_CHARS]} of {trade.decision_id[:ID_CHARS]}: {trade.role} {trade.account} "
        f"{trade.side} {trade.quantity} {trade.symbol}{side} at {trade.price} for {trade.quote_amount}, "
        f"haircut {trade.haircut}{leverage}"
    )


def _reduction(reduction: MarginReduction) -> str:
    side = "" if reduction.position_side == "NET" else f" ({reduction.position_side})"
    after = "nothing left" if reduction.ratio_after is None else reduction.ratio_after
    return (
        f"reduction {reduction.reduction_id[:ID_CHARS]}: {reduction.account} {reduction.side} {reduction.quantity} "
        f"{reduction.symbol}{side} {reduction.margin_mode}, {reduction.place} of {reduction.places}, tier "
        f"{reduction.tier}, margin ratio {reduction.ratio_before}, then {after}"
    )


def _named(things: list[str]) -> str:
    more = len(things) - NAMED_MAX
    return ", ".join(things[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _time(log_time_ms: int) -> str:
    try:
        seconds = datetime.fromtimestamp(log_time_ms // 1000, UTC)
    except (OverflowError, ValueError, OSError):  # a recording may say any number
        return str(log_time_ms)
    return f"{seconds:%Y-%m-%d %H:%M:%S}.{log_time_ms % 1000:03}"
