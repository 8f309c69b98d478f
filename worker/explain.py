"""Why this account, why this amount: a decision or one of its trades in plain words.

Rule: says only what stands in the outputs, so that whoever was reduced can check each sentence.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from schemas import AdlDecision, DecidedBankruptcy, DecidedDemand, ForcedTrade, SolventMark, decode_output
from worker.explain_risk import risk_of_decision, risk_of_trade
from worker.explain_words import PRICE, PRICE_AGAIN, PRICE_OTHER, REASON, STATUS, WHO
from worker.record import Record

NAMES_MAX = 5  # of a burst's accounts in one sentence; all of them stand in the facts
BANKRUPT_MAX = 10


class NotFoundError(LookupError):
    """Nothing has that id."""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Sentences for a person, and the facts they rest on."""

    id: str
    kind: str  # "decision" or "trade"
    sentences: list[str]
    facts: dict[str, Any]


def explain(wanted: str, records: Iterable[Record]) -> Explanation:
    """Explains the decision or trade whose id begins with `wanted`; raises NotFoundError."""
    decisions: dict[str, AdlDecision] = {}
    trades: list[ForcedTrade] = []
    for record in records:
        message = decode_output(record.value or b"")
        if isinstance(message, AdlDecision):
            decisions[message.decision_id] = message  # the last word on it: first held, then decided
        elif isinstance(message, ForcedTrade):
            trades.append(message)
    found = sorted(
        {name for name in decisions if name.startswith(wanted)}
        | {trade.trade_id for trade in trades if trade.trade_id.startswith(wanted)}
    )
    if not wanted or not found:
        raise NotFoundError(f"no decision or trade has the id {wanted!r}")
    if len(found) > 1:
        raise NotFoundError(f"{wanted!r} is the beginning of {len(found)} ids: {', '.join(found[:5])}")
    if found[0] in decisions:
        decision = decisions[found[0]]
        return explain_decision(decision, [trade for trade in trades if trade.decision_id == decision.decision_id])
    trade = next(trade for trade in trades if trade.trade_id == found[0])
    if trade.decision_id not in decisions:
        raise NotFoundError(f"trade {trade.trade_id} is there, its decision {trade.decision_id} is not")
    siblings = [other for other in trades if other.decision_id == trade.decision_id]
    return explain_trade(trade, decisions[trade.decision_id], siblings)


def explain_decision(decision: AdlDecision, trades: list[ForcedTrade]) -> Explanation:
    """What was decided, by which rule, and who paid."""
    state = f"on the state at cut {decision.cut_number} (log time {decision.cut_time_ms})"
    say = [f"Decision {decision.decision_id}, attempt {decision.attempt}, {decision.mode} mode, {state}."]
    say.append(STATUS[decision.status])
    if decision.reason:
        say.append(f"Reason: {_reason(decision.reason)}.")
    say += _bankrupt(decision)
    say += [
        f"{crossing.quantity} {crossing.symbol} of two bankrupt accounts met at the mark {crossing.mark_price}."
        for crossing in decision.crossings
    ]
    if decision.demands:
        say.append(WHO.get(decision.policy or "", f"Policy {decision.policy}."))
        say.append(PRICE.get(decision.settlement or "", "") if decision.attempt == 1 else PRICE_AGAIN)
        say += risk_of_decision(decision)
    say += [_demand(item) for item in decision.demands if Decimal(item.taken) or Decimal(item.residual)]
    if decision.accounts_insolvent or decision.accounts_without_mark:
        say.append(
            f"{_count(decision.accounts_insolvent, 'account')} without equity, asked only where it costs them nothing; "
            f"{decision.accounts_without_mark} not asked because a position of theirs has no mark."
        )
    if decision.certificates:
        good = sum(certificate.ok for certificate in decision.certificates)
        say.append(f"{good} of {_count(len(decision.certificates), 'solution')} passed the independent check.")
    say.append(
        f"It gave {_count(decision.trades, 'forced trade')}"
        + ("." if trades or not decision.trades else ", none written.")
    )
    facts = {"decision": msgspec.to_builtins(decision), "trades": [trade.trade_id for trade in trades]}
    return Explanation(id=decision.decision_id, kind="decision", sentences=[text for text in say if text], facts=facts)


