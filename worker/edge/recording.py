"""A recording as Source, a folder as Sink: the same loop as on Kafka, without a broker.

Rule 1: what a recording gives never depends on batch size; its partitions may be read in any interleaving.
Rule 2: `outputs.jsonl` holds whole commits only: opening a folder cuts off what came after the last one.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from worker.edge.jsonlines import (
    Outline,
    RecordingError,
    blocks,
    fetched_lines,
    line_of,
    read_outline,
    record_of,
    records_of,
)
from worker.fetched import Fetched, fetched_of
from worker.record import END, Committed, Output, Partition, Record

OUTPUTS_FILE: Final = "outputs.jsonl"
COMMITS_FILE: Final = "commits.jsonl"
ADVICE_FILE: Final = "advice.jsonl"
BLOCK_RECORDS: Final = 1000  # of a recording in memory
Block = bytes | list[Record]  # whole lines, or records in memory


class RecordingSource:
    """A recording read once from its beginning.

    For tests: `batch_max` bounds what one poll gives; `interleaving_seed` mixes the partitions anew, offset order
    inside each kept (the whole recording is then held in memory).
    """

    count: int  # of all records, for progress
    begins: dict[Partition, int]  # first offset of each partition that has a record

    def __init__(
        self,
        recording: Path | Sequence[Record],
        *,
        batch_max: int | None = None,
        interleaving_seed: int | None = None,
        partitions: Iterable[Partition] = (),
    ) -> None:
        found: Iterator[Block]
        if isinstance(recording, Path):
            outline, found = read_outline(recording), blocks(recording)
        else:
            outline, found = _outline_of(recording), _in_blocks(recording)
        self._name = recording.name if isinstance(recording, Path) else "the recording"
        if interleaving_seed is not None:
            records = interleaved([record for block in found for record in self._records_of(block)], interleaving_seed)
            outline, found = _outline_of(records), _in_blocks(records)
        self.count = outline.count
        self.begins = outline.begins
        self._ends = dict.fromkeys(partitions, 0) | outline.ends
        self._runs = outline.runs
        self._run: dict[Partition, int] = dict.fromkeys(outline.runs, 0)  # place of the run that the next record is in
        self._positions: dict[Partition, tuple[int, int]] = {}  # next offset and newest log time of what was given
        self._begin: dict[Partition, int] = {}  # records below are passed over
        self._blocks = found
        self._batch_max = batch_max
        self._block: list[Record] = []
        self._columns = fetched_of([])
        self._next = 0  # of the block, as records or columns
        self._given = 0

    def partitions(self) -> list[Partition]:
        """Every partition of the recording and those named by the caller, sorted."""
        return sorted(self._ends)

    def ends(self) -> dict[Partition, int]:
        """The offset after each partition's last record."""
        return dict(self._ends)

    def seek(self, offsets: Mapping[Partition, int]) -> None:
        """Passes over all records below, which are read all the same: a file has no index."""
        self._begin = dict(offsets)

    def poll(self, max_records: int) -> list[Record]:
        """At most `max_records` further records; empty only at the end."""
        while True:
            records = self._polled(max_records)
            begin = self._begin
            found = [r for r in records if r.offset >= begin.get((r.topic, r.partition), 0)] if begin else records
            if found or not records:
                return found

    def _polled(self, max_records: int) -> list[Record]:
        while self._next >= len(self._block) and not self.at_end():
            self._block, self._next = self._records_of(next(self._blocks, [])), 0
        records = self._block[self._next : self._next + self._count(max_records)]
        self._next += len(records)
        self._given += len(records)
        positions = self._positions
        for record in records:
            positions[record.topic, record.partition] = (record.offset + 1, record.log_time_ms)
        return records

    def fetch(self, max_records: int) -> Fetched:
        """As `poll`, the records as columns; a source is read in one way or the other."""
        while True:
            fetched = self._fetched(max_records)
            found = fetched.from_offsets(self._begin) if self._begin else fetched
            if len(found) or not len(fetched):
                return found

    def _fetched(self, max_records: int) -> Fetched:
        while self._next >= len(self._columns) and not self.at_end():
            block = next(self._blocks, [])
            self._columns = fetched_lines(block, self._name) if isinstance(block, bytes) else fetched_of(block)
            self._next = 0
        columns = self._columns
        begin, end = self._next, min(self._next + self._count(max_records), len(columns))
        fetched = columns if end - begin == len(columns) else columns.part(begin, end)
        self._next = end
        self._given += len(fetched)
        for where, _, after in fetched.spans:
            self._positions[where] = int(fetched.offsets[after - 1]) + 1, int(fetched.log_times[after - 1])
        return fetched

    def _count(self, max_records: int) -> int:
        return max_records if self._batch_max is None else min(max_records, self._batch_max)

    def _records_of(self, block: Block) -> list[Record]:
        return records_of(block, self._name) if isinstance(block, bytes) else block

    def complete_until_ms(self, partition: Partition) -> int:
        """At least the first log time of the partition's next run, so that a partition at rest holds nobody back."""
        next_offset, log_time_ms = self._positions.get(partition, (0, -END))
        if next_offset >= self._ends[partition]:
            return END
        runs, place = self._runs[partition], self._run[partition]
        while runs[place + 1] < next_offset:
            place += 2
        self._run[partition] = place
        return max(log_time_ms, runs[place])

    def at_end(self) -> bool:
        """True when every record was given."""
        return self._given >= self.count


