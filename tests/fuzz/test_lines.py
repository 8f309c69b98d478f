"""The kernel that reads recordings, against msgspec: what it takes is what every line says, record by record."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.texts import either, record, spoilt
from worker.edge.jsonlines import RecordingError, line_of, records_of
from worker.fetched import fetched_of
from worker.lines import plain_lines
from worker.record import Record

BLOCKS, LINES = 1500, 12
NUMBERS = (0, 1, 7, 2**31, 10**17, 10**18 - 1, 10**18, 2**62 - 1, 2**62, 2**63, -1, -2)


def block(rng, size=LINES):
    """Lines of a recording, of several partitions; sometimes spoilt in a few places."""
    lines = []
    for at in range(rng.randrange(1, size + 1)):
        key, value = record(rng)
        place = either(rng, ("positions", "mark-prices"), ("", "é", 'a"b', "a\\b", "x" * 300), 0.02)
        numbers = (either(rng, (0, 1), NUMBERS, 0.01), either(rng, (at,), NUMBERS, 0.01))
        lines.append(line_of(Record(place, *numbers, either(rng, (1000 + at,), NUMBERS, 0.01), key, value)))
    text = b"".join(lines)
    return spoilt(rng, text) if rng.random() < 0.4 else text


def judge(text):
    """Asserts that the kernel is right about a block; says what it was."""
    plain = plain_lines(text)
    try:
        wanted = fetched_of(records_of(text, "block"))
    except RecordingError:
        assert plain is None, text
        return "refused"
    if plain is None:
        return "left"
    assert plain.spans == wanted.spans, text
    assert list(plain.records()) == list(wanted.records()), text
    return "plain"


def test_what_the_kernel_takes_of_a_recording_is_what_its_lines_say():
    """Also torn lines, numbers beyond 64 bits, texts with escapes; enough of each that this says something."""
    counts = Counter(judge(block(random.Random(f"lines {number}"))) for number in range(BLOCKS))
    assert min(counts[what] for what in ("plain", "left", "refused")) > BLOCKS // 10, counts


@given(st.randoms(use_true_random=False))
def test_the_same_of_blocks_that_hypothesis_makes_smaller(rng):
    """Found once, a difference is told as one short line."""
    judge(block(rng, 2))
