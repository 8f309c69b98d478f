"""A PositionBatch is its updates: the same state, dead letters and parked accounts as if they had come one by one."""

import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import (
    AccountUpdate,
    Balance,
    Instrument,
    MarkPrice,
    Position,
    PositionBatch,
    Reason,
    Refused,
    decode,
    encode,
    text_of,
)
from tests.worker.columnar import position_batch
from tests.worker.tape import settings_of
from tests.worker.test_ladders import check
from worker.cut import KIND, CutPoint, Event
from worker.edge.recording import RecordingSource
from worker.engine import Engine
from worker.loop import run
from worker.memory import MemorySink
from worker.record import Record

SYMBOLS = [f"S{number}" for number in range(5)]
INSTRUMENTS = [
    Instrument(
        symbol=symbol, tick_size="0.01", lot_size="0.003", settlement_currency="USDT",
        maintenance_margin_fraction="0.01", contract_type="inverse" if symbol == "S3" else "linear",
    )
    for symbol in SYMBOLS
]  # fmt: skip


class Pool:
    """An engine that is told messages."""

    def __init__(self):
        self.engine = Engine(settings_of("worker.mode=live", "pool.currency=USDT", "pool.currency_decimals=6"))
        self.offset = 0
        for message in INSTRUMENTS:
            self.say(message)
        for symbol in SYMBOLS[:-1]:
            self.say(MarkPrice(symbol=symbol, mark_price="100", event_time_ms=1))

    def say(self, message):
        """As MessagePack, for that is what volume comes in."""
        value = encode(message, "msgpack")
        record = Record("t", 0, self.offset, self.offset, None, value)
        self.offset += 1
        self.engine.apply(Event(record, decode(value, "msgpack"), KIND[type(message)], None, self.offset))

    def told(self):
        """Digest, counts, parked accounts and why, sentences of the dead letters."""
        engine = self.engine
        letters = [(refused.reason, refused.sentence) for _, refused in engine._letters]
        engine.cut(CutPoint(self.offset, {}))
        assert engine.book.digest() == engine.book.digest_full()
        engine.book.prepare()
        check(engine.book)
        return engine.book.digest(), dict(engine.counts), dict(engine.book.parked), letters


