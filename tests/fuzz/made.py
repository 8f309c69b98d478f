"""Every input message of a small market: valid by construction, with numbers at their limits, and with fields spoilt.

Rule: all chance comes from the `rng` that is given, so a seed tells everything, and hypothesis can shrink.
"""

import json

import msgspec
import numpy as np

from schemas import (
    Account,
    AccountUpdate,
    Balance,
    Bankruptcy,
    BankruptcyLine,
    Control,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarginTier,
    MarkPrice,
    Position,
    PositionBatch,
    RiskModel,
    RiskSymbol,
    encode,
)
from tests.fuzz.texts import ODD_NUMBERS
from worker.inputs import POLICIES

SYMBOLS = {"BTC": "linear", "ETH": "linear", "INV": "inverse"}
ACCOUNTS = ("winner", "rich", "loser", "a", "bob", "é", "n" * 64, "CLEARING")
INTEGERS = (
    -(2**63), -1, 0, 1, 2, 63, 64, 65, 1024, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 2**61, 2**61 + 1, 2**62, 2**62 + 1,
    2**63 - 1, 2**63, 2**64 - 1,
)  # fmt: skip
NAMES = ("", "x", "é" * 32, "é" * 33, "n" * 65, "\u0000", "a\nb", "東京", "😀", "\u200b", "NO", "default", "risk", "b1")
VALUES = (None, True, False, 0.5, -1e300, 5e-324, [], {}, [[]], [None], {"type": "MarkPrice"}, [{"symbol": "BTC"}])


def number(rng, *good, odd=0.1):
    return rng.choice(ODD_NUMBERS) if rng.random() < odd else rng.choice(good)


def perhaps(rng, *good, share=0.5):
    return number(rng, *good) if rng.random() < share else None


def integer(rng, *good, odd=0.05):
    return rng.choice(INTEGERS) if rng.random() < odd else rng.choice(good)


def symbol(rng):
    return rng.choice([*SYMBOLS] * 6 + ["NO"])


def instrument(rng):
    """Mostly what the market has already, now and then one that is new or says something else."""
    name = rng.choice([*SYMBOLS, *SYMBOLS, "NEW"])
    tiers = None
    if rng.random() < 0.3:
        fractions = ("0.1", *sorted(rng.choice(("0.1", "0.2", "0.5", "1")) for _ in range(rng.randrange(3))))
        tiers = [
            MarginTier(notional_max=number(rng, str(1000 * (at + 1))), maintenance_margin_fraction=fraction)
            for at, fraction in enumerate(fractions)
        ]
    return Instrument(
        symbol=name, tick_size=number(rng, "1", odd=0.05), lot_size=number(rng, "1", odd=0.05),
        settlement_currency=rng.choice(("USD", "USD", "USD", "USD", "EUR")),
        maintenance_margin_fraction=number(rng, "0.1", odd=0.05),
        price_decimals=rng.choice((2, 2, 2, None, 24, 25, -1)),
        contract_type=SYMBOLS.get(name, "linear"), margin_tiers=tiers, fund_id=rng.choice(("default", "other")),
        status=rng.choice(("TRADING", "HALTED", "DELISTED")),
    )  # fmt: skip


def risk_model(rng):
    factors = rng.choice((0, 1, 1, 2, 3))
    floats = (0.0, 0.01, -0.02, 1e-9, 1e-10, 100.0, 101.0, 5e-324)
    return RiskModel(
        id=rng.choice(("m1", "m2")), horizon_seconds=integer(rng, 3600),
        tail=rng.choice((None, 4.0, 3.8, 1.5, 1.4, 1e3)),
        symbols=[
            RiskSymbol(
                symbol=name, loadings=[rng.choice(floats[:3]) for _ in range(factors)],
                idiosyncratic=rng.choice((1e-4, 1e-4, 1e-4, *floats)),
            )
            for name in SYMBOLS if rng.random() < 0.8
        ],
    )  # fmt: skip


def account(rng):
    return Account(
        account=rng.choice(ACCOUNTS), role=rng.choice(("TRADER", "TRADER", "LIQUIDATION", "INSURANCE", "CLEARING")),
        adl=rng.choice(("NORMAL", "NORMAL", "LAST", "EXEMPT")), beneficial_owner=rng.choice((None, None, "o", "p")),
    )  # fmt: skip


def position(rng):
    side = rng.choice(("NET", "NET", "NET", "LONG", "SHORT"))
    quantity = number(rng, "0", "5", "-5", "10", "-10", odd=0.03)
    if side != "NET" and rng.random() < 0.9:
        quantity = quantity.lstrip("-") if side == "LONG" else f"-{quantity.lstrip('-')}"
    return Position(
        symbol=symbol(rng), quantity=quantity, position_side=side, entry_price=perhaps(rng, "100", "95", share=0.9),
        entry_value=perhaps(rng, "500", "-500", share=0.1), margin_mode=rng.choice((*3 * ("cross",), "isolated")),
        isolated_margin=perhaps(rng, "50", "0"), adl_seq=integer(rng, 0, 0, 0, 1, 2, odd=0.02),
    )  # fmt: skip


def update(rng):
    balances = (
        [Balance(currency="USD", amount=number(rng, "50", "1000", "-20", "100000"))] if rng.random() < 0.9 else []
    )
    if rng.random() < 0.05:
        balances.append(Balance(currency=rng.choice(("USD", "BTC", "EUR")), amount="1", collateral_weight="0.9"))
    return AccountUpdate(
        account=rng.choice(ACCOUNTS), epoch=integer(rng, 1, 1, 1, 2, odd=0.01),
        seq=integer(rng, *range(2, 90), odd=0.02),
        adl_seq=integer(rng, 0, 0, 0, 1, 2, odd=0.02), full=rng.random() < 0.5, balances=balances,
        positions=[position(rng) for _ in range(rng.choice((0, 1, 1, 2, 3)))],
        maintenance_margin=perhaps(rng, "10", share=0.1),
    )  # fmt: skip


