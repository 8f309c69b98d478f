"""The records that were read and not yet taken, and their one order: smallest (log time, kind, topic, partition) first.

Rule 1: log time is made non-decreasing inside a partition, and a partition's offset order always holds.
Rule 2: plain records wait as runs and are taken as batches; that says the same as taking them one by one.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Final, Generic, Literal, Protocol, TypeVar, cast

import numpy as np

from worker.batch import ORDER_BITS, ORDERED_MS_MAX, Batch, Plain, Run
from worker.book.plain import KIND
from worker.record import END, Partition, Record

AHEAD_MAX: Final = 20_000  # waiting records of one partition at which it is asked to stand back while others catch up
AHEAD_MIN: Final = 5_000  # and at which it may go on: a stop throws away what was fetched, so it must be worth it
RUN_MIN: Final = 16  # fewer records are cheaper one by one
APART_MIN: Final = 1_000  # waiting records of all partitions from which on a run does not keep all of its fetch
BATCH_MIN: Final = 4  # the same of what was read as columns: between two cuts there may be few

CompleteUntil = Callable[[Partition], int]


class Ordered(Protocol):
    record: Record
    kind: int
    log_time_ms: int


Item = TypeVar("Item", bound=Ordered)
Order = tuple[int, Partition]


class Merge(Generic[Item]):
    """One queue per partition, taken in the order of their heads."""

    def __init__(self, partitions: Iterable[Partition], cutting_kinds: Collection[int] = ()) -> None:
        self._queues: dict[Partition, deque[Item | Run]] = {partition: deque() for partition in sorted(partitions)}
        self._waiting: dict[Partition, int] = dict.fromkeys(self._queues, 0)  # records
        self._next: dict[Partition, int] = dict.fromkeys(self._queues, 0)  # offset behind the newest pushed, or gap
        self._newest_ms: dict[Partition, int] = dict.fromkeys(self._queues, -END)
        self._newest_order: dict[Partition, int] = dict.fromkeys(self._queues, -END)
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
        order = log_time_ms << ORDER_BITS | item.kind
        if order > self._newest_order[partition]:
            self._newest_order[partition] = order
        self._next[partition] = record.offset + 1
        if log_time_ms > self.newest_ms:
            self.newest_ms = log_time_ms
        if item.kind in self._cutting_kinds:
            self.cutting += 1
        self._waiting[partition] += 1
        self._queues[partition].append(item)

    def push_plain(self, partition: Partition, plain: Plain, begin: int, end: int) -> None:
        """Takes the next records of a partition, which cut nothing, as columns."""
        times = plain.fetched.log_times[begin:end]
        newest_ms = max(self._newest_ms[partition], int(times.max()))
        run = Run(partition, plain, begin, end, times)
        if end - begin < RUN_MIN or newest_ms >= ORDERED_MS_MAX:
            for at in range(end - begin):
                self.push(cast(Item, run.event(at)))
            return
        # A late record takes the time of the newest before it, and keeps its own kind.
        times = np.maximum.accumulate(np.maximum(times, self._newest_ms[partition]))
        orders = times << ORDER_BITS | plain.records[begin:end, KIND]
        orders[0] = max(int(orders[0]), self._newest_order[partition])
        run.orders = np.maximum.accumulate(orders)
        self._newest_ms[partition] = newest_ms
        self._newest_order[partition] = int(run.orders[-1])
        self.newest_ms = max(newest_ms, self.newest_ms)
        self._next[partition] = run.next_offset
        # A partition far ahead of the others would keep theirs, long taken, as well: up to 38 kB a record.
        if self.waiting() >= APART_MIN and run.small():
            run = run.apart()
        self._waiting[partition] += end - begin
        self._queues[partition].append(run)

    def reach(self, offsets: Mapping[Partition, int]) -> None:
        """Every record below these offsets has been pushed; a log that has gaps may end with one."""
        for partition, offset in offsets.items():
            self._next[partition] = max(offset, self._next[partition])

    def stand(self, offsets: Mapping[Partition, int], orders: Mapping[Partition, int]) -> None:
        """Takes up behind records that are not pushed again: their offsets, each partition's newest order."""
        self.reach(offsets)
        self._newest_order.update(orders)
        self._newest_ms.update({partition: order >> ORDER_BITS for partition, order in orders.items()})
        self.newest_ms = max(self._newest_ms.values(), default=-END)

    def put_back(self, items: list[Item | Batch]) -> None:
        """Undoes the taking of the newest items taken, given in the order in which they were."""
        for item in reversed(items):
            if isinstance(item, Batch):
                for run in reversed(item.runs):
                    self._queues[run.partition].appendleft(run)
                    self._waiting[run.partition] += len(run)
                continue
            partition = (item.record.topic, item.record.partition)
            self._queues[partition].appendleft(item)
            self._waiting[partition] += 1
            if item.kind in self._cutting_kinds:
                self.cutting += 1

    def take(
        self,
        complete_until_ms: CompleteUntil,
        below: Mapping[Partition, int] | None = None,
        until_ms: int = END,
    ) -> Iterator[Item | Batch]:
        """Takes whatever no record still to come can precede; sets `horizon_ms` when it has given all.

        `below`: offsets that bound what is taken. `until_ms`: a newer item is taken only while one that cuts waits.
        """
        queues, cutting_kinds = self._queues, self._cutting_kinds
        bounds = dict.fromkeys(queues, END) if below is None else {p: below.get(p, 0) for p in queues}
        heads, horizon = self._heads(complete_until_ms, bounds)
        while heads and heads[0][0] < horizon and (heads[0][0] <= until_ms or self.cutting):
            log_time_ms, kind, topic, number = heads[0]
            partition = (topic, number)
            queue = queues[partition]
            if isinstance(queue[0], Run):
                batch = self._batch(complete_until_ms, bounds, END if self.cutting else until_ms)
                if len(batch) < BATCH_MIN:
                    yield from cast(Iterator[Item], batch.events())
                else:
                    yield batch
                heads, horizon = self._heads(complete_until_ms, bounds)
                continue
            item = cast(Item, queue.popleft())
            self._waiting[partition] -= 1
            if item.kind in cutting_kinds:
                self.cutting -= 1
            if queue and _offset(queue[0]) < bounds[partition]:
                head = queue[0]
                if head.log_time_ms != log_time_ms or head.kind != kind:  # else the partition stays where it is
                    heapq.heapreplace(heads, (head.log_time_ms, head.kind, topic, number))
            else:
                heapq.heappop(heads)
                if not queue and self._next[partition] < bounds[partition]:
                    horizon = min(horizon, complete_until_ms(partition))
            yield item
        self.horizon_ms = min(horizon, heads[0][0]) if heads else horizon

    def _heads(
        self, complete_until_ms: CompleteUntil, bounds: Mapping[Partition, int]
    ) -> tuple[list[tuple[int, int, str, int]], int]:
        """The heap of what may be taken next of each partition, and the log time that bounds it."""
        heads, horizon = [], END
        for partition, queue in self._queues.items():
            if queue:
                if _offset(queue[0]) < bounds[partition]:
                    heads.append((queue[0].log_time_ms, queue[0].kind, *partition))
            elif self._next[partition] < bounds[partition]:
                horizon = min(horizon, complete_until_ms(partition))
        heapq.heapify(heads)
        return heads, horizon

    def _batch(self, complete_until_ms: CompleteUntil, bounds: Mapping[Partition, int], until_ms: int) -> Batch:
        """Takes the runs at the heads as far as nothing else stands before their records, or could."""
        limit: Order = ((min(until_ms, ORDERED_MS_MAX) + 1) << ORDER_BITS, ("", 0))
        for partition, queue in self._queues.items():
            found = self._bound(partition, queue, complete_until_ms, bounds[partition])
            limit = min(limit, found) if found is not None else limit
        taken: list[Run] = []
        for partition, queue in self._queues.items():
            side: Literal["left", "right"] = "right" if partition <= limit[1] else "left"
            while queue and isinstance(run := queue[0], Run):
                count = min(int(np.searchsorted(run.orders, limit[0], side)), run.below(bounds[partition]))
                if count == 0:
                    break
                queue.popleft()
                self._waiting[partition] -= count
                if count < len(run):
                    run, rest = run.split(count)
                    queue.appendleft(rest)
                    taken.append(run)
                    break
                taken.append(run)
        return Batch(taken)

    def _bound(
        self, partition: Partition, queue: Iterable[Item | Run], complete_until_ms: CompleteUntil, below: int
    ) -> Order | None:
        """What stands, or could still come to stand, behind the runs at a partition's head; None where nothing does."""
        order = -END
        for item in queue:
            if _offset(item) >= below:
                return None
            if not isinstance(item, Run):
                return max(order, item.log_time_ms << ORDER_BITS | item.kind), partition
            if item.next_offset > below:
                return None
            order = int(item.orders[-1])
        if self._next[partition] >= below:
            return None
        # What is still to come is of any kind, so the whole millisecond waits for it.
        return max((order, partition), (complete_until_ms(partition) << ORDER_BITS, ("", 0)))

    def reaches(self, offsets: Mapping[Partition, int]) -> bool:
        """True when no record below the offsets is still to be pushed."""
        return all(self._next.get(partition, 0) >= offset for partition, offset in offsets.items())

    def oldest_ms(self) -> int:
        """The smallest log time that waits; END when nothing does."""
        return min((queue[0].log_time_ms for queue in self._queues.values() if queue), default=END)

    def waiting(self) -> int:
        """How many records were pushed and not taken."""
        return sum(self._waiting.values())

    def ahead(self) -> set[Partition]:
        """Partitions with so much waiting that others should be read first."""
        for partition, waiting in self._waiting.items():
            if waiting > AHEAD_MAX:
                self._ahead.add(partition)
            elif waiting < AHEAD_MIN:
                self._ahead.discard(partition)
        return self._ahead


def _offset(item: Ordered | Run) -> int:
    return item.offset if isinstance(item, Run) else item.record.offset
