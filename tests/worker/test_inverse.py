"""Inverse contracts: the venue's own price, and a pool of them decided as the linear pool of reciprocals by hand."""

import json
import random
from decimal import Decimal
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import get_args

import pytest

from schemas import AccountUpdate, Balance, BankruptcyLine, Instrument, MarkPrice, Position, RiskModel, RiskSymbol
from schemas.units import text_of
from tests.worker.tape import Tape
from worker.explain import explain
from worker.settings import Policy

SATOSHI = Fraction(1, 10**8)
COIN = ("pool.currency=BTC", "pool.currency_decimals=8")
VENUES = json.loads((Path(__file__).parents[1] / "golden" / "venues.json").read_text())
BY1 = next(case for case in VENUES["isolated_bankruptcy"]["cases"] if case["id"] == "BY1")


class Coins(Tape):
    """A pool settled in coins; `by_hand`: its inverse symbols are linear ones of the reciprocal price instead."""

    def __init__(self, by_hand=False):
        super().__init__()
        self.by_hand = by_hand
        self.inverse = {}  # symbol -> dollars per contract

    def lists(self, symbol, contract="1", mmf="0.005", **more):
        self.inverse[symbol] = Fraction(contract)
        words = {"contract_type": "inverse", "tick_size": "0.01", "multiplier": contract}
        if self.by_hand:
            words = {"tick_size": "0.00000000000000001", "price_decimals": 17}
        return self.say(
            Instrument(
                symbol=symbol, lot_size="1", settlement_currency="BTC", maintenance_margin_fraction=mmf, **words, **more
            )
        )

    def price(self, symbol, text):
        """A price on the wire; by hand the coins per contract, to nine decimals of a satoshi."""
        if not self.by_hand or symbol not in self.inverse or text is None:
            return text
        return text_of(floor(self.inverse[symbol] / Fraction(text) * 10**17 + Fraction(1, 2)), 17)

    def turned(self, symbol, side, quantity):
        """Position side and quantity."""
        if not self.by_hand or symbol not in self.inverse:
            return side, quantity
        return {"LONG": "SHORT", "SHORT": "LONG"}.get(side, side), str(-int(quantity))

    def marks(self, symbol, price):
        return self.say(MarkPrice(symbol=symbol, mark_price=self.price(symbol, price), event_time_ms=self.now_ms))

    def holds(self, name, cash, *positions, adl_seq=0):
        """positions: (symbol, side, quantity, entry price, isolated margin or None)."""
        seq = self._seq[name] = self._seq.get(name, 0) + 1
        held = []
        for symbol, side, quantity, entry, margin in positions:
            side, quantity = self.turned(symbol, side, quantity)
            held.append(
                Position(
                    symbol=symbol, position_side=side, quantity=quantity, entry_price=self.price(symbol, entry),
                    margin_mode="cross" if margin is None else "isolated", isolated_margin=margin, adl_seq=adl_seq,
                )
            )  # fmt: skip
        return self.say(
            AccountUpdate(
                account=name, epoch=1, seq=seq, full=True, adl_seq=adl_seq, positions=held,
                balances=[Balance(currency="BTC", amount=cash)],
            )
        )  # fmt: skip

    def line(self, symbol, side, quantity, price=None):
        side, quantity = self.turned(symbol, side, quantity)
        return BankruptcyLine(symbol=symbol, position_side=side, quantity=quantity, price=self.price(symbol, price))

    def side_of(self, symbol, word):
        other = {"BUY": "SELL", "SELL": "BUY", "LONG": "SHORT", "SHORT": "LONG", "NET": "NET"}
        return other[word] if self.by_hand and symbol in self.inverse else word


