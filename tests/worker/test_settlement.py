"""Who pays and who is reduced, in numbers that can be checked by hand; every run is also read by the auditor.

The usual market: BTC at 100, maintenance 10 %. `loser` holds 10 long bought at 105 and no cash: 50 under water with a
requirement of 100, so his bankruptcy price is 105. `winner` is 10 short on 1,100, `rich` 10 short on 100,050.
"""

import pytest

from schemas import Account, Bankruptcy, BankruptcyLine, Position, decode_output, encode
from tests.worker.auditor import audit
from tests.worker.tape import Tape

FEW = ("account", "deficit", "fund", "haircut", "bad_debt")


def market(*losers):
    tape = Tape().instrument().mark(price="100")
    tape.account("winner", "1050", ("BTC", "-10", "105")).account("rich", "100000", ("BTC", "-10", "105"))
    for name in losers or ("loser",):
        tape.account(name, "0", ("BTC", "10", "105"))
    return tape.at(2000)


def run(tape, *flags):
    """What the worker says, once the auditor agrees."""
    said = tape.run(*flags)
    given = dict(flag.removeprefix("decision.").split("=") for flag in flags)
    rules = {name: given[name] for name in ("settlement", "collar", "residual") if name in given}
    assert audit(tape.records, said.decisions, said.trades, **rules) == []
    return said


def waterfall(decision):
    return [tuple(getattr(item, name) for name in FEW) for item in decision.bankruptcies]


def legs(said, decision=0):
    """(account, side, quantity, quote) of a decision's legs, sorted, whatever their symbol."""
    name = said.decisions[decision].decision_id
    return sorted((t.account, t.side, t.quantity, t.quote_amount) for t in said.trades if t.decision_id == name)


# --- who pays: the fund, the event, the winners, nobody ---------------------------------------------------------------


def test_the_fund_pays_first_and_the_winners_carry_the_rest():
    """20 of the deficit of 50 are paid, so the price is 103; the most levered short is taken whole."""
    said = run(market().fund("20").bankrupt("loser"))
    [decision] = said.decisions
    assert waterfall(decision) == [("loser", "50", "20", "30", "0")]
    assert (decision.fund_draws, decision.fund, decision.haircut, decision.bad_debt) == (
        {"default": "20"}, "20", "30", "0",
    )  # fmt: skip
    assert legs(said) == [("loser", "SELL", "10", "1030"), ("winner", "BUY", "10", "-1030")]
    [demand] = decision.demands
    assert (demand.symbol, demand.side, demand.quantity, demand.taken, demand.price, demand.mark_price) == (
        "BTC", "SHORT", "10", "10", "103", "100",
    )  # fmt: skip
    assert [(trade.adl_seq, trade.haircut, trade.clearing_account) for trade in said.trades] == [
        (1, "-30", "CLEARING"), (1, "30", "CLEARING"),
    ]  # fmt: skip


def test_a_fund_that_covers_everything_leaves_the_trades_at_the_mark():
    """No more than the deficit is drawn, and nobody gives anything up."""
    said = run(market().fund("500").bankrupt("loser"))
    assert waterfall(said.decisions[0]) == [("loser", "50", "50", "0", "0")]
    assert said.decisions[0].fund_draws == {"default": "50"}
    assert legs(said) == [("loser", "SELL", "10", "1000"), ("winner", "BUY", "10", "-1000")]


def test_the_fund_is_shared_pro_rata_in_a_joint_decision():
    """Deficits 50 and 150 get 20 and 60 of 80; each keeps its own price, the winners share one total."""
    tape = market("a").account("b", "0", ("BTC", "10", "115"))
    said = run(tape.fund("80").at(2000).bankrupt("a").bankrupt("b"))
    [decision] = said.decisions
    assert waterfall(decision) == [("a", "50", "20", "30", "0"), ("b", "150", "60", "90", "0")]
    assert legs(said) == [
        ("a", "SELL", "10", "1030"), ("b", "SELL", "10", "1090"),
        ("rich", "BUY", "10", "-1060"), ("winner", "BUY", "10", "-1060"),
    ]  # fmt: skip


