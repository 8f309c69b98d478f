"""What the loop reads and writes: records, outputs, and the two protocols that Kafka and recordings both serve.

Rule 1: the loop knows `Source` and `Sink`, never what stands behind them.
Rule 2: a position is the next offset to read, per (topic, partition); outputs and positions are committed together.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import msgspec
from numpy.typing import NDArray

Partition = tuple[str, int]
END: Final = 1 << 62  # a log time beyond every record's


# A msgspec struct, not a dataclass: making a frozen dataclass costs 0.9 us a record, this 0.15 us.
class Record(msgspec.Struct, frozen=True, gc=False):
    """One record of a log; `value` None removes the key."""

    topic: str
    partition: int
    offset: int
    log_time_ms: int
    key: bytes | None
    value: bytes | None


class Output(msgspec.Struct, frozen=True, gc=False):
    """One record to be written; `topic` is the logical name, the sink knows the configured one.

    `value` None removes the key, in advisory topics only.

    `log_time_ms` is the time of its cut; None takes the commit's. With several cuts in one commit it must be given,
    or the bytes written would depend on where transactions end.
    """

    topic: str
    key: bytes
    value: bytes | None
    log_time_ms: int | None = None


class Committed(msgspec.Struct, frozen=True):
    """What the last commit left: next offsets of the inputs and the worker's own words (sequence, chain, digest)."""

    offsets: dict[Partition, int]
    metadata: str


class Source(Protocol):
    """Inputs: any interleaving of partitions, offset order inside each."""

    def partitions(self) -> list[Partition]:
        """Every input partition, sorted, also those without a record."""
        ...

    def ends(self) -> dict[Partition, int]:
        """Asks once for each partition's end: no record below it is still to come, or comes without being polled."""
        ...

    def complete_until_ms(self, partition: Partition) -> int:
        """A log time: every record of the partition below it has been polled; END when none is left."""
        ...

    def poll(self, max_records: int) -> list[Record]:
        """At most `max_records` further records; empty when there are none now."""
        ...

    def at_end(self) -> bool:
        """True when no further record will ever come (never, live)."""
        ...


@runtime_checkable
class LiveSource(Source, Protocol):
    """Inputs that can grow: between two calls of `ends`, once the ends are read, `poll` gives whatever comes.

    Until then it gives nothing from behind them, and `complete_until_ms` is END for a partition that is read up to its.
    """

    def hold(self, partitions: Collection[Partition]) -> None:
        """Asks for no more of these partitions until the next call; records may still come."""
        ...

    def quiet_ms(self) -> int:
        """For how long nothing has come."""
        ...


@runtime_checkable
class SeekingSource(Source, Protocol):
    """Inputs that need not be read from their beginning."""

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Before the first poll: records below these offsets are not given, and count as read."""
        ...


class Outputs(Protocol):
    """What was said before."""

    def outputs(self, topic: str) -> Iterator[Record]:
        """The committed records of a logical topic, oldest first."""
        ...


@runtime_checkable
class RecentOutputs(Outputs, Protocol):
    """Outputs of which the beginning need not be read."""

    def outputs_behind(self, topic: str, sequence: int, log_time_ms: int) -> Iterator[Record]:
        """As `outputs`, but those behind a sequence; they stand at cuts that are not older than the log time."""
        ...


class Sink(Outputs, Protocol):
    """Outputs: one commit is all or nothing."""

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], metadata: str, log_time_ms: int
    ) -> None:
        """Writes the outputs and the offsets they rest on as one step."""
        ...

    def committed(self) -> Committed | None:
        """The last commit; None before the first."""
        ...

    def advise(self, outputs: Sequence[Output], log_time_ms: int = 0) -> None:
        """Writes advisory outputs, outside any commit; they may be lost or doubled."""
        ...

    def advised(self, topic: str) -> Iterator[Record]:
        """What is kept of an advisory topic, oldest first; the newest record of a key counts."""
        ...


Column = tuple[str, NDArray[Any]]


class NotKeptError(Exception):
    """What was kept of the state cannot be used; the sentence says why."""


class KeptWrongError(Exception):
    """What was kept does not agree with the log behind it, and is set aside: a new start goes on without it."""


class Place(NamedTuple):
    """The committed cut that a state stands at."""

    cut: int
    log_time_ms: int
    digest: str
    offsets: Mapping[Partition, int]
    heads: dict[str, tuple[int, str]]


class Kept(Protocol):
    """A state that was kept; what it gives is covered by checksums, else NotKeptError."""

    cut: int

    def words(self) -> bytes:
        """What of it is no column."""
        ...

    def fill(self, columns: Sequence[Column]) -> None:
        """Puts its columns into these."""
        ...

    def refuse(self, reason: str) -> None:
        """It is not what it should be, and not to be found again."""
        ...


class Keeper(Protocol):
    """Keeps states at committed cuts, so that a restart need not read the whole log."""

    def due(self) -> bool:
        """Whether it is time for one."""
        ...

    def keep(self, place: Place, state: Callable[[], tuple[bytes, Sequence[Column]]]) -> None:
        """Keeps the state as it is now, words and columns; nothing the caller does later shows in it."""
        ...

    def kept(self, cut_max: int) -> Iterator[Kept]:
        """What was kept and is not newer than a cut, newest first."""
        ...
