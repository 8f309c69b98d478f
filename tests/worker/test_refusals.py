"""Legs that both sides refuse undo each other; only the rest is replaced, or left open by the liquidated side."""

import random
from fractions import Fraction

import pytest

from tests.worker.small_market import legs, market, run
from tests.worker.tape import Tape
from worker.summary import summarise


def clearing(said, filled):
    """Lots and cents that the clearing account is left with, once each trade is filled as told, else whole."""
    lots = cents = Fraction(0)
    for trade in said.trades:
        whole = Fraction(trade.quantity)
        part = Fraction(filled.get(trade.trade_id, trade.quantity))
        lots += part if trade.side == "SELL" else -part
        cents -= Fraction(trade.quote_amount) * 100 * part / whole // 1
    return lots, cents


def reported(said):
    """Lots that the decisions leave with the clearing account: the newest word of each symbol and side."""
    open_lots = {}
    for decision in said.decisions:
        for demand in decision.demands if decision.attempt > 1 else ():
            sign = -1 if demand.side == "LONG" else 1
            newest = demand.residual_reason == "LIQUIDATED_LEG_REFUSED"
            key = demand.side if newest else (decision.decision_id, demand.side)
            if newest or Fraction(demand.residual):
                open_lots[key] = sign * Fraction(demand.residual)
    return sum(open_lots.values())


def answer(tape, ms, said, fills):
    """Answers the trades of the accounts in `fills`; returns what was told, by trade."""
    tape.at(ms)
    told = {trade.trade_id: fills[trade.account] for trade in said.trades if trade.account in fills}
    for trade in said.trades:
        if trade.account in fills:
            tape.result(trade, fills[trade.account], "POSITION_SMALLER")
    return told


def rows(decision):
    return [(d.side, d.quantity, d.taken, d.residual, d.residual_reason) for d in decision.demands]


SHORT_OF = [
    ("2", "2", [], []),  # both refuse 8: nothing is open
    ("6", "2", [("rich", "BUY", "4", "-420")], [("SHORT", "4", "4", "0", None)]),
    ("2", "6", [], [("LONG", "4", "0", "4", "LIQUIDATED_LEG_REFUSED")]),
]


@pytest.mark.parametrize(("loser", "winner", "more", "said_rows"), SHORT_OF)
def test_in_one_run_of_results_only_the_rest_is_replaced_or_open(loser, winner, more, said_rows):
    """The liquidated account gives `loser` of 10, the counterparty takes `winner`."""
    tape = market().bankrupt("loser")
    told = answer(tape, 3000, run(tape), {"loser": loser, "winner": winner})
    said = run(tape)
    assert legs(said, 1) == more
    assert rows(said.decisions[1]) == said_rows
    lots, cents = clearing(said, told)
    assert lots == reported(said)
    assert lots or cents == 0


def test_a_counterparty_that_refuses_later_closes_what_the_liquidated_side_left_open():
    """8 were open; the counterparty's 8 undo them, and the later decision says that nothing is."""
    tape = market().bankrupt("loser")
    first = run(tape)
    told = answer(tape, 3000, first, {"loser": "2"}) | answer(tape, 4000, first, {"winner": "2"})
    said = run(tape)
    assert [decision.status for decision in said.decisions] == ["DECIDED", "RESIDUAL", "DECIDED"]
    assert [rows(decision) for decision in said.decisions[1:]] == [
        [("LONG", "8", "0", "8", "LIQUIDATED_LEG_REFUSED")], [("LONG", "0", "0", "0", "LIQUIDATED_LEG_REFUSED")],
    ]  # fmt: skip
    assert legs(said, 1) == legs(said, 2) == []
    assert clearing(said, told) == (0, 0)
    assert [summarise(first.sink.records).residuals, summarise(said.sink.records).residuals] == [[], []]


def test_what_was_replaced_before_the_liquidated_side_refused_stays_open():
    """The replacement has traded: the 8 that then are not given are the clearing account's, and reported."""
    tape = market().bankrupt("loser")
    first = run(tape)
    told = answer(tape, 3000, first, {"winner": "2"}) | answer(tape, 4000, first, {"loser": "2"})
    said = run(tape)
    assert legs(said, 1) == [("rich", "BUY", "8", "-840")]
    assert rows(said.decisions[2]) == [("LONG", "8", "0", "8", "LIQUIDATED_LEG_REFUSED")]
    assert clearing(said, told) == (-8, 84000)


def test_a_replacement_that_still_waits_is_lowered_by_what_the_liquidated_side_refuses():
    """Paused between the two refusals: of 8 refused lots only 3 are still needed once 5 are not given."""
    tape = market().bankrupt("loser")
    first = run(tape)
    tape.at(2500).control("PAUSE")
    told = answer(tape, 3000, first, {"winner": "2"}) | answer(tape, 4000, first, {"loser": "5"})
    said = run(tape.at(5000).control("RESUME"))
    taken = [leg for decision in range(1, len(said.decisions)) for leg in legs(said, decision)]
    assert {leg for leg in taken if leg[0] == "rich"} == {("rich", "BUY", "3", "-315")}
    assert clearing(said, told) == (0, 0)


def two_prices():
    """`cheap` closes at 100 and `dear` at 120, 5 lots each; the shorts pay the mean of 110."""
    tape = (
        Tape().instrument().mark().account("cheap", "0", ("BTC", "5", "100")).account("dear", "0", ("BTC", "5", "120"))
    )
    tape.account("w1", "9000", ("BTC", "-10", "105")).account("w2", "90000", ("BTC", "-10", "105"))
    return tape.at(2000).bankrupt("cheap").bankrupt("dear")


@pytest.mark.parametrize(("refuses", "cash", "bad_debt"), [("dear", "-60", "0"), ("cheap", "-110", "50")])
def test_new_counterparties_pay_what_is_owed_and_no_more_than_who_refused(refuses, cash, bad_debt):
    """6 lots, 660, are refused, 5 of them undone with 600 or 500: 60 are owed for the last, or 160, of which 110."""
    tape = two_prices()
    told = answer(tape, 3000, run(tape), {refuses: "0", "w1": "4"})
    said = run(tape)
    assert legs(said, 1) == [("w2", "BUY", "1", cash)]
    assert said.decisions[1].bad_debt == bad_debt
    assert clearing(said, told) == (0, -100 * int(bad_debt))


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_refused_in_whatever_order_the_clearing_account_holds_what_is_reported(seed):
    """Random answers to trades of three bankrupt accounts on both sides, in several runs of results."""
    rng = random.Random(seed)
    tape = Tape().instrument().mark()
    for number in range(6):
        tape.account(f"s{number}", "900", ("BTC", str(-rng.randint(1, 9)), "105"))
        tape.account(f"l{number}", "900", ("BTC", str(rng.randint(1, 9)), "95"))
    for number, sign in enumerate((1, 1, -1)):
        tape.account(f"b{number}", "0", ("BTC", str(sign * rng.randint(2, 9)), "103" if sign > 0 else "96"))
    tape.at(2000)
    for number in range(3):
        tape.bankrupt(f"b{number}")
    told, ms = {}, 3000
    for _ in range(5):
        said = run(tape)
        waiting = [trade for trade in said.trades if trade.trade_id not in told]
        tape.at(ms)
        for trade in rng.sample(waiting, rng.randint(0, len(waiting))):
            told[trade.trade_id] = str(rng.choice((int(trade.quantity), 0, rng.randint(0, int(trade.quantity)))))
            tape.result(trade, told[trade.trade_id])
        ms += 1000
    said = run(tape)
    lots, _ = clearing(said, told)
    assert lots == reported(said)
