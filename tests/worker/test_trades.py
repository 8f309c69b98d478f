"""Forced trades in columns: their bytes are msgspec's, and what is read back is what was decided."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from schemas import AccountUpdate, Balance, ForcedTrade, Instrument, encode, link, text_of
from worker.book.book import Book
from worker.book.state import SIDES
from worker.ids import short_hash
from worker.legs import Orders
from worker.output import TRADES, OutputLog
from worker.trades import Frame, legs_of_trades, trades_of_orders

# As the codec lets them in: what prints.
NAMES = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=12) | st.sampled_from(
    ['"', "\\", 'a","b', "ключ", "😀", "</script>", "a b", '\\"']
)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([-0.0, 1e16, 1e17, 1e18, 5e-324, 100.0])
SCALES = [
    ("1", "1", 0, "1", "linear"), ("0.001", "0.01", 9, "1", "linear"), ("0.5", "100", 1, "0.001", "linear"),
    ("0.0001", "1", 10, "1000", "inverse"),  # what a lot of it is worth at a price of 1 has more than 63 bits
]  # fmt: skip
LEGS = st.tuples(
    st.integers(0, 3),  # account
    st.integers(0, 3),  # symbol
    st.integers(0, 2),  # position side
    st.sampled_from([1, -1]),
    st.booleans(),
    st.integers(1, 2**40) | st.integers(1, 1000),
    st.integers(-(2**59), 2**59) | st.integers(-5, 5),
    st.integers(-(2**59), 2**59) | st.integers(-5, 5),
    st.integers(0, 9),
    st.none() | NUMBERS.filter(lambda value: value < 1e18),
    st.none() | NUMBERS,
    st.none() | NUMBERS,
    st.none() | NUMBERS,
)


def book_of(accounts, symbols):
    book = Book("USDT", 6)
    for symbol, (tick, lot, decimals, multiplier, kind) in zip(symbols, SCALES, strict=True):
        book.set_instrument(
            Instrument(
                symbol=symbol, tick_size=tick, lot_size=lot, price_decimals=decimals, multiplier=multiplier,
                contract_type=kind,
                settlement_currency="USDT", maintenance_margin_fraction="0.01",
            )
        )  # fmt: skip
    for number, account in enumerate(accounts[:2]):  # the others are strangers
        balances = [Balance(currency="USDT", amount="1")]
        book.apply_update(AccountUpdate(account=account, epoch=0, seq=number, full=True, balances=balances))
    return book


def orders_of(book, accounts, legs):
    columns = list(zip(*legs, strict=True)) or [()] * 13
    account, symbol, side, sign, liquidated, lots, quote, haircut, number, *rates = columns
    rows = [book.account_row(accounts[place]) for place in account]
    keys = [4 * market + code for market, code in zip(symbol, side, strict=True)]
    ints = [np.array(column, np.int64) for column in (rows, keys, sign, lots, quote, haircut, number)]
    floats = [np.array([np.nan if v is None else v for v in column], np.float64) for column in rates]
    return Orders(*ints[:3], np.array(liquidated, np.bool_), *ints[3:], *floats)


def message(book, frame, names, leg, adl_seq, head):
    """The trade as a message, field by field."""
    accounts, symbols = names
    account, symbol, side, sign, liquidated, lots, quote, haircut, number, *rates = leg
    scale = book.scale(symbols[symbol])
    amount, size = abs(quote) * scale.value_den, lots * scale.value_num
    if scale.sign < 0:
        amount, size = size, amount
    role = "LIQUIDATED" if liquidated else "COUNTERPARTY"
    sequence, chain = head
    return ForcedTrade(
        pool="a \"pool\"", sequence=sequence + 1, chain=chain,
        trade_id=short_hash(frame.decision_id, number, accounts[account], symbols[symbol], SIDES[side], role),
        decision_id=frame.decision_id, adl_seq=adl_seq, role=role, account=accounts[account], symbol=symbols[symbol],
        position_side=SIDES[side], side="SELL" if sign * scale.sign > 0 else "BUY", quantity=scale.quantity_text(lots),
        quote_amount=text_of(quote, 6), price=scale.price_text((2 * amount + size) // (2 * size) if size else 0),
        clearing_account=frame.clearing_account, round=number, haircut=text_of(haircut, 6),
        **dict(zip(("leverage", "score", "score_after", "score_alone"), rates, strict=True)),
        account_seq=book.account_seq(accounts[account]) if frame.strict else None,
    )  # fmt: skip


@given(
    st.lists(NAMES, min_size=4, max_size=4, unique=True),
    st.lists(NAMES, min_size=4, max_size=4, unique=True),
    st.lists(LEGS, max_size=8),
    NAMES,
    st.booleans(),
)
def test_records_are_what_msgspec_writes(accounts, symbols, legs, clearing, strict):
    """Byte for byte, keys and chain included, whatever is in a name."""
    book, frame = book_of(accounts, symbols), Frame("d" * 32, clearing, strict)
    orders = orders_of(book, accounts, legs)
    booked, texts = trades_of_orders(book, frame, orders, np.arange(1, len(legs) + 1))
    log = OutputLog('a "pool"')
    head = log.heads[TRADES]
    log.put_texts(TRADES, "ForcedTrade", texts, 5)
    messages = []
    outputs = log.take()
    for place, (leg, output) in enumerate(zip(legs, outputs, strict=True)):
        messages.append(message(book, frame, (accounts, symbols), leg, place + 1, head))
        assert output.value == encode(messages[-1])
        assert (output.topic, output.key, output.log_time_ms) == (TRADES, accounts[leg[0]].encode(), 5)
        head = head[0] + 1, link(output.value)
    assert log.heads[TRADES] == head
    packed = OutputLog('a "pool"', {TRADES: "msgpack"})
    packed.put_texts(TRADES, "ForcedTrade", texts, 5)
    packed_chain = OutputLog('a "pool"').heads[TRADES][1]
    for told, output in zip(messages, packed.take(), strict=True):
        assert output.value == encode(structs.replace(told, chain=packed_chain), "msgpack")
        packed_chain = link(output.value)
    # What was published is booked by the same columns.
    for column, again in zip(booked, legs_of_trades(book, messages), strict=True):
        assert list(column) == list(again)


def test_a_rate_that_is_not_there_is_not_written():
    """NaN stands for none; an infinite score is null, as msgspec writes it."""
    book = book_of(list("abcd"), list("wxyz"))
    orders = orders_of(book, list("abcd"), [(0, 0, 0, 1, False, 1, 1, 1, 1, None, float("inf"), None, None)])
    _, (_, (text,)) = trades_of_orders(book, Frame("d", "c", False), orders, np.ones(1, np.int64))
    assert text.endswith(b',"haircut":"0.000001","score":null}')
