"""Every input message at the door, valid by construction and spoilt: accepted or refused, alike in both encodings."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import Refused, decode, encode
from tests.fuzz import made, texts

CHANCE = st.randoms(use_true_random=False)


def answer(value, encoding):
    """The messages of a record, or the reason of its refusal."""
    try:
        return decode(value, encoding)
    except Refused as refused:
        return refused.reason


@pytest.mark.parametrize("make", dict.fromkeys(make for _, make in made.MAKERS), ids=lambda make: make.__name__)
def test_a_message_says_the_same_in_both_encodings(make):
    """What is of the right types is read back as it was said, or refused for a limit; JSON and MessagePack alike."""

    @given(CHANCE)
    def check(rng):
        message = make(rng)
        found = answer(encode(message), "json")
        assert found == answer(encode(message, "msgpack"), "msgpack")
        assert found == [message] or found in ("FIELD", "RANGE", "DUPLICATE")

    check()


@given(CHANCE)
def test_a_spoilt_document_is_judged_alike_in_both_encodings(rng):
    """Fields dropped, of another type, at limits, of any script; the kind does not matter."""
    document = made.document(rng, made.message(rng)[1])
    if not blocks(document):
        assert answer(json.dumps(document).encode(), "json") == answer(msgspec.msgpack.encode(document), "msgpack")


def blocks(document):
    """Whether it has the blocks of a PositionBatch, which JSON writes in base64."""
    return any("updates" in found or found.get("type") == "PositionBatch" for found in made.objects(document))


@given(CHANCE, st.sampled_from(["json", "msgpack"]), st.sampled_from(["json", "msgpack"]))
def test_spoilt_bytes_are_messages_or_refused(rng, written, read):
    """Never another exception, also where a topic's encoding is not what its records are written in."""
    answer(texts.spoilt(rng, encode(made.message(rng)[1], written)), read)
