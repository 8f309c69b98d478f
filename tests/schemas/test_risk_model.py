"""A risk model at the door: numbers come in exactly, and what cannot be a model is refused in both encodings alike."""

import json
from math import inf, nan

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Reason, Refused, RiskModel, RiskSymbol, decode, encode, limits

pack = msgspec.msgpack.encode
SYMBOL = {"symbol": "A", "loadings": [0.01, -0.002], "idiosyncratic": 1e-5}
MODEL = {"type": "RiskModel", "id": "m", "horizon_seconds": 3600, "tail": 4.0, "symbols": [SYMBOL]}


def answers(document):
    """What both encodings say of a document."""
    found = []
    for value, encoding in ((json.dumps(document).encode(), "json"), (pack(document), "msgpack")):
        try:
            found.append(decode(value, encoding))
        except Refused as refused:
            found.append((refused.reason, len(refused.sentence) < 400))
    return found


def symbol(**changes):
    return MODEL | {"symbols": [SYMBOL | changes]}


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=4), st.floats(1e-17, 1e4))
def test_floats_come_back_to_the_bit_in_both_encodings(loadings, idiosyncratic):
    """What was fitted is what decides."""
    row = RiskSymbol(symbol="A", loadings=loadings, idiosyncratic=idiosyncratic)
    model = RiskModel(id="m", horizon_seconds=60, tail=None, symbols=[row])
    assert repr(decode(encode(model))) == repr([model])
    assert repr(decode(encode(model, "msgpack"), "msgpack")) == repr([model])


@pytest.mark.parametrize(
    "document",
    [
        MODEL,
        MODEL | {"tail": None},
        MODEL | {"symbols": []},
        MODEL | {"tail": 3},
        symbol(loadings=[]),
        symbol(loadings=[0, 1], idiosyncratic=0),
        MODEL | {"symbols": [SYMBOL, SYMBOL | {"symbol": "B"}], "later": 1},
    ],
)
def test_a_model_is_taken(document):
    """Gaussian, without factors, without symbols (which takes an earlier one back), whole numbers for floats."""
    one, other = answers(document)
    assert one == other
    assert isinstance(one[0], RiskModel)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (symbol(loadings=[nan, 0.0]), Reason.DECODE),
        (symbol(loadings=[inf, 0.0]), Reason.DECODE),
        (symbol(idiosyncratic=nan), Reason.DECODE),
        (MODEL | {"tail": nan}, Reason.DECODE),
        (symbol(loadings=["0.01", 0.0]), Reason.DECODE),
        (symbol(loadings=None), Reason.DECODE),
        ({name: value for name, value in MODEL.items() if name != "tail"}, Reason.DECODE),
        (MODEL | {"horizon_seconds": 1.5}, Reason.DECODE),
        (symbol(idiosyncratic=-1e-9), Reason.RANGE),
        (symbol(idiosyncratic=1.1e4), Reason.RANGE),
        (symbol(loadings=[100.5, 0.0]), Reason.RANGE),
        (symbol(loadings=[0.0, 0.0], idiosyncratic=0.0), Reason.RANGE),
        (symbol(loadings=[0.0, 1e-200], idiosyncratic=1e-300), Reason.RANGE),
        (symbol(loadings=[0.01] * (limits.RISK_FACTORS_MAX + 1)), Reason.RANGE),
        (MODEL | {"tail": 1.4}, Reason.RANGE),
        (MODEL | {"tail": -4}, Reason.RANGE),
        (MODEL | {"tail": 1e4}, Reason.RANGE),
        (MODEL | {"horizon_seconds": 0}, Reason.RANGE),
        (MODEL | {"horizon_seconds": 2**40}, Reason.RANGE),
        (MODEL | {"id": ""}, Reason.FIELD),
        (symbol(symbol="a\nb"), Reason.FIELD),
        (MODEL | {"symbols": [SYMBOL, SYMBOL | {"symbol": "B", "loadings": [0.1]}]}, Reason.FIELD),
        (MODEL | {"symbols": [SYMBOL, SYMBOL]}, Reason.DUPLICATE),
        (
            MODEL | {"symbols": [SYMBOL | {"symbol": f"S{n}"} for n in range(limits.RISK_SYMBOLS_MAX + 1)]},
            Reason.RANGE,
        ),
    ],
)
def test_what_is_no_model_is_refused_alike(document, reason):
    """Not finite, negative, ragged, absurd, named twice."""
    assert answers(document) == [(reason, True)] * 2


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400])
def test_a_number_that_is_too_large_for_a_float_is_refused(number):
    """JSON can say it; no float is it."""
    text = json.dumps(MODEL).replace("1e-05", number).encode()
    with pytest.raises(Refused):
        decode(text)
