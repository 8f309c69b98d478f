"""One snapshot as a file: a header, words, columns as they are in memory, and a checksum of every byte.

    MAGIC, 8 bytes of the header's length, header (JSON), its checksum, words, rows of columns one behind the other,
    the checksum of the words and of each row, and a checksum of the header's and of all of these

Rule 1: nothing is believed before its checksum is right, the header first, because it says how much there is.
Rule 2: a file has its name only when all of it is on the disk: written beside, synced, renamed, and the folder synced.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from worker.record import Column, NotKeptError

MAGIC: Final = b"adl-snapshot 1\n"
CHECKSUM_BYTES: Final = 16
HEADER_BYTES_MAX: Final = 2**24
READERS: Final = 4  # reading and checksums let other threads go on
_LENGTH_BYTES: Final = 8
_EMPTY: Final = sha256()  # made once: to make one takes a lock, which a copy of the process could find held


class ColumnShape(msgspec.Struct, frozen=True):
    """What a column looks like."""

    name: str
    dtype: str
    shape: list[int]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot is of: whoever looks for one needs no more."""

    pool: str
    cut: int
    log_time_ms: int
    digest: str  # of the state
    offsets: dict[str, int]
    heads: dict[str, tuple[int, str]]
    code_digest: str
    layout_digest: str
    settings_digest: str


class Header(msgspec.Struct, frozen=True):
    """The facts, and how much follows."""

    facts: Facts
    words_bytes: int
    columns: list[ColumnShape]

    def row_bytes(self) -> list[int]:
        """The bytes of each row of each column."""
        rows: list[int] = []
        for column in self.columns:
            *counts, size = column.shape
            rows += [np.dtype(column.dtype).itemsize * size] * int(np.prod(counts, dtype=np.int64))
        return rows


def checksum(*parts: bytes | memoryview) -> bytes:
    """Of the bytes one behind the other: half of their SHA-256, for which processors have instructions."""
    found = _EMPTY.copy()
    for part in parts:
        found.update(part)
    return found.digest()[:CHECKSUM_BYTES]


def write_snapshot(path: Path, facts: Facts, words: bytes, columns: Sequence[Column]) -> int:
    """Writes a file that is there as a whole or not at all; returns how many bytes it has. Raises OSError."""
    shapes = [ColumnShape(name, column.dtype.str, list(column.shape)) for name, column in columns]
    header = msgspec.json.encode(Header(facts, len(words), shapes))
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with beside.open("wb", buffering=0) as file:
            sums = [checksum(header)]
            _write(file, MAGIC + len(header).to_bytes(_LENGTH_BYTES, "big") + header + sums[0])
            for part in (memoryview(words), *(row for _, column in columns for row in _rows(column))):
                sums.append(checksum(part))
                _write(file, part)
            _write(file, b"".join(sums[1:]) + checksum(*sums))
            os.fsync(file.fileno())
            size = file.tell()
        beside.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    return size


def sync_folder(folder: Path) -> None:
    """What was renamed or removed in the folder stays so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SnapshotFile:
    """A snapshot to be read; raises NotKeptError where it is torn, changed or none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                magic = file.read(len(MAGIC))
                length = int.from_bytes(file.read(_LENGTH_BYTES), "big")
                header = file.read(length) if length <= HEADER_BYTES_MAX else b""
                said = file.read(CHECKSUM_BYTES)
                self._begin = file.tell()
                self.bytes = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise NotKeptError(f"it cannot be read: {error.strerror}") from None
        if magic != MAGIC:
            raise NotKeptError("it is no snapshot of this version")
        if checksum(header) != said:
            raise NotKeptError("its header is torn or was changed")
        try:
            self.header = msgspec.json.decode(header, type=Header)
        except msgspec.MsgspecError as error:
            raise NotKeptError(f"its header is of another version: {error}") from None
        self.facts = self.header.facts
        self._rows = self.header.row_bytes()
        self._end = self._begin + self.header.words_bytes + sum(self._rows)
        blocks = 1 + len(self._rows)
        if self.bytes != self._end + CHECKSUM_BYTES * (blocks + 1):
            raise NotKeptError(f"it is torn: it has {self.bytes} bytes")
        self._sums = self._checksums(said, blocks)

    def words(self) -> bytes:
        """What is no column."""
        text = bytearray(self.header.words_bytes)
        self._read_all([(self._begin, memoryview(text), 0)])
        return bytes(text)

    def fill(self, columns: Sequence[Column]) -> None:
        """Puts the columns where they belong; they must be those that were written."""
        wanted = [ColumnShape(name, column.dtype.str, list(column.shape)) for name, column in columns]
        if wanted != self.header.columns:
            raise NotKeptError("its columns are not those that its words speak of")
        rows = [row for _, column in columns for row in _rows(column)]
        at, places = self._begin + self.header.words_bytes, []
        for number, row in enumerate(rows, start=1):
            places.append((at, row, number))
            at += len(row)
        self._read_all(places)

    def columns(self) -> list[Column]:
        """All columns, in memory of their own."""
        made: list[Column] = [
            (shape.name, np.empty(shape.shape, np.dtype(shape.dtype))) for shape in self.header.columns
        ]
        self.fill(made)
        return made

    def verify(self) -> None:
        """Reads every byte; raises NotKeptError."""
        self.words()
        self.columns()

    def _checksums(self, of_header: bytes, blocks: int) -> list[bytes]:
        text = bytearray(CHECKSUM_BYTES * (blocks + 1))
        try:
            with self.path.open("rb") as file:
                file.seek(self._end)
                file.readinto(text)
        except OSError as error:
            raise NotKeptError(f"it cannot be read: {error.strerror}") from None
        sums = [bytes(text[at : at + CHECKSUM_BYTES]) for at in range(0, len(text), CHECKSUM_BYTES)]
        if checksum(of_header, *sums[:-1]) != sums[-1]:
            raise NotKeptError("its checksums are torn or were changed")
        return sums[:-1]

    def _read_all(self, places: list[tuple[int, memoryview, int]]) -> None:
        """Reads parts from places of the file and checks them."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise NotKeptError(f"it cannot be read: {error.strerror}") from None

        def read(place: tuple[int, memoryview, int]) -> bool:
            at, room, number = place
            done = 0
            while done < len(room):
                count = os.preadv(descriptor, [room[done:]], at + done)
                if not count:
                    return False
                done += count
            return checksum(room) == self._sums[number]

        try:
            with ThreadPoolExecutor(READERS) as readers:
                if not all(readers.map(read, places)):
                    raise NotKeptError("a part of it was changed")
        except OSError as error:
            raise NotKeptError(f"it cannot be read: {error.strerror}") from None
        finally:
            os.close(descriptor)


def _rows(column: NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of each row; rows need not stand side by side."""
    for row in np.atleast_2d(column):
        yield memoryview(row).cast("B") if row.size else memoryview(b"")


def _write(file: BinaryIO | Any, part: bytes | memoryview) -> None:
    rest = memoryview(part)
    while len(rest):
        rest = rest[file.write(rest) :]
