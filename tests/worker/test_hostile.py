"""Whatever is said, the loop goes on: random messages with numbers at and beyond the limits, in any order."""

import random
from collections import Counter

import pytest

from schemas import (
    AccountUpdate,
    Balance,
    Bankruptcy,
    BankruptcyLine,
    Control,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Position,
    scaled,
)
from tests.worker.small_market import market

NUMBERS = (
    "0", "1", "-1", "10", "-10", "0.5", "0.01", "0.001", "+5", " 1", "", "1e5", "NaN", "9007199254740992",
    "-9007199254740992", "90000000000000", "-11000000000000000", "1152921504606846976", "9" * 48,
)  # fmt: skip
FLAGS = (
    (), ("decision.collar=0.1",), ("decision.settlement=mark",), ("decision.notional_max=100",),
    ("decision.residual=none",), ("decision.protect_principal=true",), ("decision.policy=queue:effective_leverage",),
)  # fmt: skip


class Hostile:
    """Says anything of the right shape."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.seq = 10

    def number(self, *likely):
        return self.rng.choice([*likely, self.rng.choice(NUMBERS)])

    def perhaps(self):
        return self.rng.choice([None, self.rng.choice(NUMBERS)])

    def where(self):
        rng = self.rng
        side = rng.choice(["NET", "NET", "LONG", "SHORT"])
        return {"symbol": rng.choice(["BTC", "BTC", "BTC", "NO"]), "position_side": side}

    def update(self, account):
        rng = self.rng
        self.seq += 1
        positions = [
            Position(
                **self.where(), quantity=self.number("5", "-5"), entry_price=self.perhaps(), entry_value=self.perhaps(),
                margin_mode=rng.choice(["cross", "isolated"]), isolated_margin=self.perhaps(),
                adl_seq=rng.choice([0, 1, 2**62]),
            )
            for _ in range(rng.randrange(3))
        ]  # fmt: skip
        return AccountUpdate(
            account=account, epoch=rng.choice([1, 1, 2]), seq=self.seq, adl_seq=rng.choice([0, 1, 2**61]),
            full=rng.random() < 0.5, balances=[Balance(currency="USD", amount=self.number("50"))], positions=positions,
            maintenance_margin=self.perhaps(),
        )  # fmt: skip

    def message(self, trades):
        rng = self.rng
        account = rng.choice(["winner", "rich", "loser", "x", "CLEARING"])
        lines = [
            BankruptcyLine(**self.where(), quantity=self.number("3", "-3"), price=self.perhaps())
            for _ in range(rng.randrange(3))
        ]
        trade = rng.choice(trades) if trades else None
        return rng.choice(
            [
                Instrument(
                    symbol="BTC", tick_size=self.number("1"), lot_size=self.number("1"), settlement_currency="USD",
                    maintenance_margin_fraction=self.number("0.1", "1", "0.000001"), price_decimals=2,
                ),
                MarkPrice(symbol="BTC", mark_price=self.number("100", "90"), event_time_ms=rng.choice([0, 2**53])),
                self.update(account),
                InsuranceFund(
                    fund_id="default", balance=self.number(), decision_sequence=rng.choice([0, 1, 2**62])
                ),
                *2 * [
                    Bankruptcy(
                        id=f"b{rng.randrange(40)}", account=account, event_time_ms=rng.choice([0, 2000, 10**6]),
                        equity=self.perhaps(), insurance=self.perhaps(), lines=lines,
                    )
                ],
                ForcedTradeResult(
                    trade_id=trade.trade_id if trade else "q", account=trade.account if trade else "q",
                    filled_quantity=self.number("0", "1"),
                ),
                Control(
                    id="c", action=rng.choice(["PAUSE", "RESUME", "RESUME", "POLICY", "RELEASE"]), operator="a",
                    reason="r", policy=rng.choice(["waterfill", "no", None]), decision_id="d",
                ),
            ]
        )  # fmt: skip


@pytest.mark.parametrize("block", range(4))
def test_nothing_that_is_said_stops_the_loop(block):
    """Refused, held or decided; and what is decided sums to zero."""
    statuses = Counter()
    for seed in range(block * 30, block * 30 + 30):
        hostile, tape = Hostile(seed), market()
        flags = hostile.rng.choice(FLAGS)
        trades = []
        for step in range(hostile.rng.randrange(5, 20)):
            tape.at(2000 + 10 * step).say(hostile.message(trades))
            if hostile.rng.random() < 0.2:
                trades = tape.run(*flags).trades
        said = tape.run(*flags)
        statuses.update(decision.status for decision in said.decisions)
        for decision in said.decisions:
            cash = Counter()
            for trade in said.trades:
                if trade.decision_id == decision.decision_id:
                    cash[trade.symbol] += scaled(trade.quote_amount, 2)
            assert decision.attempt > 1 or not any(cash.values()), f"seed {seed}"
    assert statuses.keys() >= {"DECIDED", "HELD", "UNKNOWN_ACCOUNT"}
