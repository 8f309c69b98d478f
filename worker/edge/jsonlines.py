"""Records as lines of the shape `kcat -J` prints; plain, .gz or .zst by the file's ending.

{"topic":"accounts","partition":0,"offset":7,"tstype":"create","ts":1760000000000,"broker":0,"key":"a","payload":"{}"}

A key or payload that is not UTF-8 is written as `key_base64` / `payload_base64`; kcat itself prints those lossily.
"""

import gzip
import io
import zlib
from array import array
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Final, cast

import msgspec
import numpy as np

from worker.fetched import Fetched, fetched_of
from worker.record import END, Partition, Record

BLOCK_BYTES: Final = 1 << 18  # about 1,000 lines: larger blocks fall out of the cache and were 10 % slower


class RecordingError(Exception):
    """A recording that cannot be read; the message says which file and what must be."""


Number = Annotated[int, msgspec.Meta(ge=0, lt=END)]
Time = Annotated[int, msgspec.Meta(ge=-1, lt=END)]  # -1 is what kcat prints for a record without a time


class Line(msgspec.Struct, gc=False):
    """One line."""

    topic: str
    partition: Number
    offset: Number
    tstype: str = "create"
    ts: Time = 0
    broker: int = 0
    key: str | None = None
    payload: str | None = None
    key_base64: str | msgspec.UnsetType = msgspec.UNSET
    payload_base64: str | msgspec.UnsetType = msgspec.UNSET


class Outline:
    """What a first pass over a recording learns: where its partitions begin and end, and when each goes on.

    A *run* is what one block holds of a partition; of each its first log time and its last offset are kept.
    """

    def __init__(self) -> None:
        self.begins: dict[Partition, int] = {}  # first offset
        self.ends: dict[Partition, int] = {}
        self.count = 0
        self.runs: dict[Partition, array[int]] = {}

    def add(self, name: str, places: Iterable[tuple[str, int, int, int]]) -> None:
        """One block's (topic, partition, offset, log time); raises RecordingError where offsets go back."""
        ends = self.ends
        firsts: dict[Partition, int] = {}
        for topic, partition, offset, log_time_ms in places:
            self.count += 1
            where = topic, partition
            if offset < ends.get(where, 0):
                raise RecordingError(
                    f"{name}: offsets of a partition must grow, {topic}:{partition} "
                    f"went from {ends[where] - 1} to {offset}"
                )
            ends[where] = offset + 1
            if where not in firsts:
                firsts[where] = log_time_ms
                self.begins.setdefault(where, offset)
        for where, log_time_ms in firsts.items():
            self.runs.setdefault(where, array("q")).extend((log_time_ms, ends[where] - 1))

    def add_fetched(self, name: str, fetched: Fetched) -> None:
        """The same of a block's columns."""
        for where, begin, end in fetched.spans:
            offsets = fetched.offsets[begin:end]
            if offsets[0] < self.ends.get(where, 0) or np.any(offsets[1:] <= offsets[:-1]):
                self.add(name, ((r.topic, r.partition, r.offset, r.log_time_ms) for r in fetched.records()))
                return
        self.count += len(fetched)
        for where, begin, end in fetched.spans:
            self.begins.setdefault(where, int(fetched.offsets[begin]))
            self.ends[where] = int(fetched.offsets[end - 1]) + 1
            self.runs.setdefault(where, array("q")).extend((int(fetched.log_times[begin]), self.ends[where] - 1))


_encoder = msgspec.json.Encoder()
_lines = msgspec.json.Decoder(Line)


def line_of(record: Record) -> bytes:
    """The line of a record, newline included."""
    line = Line(record.topic, record.partition, record.offset, "create", record.log_time_ms)
    try:
        line.key = None if record.key is None else record.key.decode()
    except UnicodeDecodeError:
        line.key_base64 = b64encode(record.key or b"").decode()
    try:
        line.payload = None if record.value is None else record.value.decode()
    except UnicodeDecodeError:
        line.payload_base64 = b64encode(record.value or b"").decode()
    return _encoder.encode(line) + b"\n"


def record_of(line: bytes) -> Record:
    """The record of a line; raises msgspec.MsgspecError."""
    return _record(_lines.decode(line))


def read_records(path: Path) -> Iterator[list[Record]]:
    """The records of a file in blocks, in the order of its lines; raises RecordingError."""
    for block in blocks(path):
        yield records_of(block, path.name)


