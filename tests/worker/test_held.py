"""Trades that were ordered: held until they are seen, answered, refused and decided again."""

import pytest

from schemas import Account
from tests.worker.small_market import answered, legs, market, run, thin, waterfall
from tests.worker.tape import Tape
from worker.summary import summarise


def test_a_second_bankruptcy_sees_quantity_and_equity_less_what_is_held():
    """Before anything is executed: `winner` has 0 of 10 left, so 10 come from `rich`, at the fund's last 10."""
    tape = market("a", "b").fund("60").bankrupt("a").at(3000).bankrupt("b")
    said = run(tape)
    assert waterfall(said.decisions[0]) == [("a", "50", "50", "0", "0")]
    assert waterfall(said.decisions[1]) == [("b", "50", "10", "40", "0")]
    assert legs(said, 0) == [("a", "SELL", "10", "1000"), ("winner", "BUY", "10", "-1000")]
    assert legs(said, 1) == [("b", "SELL", "10", "1040"), ("rich", "BUY", "10", "-1040")]


def test_a_haircut_that_is_held_lowers_equity():
    """After 4 lots at 105 `small` has 6 lots on 60 - 20 = 40 of equity, and is asked as what it then is."""
    tape = Tape().instrument().mark().account("small", "0", ("BTC", "-10", "106"))
    tape.account("a", "0", ("BTC", "4", "105")).account("b", "0", ("BTC", "4", "105"))
    said = run(tape.at(2000).bankrupt("a").at(3000).bankrupt("b"))
    assert [waterfall(decision)[0][1:] for decision in said.decisions] == [("20", "0", "20", "0")] * 2
    assert said.decisions[1].demands[0].leverage_before_max == pytest.approx(600 / 40)


def test_a_bankrupt_account_whose_trades_are_held_has_nothing_left_to_take():
    """Its second bankruptcy before the first one's trades are executed is answered, and takes nothing."""
    said = run(market().bankrupt("loser", name="b1").at(3000).bankrupt("loser", name="b2"))
    assert [decision.status for decision in said.decisions] == ["DECIDED", "NOTHING_TO_TAKE"]
    assert legs(said, 1) == []


def test_an_update_that_contains_the_legs_releases_them():
    """Told before or after the execution, the next decision is the same to the cent."""
    held = market("a", "b").bankrupt("a").at(3000).bankrupt("b")
    told = market("a", "b").bankrupt("a").at(2500)
    told.account("winner", "1050", adl_seq=1).account("a", "0", adl_seq=1).at(3000).bankrupt("b")
    assert legs(run(held), 1) == legs(run(told), 1) == [("b", "SELL", "10", "1050"), ("rich", "BUY", "10", "-1050")]
    half = market("a", "b").bankrupt("a").at(2500).account("winner", "1050", ("BTC", "-10", "105"), adl_seq=0)
    assert legs(run(half.at(3000).bankrupt("b")), 1) == legs(run(held), 1)


def test_a_full_result_ends_the_matter():
    """Nothing is decided again."""
    said = run(answered(market().bankrupt("loser"), {"winner": "10"}))
    assert [decision.attempt for decision in said.decisions] == [1]


def test_what_is_refused_finds_new_counterparties_for_the_same_cash():
    """All 10 refused at a mark that has moved to 90: `rich` pays what `winner` would have paid."""
    tape = answered(market().bankrupt("loser").at(2500).mark(price="90"), {"winner": "0"})
    said = run(tape)
    second = said.decisions[1]
    assert (second.attempt, second.status, second.reason, second.cut_time_ms) == (2, "DECIDED", "REFUSED_LEGS", 3000)
    assert legs(said, 1) == [("rich", "BUY", "10", "-1050")]
    assert (second.haircut, second.bad_debt, second.fund) == ("150", "0", "0")


def test_what_is_partly_refused_is_replaced_in_part():
    """6 of 10 filled: 4 lots and 420 remain, and the leg keeps the rest."""
    said = run(answered(market().bankrupt("loser"), {"winner": "6"}))
    assert legs(said, 1) == [("rich", "BUY", "4", "-420")]
    [demand] = said.decisions[1].demands
    assert (demand.side, demand.quantity, demand.taken, demand.residual) == ("SHORT", "4", "4", "0")


def test_a_refused_leg_holds_nothing_any_more():
    """`winner` refused: the next bankruptcy may ask him again, with all of his 10."""
    tape = answered(market("loser", "next").bankrupt("loser"), {"winner": "0"})
    said = run(tape.at(4000).bankrupt("next"))
    assert legs(said, 2) == [("next", "SELL", "10", "1050"), ("winner", "BUY", "10", "-1050")]


def test_when_nobody_is_left_to_ask_again_it_is_a_residual():
    """Who refused is not asked a second time."""
    tape = answered(market().bankrupt("loser"), {"winner": "0"})
    said = run(answered(tape, {"rich": "4"}, ms=4000))
    third = said.decisions[2]
    assert (third.attempt, third.status) == (3, "RESIDUAL")
    assert [(d.quantity, d.taken, d.residual, d.residual_reason) for d in third.demands] == [
        ("6", "0", "6", "NO_COUNTERPARTIES")
    ]


