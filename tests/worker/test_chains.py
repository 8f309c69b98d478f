"""Outputs read back: any interleaving of partitions is their sequence again; a loss, a repeat and a tear are found."""

import random

import msgspec
import pytest

from schemas import AdlState, Cut, decode_output
from worker.chains import Break, Chains, Said
from worker.output import CUTS, STATE, OutputLog
from worker.record import Record


def cuts(pool, count):
    """Records of a pool's cuts, spread over three partitions."""
    log = OutputLog(pool)
    for number in range(1, count + 1):
        sequence, chain = log.next(CUTS)
        cut = Cut(pool=pool, sequence=sequence, chain=chain, number=number, log_time_ms=number, basis={})
        log.put(CUTS, pool, cut, number)
    outputs = log.take()
    return [Record("t", n * n % 3, n, n, output.key, output.value) for n, output in enumerate(outputs)]


def followed(records):
    """What the chains give for records in this order."""
    chains = Chains()
    steps = [step for record in records for step in chains.see(record, decode_output(record.value))]
    waiting = chains.missing()
    return [*steps, *chains.settle()], waiting


def interleaved(records, seed):
    rng = random.Random(seed)
    queues = [[record for record in records if record.partition == number] for number in range(3)]
    mixed = []
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    return mixed


@pytest.mark.parametrize("seed", range(10))
def test_any_interleaving_of_partitions_is_the_sequence_again(seed):
    """Of two pools on one topic, each by itself."""
    one, two = cuts("one", 30), cuts("two", 20)
    steps, waiting = followed(interleaved([*one, *two], seed))
    assert waiting == []
    for pool, records in (("one", one), ("two", two)):
        assert [step.record for step in steps if step.message.pool == pool] == records


def test_what_is_lost_doubled_or_torn_is_said_with_its_place():
    """And the records behind it are given all the same."""
    records = [msgspec.structs.replace(record, partition=0) for record in cuts("main", 9)]
    torn = msgspec.structs.replace(records[3], value=records[3].value.replace(b'"log_time_ms":4', b'"log_time_ms":5'))
    for given, sentence, count in (
        (records[:4] + records[5:], "adl-cuts: record 5 is missing before t:0@5", 8),
        (records[:2] + records[5:], "adl-cuts: records 3 to 5 are missing before t:0@5", 6),
        (records[1:], "adl-cuts: record 1 is missing before t:0@1", 8),
        (records[:4] + records[3:], "adl-cuts: record 4 comes again, t:0@3", 9),
        ([*records[:3], torn, *records[4:]], "adl-cuts: record 5 does not carry the hash of the one before, t:0@4", 9),
        ([*records[:3], records[4], records[3], *records[5:]],
         "adl-cuts: record 4 stands behind later ones, t:0@3", 9),
    ):  # fmt: skip
        steps, _ = followed(given)
        assert [step.sentence for step in steps if isinstance(step, Break)] == [sentence]
        assert sum(isinstance(step, Said) for step in steps) == count


def test_what_is_waited_for_has_its_name():
    """So that who follows a live topic can tell a late record from a lost one."""
    records = cuts("main", 4)
    assert followed([records[0], records[3]])[1] == [(CUTS, 2)]


def test_advice_is_not_chained():
    """It may be lost or doubled."""
    state = AdlState(pool="main", symbol="A", state="NORMAL", cut_time_ms=1)
    assert list(Chains().see(Record(STATE, 0, 0, 0, b"A", b""), state)) == []
