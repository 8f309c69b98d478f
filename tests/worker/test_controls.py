"""Funds that report, guards, and what an operator can say."""

import pytest

from schemas import Bankruptcy, BankruptcyLine, Control, encode
from tests.worker.small_market import legs, market, run


@pytest.mark.parametrize(
    ("report", "there"),
    [
        (None, "10"),  # 60 less our draw of 50
        (("60", 0), "10"),  # said again, before our draw
        (("10", 1), "10"),  # the draw is in it
        (("60", 1), "50"),  # the draw is in it, and somebody paid in
    ],
)
def test_the_funds_decision_sequence_releases_draws(report, there):
    """A draw counts until the fund's own word contains it, and never twice."""
    tape = market("a", "b").fund("60").bankrupt("a").at(2500)
    if report is not None:
        tape.fund(report[0], decision_sequence=report[1])
    said = run(tape.at(3000).bankrupt("b"))
    assert [decision.fund for decision in said.decisions] == ["50", there]


def test_a_fund_that_contained_a_draw_contains_it_for_ever():
    """A top-up that names no decision: 90 are there, not 90 less the draw of 50 that an earlier report contained."""
    tape = market("a", "b").fund("60").bankrupt("a").at(2500).fund("10", decision_sequence=1).at(2600).fund("90")
    said = run(tape.at(3000).bankrupt("b"))
    assert [decision.fund for decision in said.decisions] == ["50", "50"]


def test_a_strict_guard_carries_the_seq_that_was_decided_on():
    """Fill only while the account is at this seq; without the setting the field is absent."""
    tape = market().account("winner", "1050", ("BTC", "-10", "105")).at(2500).bankrupt("loser")
    seqs = {trade.account: trade.account_seq for trade in run(tape, "decision.strict_guard=true").trades}
    assert seqs == {"loser": 1, "winner": 2}
    assert {trade.account_seq for trade in run(tape).trades} == {None}


def test_a_shadow_decides_and_moves_nothing():
    """Decisions with all their numbers, no trades, no holds, no draws: a second one sees the same book and fund."""
    tape = market("a", "b").fund("50").bankrupt("a").at(3000).bankrupt("b")
    said = tape.run("worker.mode=shadow")
    assert said.trades == []
    assert [(d.mode, d.status, d.trades, d.fund, d.demands[0].taken) for d in said.decisions] == [
        ("shadow", "DECIDED", 2, "50", "10")
    ] * 2


def test_a_pause_holds_decisions_until_a_resume():
    """Held once, decided at the cut of the control that resumes, at the marks of that cut."""
    tape = market().at(1900).control("PAUSE").at(2000).bankrupt("loser").at(2400).mark(price="99")
    said = run(tape.at(2500).control("RESUME"))
    held, decided = said.decisions
    assert (held.status, held.reason, held.trades) == ("HELD", "PAUSED", 0)
    assert (decided.status, decided.cut_time_ms, decided.decision_id) == ("DECIDED", 2500, held.decision_id)
    assert decided.demands[0].mark_price == "99"


def test_a_control_changes_the_policy_from_its_cut_on():
    """The next decision says which policy took whom; a policy that does not exist is refused."""
    tape = market("a", "b").bankrupt("a").at(2500).control("POLICY", policy="queue:pnl_leverage")
    said = run(tape.control("POLICY", policy="lottery").at(3000).bankrupt("b"))
    assert [decision.policy for decision in said.decisions] == ["waterfill", "queue:pnl_leverage"]
    assert [letter.reason for letter in said.letters] == ["FIELD"]


def test_an_operator_may_trigger_a_takeover():
    """Decided at the control's cut, like an event on its topic."""
    line = BankruptcyLine(symbol="BTC", quantity="3")
    event = Bankruptcy(id="by-hand", account="loser", event_time_ms=2500, lines=[line])
    said = run(market().at(2500).control("TRIGGER", bankruptcy=event))
    [decision] = said.decisions
    assert (decision.status, decision.cut_time_ms, decision.bankruptcies[0].topic) == ("DECIDED", 2500, "controls")
    assert legs(said) == [("loser", "SELL", "3", "315"), ("winner", "BUY", "3", "-315")]


def test_a_trigger_and_a_bankruptcy_of_one_record_are_two_decisions():
    """Each has an id of its own, and so have its trades."""
    line = BankruptcyLine(symbol="BTC", quantity="3")
    first, second = (Bankruptcy(id=name, account="loser", event_time_ms=2500, lines=[line]) for name in ("b1", "b2"))
    trigger = Control(id="c1", action="TRIGGER", operator="ann", reason="test", bankruptcy=first)
    both = b"[" + encode(trigger) + b"," + encode(second) + b"]"
    said = run(market().at(2500).raw("bankruptcies", both, b"loser"))
    assert [decision.status for decision in said.decisions] == ["DECIDED", "DECIDED"]
    assert len({decision.decision_id for decision in said.decisions}) == 2
    assert len({trade.trade_id for trade in said.trades}) == len(said.trades) == 4
