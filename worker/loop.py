"""The loop: source -> codec -> sequence -> engine -> sink; one order of duties, on Kafka as on recordings.

Duties: open the pool (committed offsets, silent replay that applies what was published, digest check); then read,
apply, and at every cut write what the engine says together with the offsets it rests on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from schemas import AccountUpdate, AdlDecision, ForcedTrade, Refused, decode
from worker.cut import KIND, CutPoint, Event, Sequencer
from worker.engine import Engine, Published, Start
from worker.formats import decoders
from worker.output import CHAINED, CUTS, DECISIONS, STATE, TRADES, read
from worker.record import END, Output, Partition, Record, Sink, Source
from worker.settings import SettingError, Settings
from worker.warm import warm

UPDATE_BYTES = b'{"type":"AccountUpdate"'  # of most records; those need not be read to be put in order
_UPDATE = KIND[AccountUpdate]
POLL_RECORDS = 1000  # faster than fetching 10,000 a call: the batch stays in cache


class StateLostError(Exception):
    """The log and what was committed about it do not agree; the sentence says how."""


@dataclass
class RunReport:
    """What a run did."""

    records: int = 0
    cuts: int = 0
    decisions: int = 0
    trades: int = 0
    dead_letters: int = 0
    state_digest: str = ""
    counts: dict[str, int] = field(default_factory=dict)


class Mark(msgspec.Struct):
    """The worker's own words in a commit."""

    cut: int
    log_time_ms: int
    digest: str
    heads: dict[str, tuple[int, str]]


class Reader:
    """Turns records into events in sequence order; raises SettingError for a topic that has no kind."""

    def __init__(self, source: Source, settings: Settings) -> None:
        self._source = source
        self._decode = decoders(settings)
        self._formats = settings.format.topics
        self.sequencer = Sequencer(source.partitions(), settings.cut.watch_ms, settings.cut.joint_window_ms)
        self._kind_of_topic: dict[str, int] = {}
        names = dict(zip(KIND_NAMES, KIND.values(), strict=True))
        for kind, topics in settings.input.topics.items():
            for topic in topics:
                self._kind_of_topic[topic] = min(names[kind], self._kind_of_topic.get(topic, 99))
        unnamed = {topic for topic, _ in source.partitions()} - self._kind_of_topic.keys()
        if unnamed:
            raise SettingError(f"input.topics must name every topic of the input, lacks {', '.join(sorted(unnamed))}")
        self.records = 0

    def steps(self) -> Iterator[Iterator[Event | CutPoint]]:
        """The steps of one poll after the other, until the source is at its end."""
        while True:
            at_end = self._source.at_end()
            records = self._source.poll(POLL_RECORDS)
            for record in records:
                self._push(record)
            finished = at_end and not records
            yield self.sequencer.steps(_end if finished else self._source.complete_until_ms)
            if finished:
                return

    def _push(self, record: Record) -> None:
        self.records += 1
        kind = self._kind_of_topic[record.topic]
        if record.value is None:
            self.sequencer.push(Event(record, (), kind))
            return
        if kind == _UPDATE and record.topic not in self._formats and record.value.startswith(UPDATE_BYTES):
            self.sequencer.push(Event(record, (), kind, None, 0, decode))
            return
        try:
            messages = self._decode[record.topic](record)
        except Refused as refused:
            self.sequencer.push(Event(record, (), kind, refused))
            return
        kinds = [KIND[type(message)] for message in messages]
        # A record of several messages stands where its most binding one would: a cut must stand before it.
        self.sequencer.push(Event(record, messages, max(kinds, default=kind, key=_binding)))


KIND_NAMES = (
    "instruments", "accounts", "controls", "insurance-fund", "mark-prices", "positions", "forced-trade-results",
    "bankruptcies",
)  # fmt: skip
_BINDING = {kind: place for place, kind in enumerate((0, 2, 4, 5, 6, 7, 3, 8))}


def _end(_: Partition) -> int:
    return END


def _binding(kind: int) -> int:
    return _BINDING[kind]