def updates(rng, count, names=40):
    """Good ones and bad ones, of cross positions."""
    for number in range(count):
        named = rng.sample(SYMBOLS, rng.choice([0, 1, 1, 2, 5]))
        sides = {name: rng.choice(["NET"] * 30 + ["LONG", "SHORT"]) for name in named}
        lots = {name: rng.choice([0, 1, 1, 1]) * rng.randint(-2000, 2000) * 3 for name in named}
        if rng.random() < 0.02 and named:
            lots[named[0]] = 3 * 10**14
        yield AccountUpdate(
            account=f"account-{rng.randrange(names)}", epoch=1 + number // 300, seq=rng.randrange(1000),
            full=rng.random() < 0.5, adl_seq=rng.choice([0] * 30 + [1, 2**61 + 1]),
            balances=[Balance(currency="USDT", amount=f"{rng.uniform(-10, 900):.3f}")] if rng.random() < 0.7 else [],
            positions=[
                Position(
                    symbol=name if rng.random() < 0.99 else "unknown", quantity=text_of(lots[name], 3),
                    position_side=sides[name], adl_seq=rng.choice([0] * 30 + [1]),
                    entry_value=text_of(
                        rng.randrange(10**8) * (1 if lots[name] > 0 or rng.random() < 0.01 else -1), 6
                    ),
                )
                for name in named
            ],
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_a_batch_leaves_what_its_updates_leave(seed):
    """State, counts, parked accounts and dead letters, in batches of any size, an account more than once in one."""
    rng = random.Random(seed)
    said = list(updates(rng, 600))
    one, many = Pool(), Pool()
    for update in said:
        one.say(update)
    while said:
        count = rng.choice([1, 5, 200])
        many.say(position_batch(said[:count], INSTRUMENTS))
        del said[:count]
    found, wanted = many.told(), one.told()
    assert found == wanted
    assert len(wanted[3]) > 3


def blocks(rows, positions):
    return {"updates": np.array(rows, "<i8").tobytes(), "positions": np.array(positions, "<i8").tobytes()}


@pytest.mark.parametrize(
    ("rows", "positions", "sentence"),
    [
        ([(1, 1, 1, 0, 1, 0, 0, 0)], [], "must name accounts and symbols by their index"),
        ([(0, 1, 1, 0, 1, 0, 0, 1)], [(0, 1, 0, 1, 1, 0, 3, 0)], "must name accounts and symbols by their index"),
        ([(0, 1, 1, 0, 1, 0, 0, 1)], [(0, 0, 0, 1, 2, 0, 3, 0)], "row 0 does not"),
        ([(0, 1, 1, 0, 1, 0, 0, 2)], [(0, 0, 0, 1, 1, 0, 3, 0)], "row 0 does not"),
        ([(0, 1, 1, 0, 1, 0, 0, -1)], [], "row 0 does not"),
        ([(0, 1, 1, 0, 1, 0, 0, 0)], [(0, 0, 0, 1, 1, 0, 3, 0)], "row 0 does not"),
        ([], [(0, 0, 0, 1, 2, 0, 3, 0)], "row 0 does not"),
    ],
)
def test_blocks_that_do_not_fit_are_refused_as_a_whole(rows, positions, sentence):
    """And park every account that is named, for nobody knows what was meant for it."""
    pool = Pool()
    before = pool.engine.book.holds("a")
    pool.say(PositionBatch(accounts=["a"], symbols=["S0"], **blocks(rows, positions)))
    [(_, refused)] = pool.engine._letters
    assert refused.reason == Reason.FIELD
    assert sentence in refused.sentence
    assert pool.engine.book.holds("a") == before
    assert ("AccountUpdate", "a") in pool.engine.book.parked


@pytest.mark.parametrize(
    ("row", "position", "reason"),
    [
        ((0, -1, 1, 0, 1, 0, 0), None, Reason.RANGE),
        ((0, 1, -1, 0, 1, 0, 0), None, Reason.RANGE),
        ((0, 1, 1, -1, 1, 0, 0), None, Reason.RANGE),
        ((0, 1, 1, 0, 2, 0, 0), None, Reason.DECODE),
        ((0, 1, 1, 0, 1, 1, 2**61), None, Reason.RANGE),
        ((0, 1, 1, 0, 1, 0, 0), (0, 0, 3, 1, 1, 0, 3, 0), Reason.DECODE),
        ((0, 1, 1, 0, 1, 0, 0), (0, 0, -1, 1, 1, 0, 3, 0), Reason.DECODE),
        ((0, 1, 1, 0, 1, 0, 0), (0, 0, 0, 1, 1, -1, 3, 0), Reason.RANGE),
        ((0, 1, 1, 0, 1, 0, 0), (0, 0, 0, 1, 1, 0, -(2**63), 0), Reason.NUMBER),
        ((0, 1, 1, 0, 1, 0, 0), (0, 0, 0, 1, 1, 0, 3, -5), Reason.FIELD),
        ((0, 1, 1, 0, 0, 0, 0), None, Reason.EPOCH),
    ],
)
def test_a_row_that_cannot_be_is_refused_alone(row, position, reason):
    """The others of its batch are applied."""
    pool = Pool()
    rows = [(*row, int(position is not None)), (1, 1, 1, 0, 1, 1, 5, 0)]
    pool.say(PositionBatch(accounts=["a", "b"], symbols=["S0"], **blocks(rows, [position] if position else [])))
    [(_, refused)] = pool.engine._letters
    assert refused.reason in (reason, Reason.RANGE)
    assert not pool.engine.book.holds("a")
    assert pool.engine.book.balance_minor("b") == 5
    assert list(pool.engine.book.parked) == [("AccountUpdate", "a")]


NAMED = ["a", "b", "a\n", "", 7, "x" * 200, "c"]  # those that an account can have, and others
BROKEN = {
    "a torn block": {"accounts": ["a", "b", "c"], "updates": b"1234567"},
    "names that cannot be": {"accounts": ["a", "b", "", "x" * 200, "c"]},
    "a name that is no text": {"accounts": NAMED},
    "a field of another type": {"accounts": ["a", "b", "c"], "symbols": "S0"},
    "a field that lacks": {"accounts": ["a", "b", "c"], "positions": None},
}


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_batch_that_is_refused_at_the_door_parks_everybody_whom_it_names(broken, array, encoding):
    """Not the account of its key, which is nobody's; a batch that is wrong spoils all that its record names."""
    good = {"type": "PositionBatch", "accounts": ["z"], "symbols": [], "updates": b"", "positions": b""}
    said = good | {"symbols": ["S0"]} | broken
    value = (msgspec.json if encoding == "json" else msgspec.msgpack).encode([good, said] if array else said)
    ours = settings_of(*([] if encoding == "json" else ["format.topics.positions=msgpack"]))
    record = Record("positions", 0, 0, 1, b"shard-1", value)
    engines = []
    run(RecordingSource([record]), MemorySink(), ours, on_engine=engines.append)
    parked = engines[0].book.parked
    assert {name for _, name in parked} == ({"a", "b", "c", "z"} if array else {"a", "b", "c"})
    assert engines[0].book.digest() == engines[0].book.digest_full()


@pytest.mark.parametrize("value", [b'{"type":"PositionBatch","accounts":["a"]', b"\x82\xa4typePositionBatch"])
def test_bytes_that_are_no_document_park_the_account_of_the_key(value):
    """Nobody can say what they name."""
    engines = []
    record = Record("positions", 0, 0, 1, b"shard-1", value)
    run(RecordingSource([record]), MemorySink(), settings_of(), on_engine=engines.append)
    assert list(engines[0].book.parked) == [("AccountUpdate", "shard-1")]


@given(document=st.binary(max_size=60), encoding=st.sampled_from(["json", "msgpack"]))
@settings(max_examples=300, deadline=None)
def test_whatever_a_batch_is_made_of_it_is_refused_and_nothing_else(document, encoding):
    """Looking for names raises nothing of its own."""
    with pytest.raises(Refused):
        decode(b"\x82\xa4type\xadPositionBatch\xa8accounts" + document if encoding == "msgpack" else
               b'{"type":"PositionBatch","accounts":' + document, encoding)  # fmt: skip


def test_blocks_are_whole_rows():
    """A torn one is refused at the door, in both encodings."""
    message = PositionBatch(accounts=[], symbols=[], updates=b"1234567", positions=b"")
    for encoding in ("json", "msgpack"):
        with pytest.raises(Refused, match="updates must be rows of 8 int64"):
            decode(encode(message, encoding), encoding)