def position_batch(rng):
    """Rows that fit each other but for one number here and there, or blocks of any bytes."""
    names, of = rng.sample(ACCOUNTS, rng.randrange(1, 4)), [*SYMBOLS, "NO"]
    rows, positions = [], []
    for at in range(len(names)):
        numbers, count = (1, rng.randrange(90)), rng.randrange(3)
        rows.append([at, *numbers, 0, rng.randrange(2), 1, rng.choice((0, 5000, -5000, 2**60)), count])
        for _ in range(count):
            lots = rng.choice((0, 1, -5, 2**53))
            positions.append([at, rng.randrange(len(of)), 0, *numbers, 0, lots, 100 * lots])
    for block in (rows, positions):
        for _ in range(rng.choice((0, 0, 0, 1, 2)) if block else 0):
            rng.choice(block)[rng.randrange(8)] = min(rng.choice(INTEGERS), 2**63 - 1)
    blocks = [np.array(block, "<i8").tobytes() for block in (rows, positions)]
    if rng.random() < 0.1:
        blocks[rng.randrange(2)] = bytes([rng.randrange(256)]) * rng.choice((1, 63, 64, 65, 128))
    return PositionBatch(accounts=names, symbols=of, updates=blocks[0], positions=blocks[1])


def mark(rng):
    return MarkPrice(
        symbol=symbol(rng), mark_price=number(rng, "100", "90", "95.5", "110"),
        event_time_ms=integer(rng, 0, 2000, 9000),
        index_price=rng.choice((None, None, "100", "x", "")),
    )  # fmt: skip


def bankruptcy(rng):
    lines = [
        BankruptcyLine(
            symbol=symbol(rng), quantity=number(rng, "3", "-3", "10"), price=perhaps(rng, "100", "105", share=0.2),
            position_side=rng.choice(("NET", "NET", "LONG", "SHORT")),
        )
        for _ in range(rng.choice((0, 0, 1, 1, 2)))
    ]  # fmt: skip
    return Bankruptcy(
        id=f"b{rng.randrange(30)}", account=rng.choice(ACCOUNTS), event_time_ms=integer(rng, 0, 2000, 9000),
        fund_id=rng.choice((None, None, "other")), insurance=perhaps(rng, "0", "5", share=0.1),
        equity=perhaps(rng, "-50", "-1", share=0.3), lines=lines,
    )  # fmt: skip


def fund(rng):
    return InsuranceFund(
        fund_id=rng.choice(("default", "other")), balance=number(rng, "0", "5", "1000", "-5"),
        decision_sequence=integer(rng, 0, 1, 2),
    )  # fmt: skip


def result(rng):
    return ForcedTradeResult(
        trade_id=rng.choice(("t", "0" * 32)), account=rng.choice(ACCOUNTS), filled_quantity=number(rng, "0", "1"),
        reason=rng.choice((None, "no", "é" * 512, "é" * 513)), seq=rng.choice((None, 1, -1)),
    )  # fmt: skip


def control(rng):
    action = rng.choice(("PAUSE", "RESUME", "RESUME", "RESUME", "POLICY", "POLICY", "RELEASE", "TRIGGER"))
    return Control(
        id="c", action=action, operator="ann", reason="because\nof it",
        decision_id="d" if action == "RELEASE" else None,
        policy=rng.choice([*POLICIES, "no"]) if action == "POLICY" else None,
        bankruptcy=bankruptcy(rng) if action == "TRIGGER" else None,
    )  # fmt: skip


TOPICS = {
    "instruments": (instrument,), "risk-model": (risk_model,), "accounts": (account,), "controls": (control,),
    "insurance-fund": (fund,), "mark-prices": (mark, mark), "positions": (update, update, update, position_batch),
    "bankruptcies": (bankruptcy, bankruptcy), "forced-trade-results": (result,),
}  # fmt: skip
MAKERS = [(topic, make) for topic, makers in TOPICS.items() for make in makers]
FIELDS = sorted({
    field.name
    for struct in (
        Instrument, MarginTier, RiskModel, RiskSymbol, Account, Balance, Position, AccountUpdate, PositionBatch,
        MarkPrice, BankruptcyLine, Bankruptcy, InsuranceFund, ForcedTradeResult, Control,
    )
    for field in msgspec.structs.fields(struct)
})  # fmt: skip


def message(rng):
    """(topic, message): any kind, of the right types."""
    topic, make = rng.choice(MAKERS)
    return topic, make(rng)


def document(rng, said):
    """A message as JSON has it, spoilt in a few places: fields dropped, added, of another type, numbers at limits."""
    said = json.loads(encode(said))
    for _ in range(rng.choice((0, 1, 1, 2))):
        here = rng.choice(objects(said))
        name = rng.choice([*here, *here, rng.choice(FIELDS)]) if here else rng.choice(FIELDS)
        if rng.random() < 0.25:
            here.pop(name, None)
        else:
            here[name] = anything(rng)
    return said if rng.random() < 0.95 else rng.choice(([said], [said, said], [[said]], [], [said, None]))


def objects(said):
    """Every object in a document, itself first."""
    inner = said.values() if isinstance(said, dict) else said if isinstance(said, list) else ()
    return ([said] if isinstance(said, dict) else []) + [found for item in inner for found in objects(item)]


def anything(rng):
    return rng.choice((rng.choice(VALUES), rng.choice(INTEGERS), rng.choice(ODD_NUMBERS), rng.choice(NAMES), "1"))