class Commit(msgspec.Struct, frozen=True):
    """One line of commits.jsonl; `offsets` by "topic:partition"."""

    outputs_bytes: int
    log_time_ms: int
    offsets: dict[str, int]
    metadata: str


_commits = msgspec.json.Decoder(Commit)
_encoder = msgspec.json.Encoder(order="deterministic")


class RecordingSink:
    """Outputs in a folder: `outputs.jsonl` (the shape of recordings), `commits.jsonl`, `advice.jsonl`.

    `topics` gives the configured name of a logical topic. A commit is its line in `commits.jsonl`, written last.
    """

    def __init__(self, folder: Path, topics: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._topics = dict(topics or {})
        self._outputs_path = folder / OUTPUTS_FILE
        self._last = _repair(self._outputs_path, folder / COMMITS_FILE)
        self._bytes = self._last.outputs_bytes if self._last else 0
        self._offsets = _next_offsets(self._outputs_path)
        self._advice_offsets: dict[str, int] = {}
        # Unbuffered: what was written is in the file when the commit's line follows; a killed process loses nothing.
        self._outputs = self._outputs_path.open("ab", buffering=0)
        self._commits = (folder / COMMITS_FILE).open("ab", buffering=0)
        self._advice = (folder / ADVICE_FILE).open("wb", buffering=0)

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], metadata: str, log_time_ms: int
    ) -> None:
        """Appends the outputs and then the commit; after an exception the folder must be opened anew."""
        written = b"".join(self._line(output, log_time_ms, self._offsets) for output in outputs)
        if written:
            self._outputs.write(written)
            self._bytes += len(written)
        named = {f"{topic}:{partition}": offset for (topic, partition), offset in offsets.items()}
        self._last = Commit(self._bytes, log_time_ms, named, metadata)
        self._commits.write(_encoder.encode(self._last) + b"\n")

    def committed(self) -> Committed | None:
        """The last commit."""
        if self._last is None:
            return None
        return Committed({_place(name): next_ for name, next_ in self._last.offsets.items()}, self._last.metadata)

    def outputs(self, topic: str) -> Iterator[Record]:
        """Committed records of a logical topic, oldest first."""
        name = self._topics.get(topic, topic)
        for record in read_outputs(self._outputs_path, self._bytes):
            if record.topic == name:
                yield record

    def advise(self, outputs: Sequence[Output], log_time_ms: int = 0) -> None:
        """Appends advisory outputs; the file begins anew with every opening."""
        self._advice.write(b"".join(self._line(output, log_time_ms, self._advice_offsets) for output in outputs))

    def advised(self, topic: str) -> Iterator[Record]:  # noqa: ARG002  the protocol's
        """Nothing, because the file begins anew."""
        return iter(())

    def close(self) -> None:
        """Closes the files; what was committed is in them already."""
        for file in (self._outputs, self._commits, self._advice):
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _line(self, output: Output, log_time_ms: int, offsets: dict[str, int]) -> bytes:
        topic = self._topics.get(output.topic, output.topic)
        offset = offsets.get(topic, 0)
        offsets[topic] = offset + 1
        time = log_time_ms if output.log_time_ms is None else output.log_time_ms
        return line_of(Record(topic, 0, offset, time, output.key, output.value))


