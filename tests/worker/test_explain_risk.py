"""What a trader is told under the policy `risk`: every figure stands in the outputs, and nobody else is named."""

from decimal import Decimal

import pytest

from schemas import AdlDecision, Certificate, DecidedBankruptcy, DecidedDemand, ForcedTrade
from worker.explain import explain_decision, explain_trade
from worker.explain_words import WHO
from worker.inputs import POLICIES


def trade(account, quantity, score, after, alone=None, **more):
    fields = {
        "pool": "main", "sequence": 1, "chain": "c", "trade_id": f"t-{account}", "decision_id": "d", "adl_seq": 1,
        "role": "COUNTERPARTY", "account": account, "symbol": "BTC", "position_side": "NET", "side": "BUY",
        "quantity": quantity, "quote_amount": "-100", "price": "100", "clearing_account": "CLEARING", "round": 1,
        "leverage": 3.0, "score": score, "score_after": after, "score_alone": alone,
    }  # fmt: skip
    return ForcedTrade(**fields | more)


def decision(**more):
    demand = DecidedDemand(
        symbol="BTC", side="SHORT", quantity="17", taken="17", price="100", mark_price="100", round=1, accounts=3,
        shadow_price=0.0002,
    )  # fmt: skip
    fields = {
        "pool": "main", "sequence": 1, "chain": "c", "decision_id": "d", "attempt": 1, "status": "DECIDED",
        "mode": "live", "cut_number": 1, "cut_time_ms": 1, "basis": {}, "settings_digest": "s", "state_digest": "s",
        "code_digest": "c", "policy": "risk", "settlement": "bankruptcy", "risk_model": "fit-1",
        "risk_model_digest": "0a1b", "demands": [demand], "trades": 4,
        "bankruptcies": [
            DecidedBankruptcy(
                id="b", account="loser", topic="t", partition=0, offset=0, equity="0", deficit="0", fund="0",
                haircut="0", bad_debt="0",
            )
        ],
        "certificates": [
            Certificate(
                round=1, status="OPTIMAL", ok=True, clearing_residual_lots=0, kkt_residual=1e-12, objective_before=40.0,
                objective_after=12.5,
            )
        ],
    }  # fmt: skip
    return AdlDecision(**fields | more)


TRADES = [
    trade("first", "10", 0.001, 0.0002, 0.003),
    trade("second", "4", 0.0006, 0.0002, 0.0005),
    trade("third", "3", 0.0006, 0.0002, 0.0006),
    trade("sunk", "1", None, None, leverage=None),
]


def told(account):
    return explain_trade(next(t for t in TRADES if t.account == account), decision(), TRADES)


def test_a_trader_reads_what_his_trade_removed_and_where_the_line_was():
    """Before, after, the line, the hedge, and what one place lower would have been."""
    assert told("first").sentences[2:] == [
        (
            "Why this account: it holds a short position in BTC, the other side of what loser had to give up. Taken "
            "from are those whose risk of losing more than their equity falls most per unit that they give up."
        ),
        "Its figure in the order before was 0.001: place 1 of the 4 accounts reduced here.",
        "It gave 55.56% of what was taken from them together.",
        (
            "Taking from it removed 0.001 of expected loss per unit of notional at first and 0.0002 in the end; the "
            "line between who was taken from and who was not is 0.0002."
        ),
        (
            "Its other positions hedge this one and spared it: did it hold nothing else, on the same equity, it would "
            "be 0.003."
        ),
        "One place lower (0.0006) it would have given about 5 less of its 10.",
        (
            "Why this amount: 10 is what brings it down to the line 0.0002, in whole lots, or all that it holds there; "
            "at this line all together give 17."
        ),
        "It trades at the mark of 100: it gives up nothing.",
    ]


def test_positions_that_add_to_the_risk_are_told_as_such():
    """And whose figure is the same alone is told nothing of hedges."""
    (said,) = [text for text in told("second").sentences if "other positions" in text]
    assert said.startswith("Its other positions add to the risk of this one: did it hold nothing else")
    assert said.endswith("it would be 0.0005.")
    assert not any("other positions" in text for text in told("third").sentences)


def test_equals_would_have_given_as_much_and_the_last_nothing():
    """Ties are by name; below the last nobody gave anything."""
    assert "One place lower (0.0006) it would have given about as much." in told("second").sentences
    assert (
        "One place lower nothing would have been taken from it: nobody below it gave anything."
        in told("third").sentences
    )


def test_an_account_without_equity_has_no_figures():
    """It gives all that is asked for, before any other."""
    assert not any("per unit of notional" in text for text in told("sunk").sentences)
    assert (
        "Why this amount: accounts without equity give all that is asked for, before any other."
        in told("sunk").sentences
    )


def test_the_facts_carry_what_the_sentences_say():
    """For machines, unrounded."""
    facts = told("first").facts
    assert facts["risk"] == {"before": 0.001, "after": 0.0002, "alone": 0.003, "line": 0.0002}
    assert Decimal(facts["one_lower"]["fewer"]) == 5


@pytest.mark.parametrize(
    ("more", "sentences"),
    [
        ({}, ["Risk: model fit-1, digest 0a1b."]),
        (
            {"risk_model": "default", "risk_model_digest": None},
            ["Risk: no model was there, so every symbol's scale is half of its maintenance margin fraction."],
        ),
        (
            {"risk_defaults": ["NEW", "XYZ"]},
            ["Risk: model fit-1, digest 0a1b.", "The model does not name NEW, XYZ: the default scale held."],
        ),
    ],
)
def test_a_decision_says_which_model_it_rests_on(more, sentences):
    """And what those who could be asked expected to lose before and after."""
    said = explain_decision(decision(**more), TRADES).sentences
    begin = said.index(sentences[0])
    assert said[begin : begin + len(sentences) + 1] == [
        *sentences,
        "Round 1: those who could be asked expected to lose 40 beyond their equity, afterwards 12.5.",
    ]
    assert any(text.startswith("BTC SHORT round 1") and "shadow price 0.0002" in text for text in said)


def test_other_policies_say_nothing_of_risk():
    """No model was asked for."""
    plain = decision(policy="waterfill", risk_model=None, risk_model_digest=None)
    assert not any(text.startswith("Risk") for text in explain_decision(plain, TRADES).sentences)


def test_every_policy_has_its_words():
    """And there are no words for one that is not."""
    assert WHO.keys() == set(POLICIES)


@pytest.mark.parametrize("policy", ["pro_rata:contracts", "pro_rata:profit", "min_max_haircut", "factor"])
def test_a_share_is_told_as_a_share(policy):
    """Where there is neither a queue nor a figure per account."""
    mine = trade("first", "10", None, None)
    said = explain_trade(mine, decision(policy=policy), [mine]).sentences
    assert "Why this amount: 10 is its part of 17 by that rule, in whole lots." in said
    assert any(WHO[policy] in text for text in said)