def records_of(block: bytes, name: str) -> list[Record]:
    """The records of a block of lines; raises RecordingError."""
    try:
        return [
            # Of nearly all lines; without the call a record costs a tenth less.
            Record(line.topic, line.partition, line.offset, line.ts, line.key.encode(), line.payload.encode())
            if line.key is not None and line.payload is not None
            else _record(line)
            for line in _lines.decode_lines(block)
        ]
    except (msgspec.MsgspecError, ValueError) as error:
        raise RecordingError(f"{name}: every line must be a record as `kcat -J` prints it: {error}") from None


def fetched_lines(block: bytes, name: str) -> Fetched:
    """The same as columns, partition by partition."""
    from worker.lines import plain_lines  # kernels: only where a recording is read

    plain = plain_lines(block)
    return fetched_of(records_of(block, name)) if plain is None else plain


def read_outline(path: Path) -> Outline:
    """The outline of a file; raises RecordingError."""
    outline = Outline()
    for block in blocks(path):
        outline.add_fetched(path.name, fetched_lines(block, path.name))
    return outline


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Writes a recording, returns how many; the same records give the same bytes."""
    count = 0
    with open_for_write(path) as file:
        for record in records:
            file.write(line_of(record))
            count += 1
    return count


def open_for_write(path: Path) -> IO[bytes]:
    """A new file, compressed by its ending."""
    if path.suffix == ".gz":
        # Neither name nor time in the header: equal records, equal bytes. Level 3: half the time of 6, 8 % more bytes.
        raw = path.open("wb")
        packed = gzip.GzipFile(filename="", mode="wb", compresslevel=3, fileobj=raw, mtime=0)
        packed.myfileobj = cast(Any, raw)  # closed with it
        return cast(IO[bytes], io.BufferedWriter(cast(io.RawIOBase, packed), BLOCK_BYTES))
    if path.suffix == ".zst":
        return cast(IO[bytes], _zstandard().open(path, "wb"))
    return path.open("wb", buffering=BLOCK_BYTES)


def blocks(path: Path) -> Iterator[bytes]:
    """Blocks of whole lines; a last line without newline belongs to them (a recording may be cut by hand)."""
    rest = b""
    for block in _unpacked(path):
        whole, newline, tail = block.rpartition(b"\n")
        if newline:
            yield rest + whole
            rest = tail
        else:
            rest += block
    if rest.strip():
        yield rest


def _unpacked(path: Path) -> Iterator[bytes]:
    """A file's bytes, unpacked by its ending; RecordingError where it is not there, torn, or not what it is called."""
    try:
        file = path.open("rb", buffering=0)
        file.read(0)
    except OSError as error:
        raise RecordingError(f"{path} must be a readable file: {error.strerror}") from None
    with file:
        try:
            if path.suffix == ".zst":
                yield from _zst_blocks(file)
            else:
                plain = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
                while block := plain.read(BLOCK_BYTES):
                    yield block
        except (EOFError, OSError, zlib.error) as error:
            raise RecordingError(f"{path.name} must be a whole {path.suffix} file: {error}") from None


def _zst_blocks(file: IO[bytes]) -> Iterator[bytes]:
    """Frames one behind the other; EOFError at a torn one, which zstandard's own reader would end silently."""
    zstandard = _zstandard()
    frame = None
    while packed := file.read(BLOCK_BYTES // 8):
        while packed:
            frame = frame or zstandard.ZstdDecompressor().decompressobj()
            try:
                yield frame.decompress(packed)
            except zstandard.ZstdError as error:
                raise EOFError(error) from None
            packed = frame.unused_data if frame.eof else b""
            frame = None if frame.eof else frame
    if frame is not None:
        raise EOFError("it ends within a frame")


def _record(line: Line) -> Record:
    key, payload = line.key, line.payload
    return Record(
        line.topic,
        line.partition,
        line.offset,
        line.ts,
        _unbase64(line.key_base64) if key is None else key.encode(),
        _unbase64(line.payload_base64) if payload is None else payload.encode(),
    )


def _unbase64(text: str | msgspec.UnsetType) -> bytes | None:
    return b64decode(text, validate=True) if isinstance(text, str) else None


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise RecordingError("a .zst recording needs the extra: pip install 'adl-worker[zstd]'") from None
    return zstandard
