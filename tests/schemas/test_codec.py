"""Bytes become messages or a refusal, never another exception, and one message has one text."""

import json
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import limits
from schemas.codec import decode, decode_output, encode
from schemas.messages import AccountUpdate, Balance, Control, Cut, InsuranceFund, MarkPrice, Position
from schemas.rejections import Reason, Refused

MARK = {"type": "MarkPrice", "symbol": "BTC-PERP", "mark_price": "50000", "event_time_ms": 1}
UPDATE = {"type": "AccountUpdate", "account": "erin", "epoch": 1, "seq": 1}
BANKRUPTCY = {"type": "Bankruptcy", "id": "b1", "account": "carol", "event_time_ms": 1}
CONTROL = {"type": "Control", "id": "c1", "action": "PAUSE", "operator": "anna", "reason": "test"}
RESULT = {"type": "ForcedTradeResult", "trade_id": "t1", "account": "erin", "filled_quantity": "1"}


def refused(value: bytes | dict) -> Refused:
    with pytest.raises(Refused) as caught:
        decode(value if isinstance(value, bytes) else json.dumps(value).encode())
    return caught.value


def test_a_record_holds_one_message_or_an_array_of_them():
    """Both forms give a list, in order; an empty array is a record that says nothing."""
    mark = MarkPrice(symbol="BTC-PERP", mark_price="50000", event_time_ms=1)
    fund = InsuranceFund(fund_id="default", balance="1")
    assert decode(encode(mark)) == [mark]
    assert decode(b"[" + encode(mark) + b"," + encode(fund) + b"]") == [mark, fund]
    assert decode(b"[]") == []


def test_unknown_fields_are_ignored():
    """A newer writer may add fields before we know them."""
    assert decode(json.dumps({**MARK, "added_later": {"a": [1]}}).encode()) == decode(json.dumps(MARK).encode())


@pytest.mark.parametrize(
    "value",
    [b"", b"null", b"1", b"\xff\x00", b"{", b"{}", b'{"type":"Cut"}', b"[[]]", b"[" * 100_000]
    + [b'{"type":"MarkPrice","x":' + b"[" * 100_000, json.dumps(MARK).encode() + b"x", json.dumps([MARK, 1]).encode()]
    + [json.dumps(MARK).encode()[:-1], json.dumps(MARK).encode("utf-16"), b"\xef\xbb\xbf" + json.dumps(MARK).encode()]
    + [json.dumps(MARK).replace("BTC", bad).encode("latin-1") for bad in ("\xff", "\\ud800", "\\udc00")]
    + [json.dumps(MARK).replace(": 1}", f": {bad}}}").encode() for bad in ("1e400", "NaN", "1.5", "true", "9" * 5000)]
    + [json.dumps({**MARK, "mark_price": bad}).encode() for bad in (50000, 5e4, None, float("nan"))]
    + [json.dumps({**MARK, "type": "Mark"}).encode(), b'{"type":"MarkPrice","symbol":"BTC-PERP"}'],
)
def test_bytes_that_are_not_ours_are_refused(value):
    """Whatever arrives, the answer is DECODE with a short sentence, not another exception."""
    refusal = refused(value)
    assert refusal.reason == Reason.DECODE
    assert len(refusal.sentence) < 400


@given(st.binary(max_size=60) | st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists).map(json.dumps))
def test_no_bytes_raise_anything_but_refused(value):
    """The door is total."""
    with suppress(Refused):
        decode(value.encode() if isinstance(value, str) else value)


