"""What a trader is told: sentences that are true of his trade, and name nobody who has nothing to do with it."""

from tests.worker.tape import Tape
from worker.explain import explain


def sentences(said, account, decision=0):
    """What is said of the account's trade in a decision."""
    name = said.decisions[decision].decision_id
    trade = next(t for t in said.trades if t.account == account and t.decision_id == name)
    return explain(trade.trade_id, said.sink.records).sentences[1:]


def market():
    tape = Tape().instrument().mark().instrument("ETH").mark("ETH")
    tape.account("winner", "1050", ("BTC", "-10", "105")).account("rich", "100000", ("BTC", "-10", "105"))
    tape.account("bull", "900", ("ETH", "10", "90"))
    return tape.account("loser", "0", ("BTC", "10", "105")).account("bear", "0", ("ETH", "-10", "95")).at(2000)


def test_a_counterparty_reads_why_it_why_this_amount_and_what_it_costs():
    """Named is who gave up the other side of this symbol, not everybody who fell in the same decision."""
    said = market().fund("20").bankrupt("loser").bankrupt("bear").run()
    assert sentences(said, "winner") == [
        "winner must buy 10 BTC at 104 and pays 1040, against CLEARING.",
        (
            "Why this account: it holds a short position in BTC, the other side of what loser had to give up. The most "
            "levered accounts are lowered first, to one level; who is below the level is not touched."
        ),
        "Its leverage before was 0.909091x: no other was reduced.",
        "It gave 100.00% of what was taken from them together.",
        (
            "Why this amount: 10 is what brings its leverage down to the level 0.009995x, in whole lots, or "
            "all that it holds there; at this level all together give 10."
        ),
        "Against the mark of 100 it gives up 40: its part of what the fund did not pay, or rounding.",
    ]


def test_a_bankrupt_account_reads_who_paid_its_deficit():
    """Deficit, fund, winners, and what its price gives it."""
    said = market().fund("20").bankrupt("loser").run()
    assert sentences(said, "loser") == [
        "loser must sell 10 BTC at 103 and receives 1030, against CLEARING.",
        "Why this account: it is bankrupt, and its long position is taken over.",
        "Of its deficit of 50 the fund paid 20, winners gave up 30, 0 stays as bad debt.",
        "Why this amount: for 10 of it counterparties were found in round 1.",
        (
            "Against the mark it gains 30. The price is the bankruptcy price: winners carry what the fund did not pay "
            "of a deficit."
        ),
    ]


def test_an_account_without_equity_is_not_told_that_it_is_levered():
    """It is closed at the mark before anybody else, because that costs it nothing."""
    tape = Tape().instrument().mark().account("sunk", "0", ("BTC", "-5", "90")).account("x", "500", ("BTC", "5", "90"))
    told = sentences(tape.at(2000).bankrupt("x").run(), "sunk")
    assert "It has no equity left" in told[1]
    assert told[2] == "Why this amount: accounts without equity give all that is asked for, before any other."
    assert told[3] == "It trades at the mark of 100: it gives up nothing."


def test_who_replaces_a_refused_leg_is_told_so():
    """The price is not a bankruptcy price of this moment, and the decision does not say again who paid."""
    tape = market().bankrupt("loser")
    trade = next(t for t in tape.run().trades if t.account == "winner")
    said = tape.at(3000).result(trade, "4", "NO").run()
    told = sentences(said, "rich", decision=1)
    assert "the other side of what others refused to take of loser" in told[1]
    assert told[-1] == "Against the mark of 100 it gives up 30: the price is what those who refused would have paid."
    words = explain(said.decisions[1].decision_id, said.sink.records).sentences
    assert (
        "Reason: counterparties of an earlier attempt refused a part; new ones are asked for what was given of it."
        in words
    )
    assert "It goes on with the takeover of loser; the first attempt says who paid." in words
    assert not any("equity" in text for text in words)


def test_a_burst_is_told_in_a_page():
    """The ten largest deficits stand in words, the others in the facts."""
    tape = Tape().instrument().mark().account("rich", "100000", ("BTC", "-99", "105"))
    for number in range(30):
        tape.account(f"a{number:02}", "0", ("BTC", "1", str(105 + number)))
    tape.at(2000)
    for number in range(30):
        tape.bankrupt(f"a{number:02}")
    said = tape.run()
    told = explain(said.decisions[0].decision_id, said.sink.records)
    assert sum(text.startswith("Bankrupt") for text in told.sentences) == 10
    assert told.sentences[2].startswith("Bankrupt: a29 (event b-a29), equity -34 at the marks.")
    assert "And 20 more, with deficits of 290 together; the facts (--json) name them." in told.sentences
    assert len(told.facts["decision"]["bankruptcies"]) == 30
    assert "what a00, a01, a02, a03, a04 and 25 more had to give up" in sentences(said, "rich")[1]
