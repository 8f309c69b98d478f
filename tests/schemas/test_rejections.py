"""The list of reasons is closed, and a refusal is one word of it and one sentence."""

import re
from pathlib import Path

import pytest

import schemas
from schemas.rejections import SENTENCES, SHOWN_CHARS_MAX, Reason, Refused, shown

ON_THE_WIRE = (
    "DECODE FIELD NUMBER RANGE LOT PRICE SIDE SCALE EPOCH DUPLICATE UNSUPPORTED "
    "UNKNOWN_SYMBOL UNKNOWN_TRADE UNKNOWN_DECISION"
)


def test_no_reason_is_ever_taken_away_or_renamed():
    """Readers of dead letters know these words; the list may only grow, and this test with it."""
    assert [str(reason) for reason in Reason] == ON_THE_WIRE.split()


def test_every_reason_has_one_sentence():
    """A sentence each, starting with a capital and ending with a full stop, no two the same."""
    assert list(SENTENCES) == list(Reason)
    assert len(set(SENTENCES.values())) == len(Reason)
    assert all(re.fullmatch(r"[A-Z].{20,}\.", sentence) for sentence in SENTENCES.values())


def test_a_refusal_carries_reason_and_sentence():
    """The word may be given as text; both are readable, and str() says both."""
    refused = Refused("LOT", "quantity must be whole")
    assert (refused.reason, refused.sentence, str(refused)) == (
        Reason.LOT,
        "quantity must be whole",
        "LOT: quantity must be whole",
    )


def test_a_word_outside_the_list_is_our_bug():
    """Refused does not invent reasons."""
    with pytest.raises(ValueError, match="BECAUSE"):
        Refused("BECAUSE", "no")


def test_a_hostile_text_is_cut_and_escaped():
    """A sentence never carries a megabyte, a line end or another script from the wire."""
    assert shown("a\nb\u202e\x00") == r"'a\nb\u202e\x00'"
    assert len(shown("9" * 10**6)) == SHOWN_CHARS_MAX + len("'...'")


def test_this_room_knows_nobody():
    """schemas/ imports msgspec, itself and the standard library modules named here, nothing else."""
    standard = {"re", "fractions", "enum", "typing", "pathlib", "collections", "functools", "math", "hashlib"}
    allowed = {"msgspec", "schemas"} | standard
    for file in Path(schemas.__file__).parent.glob("*.py"):
        imports = re.findall(r"^\s*(?:from|import) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert set(imports) <= allowed, file.name