def _bankrupt(decision: AdlDecision) -> list[str]:
    """Who fell and who paid, largest deficits first; a later attempt names whose takeover it goes on with."""
    if decision.attempt > 1:
        names = _names(item.account for item in decision.bankruptcies)
        return [f"It goes on with the takeover of {names}; the first attempt says who paid."]
    items = sorted(decision.bankruptcies, key=lambda item: -Decimal(item.deficit))
    say = []
    for item in items[:BANKRUPT_MAX]:
        say.append(f"Bankrupt: {item.account} (event {item.id}), equity {item.equity} at the marks. {_who_paid(item)}")
        say += _settled(item)
        say += [f"Our book differed from the event, which wins: {text}." for text in item.disagreements]
    if len(items) > BANKRUPT_MAX:
        rest = items[BANKRUPT_MAX:]
        left = sum((Decimal(item.deficit) for item in rest), Decimal(0))
        say.append(f"And {len(rest)} more, with deficits of {left} together; the facts (--json) name them.")
    return [text.rstrip() for text in say]


def _settled(item: DecidedBankruptcy) -> list[str]:
    """Where the prices of one bankruptcy lie, as far as the decision's rule alone does not say it."""
    other = [] if item.settlement is None else [f"{PRICE_OTHER} {PRICE.get(item.settlement, '')}".rstrip()]
    return other + [_looked_back(mark) for mark in item.solvent_marks]


def _looked_back(mark: SolventMark) -> str:
    return (
        f"The price of {mark.symbol} {mark.position_side} undoes {mark.loss_share:.2%} of the loss since the mark was "
        f"{mark.mark_price}, when the account was last solvent."
    )


def _who_paid(item: DecidedBankruptcy) -> str:
    if not Decimal(item.deficit):
        return ""
    return (
        f"Of its deficit of {item.deficit} the fund paid {item.fund}, winners gave up {item.haircut}, "
        f"{item.bad_debt} stays as bad debt."
    )


def explain_trade(trade: ForcedTrade, decision: AdlDecision, siblings: list[ForcedTrade]) -> Explanation:
    """Why this account and why this amount."""
    closed = "LONG" if trade.side == "SELL" else "SHORT"
    demand = next(
        (d for d in decision.demands if (d.symbol, d.side, d.round) == (trade.symbol, closed, trade.round)), None
    )
    say = [f"Trade {trade.trade_id} of decision {trade.decision_id}:"]
    cash = Decimal(trade.quote_amount)
    order = f"{trade.side.lower()} {trade.quantity} {trade.symbol} at {trade.price}"
    flow = f"{'receives' if cash >= 0 else 'pays'} {abs(cash)}"
    say.append(f"{trade.account} must {order} and {flow}, against {trade.clearing_account}.")
    facts: dict[str, Any] = {"trade": msgspec.to_builtins(trade), "decision_status": decision.status}
    if trade.role == "LIQUIDATED":
        say.append(f"Why this account: it is bankrupt, and its {closed.lower()} position is taken over.")
        say += [_who_paid(item) for item in decision.bankruptcies if item.account == trade.account]
        say.append(_amount_liquidated(trade))
        say += _gained(trade, decision)
    else:
        peers = [t for t in siblings if t.role == trade.role and _same_demand(t, trade)]
        say.append(_why_asked(trade, decision, siblings, closed.lower()))
        say += _rank(trade, peers, facts)
        say += risk_of_trade(trade, demand, peers, facts) if decision.policy == "risk" else []
        say.append(_amount(trade, demand, decision.policy or ""))
        say.append(_paid(trade, demand, decision))
    if demand is not None:
        facts["demand"] = msgspec.to_builtins(demand)
    return Explanation(id=trade.trade_id, kind="trade", sentences=[text for text in say if text], facts=facts)


def _why_asked(trade: ForcedTrade, decision: AdlDecision, siblings: list[ForcedTrade], closed: str) -> str:
    other = [t for t in siblings if t.role == "LIQUIDATED" and t.side != trade.side]
    facing = [t.account for t in other if (t.symbol, t.round) == (trade.symbol, trade.round)]
    if decision.attempt > 1:
        what = f"what others refused to take of {_names(item.account for item in decision.bankruptcies)}"
    else:
        what = f"what {_names(facing) or _names(item.account for item in decision.bankruptcies)} had to give up"
    who = WHO.get(decision.policy or "", "")
    if trade.leverage is None:
        who = "It has no equity left, and such accounts are closed first where it costs them nothing."
    elif trade.round > 1:
        who = f"It was asked in round {trade.round}, for what earlier rounds had left. {who}"
    return f"Why this account: it holds a {closed} position in {trade.symbol}, the other side of {what}. {who}".rstrip()


def _same_demand(one: ForcedTrade, other: ForcedTrade) -> bool:
    return (one.symbol, one.side, one.round) == (other.symbol, other.side, other.round)


