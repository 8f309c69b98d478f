"""Margin tiers in decisions: a part that is taken over carries its position's part of a deficit, whatever it is."""

import random
from fractions import Fraction

import pytest

from schemas import BankruptcyLine, MarginTier, Position
from tests.worker.small_market import run
from tests.worker.tape import Tape

TIERS = [
    MarginTier(notional_max="1000", maintenance_margin_fraction="0.1"),
    MarginTier(notional_max="2000", maintenance_margin_fraction="0.3"),
]


def test_a_deficit_goes_by_what_positions_require_by_their_tiers():
    """3,000 in BTC require 100 + 600, 3,000 in ETH without tiers 300: of the deficit of 100 BTC carries 70."""
    tape = Tape().instrument(margin_tiers=TIERS).instrument("ETH").mark().mark("ETH")
    tape.account("loser", "-100", ("BTC", "30", "100"), ("ETH", "30", "100"))
    tape.account("rich", "90000", ("BTC", "-30", "100"), ("ETH", "-30", "100")).at(2000).bankrupt("loser")
    said = run(tape)
    assert {(t.symbol, t.haircut) for t in said.trades if t.account == "rich"} == {("BTC", "70"), ("ETH", "30")}
    assert said.decisions[0].bankruptcies[0].bad_debt == "0"


def test_half_of_a_position_carries_half_of_its_part():
    """Not what half of it would require alone, for then the other half would carry more."""
    tape = Tape().instrument(margin_tiers=TIERS).mark().account("loser", "-70", ("BTC", "30", "100"))
    tape.account("rich", "90000", ("BTC", "-30", "100")).at(2000).bankrupt("loser", ("BTC", "15"))
    said = run(tape)
    assert [t.haircut for t in said.trades if t.account == "rich"] == ["35"]


def test_requirements_reach_the_queue_that_asks_for_them():
    """`queue:binance` ranks by maintenance margin over equity: the position in the dear tier comes first."""
    tape = Tape().instrument(margin_tiers=TIERS).mark().account("loser", "100", ("BTC", "40", "100"))
    for name, short, cash in (("large", "-30", "3000"), ("small", "-10", "1000")):
        tape.account(name, cash, ("BTC", short, "110"))
    said = tape.at(2000).bankrupt("loser").run("decision.policy=queue:binance")
    scores = {t.account: t.score for t in said.trades if t.role == "COUNTERPARTY"}
    assert scores["large"] / scores["small"] == pytest.approx(700 / 100 / 3)
    plain = Tape().instrument().mark().account("loser", "100", ("BTC", "40", "100"))
    for name, short, cash in (("large", "-30", "3000"), ("small", "-10", "1000")):
        plain.account(name, cash, ("BTC", short, "110"))
    said = plain.at(2000).bankrupt("loser").run("decision.policy=queue:binance")
    assert len({t.score for t in said.trades if t.role == "COUNTERPARTY"}) == 1


@pytest.mark.parametrize("seed", range(40))
def test_the_auditor_agrees_on_random_takeovers(seed):
    """Whole books, listed parts, two events on one account, isolated positions: prices and sums are as it says."""
    chance = random.Random(seed)
    tape = Tape().instrument(margin_tiers=TIERS).instrument("ETH", margin_tiers=TIERS[:1]).instrument("XRP")
    symbols = ("BTC", "ETH", "XRP")
    for symbol in symbols:
        tape.mark(symbol)
    lots = {symbol: chance.randint(4, 60) for symbol in symbols}
    held = [(symbol, str(count), str(chance.randint(95, 120))) for symbol, count in lots.items()]
    if chance.random() < 0.5:
        held[0] = Position(
            symbol="BTC", quantity=held[0][1], entry_price=held[0][2], margin_mode="isolated",
            isolated_margin=str(chance.randint(0, 200)),
        )  # fmt: skip
    tape.account("loser", str(chance.randint(-900, 300)), *held)
    for number in range(6):
        tape.account(f"w{number}", str(chance.randint(500, 20000)), *((s, "-10", "101") for s in symbols))
    tape.fund(str(chance.randint(0, 300))).at(2000)
    if chance.random() < 0.4:
        tape.bankrupt("loser")
    else:
        for name in ("one", "two")[: chance.randint(1, 2)]:
            parts = chance.sample(symbols, chance.randint(1, 3))
            lines = [BankruptcyLine(symbol=s, quantity=str(chance.randint(1, lots[s] // 2))) for s in sorted(parts)]
            tape.bankrupt("loser", *lines, name=name)
    said = run(tape)
    assert said.trades
    assert all(Fraction(item.deficit) >= 0 for item in said.decisions[0].bankruptcies)
