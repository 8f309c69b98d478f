"""What the events of one moment say together, and where they contradict our book or each other."""

import pytest

from schemas import Position, encode, limits
from schemas.messages import Bankruptcy, BankruptcyLine, Instrument, MarkPrice
from tests.worker.small_market import legs, market, run, waterfall
from tests.worker.tape import Tape
from worker import rows


def differs(decision):
    return [item.disagreements for item in decision.bankruptcies]


UNMARKED = ("ETH", "500", "100")


@pytest.mark.parametrize("lines", [[("BTC", "10")], [("BTC", "10", "100")], []], ids=["listed", "priced", "whole book"])
def test_a_takeover_waits_while_a_position_without_a_mark_would_count_as_lost(lines):
    """Solvent but for 500 ETH of unknown value: no fund is drawn; with their mark there is no deficit."""
    tape = Tape().instrument().instrument("ETH").mark().fund("10000").account("rich", "100000", ("BTC", "-10", "105"))
    tape.account("loser", "1000", ("BTC", "10", "105"), UNMARKED).account("eve", "90000", ("ETH", "-500", "100"))
    said = run(tape.at(2000).bankrupt("loser", *lines))
    assert [(d.status, d.reason, d.fund_draws) for d in said.decisions] == [("HELD", "MARK_MISSING ETH", {})]
    assert ("ETH", "BLOCKED", "MARK_MISSING ETH") in [(s.symbol, s.state, s.trigger) for s in said.states]
    said = run(tape.at(3000).mark("ETH", "100").at(5000).fund("10000"))
    assert waterfall(said.decisions[1]) == [("loser", "0", "0", "0", "0")]


def test_a_position_without_a_mark_holds_nothing_where_the_cross_equity_does_not_count():
    """An isolated position stands for itself; an event about an account that we do not hold brings its own equity."""
    alone = Position(symbol="BTC", quantity="10", entry_price="105", margin_mode="isolated", isolated_margin="20")
    tape = Tape().instrument().instrument("ETH").mark().account("rich", "100000", ("BTC", "-20", "105"))
    tape.account("loser", "1000", alone, UNMARKED).at(2000).bankrupt("loser", ("BTC", "10"))
    said = run(tape.bankrupt("x", ("BTC", "3"), equity="-9"))
    assert [(d.status, d.accounts_without_mark) for d in said.decisions] == [("DECIDED", 0)]
    assert waterfall(said.decisions[0]) == [("loser", "30", "0", "30", "0"), ("x", "9", "0", "9", "0")]


def both_sides():
    return market().account("bull", "100000", ("BTC", "50", "90")).at(2500)


def test_events_that_list_one_position_the_opposite_way_round_are_decided_one_after_the_other():
    """A NET position has one sign: 5 and -3 are two decisions, with a trade id for each leg."""
    said = run(both_sides().bankrupt("x", ("BTC", "5"), name="one").bankrupt("x", ("BTC", "-3"), name="two"))
    assert [[item.id for item in decision.bankruptcies] for decision in said.decisions] == [["one"], ["two"]]
    assert len({decision.decision_id for decision in said.decisions}) == 2
    assert [leg for leg in legs(said, 0) + legs(said, 1) if leg[0] == "x"] == [
        ("x", "SELL", "5", "500"), ("x", "BUY", "3", "-300"),
    ]  # fmt: skip
    assert len({trade.trade_id for trade in said.trades}) == len(said.trades) == 4


def test_contradicting_events_of_one_record_have_decisions_of_their_own():
    """Ids come from the record's place, which the two share."""
    lines = {"one": "5", "two": "-3"}
    events = [
        Bankruptcy(id=n, account="x", event_time_ms=2500, lines=[BankruptcyLine(symbol="BTC", quantity=q)])
        for n, q in lines.items()
    ]
    said = run(both_sides().raw("bankruptcies", b"[" + b",".join(map(encode, events)) + b"]", b"x"))
    assert [decision.status for decision in said.decisions] == ["DECIDED", "DECIDED"]
    assert len({decision.decision_id for decision in said.decisions}) == 2


def test_a_position_that_an_event_lists_the_other_way_round_is_no_part_of_the_whole_book():
    """The event wins: -3 are bought, our 10 long are not sold beside them."""
    said = run(both_sides().bankrupt("loser", ("BTC", "-3"), name="one").bankrupt("loser", name="two"))
    assert {(t.side, t.quantity) for t in said.trades if t.account == "loser"} == {("BUY", "3")}
    assert differs(said.decisions[0]) == [["BTC NET: event -3, book 10"], []]


def raced(lots):
    """`hot` has lots, of which our trade against `bear` takes 5; nobody has reported that yet."""
    tape = Tape().instrument().mark().account("bear", "-10", ("BTC", "-5", "100"))
    tape.account("hot", "10", ("BTC", lots, "100")).account("short", "100000", ("BTC", "-50", "100"))
    return tape.at(2000).bankrupt("bear").at(2005)


