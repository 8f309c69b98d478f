"""Plain records that stay columns on their way to the book: runs of one partition, and batches of runs between cuts.

Rule: a batch stands for its records in the one order (worker/merge.py); whoever needs them singly asks for `events`.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas import decode
from worker.book.apart import take_apart
from worker.book.plain import COUNT, KIND
from worker.book.text import SENTINEL
from worker.event import Event
from worker.fetched import Fetched
from worker.record import Partition

Cells = NDArray[np.int64]

ORDER_BITS: Final = 4  # of the kind in an order: log time * 16 + kind
ORDERED_MS_MAX: Final = 1 << 58  # so that an order is an int64
_KIND_MASK: Final = (1 << ORDER_BITS) - 1


class Plain:
    """What the plain records of one fetch say (worker/book/plain.py)."""

    __slots__ = ("fetched", "positions", "records", "text")

    def __init__(self, fetched: Fetched, text: NDArray[np.uint8], records: Cells, positions: Cells) -> None:
        self.fetched, self.text = fetched, text
        self.records = records  # [N, RECORD_FIELDS]
        self.positions = positions  # [P, POSITION_FIELDS]

    def bytes_of(self, begin: int, end: int) -> int:
        """The length of keys and values of the records [begin, end)."""
        keys, begins, ends = self.fetched.keys[begin:end], self.fetched.begins[begin:end], self.fetched.ends[begin:end]
        return int(ends.sum() - np.where(keys < 0, begins, keys).sum())

    def apart(self, partition: Partition, begin: int, end: int) -> "Plain":
        """Copies of the plain records [begin, end), all of one partition, which keep nothing else alive."""
        fetched = self.fetched
        columns = (fetched.offsets, fetched.log_times, fetched.keys, fetched.begins, fetched.ends)
        offsets, log_times, keys, begins, ends = (column[begin:end].copy() for column in columns)
        records = self.records[begin:end].copy()
        out = np.empty(self.bytes_of(begin, end) + len(SENTINEL), np.uint8)
        out[-len(SENTINEL) :] = np.frombuffer(SENTINEL, np.uint8)
        positions = np.empty((int(records[:, COUNT].sum()), self.positions.shape[1]), np.int64)
        take_apart(self.text, out, keys, begins, ends, records, self.positions, positions)
        text = out.tobytes()
        spans = [(partition, 0, end - begin)]
        own = Fetched(spans, offsets, log_times, text, keys, begins, ends)
        return Plain(own, np.frombuffer(text, np.uint8), records, positions)


class Run:
    """Plain records [begin, end) of a fetch, all of one partition; `orders` [N] grow: (log time, kind)."""

    __slots__ = ("begin", "end", "orders", "partition", "plain")

    def __init__(self, partition: Partition, plain: Plain, begin: int, end: int, orders: Cells) -> None:
        self.partition, self.plain, self.begin, self.end, self.orders = partition, plain, begin, end, orders

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def log_time_ms(self) -> int:
        """Of its first record."""
        return int(self.orders[0]) >> ORDER_BITS

    @property
    def kind(self) -> int:
        """By which its first record is put in order: at least that of each of its partition at the same log time."""
        return int(self.orders[0]) & _KIND_MASK

    @property
    def offset(self) -> int:
        """Of its first record."""
        return int(self.plain.fetched.offsets[self.begin])

    @property
    def next_offset(self) -> int:
        """Behind its last record."""
        return int(self.plain.fetched.offsets[self.end - 1]) + 1

    def small(self) -> bool:
        """Whether it is less than half of what it keeps alive."""
        plain = self.plain
        return 2 * len(self) < len(plain.fetched) or 2 * plain.bytes_of(self.begin, self.end) < len(plain.text)

    def apart(self) -> "Run":
        """The same records without the rest of their fetch."""
        return Run(self.partition, self.plain.apart(self.partition, self.begin, self.end), 0, len(self), self.orders)

    def text_extent(self) -> tuple[int, int]:
        """Where its records begin and end in the text of their fetch."""
        fetched = self.plain.fetched
        key, begin = int(fetched.keys[self.begin]), int(fetched.begins[self.begin])
        return (key if key >= 0 else begin), int(fetched.ends[self.end - 1])

    def below(self, offset: int) -> int:
        """How many of its records stand below an offset."""
        return int(np.searchsorted(self.plain.fetched.offsets[self.begin : self.end], offset))

    def split(self, count: int) -> tuple["Run", "Run"]:
        """Its first `count` records, and the rest."""
        middle = self.begin + count
        return (
            Run(self.partition, self.plain, self.begin, middle, self.orders[:count]),
            Run(self.partition, self.plain, middle, self.end, self.orders[count:]),
        )

    def event(self, at: int) -> Event:
        """One of them."""
        record = self.plain.fetched.record(self.partition, self.begin + at)
        kind = int(self.plain.records[self.begin + at, KIND])
        return Event(record, (), kind, None, int(self.orders[at]) >> ORDER_BITS, decode)


class Batch:
    """Runs taken together: one or more, each with a record, sorted by partition; a partition's one behind the other."""

    __slots__ = ("orders", "runs")

    def __init__(self, runs: list[Run]) -> None:
        self.runs = runs
        self.orders = runs[0].orders if len(runs) == 1 else np.concatenate([run.orders for run in runs])

    def __len__(self) -> int:
        return len(self.orders)

    @property
    def first_ms(self) -> int:
        return min(int(run.orders[0]) for run in self.runs) >> ORDER_BITS

    @property
    def log_time_ms(self) -> int:
        """Of its last record."""
        return max(int(run.orders[-1]) for run in self.runs) >> ORDER_BITS

    def sequence(self) -> Cells:
        """[N] the places of its records, one run behind the other, in the one order."""
        return np.argsort(self.orders, kind="stable")

    def events(self) -> Iterator[Event]:
        """Its records in the one order."""
        begins = np.cumsum([0, *map(len, self.runs)])
        for at in self.sequence().tolist():
            which = int(np.searchsorted(begins, at, "right")) - 1
            yield self.runs[which].event(at - int(begins[which]))

    def until(self, log_time_ms: int) -> tuple["Batch | None", "Batch | None"]:
        """Its records up to a log time, and the rest; None where there are none."""
        if self.log_time_ms <= log_time_ms:
            return self, None
        bound = (log_time_ms + 1) << ORDER_BITS
        first, rest = [], []
        for run in self.runs:
            count = int(np.searchsorted(run.orders, bound))
            if count == len(run):
                first.append(run)
            elif count == 0:
                rest.append(run)
            else:
                begin, end = run.split(count)
                first.append(begin)
                rest.append(end)
        return Batch(first) if first else None, Batch(rest) if rest else None


def events_of(step: Event | Batch) -> Iterable[Event]:
    """Its records, each by itself."""
    return step.events() if isinstance(step, Batch) else (step,)