def test_an_event_names_the_fund_that_pays():
    """`fund_id` of the event wins over the instrument's."""
    said = run(market().fund("20").fund("30", fund_id="other").bankrupt("loser", fund_id="other"))
    assert said.decisions[0].fund_draws == {"other": "30"}
    assert waterfall(said.decisions[0]) == [("loser", "50", "30", "20", "0")]


def test_insurance_in_the_event_wins_over_the_topic():
    """15 were promised by the event: nothing is drawn from the fund of 1,000, the price is 103.5."""
    said = run(market().fund("1000").bankrupt("loser", insurance="15"))
    assert waterfall(said.decisions[0]) == [("loser", "50", "15", "35", "0")]
    assert said.decisions[0].fund_draws == {}
    assert legs(said) == [("loser", "SELL", "10", "1035"), ("winner", "BUY", "10", "-1035")]


def test_two_events_in_one_record_keep_their_own_insurance():
    """A record may hold an array of events; what one is promised is not the other's."""
    tape = market("a", "b")
    promised = {"a": "50", "b": "10"}
    events = [Bankruptcy(id=n, account=n, event_time_ms=2000, insurance=paid) for n, paid in promised.items()]
    tape.raw("bankruptcies", b"[" + b",".join(map(encode, events)) + b"]", b"a")
    said = run(tape)
    assert waterfall(said.decisions[0]) == [("a", "50", "50", "0", "0"), ("b", "50", "10", "40", "0")]


def test_the_rule_mark_leaves_the_deficit_as_bad_debt():
    """Winners close at the mark; what the fund does not pay is recorded."""
    said = run(market().fund("20").bankrupt("loser"), "decision.settlement=mark")
    assert waterfall(said.decisions[0]) == [("loser", "50", "20", "0", "30")]
    assert legs(said) == [("loser", "SELL", "10", "1000"), ("winner", "BUY", "10", "-1000")]


def test_a_collar_bounds_the_price_and_the_rest_is_bad_debt():
    """Two percent around the mark: 102 instead of 105."""
    said = run(market().bankrupt("loser"), "decision.collar=0.02")
    assert waterfall(said.decisions[0]) == [("loser", "50", "0", "20", "30")]
    assert legs(said) == [("loser", "SELL", "10", "1020"), ("winner", "BUY", "10", "-1020")]


def test_an_account_above_water_closes_at_the_mark():
    """No deficit, no bonus: what is left of its equity is its own."""
    said = run(market().account("solvent", "100", ("BTC", "10", "105")).at(2500).bankrupt("solvent"))
    assert waterfall(said.decisions[0]) == [("solvent", "0", "0", "0", "0")]
    assert legs(said) == [("solvent", "SELL", "10", "1000"), ("winner", "BUY", "10", "-1000")]


def test_a_price_in_the_event_wins_and_asks_no_fund():
    """97 below the mark for a long is a bonus to the shorts; the fund of 1,000 is not touched."""
    said = run(market().fund("1000").bankrupt("loser", ("BTC", "10", "97")))
    assert (said.decisions[0].fund, said.decisions[0].fund_draws) == ("0", {})
    assert legs(said) == [("loser", "SELL", "10", "970"), ("winner", "BUY", "10", "-970")]


def test_a_short_is_closed_below_the_mark_and_never_below_zero():
    """Its bankruptcy price is 100 (1 - 0.1 TAV / MMR), here 95; a hopeless one costs nothing and leaves bad debt."""
    for cash, waters, price in (("0", ("50", "0", "50", "0"), "950"), ("-2000", ("2050", "0", "1000", "1050"), "0")):
        tape = Tape().instrument().mark().account("bull", "5000", ("BTC", "10", "80"))
        tape.account("bear", cash, ("BTC", "-10", "95"))
        said = run(tape.at(2000).bankrupt("bear"))
        assert waterfall(said.decisions[0]) == [("bear", *waters)]
        assert legs(said) == [("bear", "BUY", "10", f"-{price}".replace("-0", "0")), ("bull", "SELL", "10", price)]