def venue(side):
    """One isolated position of 7,890,080 contracts of a dollar at 50 times leverage, and who takes the other side."""
    sign = 1 if side == "long" else -1
    entry, size = str(BY1["entry"]), 7_890_080
    coins = Decimal(size) / Decimal(entry)  # 1,000 at the entry
    tape = Coins().lists("BTC-USD-INV").marks("BTC-USD-INV", "7700" if sign > 0 else "8100")
    tape.holds("loser", "0", ("BTC-USD-INV", "NET", str(sign * size), entry, f"{coins / BY1['leverage']:f}"))
    tape.holds("winner", "500", ("BTC-USD-INV", "NET", str(-sign * size), entry, None)).at(2000)
    return tape.bankrupt("loser", ("BTC-USD-INV", str(sign * size)))


def test_the_bankruptcy_price_of_a_long_is_the_venues():
    """BY1: entry x leverage / (leverage + 1), within what a satoshi of the quote can say; off the tick of 0.5."""
    said = venue(BY1["side"]).run(*COIN)
    [decision], (loser, winner) = said.decisions, said.trades
    assert (loser.side, winner.side, decision.demands[0].side) == ("SELL", "BUY", "SHORT")
    assert loser.quantity == winner.quantity == "7890080"
    # A long of an inverse contract owes coins: closing it pays what the margin and the entry come to, 1,020.
    assert abs(Fraction(loser.quote_amount) + 1020) <= SATOSHI
    assert Fraction(winner.quote_amount) == -Fraction(loser.quote_amount)
    assert float(loser.price) == pytest.approx(BY1["price"], abs=1e-6)
    assert loser.price == winner.price == decision.demands[0].price
    tick = Fraction(str(BY1["tick"]))
    assert -(-Fraction(loser.price) // tick) * tick == Fraction(str(BY1["rounded"]))
    assert Fraction(decision.bankruptcies[0].equity) == Fraction(decision.bankruptcies[0].deficit) * -1
    assert decision.bankruptcies[0].bad_debt == "0"


def test_the_bankruptcy_price_of_a_short_is_the_mirrored_formula():
    """Entry x leverage / (leverage - 1): the short is owed 980 of the 1,000 coins it was opened for."""
    said = venue("short").run(*COIN)
    loser, winner = said.trades
    assert (loser.side, winner.side) == ("BUY", "SELL")
    assert abs(Fraction(loser.quote_amount) - 980) <= SATOSHI
    assert Fraction(winner.quote_amount) == -Fraction(loser.quote_amount)
    assert float(loser.price) == pytest.approx(BY1["entry"] * 50 / 49, abs=1e-6)


def test_the_decision_is_explained_in_the_wires_words():
    """The bankrupt long sells and pays coins; shorts were asked, at the price on the wire."""
    said = venue("long").run(*COIN)
    loser = said.trades[0]
    records = [*said.sink.outputs("adl-decisions"), *said.sink.outputs("forced-trades")]
    text = " ".join(explain(said.decisions[0].decision_id, records).sentences)
    assert f"BTC-USD-INV SHORT round 1: 7890080 of 7890080 taken from 1 account at {loser.price} (mark 7700)" in text
    trade = " ".join(explain(loser.trade_id, records).sentences)
    pays = loser.quote_amount.removeprefix("-")
    assert f"loser must sell 7890080 BTC-USD-INV at {loser.price} and pays {pays}" in trade
    assert "its long position is taken over" in trade


def test_a_collar_bounds_the_price_on_the_wire():
    """Two percent around the mark of 7000, not around its reciprocal, on both sides."""
    for sign, price in ((1, "7140"), (-1, "6860")):
        tape = Coins().lists("BTC-USD-INV").marks("BTC-USD-INV", "7000")
        entry = "7890.08" if sign > 0 else "6200"
        tape.holds("loser", "0", ("BTC-USD-INV", "NET", str(sign * 7_140_000), entry, None))
        tape.holds("winner", "5000", ("BTC-USD-INV", "NET", str(-sign * 7_140_000), "7000", None)).at(2000)
        said = tape.bankrupt("loser").run(*COIN, "decision.collar=0.02")
        assert [float(trade.price) for trade in said.trades] == [pytest.approx(float(price), abs=1e-6)] * 2
        assert Fraction(said.decisions[0].bankruptcies[0].bad_debt) > 0


# --- a pool of inverse contracts, and the same by hand ----------------------------------------------------------------

SYMBOLS = {"BTC-USD-INV": ("1", 60_000.0, 90_000), "ETH-USD-INV": ("10", 2_500.0, 9_000)}  # contract, price, size
POLICIES = [policy for policy in get_args(Policy) if policy != "min_max_haircut"]


def pool(seed, by_hand):
    """Random accounts of two inverse symbols and a linear one in the same coins, a crash, and who falls by it."""
    chance = random.Random(seed)
    tape = Coins(by_hand)
    for symbol, (contract, _, _) in SYMBOLS.items():
        tape.lists(symbol, contract)
    tape.say(
        Instrument(
            symbol="ETH-BTC", tick_size="0.00001", lot_size="0.1", settlement_currency="BTC",
            maintenance_margin_fraction="0.01",
        )
    )  # fmt: skip
    sign = -1 if by_hand else 1
    rows = [
        RiskSymbol(symbol=symbol, loadings=[sign * 0.05, sign * chance.uniform(-0.02, 0.02)], idiosyncratic=1e-4)
        for symbol in SYMBOLS
    ]
    # No loadings: the direction of `factor` is the mean of prices' loadings, which by hand would be another one.
    rows.append(RiskSymbol(symbol="ETH-BTC", loadings=[0.0, 0.0], idiosyncratic=2e-4))
    tape.say(RiskModel(id="m", horizon_seconds=600, tail=4.0, symbols=rows))
    prices = {symbol: price for symbol, (_, price, _) in SYMBOLS.items()}
    for symbol, price in prices.items():
        tape.marks(symbol, f"{price:.2f}")
    tape.marks("ETH-BTC", "0.04")
    for number in range(24):
        held = []
        for symbol, (contract, price, size) in SYMBOLS.items():
            if chance.random() < 0.8:
                hedged, way = chance.random() < 0.3, chance.choice((-1, 1))
                side = ("LONG" if way > 0 else "SHORT") if hedged else "NET"
                lots = way * chance.randint(1, size)
                margin = f"{size * float(contract) / price * 0.05:.8f}" if chance.random() < 0.2 else None
                held.append((symbol, side, str(lots), f"{price * chance.uniform(0.93, 1.07):.2f}", margin))
        if chance.random() < 0.4:
            held.append(("ETH-BTC", "NET", f"{chance.randint(-200, 200) / 10}", "0.041", None))
        tape.holds(f"a{number:02}", f"{chance.uniform(0.01, 1.2) ** 3:.8f}", *held)
    crash = chance.choice((0.9, 1.12))
    for symbol, price in prices.items():
        tape.marks(symbol, f"{price * crash:.2f}")
    tape.at(2000).fund("0.05")
    for number in chance.sample(range(24), 5):
        tape.bankrupt(f"a{number:02}")
    symbol = "ETH-USD-INV"
    tape.bankrupt("stranger", tape.line(symbol, "LONG", "700", f"{2500 * crash * 1.01:.2f}"), name="listed")
    return tape


def legs(tape, said):
    """Each leg in the wire's words of the inverse pool, as far as prices are not concerned."""
    return [
        (
            t.account, t.symbol, tape.side_of(t.symbol, t.position_side), tape.side_of(t.symbol, t.side), t.quantity,
            t.quote_amount, t.haircut, t.role, t.round, t.adl_seq, t.leverage, t.score, t.score_after,
        )
        for t in said.trades
    ]  # fmt: skip


def words(tape, said):
    """What decisions say, prices aside."""
    return [
        (
            d.status, d.reason, d.bankruptcies, d.fund_draws, d.haircut, d.bad_debt, d.accounts, d.certificates,
            [(c.symbol, c.quantity) for c in d.crossings],
            [
                (x.symbol, tape.side_of(x.symbol, x.side), x.quantity, x.taken, x.round, x.accounts, x.level,
                 x.residual, x.residual_reason, x.leverage_before_max, x.leverage_after_max)
                for x in d.demands
            ],
        )
        for d in said.decisions
    ]  # fmt: skip


def answered(tape, said):
    """The tape with half of each counterparty's leg refused, and another bankruptcy behind."""
    tape.at(3000)
    for trade in said.trades:
        whole = int(Decimal(trade.quantity) * (10 if trade.symbol == "ETH-BTC" else 1))
        filled = whole if trade.role == "LIQUIDATED" else whole // 2
        tape.result(trade, text_of(filled, 1) if trade.symbol == "ETH-BTC" else str(filled), "POSITION")
    return tape.at(4000).bankrupt("a00", name="later")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(4))
