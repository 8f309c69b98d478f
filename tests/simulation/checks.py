"""What must hold when a seed's world is done: outputs against the inputs that are in the logs in the end.

Rule: the auditor and the count of answers use the input records and published bytes alone. Only the bytes of the
undisturbed run, and those derived again at the published cuts, are the engine's own.
"""

from bisect import bisect_left
from collections import Counter, defaultdict

from schemas import Bankruptcy, Control, Refused, decode, decode_output
from tests.simulation.inputs import records_in
from tests.worker.auditor import Auditor
from tests.worker.random_exchange import PARTITIONS
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import CHAINED, CUTS, DEAD_LETTERS, DECISIONS, TRADES
from worker.record import Record
from worker.verify import verify_replay


class WrongError(AssertionError):
    """What was published is not what had to be."""


class LogAuditor(Auditor):
    """The auditor on logs whose offsets have gaps, at the cuts that were published: live, a record counts late."""

    def __init__(self, records, cuts):
        super().__init__(records)
        self._cuts = list(cuts)
        self._offsets = defaultdict(list)
        for record in records:
            self._offsets[f"{record.topic}:{record.partition}"].append(record.offset)

    def advance_to(self, basis):
        places = {place: bisect_left(self._offsets[place], end) for place, end in basis.items()}
        super().advance_to({place: end for place, end in places.items() if place in self.inputs})

    def advance(self, decision):
        while self._cuts and self._cuts[0].number <= decision.cut_number:
            cut = self._cuts.pop(0)
            self.advance_to(cut.basis)
            self.advance_to(cut.basis | cut.after)


class Published:
    """What a reader of the outputs has seen, as the worker's own verification wants it."""

    def __init__(self, reader):
        self._said = reader.said

    def outputs(self, topic):
        return (
            Record(topic, 0, number, entry.timestamp()[1], entry.key(), entry.value())
            for number, entry in enumerate(self._said[topic])
        )


def check(world):
    """Raises WrongError with what is wrong."""
    records = records_in(world.broker, PARTITIONS)
    said = {topic: [decode_output(entry.value()) for entry in world.reader.said[topic]] for topic in CHAINED}
    _cuts_grow(said[CUTS])
    _every_bankruptcy_is_answered_once(records, said)
    if world.swarm.live:
        source = RecordingSource(records, partitions=PARTITIONS)
        report = verify_replay(source, Published(world.reader), world.settings)
        _right(report.ok, "derived again:", *report.differences)
    else:
        _bytes_are_those_of_the_undisturbed_run(world, records)
    if not world.swarm.poison:
        faults = LogAuditor(records, said[CUTS]).audit(said[DECISIONS], said[TRADES], ())
        _right(not faults, "the auditor says:", *faults[:5])


def _right(right, *words):
    if not right:
        raise WrongError(" ".join(map(str, words)))


def _cuts_grow(cuts):
    numbers, times = [cut.number for cut in cuts], [cut.log_time_ms for cut in cuts]
    _right(numbers == list(range(1, len(cuts) + 1)), "cuts are numbered", numbers)
    _right(times == sorted(times), "the time of cuts goes back:", times)


def _every_bankruptcy_is_answered_once(records, said):
    """By a decision that is no repetition, or by a dead letter; one that is held is answered when it is released."""
    refused = {(letter.topic, letter.partition, letter.offset) for letter in said[DEAD_LETTERS]}
    decided, held = Counter(), set()
    for decision in said[DECISIONS]:
        for named in decision.bankruptcies:
            place = named.topic, named.partition, named.offset
            if decision.status == "HELD":
                held.add(place)
            elif decision.attempt <= 1:
                decided[place] += 1
    for record in records:
        place = record.topic, record.partition, record.offset
        if place in refused:
            _right(not decided[place], place, "was refused, and decided")
        elif _goes_bankrupt(record):
            _right(decided[place] == 1 or (not decided[place] and place in held), place, "decided", decided[place])


def _goes_bankrupt(record):
    try:
        messages = [] if record.value is None else decode(record.value)
    except Refused:
        return False
    return any(
        isinstance(message.bankruptcy if isinstance(message, Control) else message, Bankruptcy) for message in messages
    )


def _bytes_are_those_of_the_undisturbed_run(world, records):
    wanted = MemorySink()
    run(RecordingSource(records, partitions=PARTITIONS), wanted, world.settings)
    for topic in CHAINED:
        want = [(record.key, record.value, record.log_time_ms) for record in wanted.outputs(topic)]
        got = [(entry.key(), entry.value(), entry.timestamp()[1]) for entry in world.reader.said[topic]]
        same = next((n for n, pair in enumerate(zip(want, got, strict=False)) if pair[0] != pair[1]), len(got))
        _right(want == got, f"{topic}: {len(got)} records, {len(want)} undisturbed; the first other one is", same)
