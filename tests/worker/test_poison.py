"""Poison in the feed, from one record in ten thousand to all: one dead letter each, the rest as if it were not there.

Beyond a limit the pool stops, always at the same cut, and what led to it is committed. The second opinion is the log
with the spoilt records taken out, and a list of which those were.
"""

import random

import pytest
from msgspec.structs import replace

from schemas import decode_output, encode
from tests.bench_book import instruments, marks, updates
from tests.worker.random_run import source_of
from tests.worker.random_tape import random_log, random_settings
from tests.worker.tape import Tape, settings_of
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import DEAD_LETTERS, DECISIONS
from worker.poison import MINUTE_MS, Poison, PoisonedError
from worker.record import Record

ACCOUNTS, NOW_MS, PER_MS = 10_000, 1_760_000_000_000, 5
SHARES = (0.0001, 0.01, 1)


def text(value, old, new):
    assert old in value, (old, value)
    return value.replace(old, new, 1)


def swap(old, new):
    return lambda value: text(value, old, new)


def position(fields):
    return lambda value: value.partition(b',"positions":')[0].removesuffix(b"}") + b',"positions":[{' + fields + b"}]}"


# Each makes of a good account update one that must be refused, whatever else the log holds.
CLASSES = {
    "noise": lambda value: bytes(byte ^ 0x80 for byte in value),
    "nothing": lambda _: b"",
    "torn": lambda value: value[: len(value) // 2],
    "bytes behind it": lambda value: value + b"x",
    "a flipped brace": lambda value: b"[" + value[1:],
    "deep": lambda _: b'{"type":"AccountUpdate","account":' + b"[" * 5_000,
    "not UTF-8": swap(b'"account":"', b'"account":"\xc3\x28'),
    "unknown type": swap(b"AccountUpdate", b"AccountUpdote"),
    "field without a value": swap(b'"epoch":1', b'"epoch":'),
    "text for a number": swap(b'"epoch":1', b'"epoch":"1"'),
    "more than 64 bits": swap(b'"seq":1', b'"seq":' + b"9" * 30),
    "below zero": swap(b'"seq":1', b'"seq":-1'),
    "no name": swap(b'"account":"account-', b'"account":"\\u0000'),
    "NaN": swap(b'"amount":"', b'"amount":"NaN'),
    "out of range": swap(b'"amount":"', b'"amount":"' + b"9" * 30),
    "another currency": swap(b'"currency":"USDT"', b'"currency":"DOGE"'),
    "unknown symbol": position(b'"symbol":"NONE","quantity":"1","entry_price":"1"'),
    "part of a lot": position(b'"symbol":"S1","quantity":"0.0001","entry_price":"1"'),
    "wrong side": position(b'"symbol":"S1","quantity":"-1","position_side":"LONG","entry_price":"1"'),
}


def feed():
    """Instruments, marks, then one full update of each account, five a millisecond."""
    rng = random.Random(7)
    said = [("instruments", message.symbol, message) for message in instruments()]
    said += [("mark-prices", message.symbol, message) for message in marks(200, rng)]
    said += [("positions", message.account, message) for message in updates(ACCOUNTS, rng)]
    offsets = dict.fromkeys(("instruments", "mark-prices", "positions"), 0)
    for number, (topic, key, message) in enumerate(said):
        yield Record(topic, 0, offsets[topic], NOW_MS + number // PER_MS, key.encode(), encode(message))
        offsets[topic] += 1


@pytest.fixture(scope="module")
def good():
    return list(feed())


SETTINGS = settings_of("pool.currency=USDT", "pool.currency_decimals=6")


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("name", CLASSES)
def test_each_spoilt_record_is_one_dead_letter_and_the_rest_is_as_if_it_were_not_there(name, share, good):
    """14: told once more at the end what the spoilt records should have said, the book is that of the good log."""
    rng = random.Random(f"{name} {share}")
    places = [at for at, record in enumerate(good) if record.topic == "positions"]
    spoilt = set(rng.sample(places, max(1, round(share * len(places)))))
    records = [replace(r, value=CLASSES[name](r.value)) if at in spoilt else r for at, r in enumerate(good)]
    again = [good[at] for at in sorted(spoilt)]
    again = [replace(r, offset=ACCOUNTS + n, log_time_ms=good[-1].log_time_ms) for n, r in enumerate(again)]
    sink = MemorySink()
    report = run(RecordingSource(records + again), sink, SETTINGS)
    letters = [decode_output(record.value) for record in sink.outputs(DEAD_LETTERS)]
    wrong = [records[at] for at in sorted(spoilt)]
    assert [(letter.topic, letter.offset, letter.payload) for letter in letters] == [
        (record.topic, record.offset, record.value) for record in wrong
    ]
    assert all(letter.reason and letter.sentence for letter in letters)
    assert report.state_digest == run(RecordingSource(good + again), MemorySink(), SETTINGS).state_digest


def lives_of(records, settings, most):
    """Runs that go on from one another, each allowed more; gives the sink and where each stopped."""
    sink, stops = MemorySink(), []
    for allowed in (*most, None):
        try:
            run(source_of(records), sink, settings, refused_per_minute_max=allowed)
        except PoisonedError:
            stops.append(len(sink.records))
    return sink, stops


def test_beyond_the_limit_the_pool_stops_at_the_same_cut_until_more_is_allowed():
    """What was said until then is committed; with a higher limit it goes on, and says what it would have said."""
    records, settings = random_log(5, accounts=60, end_ms=24_000), random_settings()
    undisturbed, stops = lives_of(records, settings, ())
    letters = sum(record.topic == DEAD_LETTERS for record in undisturbed.records)
    assert stops == []
    assert letters > 8
    sink, stops = lives_of(records, settings, (2, 2, 5, 5, letters))
    assert stops[0] == stops[1] < stops[2] == stops[3]
    assert len(stops) == 4
    assert sink.records == undisturbed.records


def test_a_stop_inside_a_joint_group_comes_at_its_end():
    """Or what stands behind it would be decided in other groups once the limit is raised."""
    tape = Tape().instrument().mark(price="100").fund("0").account("w", "50000", ("BTC", "-20", "105"))
    for name in ("l1", "l2"):
        tape.account(name, "20", ("BTC", "10", "105"))
    tape.at(2000).bankrupt("l1", name="b-l1").at(2300)
    for _ in range(5):
        tape.raw("mark-prices", b"garbage", b"BTC")
    tape.mark(price="100").at(2600).mark(price="100")
    tape.at(2900).bankrupt("l1", name="b2").at(3500).bankrupt("l2").at(9000).mark(price="100")
    settings = settings_of("cut.joint_window_ms=1000", "cut.watch_ms=100")
    undisturbed, _ = lives_of(tape.records, settings, ())
    sink, stops = lives_of(tape.records, settings, (3, 3))
    decisions = [decode_output(record.value) for record in undisturbed.outputs(DECISIONS)]
    assert [[b.id for b in decision.bankruptcies] for decision in decisions] == [["b-l1", "b2"], ["b-l2"]]
    assert stops[0] == stops[1] < len(sink.records)
    assert sink.records == undisturbed.records


def test_what_is_refused_counts_for_its_minute_alone():
    poison = Poison()
    for ms in (0, 1, MINUTE_MS - 1):
        poison.see(ms, 2)
    assert [poison.beyond(most) for most in (5, 6, None)] == [True, False, False]
    with pytest.raises(PoisonedError, match="6 records were refused in the minute of log time that begins at 0"):
        poison.judge(5)
    poison.see(MINUTE_MS, 1)
    assert not poison.beyond(1)
    poison.judge(1)