def read_outputs(path: Path, bytes_max: int | None = None) -> Iterator[Record]:
    """Records of an outputs file up to a length, a torn last line left out; raises RecordingError."""
    if not path.exists():
        return
    left = path.stat().st_size if bytes_max is None else bytes_max
    with path.open("rb") as file:
        for line in file:
            left -= len(line)
            if left < 0 or not line.endswith(b"\n"):
                return
            try:
                yield record_of(line)
            except (msgspec.MsgspecError, ValueError) as error:
                raise RecordingError(f"{path.name}: every line must be an output record: {error}") from None


def committed_outputs(folder: Path) -> Iterator[Record]:
    """All committed records of a folder of outputs, read without changing it."""
    if not (folder / OUTPUTS_FILE).exists():
        raise RecordingError(f"{folder} must be a folder of outputs (with {OUTPUTS_FILE})")
    commits = _whole_commits(folder / COMMITS_FILE, (folder / OUTPUTS_FILE).stat().st_size)[0]
    yield from read_outputs(folder / OUTPUTS_FILE, commits.outputs_bytes if commits else 0)


def interleaved(records: Sequence[Record], seed: int) -> list[Record]:
    """The records in another interleaving of their partitions, every one equally likely; offset order inside each."""
    queues: dict[Partition, Iterator[Record]] = {}
    members: dict[Partition, list[Record]] = {}
    for record in records:
        members.setdefault((record.topic, record.partition), []).append(record)
    turns = [where for where in sorted(members) for _ in members[where]]
    random.Random(seed).shuffle(turns)  # noqa: S311  for tests, no secret
    queues = {where: iter(members[where]) for where in members}
    return [next(queues[where]) for where in turns]


def _in_blocks(records: Sequence[Record]) -> Iterator[list[Record]]:
    return (list(records[begin : begin + BLOCK_RECORDS]) for begin in range(0, len(records), BLOCK_RECORDS))


def _outline_of(records: Sequence[Record]) -> Outline:
    outline = Outline()
    for block in _in_blocks(records):
        outline.add("the recording", ((r.topic, r.partition, r.offset, r.log_time_ms) for r in block))
    return outline


def _repair(outputs: Path, commits: Path) -> Commit | None:
    """Cuts both files back to the last commit whose outputs are all there, and returns it."""
    outputs.touch()
    commits.touch()
    last, length = _whole_commits(commits, outputs.stat().st_size)
    with commits.open("r+b") as file:
        file.truncate(length)
    with outputs.open("r+b") as file:
        file.truncate(last.outputs_bytes if last else 0)
    return last


def _whole_commits(commits: Path, outputs_bytes: int) -> tuple[Commit | None, int]:
    """The last commit not beyond the outputs, and how long the file is with it."""
    last, length = None, 0
    if not commits.exists():
        return last, length
    with commits.open("rb") as file:
        for line in file:
            try:
                commit = _commits.decode(line)
            except msgspec.MsgspecError:
                break
            # A power cut can keep the commit's line and lose the outputs before it.
            if not line.endswith(b"\n") or commit.outputs_bytes > outputs_bytes:
                break
            last, length = commit, length + len(line)
    return last, length


def _next_offsets(outputs: Path) -> dict[str, int]:
    offsets: dict[str, int] = {}
    for record in read_outputs(outputs):
        offsets[record.topic] = record.offset + 1
    return offsets


def _place(name: str) -> Partition:
    topic, _, partition = name.rpartition(":")
    return topic, int(partition)