def test_what_our_own_trade_closed_is_not_taken_from_somebody_else():
    """`hot` gave its 5 to `bear`; an event that has not seen it names the 5 again: nothing is there to take."""
    said = run(raced("5").bankrupt("hot", ("BTC", "5")), "decision.settlement=mark")
    assert [decision.status for decision in said.decisions] == ["DECIDED", "NOTHING_TO_TAKE"]
    assert differs(said.decisions[1]) == [["BTC NET: event 5, book 0"]]
    assert legs(said, 1) == []


def test_of_a_position_that_our_trade_closed_in_part_the_rest_is_taken():
    """`hot` has 8, 5 of them are held: two events that together name the 8 share the 3."""
    tape = raced("8").bankrupt("hot", ("BTC", "2"), name="one").bankrupt("hot", ("BTC", "6"), name="two")
    said = run(tape, "decision.settlement=mark")
    assert [leg for leg in legs(said, 1) if leg[0] == "hot"] == [("hot", "SELL", "3", "300")]


def test_an_event_that_names_other_lots_than_the_raced_position_wins():
    """7 are neither what the account had nor what is left of it."""
    said = run(raced("5").bankrupt("hot", ("BTC", "7")), "decision.settlement=mark")
    assert [leg for leg in legs(said, 1) if leg[0] == "hot"] == [("hot", "SELL", "7", "700")]
    assert differs(said.decisions[1]) == [["BTC NET: event 7, book 0"]]


def test_events_that_together_name_more_than_the_book_say_so():
    """Each names the 10 that we hold, both together 20: the events win, and each says what it was."""
    said = run(market().bankrupt("loser", ("BTC", "10"), name="one").bankrupt("loser", ("BTC", "10"), name="two"))
    assert differs(said.decisions[0]) == [["BTC NET: events 20, book 10"]] * 2
    said = run(market().bankrupt("loser", ("BTC", "4"), name="one").bankrupt("loser", ("BTC", "6"), name="two"))
    assert differs(said.decisions[0]) == [[], []]


def test_an_equity_that_differs_from_ours_is_said_of_a_whole_book_and_of_an_isolated_position():
    """Ours counts where we hold the book; the event's is not passed over in silence."""
    said = run(market().bankrupt("loser", equity="-99"))
    assert differs(said.decisions[0]) == [["equity: event -99, book -50"]]
    alone = Position(symbol="BTC", quantity="10", entry_price="105", margin_mode="isolated", isolated_margin="20")
    tape = market().account("split", "0", alone).at(2500)
    assert differs(run(tape.bankrupt("split", ("BTC", "10"), equity="-99")).decisions[0]) == [
        ["equity: event -99, book -30"]
    ]
    assert differs(run(market().bankrupt("loser", equity="-50")).decisions[0]) == [[]]


def many(count):
    """`count` bankruptcies of one millisecond with the longest names."""
    tape = Tape().instrument().mark().account("w", "100000000", ("BTC", "-100000", "100"))
    names = [f"{number:06}-{'n' * 50}" for number in range(count)]
    for name in names:
        tape.account(name, "-10", ("BTC", "5", "100"))
    tape.at(2000)
    for name in names:
        tape.bankrupt(name, ("BTC", "4"), name=f"{'i' * 60}-{name}", equity="-99")
    return tape


def test_a_joint_decision_is_bounded_by_the_bytes_of_its_record():
    """1,500 bankruptcies with two disagreements each are several decisions, each within the bound; all are decided."""
    said = many(1500).run()
    sizes = [len(record.value) for record in said.sink.outputs("adl-decisions")]
    assert max(sizes) <= limits.DECISION_BYTES_MAX < sum(sizes)
    assert len(sizes) < 6
    assert sum(len(decision.bankruptcies) for decision in said.decisions) == 1500
    assert {decision.status for decision in said.decisions} == {"DECIDED"}
    assert len({trade.trade_id for trade in said.trades}) == len(said.trades)


def test_a_book_in_every_symbol_that_an_account_may_hold_is_within_the_bound():
    """1,024 symbols with the longest names, each taken in two rounds: a row for each symbol, not for each round."""
    count = limits.POSITIONS_PER_ACCOUNT_MAX
    tape = Tape()
    names = [f"{number:04}-{'s' * 59}" for number in range(count)]
    for name in names:
        tape.instrument(name)
    for name in names:
        tape.mark(name)
    tape.account("normal", "9000000", *((name, "-2", "100") for name in names))
    tape.account("bare", "-1000", *((name, "-2", "100") for name in names))
    tape.account("loser", "-5000", *((name, "4", "100") for name in names))
    said = tape.at(2000).bankrupt("loser").run()
    [decision] = said.decisions
    assert len({trade.round for trade in said.trades}) == 2
    assert len(next(iter(said.sink.outputs("adl-decisions"))).value) <= limits.DECISION_BYTES_MAX
    assert [(d.symbol, d.quantity, d.taken, d.accounts) for d in decision.demands] == [(n, "4", "4", 2) for n in names]


