"""From records to steps: decodes, sequences, and asks a live source for its ends when something stands that cuts.

Rule: on a live source nobody waits for a clock or for a lagging producer. When a cutting record was seen the ends are
asked once, everything below them is read, and the cuts are those of what was read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from schemas import AccountUpdate, Refused, decode
from worker.cut import KIND, CutPoint, Event, RecordedCut, Sequencer
from worker.formats import decoders
from worker.record import END, LiveSource, Partition, Source
from worker.settings import KINDS, SettingError, Settings

POLL_RECORDS: Final = 1000  # faster than fetching 10,000 a call: the batch stays in cache
UPDATE_BYTES: Final = b'{"type":"AccountUpdate"'  # of most records; those need not be read to be put in order
_UPDATE: Final = KIND[AccountUpdate]
_BINDING: Final = {kind: place for place, kind in enumerate((0, 1, 2, 4, 5, 6, 7, 3, 8))}


class Reader:
    """Turns records into events and cuts in sequence order; raises SettingError for a topic without a kind."""

    def __init__(
        self, source: Source, settings: Settings, recorded: Iterable[RecordedCut] = (), *, beyond: bool = True
    ) -> None:
        self._source = source
        self._live = source if isinstance(source, LiveSource) else None
        self._decode = decoders(settings)
        self._formats = settings.format.topics
        self._quiet_ms = max(settings.cut.watch_ms, settings.cut.joint_window_ms)
        self.sequencer = Sequencer(
            source.partitions(),
            settings.cut.watch_ms,
            settings.cut.joint_window_ms,
            live=self._live is not None,
            recorded=recorded,
            beyond=beyond,
        )
        self._kind_of_topic: dict[str, int] = {}
        names = dict(zip(KINDS, KIND.values(), strict=True))
        for kind, topics in settings.input.topics.items():
            for topic in topics:
                self._kind_of_topic[topic] = min(names[kind], self._kind_of_topic.get(topic, 99))
        unnamed = {topic for topic, _ in source.partitions()} - self._kind_of_topic.keys()
        if unnamed:
            raise SettingError(f"input.topics must name every topic of the input, lacks {', '.join(sorted(unnamed))}")
        self.records = 0

    def steps(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Iterable[Event | CutPoint]]:
        """The steps of one poll after another until the source is at its end, or between two polls until `stop()`."""
        if self._live is not None:
            yield from self._live_steps(self._live, stop)
            return
        while not stop():
            at_end = self._source.at_end()
            records = self._poll()
            finished = at_end and not records
            yield self.sequencer.steps(_end if finished else self._source.complete_until_ms)
            if finished:
                return

    def _live_steps(self, source: LiveSource, stop: Callable[[], bool]) -> Iterator[Iterable[Event | CutPoint]]:
        sequencer = self.sequencer
        ends = source.ends()  # catching up: the first round is all that is there
        in_round, idle = True, False
        while not stop():
            if in_round:
                source.hold(sequencer.merge.ahead())
            self._poll()
            if not in_round:
                idle = sequencer.pending() and self._ended(source)
                if idle or sequencer.due():
                    ends = source.ends()
                    in_round = True
            if not in_round:
                yield ()
            elif all(source.complete_until_ms(partition) == END for partition in sequencer.offsets):
                # Something came after all while the ends were asked: then the log did not end here.
                idle = idle and self._ended(source)
                sequencer.reach(ends)
                yield sequencer.settle(idle=idle)
                in_round = False
                source.hold(())
            else:
                yield sequencer.steps(source.complete_until_ms)
            if not in_round and (sequencer.replaying or (source.at_end() and not sequencer.pending())):
                return

    def _ended(self, source: LiveSource) -> bool:
        return source.quiet_ms() >= self._quiet_ms or self.sequencer.crowded()

    def _poll(self) -> int:
        records = self._source.poll(POLL_RECORDS)
        for record in records:
            self.records += 1
            kind = self._kind_of_topic[record.topic]
            if record.value is None:
                self.sequencer.push(Event(record, (), kind))
                continue
            if kind == _UPDATE and record.topic not in self._formats and record.value.startswith(UPDATE_BYTES):
                self.sequencer.push(Event(record, (), kind, None, 0, decode))
                continue
            try:
                messages = self._decode[record.topic](record)
            except Refused as refused:
                self.sequencer.push(Event(record, (), kind, refused))
                continue
            kinds = [KIND[type(message)] for message in messages]
            # A record of several messages stands where its most binding one would: a cut must stand before it.
            self.sequencer.push(Event(record, messages, max(kinds, default=kind, key=_binding)))
        return len(records)


def _end(_: Partition) -> int:
    return END


def _binding(kind: int) -> int:
    return _BINDING[kind]