# --- what is taken over -----------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("fund", "paid", "given_up", "btc"),
    [("1000", "30", "20", "1000"), ("0", "0", "50", "1030"), ("12", "12", "38", "1018")],
)
def test_priced_lines_keep_their_part_of_the_deficit_from_the_fund(fund, paid, given_up, btc):
    """90 under water on requirements of 100 and 200, of which the 200 are priced: the fund is asked for 30.

    The priced line gives what its price gives, 20; the 40 that are left of its 60 stay as bad debt.
    """
    tape = Tape().instrument().mark().instrument("ETH").mark("ETH").fund(fund)
    tape.account("bear", "90000", ("BTC", "-10", "105"), ("ETH", "-20", "105")).at(2000)
    said = run(tape.bankrupt("x", ("BTC", "10"), ("ETH", "20", "101"), equity="-90"))
    assert waterfall(said.decisions[0]) == [("x", "90", paid, given_up, "40")]
    assert said.decisions[0].fund_draws == ({"default": paid} if paid != "0" else {})
    assert legs(said) == [
        ("bear", "BUY", "10", f"-{btc}"), ("bear", "BUY", "20", "-2020"), ("x", "SELL", "10", btc),
        ("x", "SELL", "20", "2020"),
    ]  # fmt: skip


def test_insurance_of_the_event_pays_no_priced_lines_either():
    """The same estate, promised 50 by the event: 30 are needed."""
    tape = Tape().instrument().mark().instrument("ETH").mark("ETH")
    tape.account("bear", "90000", ("BTC", "-10", "105"), ("ETH", "-20", "105")).at(2000)
    said = run(tape.bankrupt("x", ("BTC", "10"), ("ETH", "20", "101"), equity="-90", insurance="50"))
    assert waterfall(said.decisions[0]) == [("x", "90", "30", "20", "40")]


def test_two_events_on_one_position_are_one_leg():
    """A venue may take over a position in pieces at the same time; a trade id stands for one trade."""
    said = run(market().bankrupt("x", ("BTC", "4"), name="b1").bankrupt("x", ("BTC", "5"), name="b2", equity="-45"))
    assert waterfall(said.decisions[0]) == [("x", "0", "0", "0", "0"), ("x", "45", "0", "45", "0")]
    assert legs(said) == [("winner", "BUY", "9", "-945"), ("x", "SELL", "9", "945")]


# --- liquidated sides that meet ---------------------------------------------------------------------------------------


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


# --- who is asked -----------------------------------------------------------------------------------------------------


def test_last_accounts_are_asked_after_normal_ones():
    """`winner` has the higher leverage and is LAST: 10 come from `rich`, the 2 that are missing from him."""
    tape = market().say(Account(account="winner", adl="LAST")).bankrupt("x", ("BTC", "12"))
    said = run(tape)
    assert legs(said) == [
        ("rich", "BUY", "10", "-1000"), ("winner", "BUY", "2", "-200"), ("x", "SELL", "10", "1000"),
        ("x", "SELL", "2", "200"),
    ]  # fmt: skip
    assert [(d.round, d.quantity, d.taken, d.residual) for d in said.decisions[0].demands] == [
        (1, "12", "10", "0"), (2, "2", "2", "0"),
    ]  # fmt: skip


def test_nobody_pays_more_than_the_mean_price_that_he_was_found_able_to_pay():
    """Lots at 120 and 101, one counterparty, with 15: he can pay the mean of 110.5, so his lot is the one at 101."""
    tape = Tape().instrument().mark().account("only", "10", ("BTC", "-1", "105"))
    tape.account("a", "0", ("BTC", "1", "120")).account("b", "0", ("BTC", "1", "101"))
    said = run(tape.at(2000).bankrupt("a").bankrupt("b"))
    assert legs(said) == [("b", "SELL", "1", "101"), ("only", "BUY", "1", "-101")]


def test_normal_accounts_are_asked_again_before_last_ones():
    """`pair` has 15 on 200: no 10 of 100 for his BTC. His ETH are taken at the mark, then 15 on 100 can pay them."""
    tape = Tape().instrument().mark().instrument("ETH").mark("ETH")
    tape.account("pair", "15", ("BTC", "-1", "100"), ("ETH", "-1", "100"))
    tape.account("spare", "900", ("BTC", "-5", "105")).say(Account(account="spare", adl="LAST"))
    tape.account("a", "0", ("BTC", "1", "110")).account("e", "0", ("ETH", "1", "100"))
    said = run(tape.at(2000).bankrupt("a").bankrupt("e"))
    assert [leg for leg in legs(said) if leg[1] == "BUY"] == [
        ("pair", "BUY", "1", "-100"),
        ("pair", "BUY", "1", "-110"),
    ]


