"""Plain records read by one kernel: what it accepts is what msgspec reads, and what it leaves is left to msgspec."""

import json
import random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas import AccountUpdate, MarkPrice, decode, encode
from tests.bench_book import marks, updates
from worker.book import plain
from worker.fetched import fetched_of
from worker.record import Record

CURRENCY = "USDT"
DECIMALS = 30  # as many as a test's number has

TEXTS = st.one_of(
    st.from_regex(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", fullmatch=True),
    st.sampled_from(["0", "-0", "007", "1.50", "1.", ".5", "+1", "1e3", "", " 1", "1" * 18, "1" * 19, "-1.000", "٣"]),
)
NAMES = st.sampled_from(["a", "alice", "S1", "x y", "é", "a\\b", 'q"q', "", "n" * 64, "n" * 65, "a\tb", "\u0000"])
NUMBERS = st.one_of(st.integers(-1, 10**18), st.sampled_from([2**53, 2**53 + 1, 2**62, 10**19, 1.0, "1", None]))


def fields(**kinds):
    """Some of the fields, in any order."""
    return st.lists(st.sampled_from(sorted(kinds)), unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: kinds[name] for name in names})
    )


POSITIONS = fields(
    symbol=NAMES, quantity=TEXTS, position_side=st.sampled_from(["NET", "LONG", "SHORT", "net"]), entry_price=TEXTS,
    entry_value=TEXTS, margin_mode=st.sampled_from(["cross", "isolated", "x"]), isolated_margin=TEXTS, adl_seq=NUMBERS,
)  # fmt: skip
GOOD = {"symbol": "S1", "quantity": "1"}
BALANCES = st.fixed_dictionaries(
    {"currency": st.sampled_from([CURRENCY, "USD", CURRENCY + "2"]), "amount": TEXTS},
    optional={"collateral_weight": st.sampled_from(["1", "0.9", "1.0"]), "x": st.just(1)},
)
UPDATES = st.builds(
    lambda base, more: {"type": "AccountUpdate", **base, **more},
    st.just({"account": "a", "epoch": 1, "seq": 2}),
    fields(
        account=NAMES, epoch=NUMBERS, seq=NUMBERS, adl_seq=NUMBERS, full=st.sampled_from([True, False, None, 1]),
        balances=st.lists(BALANCES, max_size=2),
        positions=st.lists(POSITIONS.map(lambda more: GOOD | more) | POSITIONS, max_size=3),
        maintenance_margin=TEXTS, surprise=st.just({}),
    ),
)  # fmt: skip
MARKS = st.builds(
    lambda base, more: {"type": "MarkPrice", **base, **more},
    st.just({"symbol": "S1", "mark_price": "1.5", "event_time_ms": 3}),
    fields(symbol=NAMES, mark_price=TEXTS, event_time_ms=NUMBERS, index_price=TEXTS, more=TEXTS),
)


def read(values, keys=None):
    """(fetched, records, positions) as the kernel reads them."""
    keys = keys or [None] * len(values)
    fetched = fetched_of(
        [Record("t", 0, at, 0, key, value) for at, (key, value) in enumerate(zip(keys, values, strict=True))]
    )
    text = np.frombuffer(fetched.text, np.uint8)
    records = np.full((len(values), plain.RECORD_FIELDS), -7, np.int64)
    positions = np.full((plain.positions_max(len(text)), plain.POSITION_FIELDS), -7, np.int64)
    currency = np.frombuffer(f'{CURRENCY}"'.encode(), np.uint8)
    used = plain.read_plain(text, fetched.keys, fetched.begins, fetched.ends, currency, records, positions)
    return fetched.text, records, positions[:used]


def number(cells, field):
    """What a decimal's value and places say, on a scale that every text of these tests fits; None where not said."""
    value, places = int(cells[field]), int(cells[field + 1])
    return None if places < 0 else value * 10 ** (DECIMALS - places)


def wanted(text):
    """The same of a message's text."""
    if text is None:
        return None
    whole, _, fraction = text.partition(".")
    return int(whole + fraction) * 10 ** (DECIMALS - len(fraction))


