"""Who is asked, in which order, and who is not."""

import pytest

from schemas import Account
from tests.worker.small_market import legs, market, run, thin, waterfall
from tests.worker.tape import Tape


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
