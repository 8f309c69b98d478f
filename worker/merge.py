"""The records that were read and not yet taken, and their one order: smallest (log time, kind, topic, partition) first.

Rule: log time is made non-decreasing inside a partition, and a partition's offset order always holds.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, Generic, Protocol, TypeVar

from worker.record import END, Partition, Record

AHEAD_MAX: Final = 20_000  # waiting records of one partition at which it is asked to stand back while others catch up
AHEAD_MIN: Final = 5_000  # and at which it may go on: a stop throws away what was fetched, so it must be worth it


class Ordered(Protocol):
    record: Record
    kind: int
    log_time_ms: int


Item = TypeVar("Item", bound=Ordered)


class Merge(Generic[Item]):
    """One queue per partition, taken in the order of their heads."""

    def __init__(self, partitions: Iterable[Partition], cutting_kinds: Collection[int] = ()) -> None:
        self._queues: dict[Partition, deque[Item]] = {partition: deque() for partition in sorted(partitions)}
        self._next: dict[Partition, int] = dict.fromkeys(self._queues, 0)  # offset behind the newest pushed, or gap
        self._newest_ms: dict[Partition, int] = dict.fromkeys(self._queues, -END)
        self._cutting_kinds = frozenset(cutting_kinds)
        self._ahead: set[Partition] = set()
        self.newest_ms = -END  # of all that was pushed
        self.cutting = 0  # waiting items of a cutting kind
        self.horizon_ms = -END  # after `take`: whatever is taken next is not older

    @property
    def partitions(self) -> list[Partition]:
        return list(self._queues)

    def push(self, item: Item) -> None:
        """Takes the next record of its partition."""
        record = item.record
        partition = (record.topic, record.partition)
        log_time_ms, newest_ms = record.log_time_ms, self._newest_ms[partition]
        if log_time_ms < newest_ms:
            log_time_ms = newest_ms
        item.log_time_ms = log_time_ms
        self._newest_ms[partition] = log_time_ms
        self._next[partition] = record.offset + 1
        if log_time_ms > self.newest_ms:
            self.newest_ms = log_time_ms
        if item.kind in self._cutting_kinds:
            self.cutting += 1
        self._queues[partition].append(item)

    def reach(self, offsets: Mapping[Partition, int]) -> None:
        """Every record below these offsets has been pushed; a log that has gaps may end with one."""
        for partition, offset in offsets.items():
            self._next[partition] = max(offset, self._next[partition])

    def put_back(self, items: list[Item]) -> None:
        """Undoes the taking of the newest items taken, given in the order in which they were."""
        for item in reversed(items):
            self._queues[item.record.topic, item.record.partition].appendleft(item)
            if item.kind in self._cutting_kinds:
                self.cutting += 1

    def take(
        self,
        complete_until_ms: Callable[[Partition], int],
        below: Mapping[Partition, int] | None = None,
        until_ms: int = END,
    ) -> Iterator[Item]:
        """Takes whatever no record still to come can precede; sets `horizon_ms` when it has given all.

        `below`: offsets that bound what is taken. `until_ms`: a newer item is taken only while one that cuts waits.
        """
        queues, cutting_kinds = self._queues, self._cutting_kinds
        bounds = dict.fromkeys(queues, END) if below is None else {p: below.get(p, 0) for p in queues}
        heads, horizon = [], END
        for partition, queue in queues.items():
            if queue:
                if queue[0].record.offset < bounds[partition]:
                    heads.append((queue[0].log_time_ms, queue[0].kind, *partition))
            elif self._next[partition] < bounds[partition]:
                horizon = min(horizon, complete_until_ms(partition))
        heapq.heapify(heads)
        while heads and heads[0][0] < horizon and (heads[0][0] <= until_ms or self.cutting):
            log_time_ms, kind, topic, number = heads[0]
            partition = (topic, number)
            queue = queues[partition]
            item = queue.popleft()
            if item.kind in cutting_kinds:
                self.cutting -= 1
            if queue and queue[0].record.offset < bounds[partition]:
                head = queue[0]
                if head.log_time_ms != log_time_ms or head.kind != kind:  # else the partition stays where it is
                    heapq.heapreplace(heads, (head.log_time_ms, head.kind, topic, number))
            else:
                heapq.heappop(heads)
                if not queue and self._next[partition] < bounds[partition]:
                    horizon = min(horizon, complete_until_ms(partition))
            yield item
        self.horizon_ms = min(horizon, heads[0][0]) if heads else horizon

    def reaches(self, offsets: Mapping[Partition, int]) -> bool:
        """True when no record below the offsets is still to be pushed."""
        return all(self._next.get(partition, 0) >= offset for partition, offset in offsets.items())

    def oldest_ms(self) -> int:
        """The smallest log time that waits; END when nothing does."""
        return min((queue[0].log_time_ms for queue in self._queues.values() if queue), default=END)

    def waiting(self) -> int:
        """How many were pushed and not taken."""
        return sum(map(len, self._queues.values()))

    def ahead(self) -> set[Partition]:
        """Partitions with so much waiting that others should be read first."""
        for partition, queue in self._queues.items():
            if len(queue) > AHEAD_MAX:
                self._ahead.add(partition)
            elif len(queue) < AHEAD_MIN:
                self._ahead.discard(partition)
        return self._ahead
