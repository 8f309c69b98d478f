"""No orphans: every message has an example, every example is what the codec writes, and they tell one true story."""

import json
from fractions import Fraction
from pathlib import Path
from typing import get_args

import msgspec
import pytest

import schemas
from schemas import json_schema, messages
from schemas.codec import decode, decode_output, encode
from schemas.messages import AdlDecision, DeadLetter, ForcedTrade, InputMessage, Message, OutputMessage
from schemas.rejections import Reason, Refused
from schemas.units import Scale

FOLDER = Path(schemas.__file__).parent / "examples"
FILES = sorted(FOLDER.glob("*.json"))
OUTPUTS = {struct.__name__ for struct in get_args(OutputMessage)}


def messages_of(file: Path) -> list[Message]:
    """The messages of an example: those we read by the input's door, ours by the output's."""
    value = file.read_bytes()
    document = json.loads(value)
    if isinstance(document, dict) and document["type"] in OUTPUTS:
        return [decode_output(value)]
    return list(decode(value))


def parts_of(value: object) -> list[Message]:
    """A message and the structs inside it."""
    if isinstance(value, list):
        return [part for item in value for part in parts_of(item)]
    if isinstance(value, Message):
        return [value] + [part for field in value.__struct_fields__ for part in parts_of(getattr(value, field))]
    return []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_is_exactly_what_the_codec_writes(file):
    """Decoded and encoded again it is the same bytes but for the indent: no field is misspelt or superfluous."""
    found = messages_of(file)
    texts = [encode(message) for message in found]
    written = texts[0] if file.read_bytes().startswith(b"{") else b"[" + b",".join(texts) + b"]"
    assert msgspec.json.format(written, indent=2) + b"\n" == file.read_bytes()


def test_every_struct_and_every_field_has_an_example():
    """Nothing in messages.py is without an example in which it is not the default."""
    structs = {s for s in vars(messages).values() if isinstance(s, type) and issubclass(s, Message)} - {Message}
    wanted = {(struct.__name__, field) for struct in structs for field in struct.__struct_fields__}
    shown = set()
    for part in parts_of([message for file in FILES for message in messages_of(file)]):
        written = msgspec.to_builtins(part)
        shown |= {(type(part).__name__, field) for field in written if field != "type"}
    # Two fields have one value each so far, and omit it.
    assert wanted - shown == {("ForcedTrade", "cancel_orders"), ("ForcedTrade", "reason")}


def test_the_situations_of_a_message_are_all_shown():
    """Every status of a decision, action of a control, role and class of an account stands in an example."""
    parts = parts_of([message for file in FILES for message in messages_of(file)])

    def shown(struct: type, field: str) -> set[str]:
        return {getattr(part, field) for part in parts if type(part) is struct}

    def allowed(struct: type, field: str) -> set[str]:
        return set(get_args(struct.__annotations__[field]))

    for struct, field in [
        (messages.AdlDecision, "status"),
        (messages.AdlDecision, "mode"),
        (messages.AdlState, "state"),
        (messages.AdlRank, "side"),
        (messages.AdlRank, "position_side"),
        (messages.Control, "action"),
        (messages.ForcedTrade, "role"),
        (messages.ForcedTrade, "side"),
        (messages.MarginReduction, "side"),
        (messages.MarginReduction, "margin_mode"),
        (messages.Account, "role"),
        (messages.Account, "adl"),
        (messages.Position, "position_side"),
        (messages.Position, "margin_mode"),
    ]:
        assert shown(struct, field) == allowed(struct, field), (struct.__name__, field)