@pytest.mark.parametrize(
    ("message", "reason", "field"),
    [
        ({**UPDATE, "seq": -1}, Reason.RANGE, "seq"),
        ({**UPDATE, "seq": limits.SEQUENCE_MAX + 1}, Reason.RANGE, "seq"),
        ({**UPDATE, "epoch": 2**70}, Reason.RANGE, "epoch"),
        ({**UPDATE, "adl_seq": 2**63}, Reason.RANGE, "adl_seq"),
        (
            {**UPDATE, "positions": [{"symbol": "S", "quantity": "1", "adl_seq": -1}]},
            Reason.RANGE,
            "adl_seq of a position",
        ),
        ({**UPDATE, "positions": [{"symbol": "S", "quantity": "1"}] * 1025}, Reason.RANGE, "positions"),
        ({**UPDATE, "account": ""}, Reason.FIELD, "account"),
        ({**UPDATE, "account": "a\x00"}, Reason.FIELD, "account"),
        ({**UPDATE, "account": "a\n"}, Reason.FIELD, "account"),
        ({**UPDATE, "account": "a" * 65}, Reason.FIELD, "account"),
        ({**UPDATE, "account": "é" * 33}, Reason.FIELD, "account"),
        ({**MARK, "event_time_ms": 2**53 + 1}, Reason.RANGE, "event_time_ms"),
        ({**MARK, "event_time_ms": -1}, Reason.RANGE, "event_time_ms"),
        ({**BANKRUPTCY, "id": ""}, Reason.FIELD, "id"),
        ({**BANKRUPTCY, "fund_id": ""}, Reason.FIELD, "fund_id"),
        ({**BANKRUPTCY, "lines": [{"symbol": "", "quantity": "1"}]}, Reason.FIELD, "symbol of a line"),
        ({**BANKRUPTCY, "lines": [{"symbol": "S", "quantity": "1"}] * 2049}, Reason.RANGE, "lines"),
        ({**RESULT, "seq": -5}, Reason.RANGE, "seq"),
        ({**RESULT, "trade_id": "t" * 129}, Reason.FIELD, "trade_id"),
        ({**RESULT, "reason": "x" * 1025}, Reason.FIELD, "reason"),
        (
            {"type": "InsuranceFund", "fund_id": "f", "balance": "1", "decision_sequence": -1},
            Reason.RANGE,
            "decision_sequence",
        ),
        ({"type": "Account", "account": "a", "beneficial_owner": ""}, Reason.FIELD, "beneficial_owner"),
        ({**CONTROL, "action": "RELEASE"}, Reason.FIELD, "decision_id"),
        ({**CONTROL, "action": "POLICY"}, Reason.FIELD, "policy"),
        ({**CONTROL, "action": "TRIGGER"}, Reason.FIELD, "bankruptcy"),
        ({**CONTROL, "policy": "risk"}, Reason.FIELD, "policy"),
        ({**CONTROL, "action": "TRIGGER", "bankruptcy": {**BANKRUPTCY, "account": ""}}, Reason.FIELD, "account"),
        ([MARK, {**UPDATE, "seq": -1}], Reason.RANGE, "seq"),
    ],
)
def test_what_no_type_says_is_checked_at_the_door(message, reason, field):
    """Integers beyond int64, names nobody can print and controls without their object do not come in."""
    refusal = refused(message)
    assert (refusal.reason, refusal.sentence.split(" must ")[0]) == (reason, field)


def test_names_at_their_limit_come_in():
    """64 bytes of any printing script are a name."""
    for name in ("a" * 64, "é" * 32, "東京 7"):
        assert decode(json.dumps({**UPDATE, "account": name}).encode())[0].account == name


NAMES = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), min_size=1, max_size=16)
SEQUENCES = st.integers(0, limits.SEQUENCE_MAX)
UPDATES = st.builds(
    AccountUpdate,
    account=NAMES,
    epoch=SEQUENCES,
    seq=SEQUENCES,
    adl_seq=SEQUENCES,
    full=st.booleans(),
    balances=st.lists(st.builds(Balance, currency=NAMES, amount=st.text(max_size=5)), max_size=3),
    positions=st.lists(st.builds(Position, symbol=NAMES, quantity=st.text(max_size=5), adl_seq=SEQUENCES), max_size=3),
)


@given(UPDATES)
def test_a_message_survives_the_wire(update):
    """decode(encode(m)) is m, and encoding again gives the same bytes."""
    [back] = decode(encode(update))
    assert back == update
    assert encode(back) == encode(update)


def test_equal_messages_are_equal_bytes():
    """The order in which a dictionary was filled does not reach the wire."""
    there = Cut(pool="main", sequence=1, chain="c", number=1, log_time_ms=2, basis={"a:0": 1, "b:0": 2})
    back = Cut(pool="main", sequence=1, chain="c", number=1, log_time_ms=2, basis={"b:0": 2, "a:0": 1})
    assert encode(there) == encode(back)
    assert decode_output(encode(there)) == there


def test_our_own_bytes_that_fail_are_our_bug():
    """`decode_output` does not turn damage of our own topics into a dead letter, and takes no input message."""
    for value in (b"{", encode(Control(id="c", action="PAUSE", operator="o", reason="r"))):
        with pytest.raises(msgspec.MsgspecError):
            decode_output(value)
