"""A source's records in time order over all partitions: what `adl record` writes and `adl publish --speed` follows.

Rule: the order depends on the records alone, not on how they were read, so the same range gives the same recording.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, cast

import msgspec

from worker.merge import Merge
from worker.reader import POLL_RECORDS
from worker.record import END, LiveSource, Partition, Record, Source

WAITING_MAX: Final = 500_000  # records in memory before a source that cannot be held is called out of order


class OutOfOrderError(Exception):
    """The source is so far from time order that it cannot be put in order in memory."""


class Waiting(msgspec.Struct):
    """A record that waits for older ones of other partitions."""

    record: Record
    kind: int = 0  # decides between equal log times
    log_time_ms: int = 0  # non-decreasing inside its partition


def in_time_order(
    source: Source,
    *,
    kinds: Mapping[str, int] | None = None,
    waiting_max: int = WAITING_MAX,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[list[tuple[int, Record]]]:
    """(log time, record) by smallest (log time, kind, topic, partition), each partition in offset order; in batches.

    `kinds`: topic -> rank among equal log times. Reads a finite source to its end; raises OutOfOrderError.
    """
    kinds = kinds or {}
    partitions = source.partitions()
    merge: Merge[Waiting] = Merge(partitions)
    live = source if isinstance(source, LiveSource) else None
    source.ends()
    waiting = polled = 0
    while not source.at_end():
        records = source.poll(POLL_RECORDS)
        for record in records:
            merge.push(Waiting(record, kinds.get(record.topic, 0)))
        taken = _taken(merge, source.complete_until_ms)
        polled += len(records)
        waiting += len(records) - len(taken)
        if live is not None:
            # What is read is not wanted any more, but would be fetched on and on.
            live.hold(merge.ahead() | {p for p in partitions if source.complete_until_ms(p) == END})
        elif waiting > waiting_max:
            raise OutOfOrderError(f"{waiting:,} records wait for older ones of other partitions")
        progress(polled)
        yield taken
    yield _taken(merge, lambda _: END)


def _taken(merge: Merge[Waiting], complete_until_ms: Callable[[Partition], int]) -> list[tuple[int, Record]]:
    items = cast(Iterator[Waiting], merge.take(complete_until_ms))  # no columns were pushed
    return [(item.log_time_ms, item.record) for item in items]
