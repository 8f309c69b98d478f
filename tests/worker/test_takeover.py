"""What is taken over, how often a deficit counts, and liquidated sides that meet each other."""

import pytest

from schemas import Account, Position
from tests.worker.small_market import legs, market, run, waterfall
from tests.worker.tape import Tape


def test_an_isolated_position_named_by_its_line_falls_alone():
    """Entry 105 less margin 2 a contract is 103; the cross book and its 500 are not asked."""
    isolated = Position(symbol="BTC", quantity="10", entry_price="105", margin_mode="isolated", isolated_margin="20")
    tape = market().account("split", "500", isolated, Position(symbol="ETH", quantity="3", entry_price="10"))
    tape.records[:0] = Tape().at(0).instrument("ETH").mark("ETH", "10").records
    tape = renumbered(tape).at(2500).bankrupt("split", ("BTC", "10"))
    said = run(tape)
    assert waterfall(said.decisions[0]) == [("split", "30", "0", "30", "0")]
    assert legs(said) == [("split", "SELL", "10", "1030"), ("winner", "BUY", "10", "-1030")]


def renumbered(tape):
    """The tape with its records counted anew, after some were put in front."""
    fresh = Tape()
    for record in tape.records:
        fresh.at(record.log_time_ms).raw(record.topic, record.value, record.key)
    fresh._seq = tape._seq
    return fresh


def test_a_whole_book_leaves_isolated_positions_alone():
    """Without lines the event means the cross book."""
    isolated = Position(
        symbol="BTC", quantity="-7", position_side="SHORT", entry_price="95",
        margin_mode="isolated", isolated_margin="90",
    )  # fmt: skip
    cross = Position(symbol="BTC", quantity="3", position_side="LONG", entry_price="110")
    said = run(market().account("split", "0", cross, isolated).at(2500).bankrupt("split"))
    assert waterfall(said.decisions[0]) == [("split", "30", "0", "30", "0")]
    assert [leg for leg in legs(said) if leg[0] == "split"] == [("split", "SELL", "3", "330")]


def test_both_legs_of_a_hedge_meet_their_own_winners():
    """140 under water on a requirement of 140: the long closes at 110 with shorts, the short at 90 with longs."""
    long = Position(symbol="BTC", position_side="LONG", quantity="10", entry_price="110")
    short = Position(symbol="BTC", position_side="SHORT", quantity="-4", entry_price="90")
    tape = market().account("hedge", "0", long, short).account("bull", "0", ("BTC", "10", "80"))
    said = run(tape.at(2500).bankrupt("hedge"))
    assert waterfall(said.decisions[0]) == [("hedge", "140", "0", "140", "0")]
    assert legs(said) == [
        ("bull", "SELL", "4", "360"), ("hedge", "BUY", "4", "-360"), ("hedge", "SELL", "10", "1100"),
        ("winner", "BUY", "10", "-1100"),
    ]  # fmt: skip
    sides = {(trade.position_side, trade.side, trade.adl_seq) for trade in said.trades if trade.account == "hedge"}
    assert sides == {("LONG", "SELL", 1), ("SHORT", "BUY", 2)}


def test_a_partial_takeover_carries_its_share_and_records_the_rest():
    """4 of 10 at the price of the whole book, 105; the 30 that the other 6 would carry are recorded as bad debt."""
    said = run(market().bankrupt("loser", ("BTC", "4")))
    [decision] = said.decisions
    assert waterfall(decision) == [("loser", "50", "0", "20", "30")]
    assert legs(said) == [("loser", "SELL", "4", "420"), ("winner", "BUY", "4", "-420")]
    assert decision.bankruptcies[0].disagreements == ["BTC NET: event 4, book 10"]


def test_a_book_that_two_events_of_one_decision_name_is_taken_once():
    """The second event of the same millisecond finds nothing left."""
    said = run(market().fund("20").bankrupt("loser", name="b1").bankrupt("loser", name="b2"))
    assert waterfall(said.decisions[0]) == [("loser", "50", "20", "30", "0"), ("loser", "0", "0", "0", "0")]
    assert legs(said) == [("loser", "SELL", "10", "1030"), ("winner", "BUY", "10", "-1030")]


ONE_BOOK = {
    "two that list it": [[("BTC", "4")], [("BTC", "6")]],
    "one that lists a part, one that takes the book": [[("BTC", "4")], []],
    "the same, the book first": [[], [("BTC", "6")]],
}


@pytest.mark.parametrize("lists", ONE_BOOK.values(), ids=list(ONE_BOOK))
def test_events_of_one_decision_on_one_book_share_its_deficit(lists):
    """50 under water once, not twice: 20 go with 4 lots, 30 with 6, and the fund's 20 follow; nobody sells 14 of 10."""
    tape = market().fund("20")
    for number, lines in enumerate(lists):
        tape.bankrupt("loser", *lines, name=f"b{number}")
    said = run(tape)
    assert waterfall(said.decisions[0]) == [("loser", "20", "8", "12", "0"), ("loser", "30", "12", "18", "0")]
    assert legs(said) == [("loser", "SELL", "10", "1030"), ("winner", "BUY", "10", "-1030")]
    assert said.decisions[0].fund_draws == {"default": "20"}