def agree(text, record, positions, message):
    """Asserts that the kernel read what the message says."""
    name = text[record[plain.NAME_BEGIN] : record[plain.NAME_END]].decode()
    if isinstance(message, MarkPrice):
        assert record[plain.KIND] == plain.MARK
        assert (name, record[plain.SEQ]) == (message.symbol, message.event_time_ms)
        assert number(record, plain.BALANCE) == wanted(message.mark_price)
        return
    assert record[plain.KIND] == plain.UPDATE
    assert isinstance(message, AccountUpdate)
    said = tuple(record[[plain.EPOCH, plain.SEQ, plain.ADL_SEQ, plain.FULL]])
    assert (name, *said) == (message.account, message.epoch, message.seq, message.adl_seq, message.full)
    assert [number(record, plain.BALANCE)] == [wanted(b.amount) for b in message.balances] or not message.balances
    assert all((b.currency, b.collateral_weight) == (CURRENCY, "1") for b in message.balances)
    assert number(record, plain.REQUIRED) == wanted(message.maintenance_margin)
    assert record[plain.COUNT] == len(message.positions)
    for at, position in enumerate(message.positions):
        cells = positions[record[plain.FIRST] + at]
        assert text[cells[plain.SYMBOL_BEGIN] : cells[plain.SYMBOL_END]].decode() == position.symbol
        assert ("NET", "LONG", "SHORT")[cells[plain.SIDE]] == position.position_side
        assert ("cross", "isolated")[cells[plain.ISOLATED]] == position.margin_mode
        assert cells[plain.POSITION_ADL_SEQ] == position.adl_seq
        assert number(cells, plain.QUANTITY) == wanted(position.quantity)
        assert number(cells, plain.PRICE) == wanted(position.entry_price)
        assert number(cells, plain.VALUE) == wanted(position.entry_value)
        assert number(cells, plain.MARGIN) == wanted(position.isolated_margin)


def check(values):
    text, records, positions = read(values)
    for value, record in zip(values, records, strict=True):
        if record[plain.KIND] != plain.NOT_PLAIN:
            [message] = decode(value)
            agree(text, record, positions, message)


def written(document):
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


@given(st.lists(UPDATES | MARKS, min_size=1, max_size=5))
def test_what_the_kernel_accepts_is_what_msgspec_reads(documents):
    """Any fields in any order with any values, several records side by side."""
    check([written(document) for document in documents])


@given(
    st.sampled_from([encode(message) for message in (*updates(30, random.Random(3)), *marks(3, random.Random(3)))]),
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([*b'{}[]",:.-0179 \\a\x00\x7f\xff', None])), max_size=3),
)
@example(b"", [])
def test_torn_and_mistyped_records_are_read_as_msgspec_reads_them_or_left(value, changes):
    """Bytes changed or cut out of what an exchange sends."""
    for at, byte in changes:
        if at < len(value):
            value = value[:at] + (b"" if byte is None else bytes([byte])) + value[at + 1 :]
    check([value, value])


@given(st.binary(max_size=80))
def test_any_bytes_are_left_or_read(value):
    """Behind a beginning that is looked for."""
    check([b'{"type":"AccountUpdate"' + value, b'{"type":"MarkPrice",' + value, value])


def test_what_exchanges_send_is_plain():
    """All of it, so that nothing slow stays unseen."""
    values = [encode(message) for message in (*updates(500, random.Random(1)), *marks(100, random.Random(2)))]
    _, records, _ = read(values)
    assert (records[:, plain.KIND] != plain.NOT_PLAIN).all()
    check(values)


@pytest.mark.parametrize(
    "value",
    [
        b'{"type":"AccountUpdate","account":"a","epoch":1,"seq":1,"account":"b"}',
        b'{"type":"AccountUpdate","account":"a","epoch":01,"seq":1}',
        b'{"type":"AccountUpdate","account":"a","epoch":1,"seq":1,}',
        b'{"type":"AccountUpdate","account":"a","epoch":1,"seq":1,"positions":[{"symbol":"S","quantity":"1"},]}',
        b'{"type":"AccountUpdate","account":"a","epoch":1}',
        b'{"type":"AccountUpdate","account":"a","epoch":1,"seq":1} ',
        b'{"type":"MarkPrice","symbol":"S","mark_price":"1","event_time_ms":9007199254740993}',
    ],
)
def test_what_is_not_plain_is_left(value):
    """Doubled fields, numbers JSON does not have, commas too many, fields too few, times too late."""
    assert read([value])[1][0, plain.KIND] == plain.NOT_PLAIN


def test_a_key_that_is_not_the_account_is_seen():
    """And one that is, and none."""
    value = b'{"type":"AccountUpdate","account":"ab","epoch":1,"seq":1}'
    _, records, _ = read([value] * 5, [b"ab", b"ax", b"abc", None, b""])
    assert records[:, plain.KEY_DIFFERS].tolist() == [0, 1, 1, 0, 1]
