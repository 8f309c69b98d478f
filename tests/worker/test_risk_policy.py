"""Decisions under the policy `risk`: hedges count, the model in force decides, and outputs say what they rest on."""

import pytest

from schemas import RiskModel, RiskSymbol
from solver.solution import invalid
from tests.worker.small_market import run
from tests.worker.tape import Tape
from worker.explain import explain

RISK = "decision.policy=risk"


def model(name="m", btc=0.05, tail=4.0, **more):
    """BTC, and whatever else is named, on one factor and with something of their own."""
    symbols = [
        RiskSymbol(symbol=symbol, loadings=[loading], idiosyncratic=2e-4)
        for symbol, loading in {"BTC": btc, **more}.items()
    ]
    return RiskModel(id=name, horizon_seconds=60, tail=tail, symbols=symbols)


def market():
    """Three shorts of 100 BTC: alone, with longs of ETH beside them, and on much equity; `loser` has 150 long."""
    tape = Tape().instrument().mark().instrument("ETH").mark("ETH")
    tape.account("naked", "1050", ("BTC", "-100", "105"))
    tape.account("hedged", "1050", ("BTC", "-100", "105"), ("ETH", "60", "105"))
    tape.account("rich", "100000", ("BTC", "-100", "105"))
    return tape.account("loser", "0", ("BTC", "150", "105")).at(2000).fund("10000")


def taken(said, decision=0):
    """Quantity by account of a decision's counterparties."""
    name = said.decisions[decision].decision_id
    return {t.account: int(t.quantity) for t in said.trades if t.decision_id == name and t.role == "COUNTERPARTY"}


def test_a_hedge_spares_whom_leverage_alone_would_ask_more():
    """The longs lower the risk of the shorts, and raise gross leverage."""
    tape = market().say(model(ETH=0.05)).bankrupt("loser")
    risk, waterfill = taken(run(tape, RISK)), taken(run(tape, "decision.policy=waterfill"))
    assert risk["hedged"] < risk["naked"]
    assert waterfill["hedged"] > waterfill["naked"]
    assert sum(risk.values()) == sum(waterfill.values()) == 150


@pytest.mark.parametrize("tail", [4.0, 3.0, None])
def test_a_decision_names_its_model_and_whom_that_leaves_out(tail):
    """Id and digest; demanded symbols without a row; what was expected to be lost, before and after."""
    said = run(market().say(model(tail=tail)).bankrupt("loser").bankrupt("e", ("ETH", "-10")), RISK)
    (decision,) = said.decisions
    assert (decision.policy, decision.risk_model, decision.risk_defaults) == ("risk", "m", ["ETH"])
    assert len(decision.risk_model_digest) == 32
    (certificate,) = decision.certificates
    assert certificate.objective_before > certificate.objective_after > 0
    assert {demand.symbol for demand in decision.demands if demand.shadow_price is not None} == {"BTC", "ETH"}


def test_without_a_model_the_default_is_named():
    """It has no digest, and then nobody is left out."""
    (decision,) = run(market().bankrupt("loser"), RISK).decisions
    assert (decision.risk_model, decision.risk_model_digest, decision.risk_defaults) == ("default", None, [])


def test_policies_that_ask_for_no_model_name_none():
    """Nor has anything been expected of theirs."""
    (decision,) = run(market().say(model()).bankrupt("loser")).decisions
    assert (decision.policy, decision.risk_model, decision.risk_model_digest) == ("waterfill", None, None)
    assert decision.certificates[0].objective_before is None


def test_the_model_in_force_is_the_one_before_the_decision():
    """Two alike bankruptcies with a model between them are decided by two models; their states differ too."""
    tape = market().account("other", "0", ("BTC", "10", "105"))
    tape.say(model("one", ETH=0.05)).bankrupt("other")
    said = run(tape.at(3000).say(model("two", ETH=0.0)).at(4000).bankrupt("loser"), RISK)
    assert [decision.risk_model for decision in said.decisions] == ["one", "two"]
    hedged, unhedged = (run(market().say(m).bankrupt("loser"), RISK) for m in (model(ETH=0.05), model(ETH=0.0)))
    assert taken(hedged)["hedged"] < taken(unhedged)["hedged"]
    assert hedged.decisions[0].risk_model_digest != unhedged.decisions[0].risk_model_digest


def test_a_trade_carries_its_figures():
    """Who was taken from ends at the line, to a lot; alone and hedged differ where there is a hedge."""
    said = run(market().say(model(ETH=0.05)).bankrupt("loser"), RISK)
    line = said.decisions[0].demands[0].shadow_price
    trades = {t.account: t for t in said.trades}
    for name in ("naked", "hedged"):
        assert trades[name].score > 100 * abs(trades[name].score_after - line)
    assert trades["naked"].score_alone == pytest.approx(trades["naked"].score, rel=1e-12)
    assert trades["hedged"].score_alone > 2 * trades["hedged"].score
    assert trades["loser"].score is trades["loser"].score_after is None


def test_a_trader_is_told_from_the_outputs_alone():
    """The same sentences as of figures made by hand, of a real decision."""
    said = run(market().say(model(ETH=0.05)).bankrupt("loser"), RISK)
    ids = {t.account: t.trade_id for t in said.trades}
    words = explain(ids["hedged"], said.sink.records).sentences
    assert any(text.startswith("Its other positions hedge this one and spared it") for text in words)
    assert any(text.startswith("Risk: model m, digest") for text in
               explain(said.decisions[0].decision_id, said.sink.records).sentences)  # fmt: skip
    assert not any("rich" in text or "naked" in text for text in words)


def test_a_control_changes_to_risk_from_its_cut_on():
    """And a replay of the log decides the same."""
    tape = market().account("other", "0", ("BTC", "10", "105")).say(model()).bankrupt("other").at(2500)
    said = run(tape.control("POLICY", policy="risk").at(3000).bankrupt("loser"))
    assert [decision.policy for decision in said.decisions] == ["waterfill", "risk"]
    assert said.bytes == run(tape).bytes


def test_the_common_move_alone_decides_under_the_policy_factor():
    """Whatever the number of the model's factors; a long of equal loading is a perfect hedge there."""
    rows = [("BTC", [0.05, 0.01]), ("ETH", [0.05, -0.01])]
    symbols = [RiskSymbol(symbol=symbol, loadings=loadings, idiosyncratic=1e-4) for symbol, loadings in rows]
    two = RiskModel(id="two", horizon_seconds=60, tail=4.0, symbols=symbols)
    said = run(market().say(two).bankrupt("loser"), "decision.policy=factor")
    assert said.decisions[0].risk_model == "two"
    assert taken(said)["hedged"] < taken(said)["naked"]


def test_a_policy_that_cannot_run_is_refused_with_its_reason(monkeypatch):
    """Our bug: nothing of it is published."""
    monkeypatch.setattr("worker.rounds.solve", lambda *_, **more: invalid(more["policy"], {}, "no such thing"))
    said = market().bankrupt("loser").run(RISK)
    (decision,) = said.decisions
    assert (decision.status, decision.reason, said.trades) == ("REFUSED", "CERTIFICATE", [])
    assert decision.certificates[0].failures[0] == "no such thing"