def test_the_story_of_one_bankruptcy_adds_up():
    """The decision's trades sum to zero in quantity, quote and haircut; its waterfall closes; its price is exact."""
    decision = decode_output((FOLDER / "adl_decision_decided.json").read_bytes())
    assert isinstance(decision, AdlDecision)
    found = [message for file in FILES for message in messages_of(file)]
    trades = [m for m in found if isinstance(m, ForcedTrade) and m.decision_id == decision.decision_id]
    assert len(trades) == decision.trades == len({trade.trade_id for trade in trades})
    signed = [Fraction(trade.quantity) * (1 if trade.side == "BUY" else -1) for trade in trades]
    assert sum(signed) == 0
    assert sum(Fraction(trade.quote_amount) for trade in trades) == 0
    assert sum(Fraction(trade.haircut) for trade in trades) == 0
    [scale] = [Scale.of(m, 6) for m in decode((FOLDER / "instrument.json").read_bytes())]  # type: ignore[arg-type]
    for trade, quantity in zip(trades, signed, strict=True):
        assert Fraction(trade.quote_amount) == -quantity * Fraction(trade.price)
        assert abs(scale.lots(trade.quantity)) > 0
    [bankruptcy] = decision.bankruptcies
    waterfall = [Fraction(text) for text in (bankruptcy.fund, bankruptcy.haircut, bankruptcy.bad_debt)]
    assert sum(waterfall) == Fraction(bankruptcy.deficit) == -Fraction(bankruptcy.equity)
    assert Fraction(decision.haircut) == -Fraction(next(t.haircut for t in trades if t.role == "LIQUIDATED"))
    # pi = p (1 - sign(q) mmf TAV / MMR), with MMR = |q| p mmf: solver.md, section 7
    [demand] = decision.demands
    mark, taken_over = Fraction(demand.mark_price), Fraction(bankruptcy.equity) + Fraction(bankruptcy.fund)
    assert Fraction(demand.price) == mark * (1 - scale.mmf * taken_over / (2 * mark * scale.mmf))


def test_the_decisions_that_are_shown_close_their_waterfalls():
    """In every decision with trades: deficit = fund + haircut + bad debt."""
    decisions = [m for file in FILES for m in messages_of(file) if isinstance(m, AdlDecision)]
    decided = [d for d in decisions if d.status in ("DECIDED", "RESIDUAL")]
    assert len(decided) >= 3
    for bankruptcy in [b for decision in decided for b in decision.bankruptcies]:
        paid = [Fraction(text) for text in (bankruptcy.fund, bankruptcy.haircut, bankruptcy.bad_debt)]
        assert sum(paid) == Fraction(bankruptcy.deficit), bankruptcy.id


@pytest.mark.parametrize("name", ["dead_letter", "dead_letter_not_text"])
def test_the_dead_letters_say_what_the_code_says(name):
    """Their payloads are refused with that reason and that sentence."""
    letter = decode_output((FOLDER / f"{name}.json").read_bytes())
    assert isinstance(letter, DeadLetter)
    assert letter.payload is not None
    [scale] = [Scale.of(m, 6) for m in decode((FOLDER / "instrument.json").read_bytes())]  # type: ignore[arg-type]

    def read(payload: bytes) -> None:
        for message in decode(payload):
            for position in message.positions:  # type: ignore[union-attr]
                scale.lots(position.quantity)

    with pytest.raises(Refused) as caught:
        read(letter.payload)
    assert (caught.value.reason, caught.value.sentence) == (Reason(letter.reason), letter.sentence)


def test_the_examples_instruments_have_scales():
    """All of them, inverse and tiers among them."""
    scales = {file.stem: Scale.of(decode(file.read_bytes())[0], 6) for file in FOLDER.glob("instrument*.json")}  # type: ignore[arg-type]
    assert {name: scale.price_decimals for name, scale in scales.items()} == {
        "instrument": 7,
        "instrument_multiplier": 12,
        "instrument_delisted": 10,
        "instrument_inverse": 7,
        "instrument_tiers": 8,
    }
    assert scales["instrument_inverse"].sign == -1
    # 1,000,000 at half a percent, 2,000,000 more at one.
    assert scales["instrument_tiers"].requirement(3 * 10**12) == 25_000 * 10**6


def test_the_checked_in_schema_is_the_generated_one():
    """Run `python -m schemas.json_schema` after a change of messages.py, and review what changed."""
    assert json_schema.FILE.read_text(encoding="utf-8") == json_schema.schema_text()


def test_the_schema_defines_every_message_and_refers_to_nothing_else():
    """Inputs and outputs are all listed, and each reference has its definition."""
    schema = json.loads(json_schema.schema_text())
    names = {struct.__name__ for struct in (*get_args(InputMessage), *get_args(OutputMessage))}
    listed = [ref["$ref"].rsplit("/", 1)[1] for side in ("Input", "Output") for ref in schema["$defs"][side]["oneOf"]]
    assert sorted(listed) == sorted(names)
    references = {part.split('"')[0] for part in json_schema.schema_text().split('"#/$defs/')[1:]}
    assert references == set(schema["$defs"])
