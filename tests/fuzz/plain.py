"""The kernel of plain records against msgspec: python -m tests.fuzz.plain [--records N] [--seed N].

Whatever the kernel calls plain, msgspec must read, and as the same message, number by number; what msgspec refuses, the
kernel must not call plain. Records stand side by side, so what is torn in one could go on in the key of the next.
"""

import argparse
import random
from collections import Counter
from fractions import Fraction

import numpy as np

from schemas import MarkPrice, decode
from schemas.rejections import Refused
from schemas.units import quantity_of
from tests.fuzz.texts import record
from worker.book import plain
from worker.fetched import fetched_of
from worker.record import Record

CURRENCY = "USDT"
BATCH = 100  # records side by side
SIDES, MODES = ("NET", "LONG", "SHORT"), ("cross", "isolated")


class Said:
    """What the kernel read of some records."""

    def __init__(self, pairs):
        self.fetched = fetched_of([Record("t", 0, at, 0, key, value) for at, (key, value) in enumerate(pairs)])
        text = np.frombuffer(self.fetched.text, np.uint8)
        self.records = np.full((len(pairs), plain.RECORD_FIELDS), -7, np.int64)
        self.positions = np.full((plain.positions_max(len(text)), plain.POSITION_FIELDS), -7, np.int64)
        currency = np.frombuffer(f'{CURRENCY}"'.encode(), np.uint8)
        begins, ends = self.fetched.begins, self.fetched.ends
        self.used = plain.read_plain(text, self.fetched.keys, begins, ends, currency, self.records, self.positions)

    def text(self, cells, begin):
        return self.fetched.text[cells[begin] : cells[begin + 1]].decode("ascii")

    def message(self, at):
        """What the kernel says of a record in the words of a message; None where it is not plain."""
        cells = self.records[at]
        if cells[plain.KIND] == plain.NOT_PLAIN:
            return None
        name, seq = self.text(cells, plain.NAME_BEGIN), int(cells[plain.SEQ])
        if cells[plain.KIND] == plain.MARK:
            return name, number(cells, plain.BALANCE), seq
        assert cells[plain.KIND] == plain.UPDATE
        first, count = int(cells[plain.FIRST]), int(cells[plain.COUNT])
        assert 0 <= first <= first + count <= self.used
        own = self.positions[first : first + count]
        return (
            name, int(cells[plain.EPOCH]), seq, int(cells[plain.ADL_SEQ]), bool(cells[plain.FULL]),
            number(cells, plain.BALANCE), number(cells, plain.REQUIRED), [self.position(each) for each in own],
        )  # fmt: skip

    def position(self, cells):
        return (
            self.text(cells, plain.SYMBOL_BEGIN), number(cells, plain.QUANTITY), SIDES[cells[plain.SIDE]],
            number(cells, plain.PRICE), number(cells, plain.VALUE), MODES[cells[plain.ISOLATED]],
            number(cells, plain.MARGIN), int(cells[plain.POSITION_ADL_SEQ]),
        )  # fmt: skip


def number(cells, field):
    """A decimal as the kernel says it, None where it was not said."""
    value, places = int(cells[field]), int(cells[field + 1])
    assert -1 <= places <= plain.DIGITS_MAX
    assert abs(value) < 10**plain.DIGITS_MAX or places < 0
    return None if places < 0 else Fraction(value, 10**places)


def exact(text):
    return None if text is None else quantity_of(text, "number")


def wanted(value):
    """The same words of the message that msgspec reads; raises Refused, also for a text that is no decimal."""
    [message] = decode(value)
    if isinstance(message, MarkPrice):
        return message.symbol, exact(message.mark_price), message.event_time_ms
    own = [balance for balance in message.balances if (balance.currency, balance.collateral_weight) == (CURRENCY, "1")]
    assert len(own) == len(message.balances) <= 1, "the kernel left out a balance"
    return (
        message.account, message.epoch, message.seq, message.adl_seq, message.full,
        exact(own[0].amount) if own else None, exact(message.maintenance_margin),
        [
            (p.symbol, exact(p.quantity), p.position_side, exact(p.entry_price), exact(p.entry_value), p.margin_mode,
             exact(p.isolated_margin), p.adl_seq)
            for p in message.positions
        ],
    )  # fmt: skip


def judge(pairs, read=Said):
    """Asserts that the kernel is right about (key, value) records; counts what they were."""
    said, counts = read(pairs), Counter()
    for at, (key, value) in enumerate(pairs):
        found = said.message(at)
        if found is None:
            counts["refused" if value is None or refused(value) else "left"] += 1
            continue
        assert value is not None
        assert found == wanted(value), value
        if len(found) > 3:
            assert said.records[at, plain.KEY_DIFFERS] == (key is not None and key != found[0].encode()), (key, value)
        assert said.records[at, [plain.BEGIN, plain.END]].tolist() == [said.fetched.begins[at], said.fetched.ends[at]]
        counts["plain mark" if len(found) == 3 else "plain update"] += 1
    return counts


def refused(value):
    try:
        decode(value)
    except Refused:
        return True
    return False


def batch(rng):
    """Records side by side; some are torn so that the next one's key goes on with them."""
    pairs = [record(rng) for _ in range(BATCH)]
    for at in range(len(pairs) - 1):
        value = pairs[at][1]
        if value and rng.random() < 0.02:
            cut = rng.randrange(len(value))
            pairs[at : at + 2] = [(pairs[at][0], value[:cut]), (value[cut:], pairs[at + 1][1])]
    return pairs


def campaign(records, seed):
    """Judges so many records of a seed; says which batch it was before it raises."""
    counts = Counter()
    for number_of in range(-(-records // BATCH)):
        rng = random.Random(f"{seed} {number_of}")
        pairs = batch(rng)
        try:
            counts += judge(pairs)
        except Exception:
            print(f"seed {seed}, batch {number_of}", flush=True)
            raise
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts = campaign(given.records, given.seed)
    print(f"{counts.total():,} records: " + ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