def test_rounds_said_as_one_are_those_said_one_by_one(monkeypatch):
    """The same decision with and without the bound: quantities, price and accounts are those of the trades."""
    tape = Tape().instrument().mark().account("loser", "0", ("BTC", "10", "105"))
    tape.account("rich", "5000", ("BTC", "-4", "105")).account("thin", "-10", ("BTC", "-6", "105")).at(2000)
    tape.bankrupt("loser")
    apart = tape.run().decisions[0].demands
    monkeypatch.setattr(rows, "ROWS_MAX", 1)
    [row] = tape.run().decisions[0].demands
    assert [(d.quantity, d.taken, d.price) for d in apart] == [("10", "4", "105"), ("6", "6", "100")]
    assert (row.quantity, row.taken, row.price, row.accounts, row.round) == ("10", "10", "102", 2, apart[-1].round)


def booked():
    """Two accounts at the most that one position may be worth."""
    lots = limits.POSITION_VALUE_MINOR_MAX // 10001 - 1
    tape = Tape().instrument().mark()
    for name in ("w1", "w2", "w3"):
        tape.account(name, "100000000000", ("BTC", str(-lots), "100"))
    return tape, str(lots)


def test_a_mark_that_comes_later_may_make_a_line_too_large():
    """Listed while there was no mark to judge it by."""
    tape = Tape().instrument().at(2000)
    tape.bankrupt("a", ("BTC", str(2**53))).bankrupt("b", ("BTC", str(-(2**53))))
    said = tape.at(3000).mark(price="100000").at(5000).account("x", "0").run("cut.joint_window_ms=10")
    assert [(d.status, d.reason, d.trades) for d in said.decisions] == [
        ("HELD", "MARK_MISSING BTC", 0), ("REFUSED", "QUOTE_RANGE", 0),
    ]  # fmt: skip


def test_events_that_together_ask_for_more_lots_than_can_be_counted_are_refused():
    """520 times 2^53 lots, each worth next to nothing."""
    tape = Tape().say(
        Instrument(
            symbol="BTC", tick_size="0.01", lot_size="0.0001", settlement_currency="USD",
            maintenance_margin_fraction="0.1", price_decimals=2,
        )
    )  # fmt: skip
    tape.say(MarkPrice(symbol="BTC", mark_price="0.01", event_time_ms=1000)).at(2000)
    line = BankruptcyLine(symbol="BTC", quantity="900719925474.0992")
    events = [Bankruptcy(id=f"i{n}", account=f"a{n}", event_time_ms=2000, lines=[line]) for n in range(520)]
    said = tape.raw("bankruptcies", b"[" + b",".join(map(encode, events)) + b"]").run()
    assert [(d.status, d.reason) for d in said.decisions] == [("REFUSED", "QUOTE_RANGE")]


def test_small_legs_beside_what_is_held_already_are_counted():
    """A position's open legs are worth nearly the most that can be booked; a little more is refused, and it goes on."""
    tape, lots = booked()
    tape.account("loser", "0", ("BTC", lots, "100")).at(2000).bankrupt("loser", name="one")
    said = tape.at(3000).bankrupt("loser", ("BTC", "40000000"), name="two").at(4000).bankrupt("x", ("BTC", "1")).run()
    assert [(d.status, d.reason) for d in said.decisions] == [
        ("DECIDED", None), ("REFUSED", "QUOTE_RANGE"), ("DECIDED", None),
    ]  # fmt: skip


@pytest.mark.parametrize("others", [0, 20], ids=["alone", "opened with others"])
def test_legs_of_an_account_that_nobody_reported_yet_fit_the_position_that_comes(others):
    """Twice the most that a position may hold is refused while it is loose cash: the update finds room."""
    tape, lots = booked()
    tape.at(2000).bankrupt("ghost", ("BTC", lots), name="one").at(3000).bankrupt("ghost", ("BTC", lots), name="two")
    tape.at(4000).account("ghost", "5", ("BTC", lots, "100"))
    for number in range(others):
        tape.account(f"n{number}", "5", ("BTC", "1", "100"))
    said = tape.run()
    assert [(d.status, d.reason) for d in said.decisions] == [("DECIDED", None), ("REFUSED", "QUOTE_RANGE")]
    assert said.letters == []


def test_the_clearing_account_is_never_a_counterparty():
    """It faces every leg; its own would face itself. Nobody need have given it a role."""
    tape = market().account("CLEARING", "1", ("BTC", "-50", "105"))
    said = run(tape.at(2500).bankrupt("x", ("BTC", "12")))
    assert {account for account, *_ in legs(said)} == {"winner", "rich", "x"}
