"""A small live market that is told anything: python -m tests.fuzz.engine [--logs N] [--seed N].

Whatever is told: nothing is raised, what cannot be decoded is one dead letter, cash and quantities of a decision sum to
zero, the last bankruptcy is answered, and the same log says the same bytes however it is read.
"""

import argparse
import random
import re
from collections import Counter, defaultdict
from contextlib import contextmanager
from fractions import Fraction

from schemas import Refused, decode, encode
from tests.fuzz import made, texts
from tests.worker.small_market import market
from tests.worker.tape import Said, run_tape, settings_of
from worker import merge, reader

RECORDS = 60  # told to a market, more or less
SETTINGS = (
    ("decision.policy=risk",), ("decision.policy=waterfill", "cut.watch_ms=50"), ("decision.collar=0.1",),
    ("decision.residual=none", "cut.joint_window_ms=20"), ("state.forecast_ms=500", "state.warning_fall=0.1"),
    ("reductions.tiers=3:0.25, 1.3:1", "ranks.records_per_second=100"), ("worker.mode=shadow",),
)  # fmt: skip
WAYS = {"record by record": (1 << 60, None), "as columns": (1, None), "in portions": (3, 7)}
_SEQ, _EPOCH = re.compile(rb'"seq":\d+'), re.compile(rb'"epoch":\d+')


def told(rng, size):
    """A log: the small market, anything, and a bankruptcy at last."""
    tape = market()
    tape.instrument("ETH").mark("ETH").instrument("INV", contract_type="inverse", lot="10").mark("INV").at(2000)
    for number in range(size):
        tape.at(tape.now_ms + rng.choice((0, 0, 1, 10, 200)))
        tell(tape, rng, number)
    return tape.at(tape.now_ms + 1000).bankrupt("nobody", ("BTC", "1"), name="last")


def tell(tape, rng, number):
    """One record: mostly updates and marks, some spoilt, some on another's topic."""
    if rng.random() < 0.6:
        key, value = texts.record(rng, accounts=made.ACCOUNTS[:5], symbols=[*made.SYMBOLS], currency="USD")
        topic = "mark-prices" if value and b'"MarkPrice"' in value else "positions"
        if value and rng.random() < 0.9:  # else it would mostly be stale, or of an epoch that has not begun
            value = _EPOCH.sub(b'"epoch":1', _SEQ.sub(b'"seq":%d' % (number + 2), value, count=1))
    else:
        topic, said = made.message(rng)
        key, value = texts.key(rng), encode(said)
        if rng.random() < 0.2:
            value = texts.spoilt(rng, value)
    if rng.random() < 0.03:
        topic = rng.choice([*made.TOPICS])
    tape.raw(topic, value, key)


@contextmanager
def runs_from(records):
    """So many records at least are taken together as columns."""
    before = merge.RUN_MIN, reader.RUN_MIN, merge.BATCH_MIN
    merge.RUN_MIN = reader.RUN_MIN = records
    merge.BATCH_MIN = 1
    try:
        yield
    finally:
        merge.RUN_MIN, reader.RUN_MIN, merge.BATCH_MIN = before


def said_of(records, flags, way):
    least, batch_max = WAYS[way]
    with runs_from(least):
        sink = run_tape(records, settings_of(*flags), batch_max=batch_max)
    advice, sink.advice = sink.advice, [output for output in sink.advice if output.value is not None]
    said = Said(sink)
    sink.advice = advice  # tombstones too
    return said


def everything(said):
    report = said.report
    return said.bytes, said.sink.advice, report.state_digest, report.counts, report.records, report.cuts


def judge(tape, flags):
    """Asserts what the file's head says; counts what came out."""
    said = said_of(tape.records, flags, "record by record")
    for way in ("as columns", "in portions"):
        assert everything(said_of(tape.records, flags, way)) == everything(said), way
    letters = Counter((letter.topic, letter.offset) for letter in said.letters)
    for record in tape.records:
        if record.value is not None and undecodable(record.value):
            assert letters[record.topic, record.offset] == 1, record
    assert not unbalanced(said)
    assert any(event.id == "last" for decision in said.decisions for event in decision.bankruptcies)
    counts = Counter(f"letter {letter.reason}" for letter in said.letters)
    counts.update(decision.status for decision in said.decisions)
    counts["records"] += len(tape.records)
    counts["stale"] += said.report.counts.get("STALE", 0)
    return counts


def unbalanced(said):
    """(decision, symbol) of first attempts whose trades do not sum to zero."""
    first = {decision.decision_id for decision in said.decisions if decision.attempt == 1}
    sums = defaultdict(lambda: [0, 0])
    for trade in said.trades:
        if trade.decision_id in first:
            cell, sign = sums[trade.decision_id, trade.symbol], 1 if trade.side == "BUY" else -1
            cell[0] += sign * Fraction(trade.quantity)
            cell[1] += Fraction(trade.quote_amount)
    return [key for key, cell in sums.items() if any(cell)]


def undecodable(value):
    try:
        return not decode(value)
    except Refused:
        return True


def campaign(logs, seed):
    """Judges so many logs of a seed; says which it was before it raises."""
    counts = Counter()
    for number in range(logs):
        rng = random.Random(f"{seed} {number}")
        try:
            counts += judge(told(rng, rng.randrange(RECORDS)), rng.choice(SETTINGS))
        except BaseException:
            print(f"seed {seed}, log {number}", flush=True)
            raise
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--logs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    counts = campaign(given.logs, given.seed)
    print(f"{given.logs:,} logs: " + ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items())))


if __name__ == "__main__":
    main()