@pytest.mark.parametrize(
    "account",
    [Account(account="winner", adl="EXEMPT")]
    + [Account(account="winner", role=role) for role in ("LIQUIDATION", "INSURANCE", "CLEARING")],
)
def test_exempt_accounts_and_those_of_the_house_are_never_asked(account):
    """What nobody else can give is a residual."""
    said = run(market().say(account).bankrupt("x", ("BTC", "12")))
    assert legs(said) == [("rich", "BUY", "10", "-1000"), ("x", "SELL", "10", "1000")]
    assert [(d.quantity, d.taken, d.residual, d.residual_reason) for d in said.decisions[0].demands] == [
        ("12", "10", "2", "NO_COUNTERPARTIES")
    ]


def thin():
    """A short of 6 with equity 20: it cannot give up 5 of 100, but can be closed at the mark."""
    tape = Tape().instrument().mark().account("loser", "0", ("BTC", "10", "105"))
    return tape.account("rich", "5000", ("BTC", "-4", "105")).account("thin", "-10", ("BTC", "-6", "105")).at(2000)


def test_what_counterparties_cannot_pay_is_taken_at_the_mark_as_bad_debt():
    """4 lots at 105, 6 at 100: of the 50, 20 are haircuts and 30 bad debt."""
    said = run(thin().bankrupt("loser"))
    assert waterfall(said.decisions[0]) == [("loser", "50", "0", "20", "30")]
    assert legs(said) == [
        ("loser", "SELL", "4", "420"), ("loser", "SELL", "6", "600"), ("rich", "BUY", "4", "-420"),
        ("thin", "BUY", "6", "-600"),
    ]  # fmt: skip
    assert [(d.round, d.quantity, d.taken) for d in said.decisions[0].demands] == [(1, "10", "4"), (3, "6", "6")]


def test_without_the_round_at_the_mark_it_stays_a_residual():
    """`residual = none`: thin keeps its position, and the reason is that it cannot pay."""
    said = run(thin().bankrupt("loser"), "decision.residual=none")
    assert waterfall(said.decisions[0]) == [("loser", "50", "0", "20", "30")]
    assert legs(said) == [("loser", "SELL", "4", "420"), ("rich", "BUY", "4", "-420")]
    [demand] = said.decisions[0].demands
    assert (demand.residual, demand.residual_reason) == ("6", "COUNTERPARTIES_CANNOT_PAY")


@pytest.mark.parametrize(
    ("line", "more", "expected"),
    [
        (("BTC", "7"), {}, [("rich", "BUY", "2", "-200"), ("sunk", "BUY", "5", "-500")]),  # at the mark
        (("BTC", "7", "97"), {}, [("rich", "BUY", "2", "-194"), ("sunk", "BUY", "5", "-485")]),  # a bonus
        (("BTC", "7"), {"equity": "-35"}, [("rich", "BUY", "7", "-735")]),  # a haircut
    ],
)
def test_insolvent_counterparties_come_first_where_it_costs_them_nothing(line, more, expected):
    """An account without equity is closed first at the mark or better, and never asked for a haircut."""
    tape = Tape().instrument().mark().account("sunk", "0", ("BTC", "-5", "90"))
    tape.account("rich", "5000", ("BTC", "-10", "105"))
    said = run(tape.at(2000).bankrupt("x", line, **more))
    assert [leg for leg in legs(said) if leg[0] != "x"] == expected


# --- held trades ------------------------------------------------------------------------------------------------------


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


# --- results ----------------------------------------------------------------------------------------------------------


def answered(tape, filled, *flags, ms=3000):
    """The tape with results of its first run's counterparties: filled quantities by account."""
    said = tape.run(*flags)
    tape.at(ms)
    for trade in said.trades:
        if trade.role == "COUNTERPARTY" and trade.account in filled:
            tape.result(trade, filled[trade.account], "SAID_NO")
    return tape


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


# --- funds, guards, controls ------------------------------------------------------------------------------------------


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


# --- the auditor itself -----------------------------------------------------------------------------------------------


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
