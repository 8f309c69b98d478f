"""Valid and limit-breaking messages through the worker's door into the book, and into its naive twin: one digest.

The twin is of dictionaries and fractions; here it also judges the texts, which its own tests only give it well formed.
"""

import random
import re

import pytest

from schemas import Account, AccountUpdate, Instrument, MarkPrice, Refused, decode, encode
from tests.fuzz import made
from tests.fuzz.engine import runs_from
from tests.worker.book.twin import Twin, TwinRefusal
from tests.worker.book.twin_digest import digest
from tests.worker.tape import Tape, settings_of
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.settings import KINDS

RECORDS = 400
_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class Strict(Twin):
    """A twin that takes plain decimal text only, and no more lots than a position may have."""

    def number(self, text, reason="NUMBER", step=None):
        if len(text) > 48 or not _DECIMAL.fullmatch(text):
            raise TwinRefusal("NUMBER")
        return super().number(text, reason, step)

    def held(self, position):
        held = super().held(position)
        if abs(held.lots) > 2**53:
            raise TwinRefusal("RANGE")
        return held

    def tell(self, message, log_time_ms):
        if isinstance(message, AccountUpdate):
            if max([message.adl_seq, *(position.adl_seq for position in message.positions)]) > 2**61:
                raise TwinRefusal("RANGE")
            self.apply_update(message)
        elif isinstance(message, Instrument):
            self.set_instrument(message)
        elif isinstance(message, Account):
            self.set_account(message)
        else:
            self.set_mark(message, log_time_ms)


def market(seed):
    """A tape of one partition, so that there is one order, and its messages: instruments, then updates and marks."""
    rng, tape, said = random.Random(f"twin {seed}"), Tape(), []

    def say(message):
        said.append((message, tape.now_ms))
        tape.raw("positions", encode(message), None)

    for name, contract in made.SYMBOLS.items():
        say(Instrument(
            symbol=name, tick_size="1", lot_size=rng.choice(("1", "0.001", "10")), settlement_currency="USD",
            maintenance_margin_fraction="0.1", price_decimals=2, contract_type=contract,
        ))  # fmt: skip
        say(MarkPrice(symbol=name, mark_price="100", event_time_ms=1))
    for _ in range(RECORDS):
        tape.at(tape.now_ms + rng.choice((0, 1, 50)))
        say(rng.choice((made.account, made.update, made.update, made.update, made.mark))(rng))
    return tape, said


@pytest.mark.parametrize("least", [1 << 60, 1], ids=["record by record", "as columns"])
@pytest.mark.parametrize("seed", range(6))
def test_the_book_that_the_door_lets_through_is_the_twins(seed, least):
    """Applied, ignored or refused: each time what the twin does, however the log is read."""
    tape, said = market(seed)
    engines = []
    with runs_from(least):
        source = RecordingSource(tape.records, partitions=[(kind, 0) for kind in KINDS])
        run(source, MemorySink(), settings_of(), on_engine=engines.append)
    twin, refused = Strict("USD", 2), 0
    for message, log_time_ms in said:
        try:
            twin.tell(decode(encode(message))[0], log_time_ms)
        except (Refused, TwinRefusal):
            refused += 1
    book = engines[0].book
    assert refused > 10
    twin.parked = dict(book.parked)  # with sentences, which the twin does not make
    assert book.digest() == book.digest_full() == digest(twin)
