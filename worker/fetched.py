"""The records of one fetch as columns: one text, and where in it each record's key and value stand.

Rule: no record is an object of its own before somebody asks for it; what is refused is the record that was fetched.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from worker.book.text import SENTINEL
from worker.record import Partition, Record

Cells = NDArray[np.int64]
Span = tuple[Partition, int, int]  # records [begin, end) are of this partition


class Fetched:
    """N records, those of a partition side by side and in offset order."""

    __slots__ = ("begins", "ends", "keys", "log_times", "offsets", "spans", "text")

    def __init__(
        self, spans: list[Span], offsets: Cells, log_times: Cells, text: bytes, keys: Cells, begins: Cells, ends: Cells
    ) -> None:
        self.spans = spans  # one behind the other
        self.offsets = offsets  # [N]
        self.log_times = log_times  # [N]
        self.text = text  # ends with SENTINEL
        self.keys = keys  # [N] where the key begins, which ends where the value begins; -1: none
        self.begins = begins  # [N]
        self.ends = ends  # [N] of the value; -1: null

    def __len__(self) -> int:
        return len(self.offsets)

    def part(self, begin: int, end: int) -> "Fetched":
        """The records [begin, end)."""
        spans = [
            (partition, max(first, begin) - begin, min(after, end) - begin)
            for partition, first, after in self.spans
            if first < end and after > begin
        ]
        here = slice(begin, end)
        places = self.keys[here], self.begins[here], self.ends[here]
        return Fetched(spans, self.offsets[here], self.log_times[here], self.text, *places)

    def from_offsets(self, offsets: Mapping[Partition, int]) -> "Fetched":
        """The records that stand at these offsets or behind."""
        begins = [
            first + int(np.searchsorted(self.offsets[first:after], offsets.get(partition, 0)))
            for partition, first, after in self.spans
        ]
        if all(begin == first for begin, (_, first, _) in zip(begins, self.spans, strict=True)):
            return self
        ranges = [np.arange(begin, after) for begin, (_, _, after) in zip(begins, self.spans, strict=True)]
        ends = list(accumulate(map(len, ranges), initial=0))
        spans = [
            (partition, begin, end)
            for (partition, _, _), begin, end in zip(self.spans, ends, ends[1:], strict=False)
            if end > begin
        ]
        kept = np.concatenate(ranges)
        places = self.keys[kept], self.begins[kept], self.ends[kept]
        return Fetched(spans, self.offsets[kept], self.log_times[kept], self.text, *places)

    def record(self, partition: Partition, at: int) -> Record:
        """One of them."""
        key, begin, end = int(self.keys[at]), int(self.begins[at]), int(self.ends[at])
        return Record(
            *partition,
            int(self.offsets[at]),
            int(self.log_times[at]),
            self.text[key:begin] if key >= 0 else None,
            self.text[begin:end] if end >= 0 else None,
        )

    def records(self) -> Iterator[Record]:
        """All of them."""
        for partition, begin, end in self.spans:
            for at in range(begin, end):
                yield self.record(partition, at)


def packed(
    spans: list[Span],
    offsets: Sequence[int],
    log_times: Sequence[int],
    keys: Sequence[bytes | None],
    values: Sequence[bytes | None],
) -> Fetched:
    """Columns of keys and values that are objects."""
    count = len(offsets)
    parts: list[bytes] = [SENTINEL] * (2 * count + 1)
    parts[0:-1:2] = [key or b"" for key in keys]
    parts[1:-1:2] = [value or b"" for value in values]
    places = np.fromiter(accumulate(map(len, parts), initial=0), np.int64, 2 * count + 2)
    begins, ends, key_begins = places[1:-1:2].copy(), places[2::2].copy(), places[0:-2:2].copy()
    if None in keys:
        key_begins[[at for at, key in enumerate(keys) if key is None]] = -1
    if None in values:
        ends[[at for at, value in enumerate(values) if value is None]] = -1
    return Fetched(
        spans, np.array(offsets, np.int64), np.array(log_times, np.int64), b"".join(parts), key_begins, begins, ends
    )


def fetched_of(records: Sequence[Record]) -> Fetched:
    """Columns of records, which may be in any interleaving of their partitions."""
    by_partition: dict[Partition, list[Record]] = {}
    for record in records:
        by_partition.setdefault((record.topic, record.partition), []).append(record)
    ends = list(accumulate(map(len, by_partition.values()), initial=0))
    ordered = [record for group in by_partition.values() for record in group]
    return packed(
        list(zip(by_partition, ends, ends[1:], strict=False)),
        [record.offset for record in ordered],
        [record.log_time_ms for record in ordered],
        [record.key for record in ordered],
        [record.value for record in ordered],
    )