def test_a_shared_deficit_adds_up_to_the_smallest_amount():
    """50.01 over three events of 3, 3 and 4 lots: the cent goes to the largest remainder, then to the earlier event."""
    tape = market().account("odd", "-0.01", ("BTC", "10", "105")).at(2500).fund("0.05")
    for number, lots in enumerate(("3", "3", "4")):
        tape.bankrupt("odd", ("BTC", lots), name=f"b{number}")
    [decision] = run(tape).decisions
    assert [item.deficit for item in decision.bankruptcies] == ["15", "15", "20.01"]
    assert [item.fund for item in decision.bankruptcies] == ["0.02", "0.01", "0.02"]
    assert sum(float(item.deficit) for item in decision.bankruptcies) == pytest.approx(50.01, abs=1e-9)


def test_events_on_one_isolated_position_share_its_deficit():
    """30 under water, taken over in pieces of 4 and 6."""
    isolated = Position(
        symbol="BTC", quantity="10", entry_price="105", margin_mode="isolated", isolated_margin="20"
    )  # fmt: skip
    tape = market().account("alone", "1000", isolated).at(2500)
    for number, lots in enumerate(("4", "6")):
        tape.bankrupt("alone", ("BTC", lots), name=f"b{number}")
    said = run(tape)
    assert waterfall(said.decisions[0]) == [("alone", "12", "0", "12", "0"), ("alone", "18", "0", "18", "0")]
    assert legs(said) == [("alone", "SELL", "10", "1030"), ("winner", "BUY", "10", "-1030")]


def test_two_events_on_one_position_are_one_leg():
    """A venue may take over a position in pieces at the same time; a trade id stands for one trade."""
    said = run(market().bankrupt("x", ("BTC", "4"), name="b1").bankrupt("x", ("BTC", "5"), name="b2", equity="-45"))
    assert waterfall(said.decisions[0]) == [("x", "0", "0", "0", "0"), ("x", "45", "0", "45", "0")]
    assert legs(said) == [("winner", "BUY", "9", "-945"), ("x", "SELL", "9", "945")]


def crossing(fund, *shorts):
    tape = market("a").account("bull", "5000", ("BTC", "10", "80")).fund(fund)
    for name, lots in shorts:
        tape.account(name, "-1", ("BTC", f"-{lots}", "100"))  # one under water
    tape.at(2500).bankrupt("a")
    for name, _ in shorts:
        tape.bankrupt(name)
    return tape


def test_covered_opposite_sides_meet_each_other_at_the_mark():
    """6 lots cross at 100 and are asked of nobody; the 4 that remain are taken from a winner."""
    said = run(crossing("100", ("b", 6)))
    [decision] = said.decisions
    assert [(c.symbol, c.quantity, c.mark_price) for c in decision.crossings] == [("BTC", "6", "100")]
    assert [(d.side, d.quantity, d.taken) for d in decision.demands] == [("SHORT", "4", "4")]
    assert legs(said) == [
        ("a", "SELL", "4", "400"), ("a", "SELL", "6", "600"), ("b", "BUY", "6", "-600"), ("winner", "BUY", "4", "-400"),
    ]  # fmt: skip


def test_a_long_that_meets_several_shorts_is_one_leg():
    """One leg per account, position and round, though it met two: trade ids stay the only ones of their kind."""
    said = run(crossing("100", ("b", 6), ("c", 4)))
    assert legs(said) == [("a", "SELL", "10", "1000"), ("b", "BUY", "6", "-600"), ("c", "BUY", "4", "-400")]
    assert len({trade.trade_id for trade in said.trades}) == 3
    assert said.decisions[0].demands == []


def test_uncovered_sides_meet_their_own_winners():
    """A short's loss is not charged to shorts: nothing crosses where the fund does not cover both."""
    said = run(crossing("0", ("b", 10)))
    assert said.decisions[0].crossings == []
    assert legs(said) == [
        ("a", "SELL", "10", "1050"), ("b", "BUY", "10", "-999"), ("bull", "SELL", "10", "999"),
        ("winner", "BUY", "10", "-1050"),
    ]  # fmt: skip


def test_accounts_of_one_owner_never_face_each_other():
    """Covered, opposite, and one person's: each side meets others, and the owner's third account is not asked."""
    tape = crossing("100", ("b", 10))
    for name in ("a", "b", "winner"):
        tape.at(2400).say(Account(account=name, beneficial_owner="one"))
    said = run(tape)
    assert said.decisions[0].crossings == []
    assert legs(said) == [
        ("a", "SELL", "10", "1000"), ("b", "BUY", "10", "-1000"), ("bull", "SELL", "10", "1000"),
        ("rich", "BUY", "10", "-1000"),
    ]  # fmt: skip
