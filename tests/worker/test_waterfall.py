"""Who pays a deficit, and at which prices: the fund, the event, the winners, nobody."""

from fractions import Fraction

import pytest

from schemas import Bankruptcy, encode
from solver.settlement import clamp
from tests.worker.small_market import legs, market, run, waterfall
from tests.worker.tape import Tape
from worker.waterfall import within_collar


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


@pytest.mark.parametrize("collar", [None, Fraction(1, 50), Fraction(1)])
@pytest.mark.parametrize("factor", [Fraction(0), Fraction(1, 3), Fraction(1), Fraction(99, 100), Fraction(5)])
def test_the_collar_of_an_inverse_contract_is_about_the_price_on_the_wire(factor, collar):
    """Booked factor 0 is a price without bound; a collar of 1 bounds it above alone."""
    found = within_collar(factor, -1, collar)
    if collar is None:
        assert found == factor
    else:
        assert abs(1 / found - 1) <= collar
        inside = factor and abs(1 / factor - 1) <= collar
        assert (found == factor) if inside else abs(1 / found - 1) == collar
    assert within_collar(factor, 1, collar) == clamp(factor, collar)