def _rank(trade: ForcedTrade, peers: list[ForcedTrade], facts: dict[str, Any]) -> list[str]:
    measure = "score" if trade.score is not None else "leverage"
    value = getattr(trade, measure)
    if value is None:
        return []
    higher = sum((getattr(peer, measure) or 0.0) > value for peer in peers)
    facts["rank"] = {"by": measure, "value": value, "place": higher + 1, "of": len(peers)}
    share = Decimal(trade.quantity) / sum(Decimal(peer.quantity) for peer in peers)
    facts["share"] = str(share)
    name = "figure in the order" if measure == "score" and trade.score_after is not None else measure
    shown = f"{value:.6g}x" if measure == "leverage" else f"{value:.6g}"
    among = (
        f"place {higher + 1} of the {len(peers)} accounts reduced here" if len(peers) > 1 else "no other was reduced"
    )
    return [f"Its {name} before was {shown}: {among}.", f"It gave {share:.2%} of what was taken from them together."]


def _amount(trade: ForcedTrade, demand: DecidedDemand | None, policy: str) -> str:
    if demand is None:
        return ""
    if policy.startswith("queue:"):
        text = (
            f"in the queue's order it was its turn for {trade.quantity} before {demand.taken} was reached; "
            "only the last in the order is taken in part."
        )
    elif trade.leverage is None:
        text = "accounts without equity give all that is asked for, before any other."
    elif policy in ("factor", "min_max_haircut") or policy.startswith("pro_rata:"):
        text = f"{trade.quantity} is its part of {demand.taken} by that rule, in whole lots."
    elif demand.shadow_price and trade.score is not None:
        text = (
            f"{trade.quantity} is what brings it down to the line {demand.shadow_price:.4g}, in whole lots, or all "
            f"that it holds there; at this line all together give {demand.taken}."
        )
    elif demand.level:
        text = (
            f"{trade.quantity} is what brings its leverage down to the level {demand.level:.6g}x, in whole lots, or "
            f"all that it holds there; at this level all together give {demand.taken}."
        )
    else:
        text = "everything that could be taken on this side was needed."
    return f"Why this amount: {text}"


def _amount_liquidated(trade: ForcedTrade) -> str:
    if trade.round == 0:
        return f"Why this amount: {trade.quantity} met another bankrupt account's opposite position at the mark."
    return f"Why this amount: for {trade.quantity} of it counterparties were found in round {trade.round}."


def _gained(trade: ForcedTrade, decision: AdlDecision) -> list[str]:
    """What the price gives a bankrupt account against the mark; its haircut has the opposite sign."""
    gain = -Decimal(trade.haircut)
    if not gain:
        return ["It trades at the mark."]
    mine = [item for item in decision.bankruptcies if item.account == trade.account]
    rule = next((item.settlement for item in mine if item.settlement), decision.settlement)
    text = f"Against the mark it {'gains' if gain > 0 else 'gives up'} {abs(gain)}. {PRICE.get(rule or '', '')}"
    marks, here = [mark for item in mine for mark in item.solvent_marks], (trade.symbol, trade.position_side)
    return [text.rstrip(), *(_looked_back(mark) for mark in marks if (mark.symbol, mark.position_side) == here)]


def _paid(trade: ForcedTrade, demand: DecidedDemand | None, decision: AdlDecision) -> str:
    haircut = Decimal(trade.haircut)
    mark = f" of {demand.mark_price}" if demand is not None else ""
    if haircut > 0 and decision.attempt > 1:
        return f"Against the mark{mark} it gives up {haircut}: the price is what those who refused would have paid."
    if haircut > 0:
        return f"Against the mark{mark} it gives up {haircut}: its part of what the fund did not pay, or rounding."
    if haircut < 0:
        return f"Against the mark{mark} it gains {-haircut}."
    return f"It trades at the mark{mark}: it gives up nothing."


def _names(accounts: Iterable[str]) -> str:
    """The first few names, each once, and how many more."""
    names = list(dict.fromkeys(accounts))
    more = f" and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return ", ".join(names[:NAMES_MAX]) + more


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _demand(demand: DecidedDemand) -> str:
    text = (
        f"{demand.symbol} {demand.side} round {demand.round}: {demand.taken} of {demand.quantity} taken from "
        f"{_count(demand.accounts, 'account')} at {demand.price} (mark {demand.mark_price})"
    )
    if demand.leverage_before_max is not None and demand.leverage_after_max is not None:
        text += f", largest leverage {demand.leverage_before_max:.6g}x before, {demand.leverage_after_max:.6g}x after"
    if demand.level:
        text += f", level {demand.level:.6g}x"
    if demand.shadow_price is not None:
        text += f", shadow price {demand.shadow_price:.4g}"
    if Decimal(demand.residual):
        text += f"; {demand.residual} left: {_reason(demand.residual_reason or '')}"
    return text + "."


def _reason(reason: str) -> str:
    parts = [REASON.get(part, part) for part in reason.split(", ")]
    return "; ".join(parts)
