"""The auditor itself: one thing changed, and a sentence names it."""

import pytest

from schemas import decode_output, encode
from tests.worker.auditor import audit
from tests.worker.small_market import market


def tampered(trade, **fields):
    return decode_output(encode(trade).replace(*fields["swap"]))


@pytest.mark.parametrize(
    ("swap", "word"),
    [
        ((b'"winner"', b'"nobody"'), "has 0 and gives"),
        ((b'"-1030"', b'"-1029"'), "cash to"),
        ((b'"10"', b'"11"'), "gives -11"),
        ((b'"adl_seq":1', b'"adl_seq":3'), "adl_seq 3"),
        ((b'"haircut":"30"', b'"haircut":"31"'), "haircut"),
    ],
)
def test_the_auditor_sees_a_leg_that_was_changed(swap, word):
    """One field of the counterparty's leg, and a sentence names it."""
    tape = market().fund("20").bankrupt("loser")
    said = tape.run()
    trades = [tampered(trade, swap=swap) if trade.account == "winner" else trade for trade in said.trades]
    assert any(word in fault for fault in audit(tape.records, said.decisions, trades))


@pytest.mark.parametrize(
    ("swap", "word"),
    [
        ((b'"fund":"20"', b'"fund":"21"'), "pays else"),
        ((b'{"default":"20"}', b'{"default":"30"}'), "draws 30 of 2000"),
        ((b'"bad_debt":"0"', b'"bad_debt":"5"'), "paid 5500"),
        ((b'"taken":"10"', b'"taken":"9"'), "residual 0 left 1"),
        ((b'"deficit":"50"', b'"deficit":"40"'), "deficit 4000 is 5000"),
    ],
)
def test_the_auditor_sees_a_decision_that_was_changed(swap, word):
    """One number of the decision, and a sentence names it."""
    tape = market().fund("20").bankrupt("loser")
    said = tape.run()
    decisions = [tampered(decision, swap=swap) for decision in said.decisions]
    assert any(word in fault for fault in audit(tape.records, decisions, said.trades))
