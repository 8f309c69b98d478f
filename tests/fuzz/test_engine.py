"""Whatever is told to a small live market is applied or a dead letter, and never an exception."""

import json
import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import Refused, decode
from tests.fuzz import made
from tests.fuzz.engine import campaign, judge, said_of, told
from tests.worker.small_market import market

LOGS = 40
PACKED = tuple(f"format.topics.{topic}=msgpack" for topic in made.TOPICS)
ABOUT_BYTES = {
    "chain",
    "settings_digest",
    "state_digest",
    "payload",
    "sentence",
}  # a parked account's reason is in state


def test_anything_told_is_applied_or_a_dead_letter():
    """Every status and most reasons come up, so that this says something."""
    counts = campaign(LOGS, seed=1)
    assert counts.keys() >= {"DECIDED", "HELD", "UNKNOWN_ACCOUNT", "letter DECODE", "letter NUMBER", "letter RANGE"}
    assert counts["stale"] > 0


@given(st.randoms(use_true_random=False))
@settings(max_examples=15)
def test_the_same_of_logs_that_hypothesis_makes_smaller(rng):
    """Found once, what breaks is told as a few records."""
    judge(told(rng, 5), ())


def packed(record):
    """The record in MessagePack: its messages, or the document where it has none."""
    if record.value is None:
        return record
    try:
        said = decode(record.value)
        said = said if record.value[:1] == b"[" else said[0]
    except Refused:
        said = json.loads(record.value)
    return msgspec.structs.replace(record, value=msgspec.msgpack.encode(said, order="deterministic"))


def meaning(said):
    """Decisions, trades, cuts and letters without what is about bytes, or about a sentence on them."""
    everything = (*said.decisions, *said.trades, *said.cuts, *said.letters)
    return [
        {name: value for name, value in msgspec.to_builtins(message).items() if name not in ABOUT_BYTES}
        for message in everything
    ]


@pytest.mark.parametrize("seed", range(8))
def test_documents_are_judged_alike_in_json_and_messagepack(seed):
    """The same decisions, dead letters with the same reasons, the same counts."""
    rng = random.Random(f"documents {seed}")
    tape = market()
    for number in range(60):
        topic, message = made.message(rng)
        document = made.document(rng, message)
        if any("updates" in found for found in made.objects(document)):
            continue  # blocks are base64 in JSON
        tape.at(2000 + 10 * number).raw(topic, json.dumps(document).encode(), b"a")
    tape.at(9000).bankrupt("nobody", ("BTC", "1"), name="last")
    read, from_packed = (
        said_of(records, flags, "record by record")
        for records, flags in ((tape.records, ()), ([packed(record) for record in tape.records], PACKED))
    )
    assert len(read.letters) > 5
    assert read.report.counts == from_packed.report.counts
    assert meaning(read) == meaning(from_packed)
