"""From records to steps: decodes, sequences, and asks a live source for its ends when something stands that cuts.

Rule: on a live source nobody waits for a clock or for a lagging producer. When a cutting record was seen the ends are
asked once, everything below them is read, and the cuts are those of what was read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, runtime_checkable

import numpy as np

from schemas import AccountUpdate, Refused, decode
from worker.batch import Plain
from worker.book.plain import KIND as PLAIN_KIND
from worker.book.plain import NOT_PLAIN, POSITION_FIELDS, RECORD_FIELDS, positions_max, read_plain
from worker.cut import KIND, Event, RecordedCut, Sequencer, Step
from worker.fetched import Fetched, fetched_of
from worker.formats import decoders
from worker.merge import RUN_MIN
from worker.record import END, LiveSource, Partition, Record, Source
from worker.settings import KINDS, SettingError, Settings

POLL_RECORDS: Final = 1000  # faster than fetching 10,000 a call: the batch stays in cache
UPDATE_BYTES: Final = b'{"type":"AccountUpdate"'  # of most records; those need not be read to be put in order
_UPDATE: Final = KIND[AccountUpdate]
_BINDING: Final = {kind: place for place, kind in enumerate((0, 1, 2, 4, 5, 6, 7, 3, 8))}


@runtime_checkable
class ColumnSource(Source, Protocol):
    """A source that can give its records as columns."""

    def fetch(self, max_records: int) -> Fetched:
        """As `poll`."""
        ...


class Reader:
    """Turns records into events and cuts in sequence order; raises SettingError for a topic without a kind.

    `batches`: plain records come as batches, for who applies them; else each is an event.
    """

    def __init__(
        self,
        source: Source,
        settings: Settings,
        recorded: Iterable[RecordedCut] = (),
        *,
        beyond: bool = True,
        batches: bool = False,
    ) -> None:
        self._source = source
        self._fetch: Callable[[int], Fetched] | None = None
        if batches:
            self._fetch = source.fetch if isinstance(source, ColumnSource) else self._packed
        self._currency = np.frombuffer(f'{settings.pool.currency}"'.encode(), np.uint8)
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
        names = dict(zip(KINDS, sorted(set(KIND.values())), strict=True))
        for kind, topics in settings.input.topics.items():
            for topic in topics:
                self._kind_of_topic[topic] = min(names[kind], self._kind_of_topic.get(topic, 99))
        unnamed = {topic for topic, _ in source.partitions()} - self._kind_of_topic.keys()
        if unnamed:
            raise SettingError(f"input.topics must name every topic of the input, lacks {', '.join(sorted(unnamed))}")
        self.records = 0

    def steps(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Iterable[Step]]:
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

    def _live_steps(self, source: LiveSource, stop: Callable[[], bool]) -> Iterator[Iterable[Step]]:
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
        if self._fetch is None:
            records = self._source.poll(POLL_RECORDS)
            for record in records:
                self._push(record)
            return len(records)
        fetched = self._fetch(POLL_RECORDS)
        if len(fetched) < RUN_MIN:
            for record in fetched.records():
                self._push(record)
        else:
            plain = self._plain(fetched)
            for span in fetched.spans:
                self._push_span(plain, *span)
        return len(fetched)

    def _packed(self, max_records: int) -> Fetched:
        return fetched_of(self._source.poll(max_records))

    def _plain(self, fetched: Fetched) -> Plain:
        text = np.frombuffer(fetched.text, np.uint8)
        records = np.empty((len(fetched), RECORD_FIELDS), np.int64)
        positions = np.empty((positions_max(len(text)), POSITION_FIELDS), np.int64)
        used = read_plain(text, fetched.keys, fetched.begins, fetched.ends, self._currency, records, positions)
        return Plain(fetched, text, records, positions[:used].copy())

    def _push_span(self, plain: Plain, partition: Partition, begin: int, end: int) -> None:
        """Plain records as they are; what stands between them as events."""
        singles = [end]
        if partition[0] in self._formats:
            singles = [*range(begin, end), end]
        elif len(found := np.flatnonzero(plain.records[begin:end, PLAIN_KIND] == NOT_PLAIN)):
            singles = [*(found + begin).tolist(), end]
        for at in singles:
            if at > begin:
                self.sequencer.push_plain(partition, plain, begin, at)
                self.records += at - begin
            if at < end:
                self._push(plain.fetched.record(partition, at))
            begin = at + 1

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


def _end(_: Partition) -> int:
    return END


def _binding(kind: int) -> int:
    return _BINDING[kind]
