"""One order for all inputs, and the places in it at which something may be decided.

The pool's inputs are one sequence: the merge of the partitions by their head records, smallest (log time, kind, topic,
partition) first. It depends on the logs alone, not on which partition was fetched first. A cut stands before each
control, before a run of results of one log time, before the last bankruptcy of a joint group, and after all records up
to each multiple of `watch_ms` at which there is something new.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import msgspec

from schemas import (
    Account,
    AccountUpdate,
    Bankruptcy,
    Control,
    ForcedTradeResult,
    InputMessage,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Refused,
)
from worker.record import END, Partition, Record

KIND = {
    Instrument: 0,
    Account: 2,
    Control: 3,
    InsuranceFund: 4,
    MarkPrice: 5,
    AccountUpdate: 6,
    ForcedTradeResult: 7,
    Bankruptcy: 8,
}
CONTROL, RESULT, BANKRUPTCY = KIND[Control], KIND[ForcedTradeResult], KIND[Bankruptcy]
CUTTING = frozenset((CONTROL, RESULT, BANKRUPTCY))


class Event(msgspec.Struct):
    """One record with what it says, or with why it was refused."""

    record: Record
    messages: Sequence[InputMessage]
    kind: int
    refused: Refused | None = None
    log_time_ms: int = 0  # non-decreasing inside its partition
    unread: Callable[[bytes], Sequence[InputMessage]] | None = None  # says it, where the kind was known without

    def read(self) -> Sequence[InputMessage]:
        """What the record says; what waits is a third of the size unread, and what is applied is still in the cache."""
        if self.unread is not None:
            try:
                return self.unread(self.record.value or b"")
            except Refused as refused:
                self.refused, self.unread = refused, None
        return self.messages


@dataclass(slots=True)
class CutPoint:
    """Exactly the records of `basis` have been applied; `cutting` stands behind the cut and counts as applied at it."""

    log_time_ms: int
    basis: dict[Partition, int]
    cutting: list[Event] = field(default_factory=list)


class Sequencer:
    """Merges partitions into one sequence with its cuts; holds back what a missing record could still change."""

    def __init__(self, partitions: list[Partition], watch_ms: int, joint_window_ms: int) -> None:
        self.watch_ms = watch_ms
        self.joint_window_ms = joint_window_ms
        self.offsets: dict[Partition, int] = dict.fromkeys(sorted(partitions), 0)  # next to read, of emitted events
        self._queues: dict[Partition, deque[Event]] = {p: deque() for p in self.offsets}
        self._newest_ms: dict[Partition, int] = dict.fromkeys(self.offsets, -END)
        self._empty: set[Partition] = set(self.offsets)
        self._heads: list[tuple[int, int, str, int]] = []
        self._group: list[Event] = []  # from the first bankruptcy of a joint group on
        self._run: list[Event] = []  # results of one log time, one behind the other
        self._last_ms: int | None = None  # of the newest emitted event that no watch cut has covered

    def push(self, event: Event) -> None:
        """Takes the next record of its partition."""
        partition = (event.record.topic, event.record.partition)
        log_time_ms, newest_ms = event.record.log_time_ms, self._newest_ms[partition]
        if log_time_ms < newest_ms:
            log_time_ms = newest_ms
        event.log_time_ms = self._newest_ms[partition] = log_time_ms
        queue = self._queues[partition]
        queue.append(event)
        if len(queue) == 1:
            self._empty.discard(partition)
            heapq.heappush(self._heads, (event.log_time_ms, event.kind, *partition))

    def steps(self, complete_until_ms: Callable[[Partition], int]) -> Iterator[Event | CutPoint]:
        """Every event and cut that no record still to come can change.

        `complete_until_ms(partition)`: all its records with a smaller log time have been pushed.
        """
        horizon = min((complete_until_ms(p) for p in self._empty), default=END)
        while self._heads and self._heads[0][0] < horizon:
            event = self._pop()
            source = (event.record.topic, event.record.partition)
            if not self._queues[source]:
                horizon = min(horizon, complete_until_ms(source))
            if self._group and event.log_time_ms > self._group[0].log_time_ms + self.joint_window_ms:
                yield from self._release_group()
            if self._group or event.kind == BANKRUPTCY:
                self._group.append(event)
            elif event.log_time_ms == self._last_ms and event.kind not in CUTTING and not self._run:
                # No cut stands before it. `_emit` says the same, but its two generators cost 0.7 us a record.
                self._passed(event)
                yield event
            else:
                yield from self._emit(event)
        if self._heads:
            horizon = min(horizon, self._heads[0][0])
        if self._group and horizon > self._group[0].log_time_ms + self.joint_window_ms:
            yield from self._release_group()
        if not self._group:
            yield from self._advance(horizon)

    def _pop(self) -> Event:
        log_time_ms, kind, topic, number = self._heads[0]
        partition = (topic, number)
        queue = self._queues[partition]
        event = queue.popleft()
        if queue:
            head = queue[0]
            if head.log_time_ms == log_time_ms and head.kind == kind:
                return event  # the partition stays where it is
            heapq.heapreplace(self._heads, (head.log_time_ms, head.kind, topic, number))
        else:
            heapq.heappop(self._heads)
            self._empty.add(partition)
        return event

    def _release_group(self) -> Iterator[Event | CutPoint]:
        group, self._group = self._group, []
        last = max(i for i, event in enumerate(group) if event.kind == BANKRUPTCY)
        for i, event in enumerate(group):
            if i == last:
                yield from self._advance(event.log_time_ms, close_run=True)
                yield self._cut(event.log_time_ms, [event])
            else:
                yield from self._emit(event)

    def _emit(self, event: Event) -> Iterator[Event | CutPoint]:
        if not (event.kind == RESULT and self._run and self._run[0].log_time_ms == event.log_time_ms):
            yield from self._advance(event.log_time_ms, close_run=True)
        if event.kind == RESULT:
            self._run.append(event)
        elif event.kind == CONTROL:
            yield self._cut(event.log_time_ms, [event])
        else:
            self._passed(event)
            yield event

    def _advance(self, next_ms: int, close_run: bool = False) -> Iterator[CutPoint]:
        """Takes the cuts that stand before `next_ms`, the log time of whatever comes next."""
        if self._run and (close_run or self._run[0].log_time_ms < next_ms):
            run, self._run = self._run, []
            yield self._cut(run[0].log_time_ms, run)
        if self._last_ms is not None and not self._run:
            watch_ms = -(-self._last_ms // self.watch_ms) * self.watch_ms
            if watch_ms < next_ms:
                self._last_ms = None
                yield CutPoint(watch_ms, dict(self.offsets))

    def _cut(self, log_time_ms: int, cutting: list[Event]) -> CutPoint:
        cut = CutPoint(log_time_ms, dict(self.offsets), cutting)
        for event in cutting:
            self._passed(event)
        return cut

    def _passed(self, event: Event) -> None:
        record = event.record
        self.offsets[record.topic, record.partition] = record.offset + 1
        self._last_ms = event.log_time_ms