def test_a_pool_of_inverse_contracts_is_the_linear_pool_of_reciprocals(seed, policy):
    """The same legs to the satoshi under every policy, refused ones and what follows from them included."""
    tapes = pool(seed, by_hand=False), pool(seed, by_hand=True)
    flags = (*COIN, f"decision.policy={policy}")
    first = [tape.run(*flags) for tape in tapes]
    said = [answered(tape, run).run(*flags) for tape, run in zip(tapes, first, strict=True)]
    assert [run.letters for run in said] == [[], []]
    inverse, linear = (legs(tape, run) for tape, run in zip(tapes, said, strict=True))
    assert inverse == linear
    assert len(inverse) > 8
    assert len(said[0].decisions) > len(first[0].decisions)
    inverse, linear = (words(tape, run) for tape, run in zip(tapes, said, strict=True))
    assert inverse == linear


@pytest.mark.parametrize("seed", range(4))
def test_prices_on_the_wire_are_what_the_cash_comes_to(seed):
    """|quote| per contract turned round, to the scale of marks."""
    tape = pool(seed, by_hand=False)
    said = tape.run(*COIN)
    for trade in said.trades:
        if trade.symbol in SYMBOLS and Fraction(trade.quote_amount):
            contract = Fraction(SYMBOLS[trade.symbol][0])
            price = contract * int(trade.quantity) / abs(Fraction(trade.quote_amount))
            assert abs(Fraction(trade.price) - price) <= Fraction(1, 2 * 10**8)


