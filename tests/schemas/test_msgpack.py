"""MessagePack is the same door as JSON: what one lets in, the other lets in; what one refuses, the other refuses."""

import json
from math import inf, isnan, nan
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import limits, messages
from schemas.codec import decode, decode_output, encode, fields_of
from schemas.messages import AdlDecision, Certificate, DeadLetter, InputMessage, MarkPrice
from schemas.rejections import Refused
from tests.schemas.test_examples import FILES, messages_of

pack = msgspec.msgpack.encode
MARK = {"type": "MarkPrice", "symbol": "BTC-PERP", "mark_price": "50000", "event_time_ms": 1}
TRADE = messages_of(next(file for file in FILES if file.stem == "forced_trade_counterparty"))[0]


def answer(value: bytes, encoding: str) -> tuple[str, Any]:
    """The messages of a record, or the reason of its refusal."""
    try:
        return "IN", decode(value, encoding)
    except Refused as refused:
        return "REFUSED", refused.reason


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_example_survives_messagepack(file):
    """The message that JSON gives comes back, and its bytes are written one way only."""
    for message in messages_of(file):
        packed = encode(message, "msgpack")
        back = decode(packed, "msgpack")[0] if isinstance(message, InputMessage) else decode_output(packed)
        assert back == message
        assert encode(back, "msgpack") == packed
        assert fields_of(packed)["type"] == fields_of(encode(message))["type"] == type(message).__name__


def test_a_record_holds_one_message_or_an_array_of_them():
    """As in JSON."""
    mark = MarkPrice(symbol="S", mark_price="1", event_time_ms=1)
    assert decode(pack([mark, mark]), "msgpack") == [mark, mark]
    assert decode(pack([]), "msgpack") == []


TEXTS = st.text(st.characters(codec="utf-8"), max_size=5)


def struct_of(struct: type, finite: bool = False) -> st.SearchStrategy:
    """Any message of a kind, right types, any values; `finite`: numbers where null must not stand."""
    fields = msgspec.structs.fields(struct)
    return st.builds(
        struct,
        **{field.name: FINITE if finite and field.type is float else value_of(field.type, finite) for field in fields},
    )


FINITE = st.floats(allow_nan=False, allow_infinity=False)


def value_of(hint: Any, finite: bool = False) -> st.SearchStrategy:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return struct_of(hint, finite)
    if hint is int:
        return st.integers(-(2**63), 2**64 - 1)
    if hint is str:
        return TEXTS
    if hint in (bool, float, bytes, type(None)):
        return st.from_type(hint)
    if (origin := getattr(hint, "__origin__", None)) is list:
        return st.lists(value_of(get_args(hint)[0], finite), max_size=2)
    if origin is dict:
        return st.dictionaries(
            st.text(st.characters(codec="utf-8"), max_size=4), value_of(get_args(hint)[1], finite), max_size=2
        )
    if str(hint).startswith("typing.Literal"):
        return st.sampled_from(get_args(hint))
    return st.one_of([value_of(part, finite) for part in get_args(hint)])


@given(st.one_of([struct_of(struct) for struct in get_args(InputMessage)]))
def test_any_input_gets_the_same_answer_in_both_encodings(message):
    """Good or bad, with whatever numbers and names."""
    assert answer(encode(message), "json") == answer(encode(message, "msgpack"), "msgpack")


@given(st.one_of([struct_of(struct, finite=True) for struct in get_args(messages.OutputMessage)]))
def test_any_output_says_the_same_in_both_encodings(message):
    """NaN and infinities, which JSON does not have, are null in both, where null may stand."""
    assert decode_output(encode(message, "msgpack")) == decode_output(encode(message))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*MARK, "x", "positions"]), inner),
    max_leaves=6,
)  # fmt: skip
DOCUMENTS = st.builds(
    lambda kind, fields: {"type": kind} | fields,
    st.sampled_from([struct.__name__ for struct in get_args(InputMessage)] + ["Cut", "x"]),
    st.dictionaries(st.sampled_from([*MARK, "account", "epoch", "seq", "positions", "balances", "id"]), VALUES),
)


@given(VALUES | DOCUMENTS | DOCUMENTS.map(lambda changes: MARK | changes) | st.lists(DOCUMENTS, max_size=2))
def test_any_document_gets_the_same_answer_in_both_encodings(document):
    """Also what no struct of ours could hold."""
    assert answer(json.dumps(document).encode(), "json") == answer(pack(document), "msgpack")


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_but_refused(value):
    """The door is total."""
    assert answer(value, "msgpack")[0] in ("IN", "REFUSED")