def run(
    source: Source,
    sink: Sink,
    settings: Settings,
    *,
    code_digest: str = "",
    start: Start | None = None,
    progress: Callable[[int], None] | None = None,
    on_decision: Callable[[AdlDecision], None] | None = None,
    on_engine: Callable[[Engine], None] | None = None,
) -> RunReport:
    """Runs a source to its end; goes on from what the sink committed. Raises StateLostError."""
    warm()
    engine = Engine(settings, code_digest, start)
    reader = Reader(source, settings)
    report = RunReport()
    if on_engine is not None:
        on_engine(engine)
    replay = Replay(sink)
    for steps in reader.steps():
        outputs: list[Output] = []
        last: tuple[CutPoint, Mark] | None = None
        for step in steps:
            if isinstance(step, Event):
                engine.apply(step)
            elif replay.open:
                engine.cut(step, replay.published(engine.cut_number + 1))
                replay.passed(engine, step)
            else:
                outputs += engine.cut(step)
                # The digest of the cut, not of the batch: events behind its last cut are no part of the commit.
                last = step, Mark(engine.cut_number, step.log_time_ms, engine.digest(), dict(engine.outputs.heads))
        if progress is not None:
            progress(reader.records)
        if last is None:
            continue
        point, mark = last
        chained = [output for output in outputs if output.topic != STATE]
        sink.commit(chained, after(point), msgspec.json.encode(mark).decode(), point.log_time_ms)
        sink.advise([output for output in outputs if output.topic == STATE], point.log_time_ms)
        _count(report, chained, on_decision)
    if replay.open:
        raise StateLostError(f"the inputs end before cut {replay.mark.cut if replay.mark else 0}, which was committed")
    report.records, report.cuts = reader.records, engine.cut_number
    report.state_digest, report.counts = engine.digest(), dict(sorted(engine.counts.items()))
    return report


def after(point: CutPoint) -> dict[Partition, int]:
    """The offsets once the records that stand at the cut are applied."""
    offsets = dict(point.basis)
    for event in point.cutting:
        offsets[event.record.topic, event.record.partition] = event.record.offset + 1
    return offsets


def _count(report: RunReport, outputs: list[Output], on_decision: Callable[[AdlDecision], None] | None) -> None:
    for output in outputs:
        if output.topic == DECISIONS:
            report.decisions += 1
            if on_decision is not None:
                on_decision(read(output.value, AdlDecision))
        elif output.topic == TRADES:
            report.trades += 1
        elif output.topic != CUTS:
            report.dead_letters += 1


class Replay:
    """What was published before, cut by cut; `open` until the committed cut has been passed."""

    def __init__(self, sink: Sink) -> None:
        committed = sink.committed()
        self.mark = None if committed is None else msgspec.json.decode(committed.metadata, type=Mark)
        self.open = self.mark is not None
        self._committed = committed
        self._by_cut: dict[int, Published] = {}
        if not self.open:
            return
        trades: dict[str, list[ForcedTrade]] = {}
        for record in sink.outputs(TRADES):
            trade = read(record.value, ForcedTrade)
            trades.setdefault(trade.decision_id, []).append(trade)
        for record in sink.outputs(DECISIONS):
            decision = read(record.value, AdlDecision)
            mine = [] if decision.status == "HELD" else trades.get(decision.decision_id, [])
            self._by_cut.setdefault(decision.cut_number, []).append((decision, mine))

    def published(self, cut_number: int) -> Published:
        return self._by_cut.get(cut_number, [])

    def passed(self, engine: Engine, point: CutPoint) -> None:
        """Closes the replay at the committed cut, after checking that the state is the one that was committed."""
        mark, committed = self.mark, self._committed
        if mark is None or committed is None or engine.cut_number < mark.cut:
            return
        if after(point) != {partition: committed.offsets.get(partition, 0) for partition in after(point)}:
            raise StateLostError(f"cut {mark.cut} rests on other offsets than were committed; are the inputs complete?")
        if engine.digest() != mark.digest:
            raise StateLostError(
                f"state digest at cut {mark.cut} is {engine.digest()}, committed was {mark.digest}; what was committed "
                "rests on other settings, other inputs or other code"
            )
        engine.outputs.heads = {topic: mark.heads[topic] for topic in CHAINED}
        self.open = False