def test_signs_are_those_of_the_wire():
    """A LONG of an inverse contract is above 0, its entry value too; what is not is refused and said."""
    tape = Coins().lists("BTC-USD-INV").marks("BTC-USD-INV", "50000")
    wrong = [
        Position(symbol="BTC-USD-INV", quantity="-5", position_side="LONG", entry_price="50000"),
        Position(symbol="BTC-USD-INV", quantity="5", entry_value="-0.0001"),
    ]
    for number, position in enumerate(wrong):
        tape.say(AccountUpdate(account=f"odd{number}", epoch=1, seq=1, full=True, positions=[position]))
    good = Position(symbol="BTC-USD-INV", quantity="100000", position_side="LONG", entry_value="1.8")
    tape.say(AccountUpdate(account="long", epoch=1, seq=1, full=True, positions=[good]))
    tape.holds("short", "1", ("BTC-USD-INV", "SHORT", "-100000", "55555.56", None)).at(2000).bankrupt("long")
    said = tape.run(*COIN)
    assert [letter.sentence for letter in said.letters] == [
        "quantity must be at least 0 on side LONG, was '-5'",
        "entry_value must have the sign of the quantity '5', was '-0.0001'",
    ]
    assert said.decisions[0].bankruptcies[0].equity == "-0.2"  # 1.8 coins owed at the entry, 2 at the mark
    assert [(t.account, t.position_side, t.side, t.quote_amount) for t in said.trades] == [
        ("long", "LONG", "SELL", "-1.8"), ("short", "SHORT", "BUY", "1.8"),
    ]  # fmt: skip