EXTENSION = msgspec.msgpack.Ext(1, b"")
BODY = pack(MARK)[1:]  # the four fields, without the map's head


@pytest.mark.parametrize(
    "value",
    [
        b"",
        pack(None),
        pack(MARK) + b"x",
        pack(MARK)[:-1],
        json.dumps(MARK).encode(),
        b"\xdd\xff\xff\xff\xff",
        b"\x82" + pack("type") + pack("AccountUpdate") + pack("positions") + b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000,
        b"\x85" + BODY + pack("x") + b"\x91" * 100_000,
        b"\x85" + BODY + b"\x01\x02",
        b"\x85" + BODY + b"\xc4\x01a\x02",
        b"\x85" + BODY + pack("type") + pack("Account"),
        pack(MARK).replace(pack("BTC-PERP"), pack(b"BTC-PERP")),
        pack(MARK).replace(pack("BTC-PERP"), b"\xa4\xff\xfe\xfd\xfc"),
        pack(MARK).replace(pack("BTC-PERP"), b"\xa3\xed\xa0\x80"),
        *(
            pack({**MARK, "event_time_ms": bad})
            for bad in (1.0, nan, inf, True, None, "1", b"1", msgspec.msgpack.Ext(1, b""))
        ),
        *(pack({**MARK, "mark_price": bad}) for bad in (50000, 5e4, nan, None, [])),
    ],
    ids=range(28),
)
def test_bytes_that_are_not_ours_are_refused_with_a_short_sentence(value):
    """Truncated, nested to death, claiming four billion entries, not text, NaN: DECODE, and never another exception."""
    with pytest.raises(Refused) as caught:
        decode(value, "msgpack")
    assert caught.value.reason == "DECODE"
    assert len(caught.value.sentence) < 400


def test_a_field_given_twice_means_the_last_in_both_encodings():
    """Senders should not; that both encodings read it alike is what matters for a recording turned into the other."""
    packed = b"\x85" + BODY + pack("symbol") + pack("ETH-PERP")
    text = json.dumps(MARK).encode()[:-1] + b',"symbol":"ETH-PERP"}'
    assert decode(packed, "msgpack") == decode(text)
    assert decode(text)[0].symbol == "ETH-PERP"


@pytest.mark.parametrize("value", [limits.TIME_MS_MAX + 1, 2**63, 2**64 - 1, -1, -(2**63)])
def test_an_integer_out_of_range_is_refused_alike(value):
    """MessagePack has no integers beyond 64 bits; those between our limit and its own are RANGE."""
    document = {**MARK, "event_time_ms": value}
    assert answer(pack(document), "msgpack") == answer(json.dumps(document).encode(), "json") == ("REFUSED", "RANGE")


def floats_of(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return any(floats_of(field.type) for field in msgspec.structs.fields(hint))
    return hint is float or any(floats_of(part) for part in get_args(hint))


def test_only_a_risk_model_holds_floats_in_an_input():
    """So no money is ever a float."""
    assert [struct.__name__ for struct in get_args(InputMessage) if floats_of(struct)] == ["RiskModel"]
    assert floats_of(AdlDecision)  # the test above can fail


@pytest.mark.parametrize("value", [nan, inf, -inf])
def test_a_float_that_is_no_number_is_null_on_the_way_out(value):
    """A reader in any language gets the same from both encodings."""
    trade = msgspec.structs.replace(TRADE, leverage=value, score=2.5)
    back = decode_output(encode(trade, "msgpack"))
    assert (back.leverage, back.score) == (None, 2.5)
    assert back == decode_output(encode(trade))
    certificate = Certificate(round=1, status="X", ok=False, clearing_residual_lots=0, kkt_residual=value)
    decided = messages_of(next(file for file in FILES if file.stem == "adl_decision_decided"))[0]
    decided = msgspec.structs.replace(decided, certificates=[certificate])
    assert decode_output(encode(decided, "msgpack")).certificates[0].kkt_residual is None
    assert not isnan(decode_output(encode(TRADE, "msgpack")).leverage)


def test_bytes_stay_bytes():
    """A dead letter carries its record raw, without base64."""
    letter = DeadLetter(
        pool="p", sequence=1, chain="c", reason="DECODE", sentence="s", topic="t", partition=0, offset=0,
        key=None, payload=b"\xff\x00",
    )  # fmt: skip
    assert b"\xff\x00" in encode(letter, "msgpack")
    assert decode_output(encode(letter, "msgpack")) == letter