def test_another_account_of_who_refused_is_asked():
    """An owner stands on one side only of a decision; that one of its accounts refused excludes that one alone."""
    tape = market()
    for name in ("winner", "rich"):
        tape.say(Account(account=name, beneficial_owner="fund-a"))
    said = run(answered(tape.bankrupt("loser"), {"winner": "0"}))
    assert legs(said, 1) == [("rich", "BUY", "10", "-1050")]


def test_accounts_of_the_liquidated_accounts_owner_are_not_asked_later_either():
    """`rich` belongs to who was liquidated: what `winner` refuses is a residual."""
    tape = market()
    for name in ("loser", "rich"):
        tape.say(Account(account=name, beneficial_owner="one"))
    said = run(answered(tape.bankrupt("loser"), {"winner": "0"}))
    assert [(d.attempt, d.status, d.trades) for d in said.decisions] == [(1, "DECIDED", 2), (2, "RESIDUAL", 0)]


def test_attempts_come_to_an_end():
    """With `attempts_max = 1` what is refused is decided again once, then it is a residual with its reason."""
    flag = "decision.attempts_max=1"
    tape = market().account("third", "900", ("BTC", "-10", "105")).at(2500).bankrupt("loser")
    first = {trade.account for trade in tape.run(flag).trades if trade.role == "COUNTERPARTY"}
    tape = answered(tape, dict.fromkeys(first, "0"), flag)
    again = {trade.account for trade in tape.run(flag).trades if trade.role == "COUNTERPARTY"} - first
    said = run(answered(tape, dict.fromkeys(again, "0"), flag, ms=4000), flag)
    assert [(d.attempt, d.status, d.trades) for d in said.decisions] == [
        (1, "DECIDED", len(first) + 1), (2, "DECIDED", len(again)), (3, "RESIDUAL", 0),
    ]  # fmt: skip
    assert [(d.quantity, d.residual, d.residual_reason) for d in said.decisions[2].demands] == [
        ("10", "10", "ATTEMPTS_EXHAUSTED")
    ]


def test_who_replaces_at_the_mark_leaves_bad_debt():
    """`thin` cannot pay 105 for the 4 lots that `rich` refused: 400 instead of 420, and the 20 are recorded."""
    tape = thin().bankrupt("loser", ("BTC", "4"))
    said = run(answered(tape, {"rich": "0"}))
    assert legs(said, 1) == [("thin", "BUY", "4", "-400")]
    assert (said.decisions[1].haircut, said.decisions[1].bad_debt) == ("0", "20")


def test_results_of_one_log_time_are_one_new_attempt():
    """Two refusals of one decision are replaced together, in one decision."""
    tape = market("a", "b").account("third", "9000", ("BTC", "-40", "105")).bankrupt("a").bankrupt("b")
    names = {trade.account for trade in tape.run().trades if trade.role == "COUNTERPARTY"}
    said = run(answered(tape, dict.fromkeys(names, "1")))
    assert [decision.attempt for decision in said.decisions] == [1, 2]


def test_a_result_that_comes_after_the_update_is_forgotten_with_its_trade():
    """The account showed the fill first: a second result for the trade is then unknown, as in the other order."""
    tape = market().bankrupt("loser")
    trade = next(t for t in tape.run().trades if t.account == "winner")
    tape.at(2500).account("winner", "1050", adl_seq=1)
    tape.at(3000).result(trade, "10").at(4000).result(trade, "10")
    said = run(tape)
    assert [letter.reason for letter in said.letters] == ["UNKNOWN_TRADE"]


def test_a_summary_counts_no_deficit_twice_after_a_replacement_at_the_mark():
    """The 20 that `rich` would have given up are bad debt once `thin` replaces him: 50 = 0 + 0 + 50."""
    said = run(answered(thin().bankrupt("loser", ("BTC", "4")), {"rich": "0"}))
    summary = summarise(said.sink.records)
    assert [str(x) for x in (summary.deficit, summary.fund, summary.haircut, summary.bad_debt)] == [
        "50",
        "0",
        "0",
        "50",
    ]


def test_a_leg_after_the_largest_number_an_exchange_may_know_can_be_reported():
    """Reported: 2^61; the next leg is one more, and the update that shows it is taken because we gave it."""
    tape = Tape().instrument().mark().account("winner", "1050", ("BTC", "-10", "105"), adl_seq=2**61)
    said = tape.at(2000).bankrupt("x", ("BTC", "4")).run()
    [number] = [trade.adl_seq for trade in said.trades if trade.account == "winner"]
    assert number == 2**61 + 1
    tape.at(3000).account("winner", "650", ("BTC", "-6", "105"), adl_seq=number)
    assert tape.at(4000).bankrupt("y", ("BTC", "12")).run().letters == []


def test_a_record_key_that_is_not_its_account_is_counted():
    """A null value with the key would miss the account; the record counts as what it says."""
    tape = Tape().instrument().account("a", "1").account("b", "1")
    tape.raw("positions", tape.records[-1].value.replace(b'"b"', b'"c"'), b"elsewhere")
    tape.raw("positions", tape.records[1].value.replace(b'"a"', b'"d"'))
    assert tape.at(9000).mark().run().report.counts == {"KEY_DIFFERS": 1}
