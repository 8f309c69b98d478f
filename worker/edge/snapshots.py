"""The snapshots of a pool in a folder: taken in the background, a few kept, the newest good one found.

Rule 1: the loop stands still only while the process is copied. The copy shares memory until one of both writes to it;
it writes the file and ends, touches no client, and collects no garbage, because that could close one.
Rule 2: a file that cannot be used is set aside with one line, and the one before it is tried.
"""

import gc
import os
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from worker.edge.snapshot_file import Facts, SnapshotFile, sync_folder, write_snapshot
from worker.record import Column, NotKeptError, Place
from worker.settings import SettingError

SUFFIX: Final = ".snapshot"
REFUSED: Final = ".refused"  # behind the name of one that could not be used; gone with the next that is taken
STUCK_SECONDS: Final = 600.0  # a copy that writes for longer is ended
LOST_STATUS: Final = 1 << 8  # as of a process that ended with 1: nobody knows how it ended


class Found:
    """A snapshot that was found; see `worker.record.Kept`."""

    def __init__(self, file: SnapshotFile) -> None:
        self._file = file
        self.cut = file.facts.cut

    def words(self) -> bytes:
        return self._file.words()

    def fill(self, columns: Sequence[Column]) -> None:
        self._file.fill(columns)
        structlog.get_logger().info("adl.snapshot_read", cut=self.cut, bytes=self._file.bytes)

    def refuse(self, reason: str) -> None:
        """Sets it aside."""
        refuse(self._file.path, reason)


class Snapshots:
    """See `worker.record.Keeper`; raises SettingError where the folder cannot be used."""

    def __init__(
        self,
        folder: Path,
        *,
        pool: str,
        code_digest: str,
        layout_digest: str,
        settings_digest: str,
        interval_ms: int,
        keep: int,
        in_background: bool = True,
    ) -> None:
        self._folder, self._pool, self._keep = folder, pool, keep
        self._code, self._layout, self._settings = code_digest, layout_digest, settings_digest
        self._interval_seconds = interval_ms / 1000
        self._in_background = in_background
        self._at = time.monotonic()  # when the last one was taken
        self._child = 0  # the copy that writes
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for left in folder.glob(f"*{SUFFIX}.*.tmp"):
                left.unlink()
        except OSError as error:
            raise SettingError(f"snapshot.folder must be a folder that can be written, {folder}: {error}") from None

    def due(self) -> bool:
        """Whether it is time for one."""
        now = time.monotonic()
        if self._child and not self._ended(now):
            return False
        return now - self._at >= self._interval_seconds

    def keep(self, place: Place, state: Callable[[], tuple[bytes, Sequence[Column]]]) -> None:
        """Takes one of the state as it is now; a failure is told and changes nothing else."""
        begun = self._at = time.monotonic()
        facts = Facts(
            pool=self._pool, cut=place.cut, log_time_ms=place.log_time_ms, digest=place.digest,
            offsets={f"{topic}:{number}": offset for (topic, number), offset in sorted(place.offsets.items())},
            heads=place.heads, code_digest=self._code, layout_digest=self._layout, settings_digest=self._settings,
        )  # fmt: skip
        if not self._in_background:
            self._write(facts, state)
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the copy only writes and ends
            try:
                self._child = os.fork()
            except OSError as error:  # no process, or no memory for its page tables
                structlog.get_logger().warning("adl.snapshot_failed", reason=str(error))
                return
        if self._child == 0:
            _only(lambda: self._write(facts, state))
        paused_ms = round(1000 * (time.monotonic() - begun), 1)
        structlog.get_logger().debug("adl.snapshot", cut=place.cut, paused_ms=paused_ms)

    def kept(self, cut_max: int) -> Iterator[Found]:
        """Those that can be used, newest first; each that cannot is set aside with one line."""
        for path in reversed(snapshots_in(self._folder)):
            try:
                file = SnapshotFile(path)
                facts = file.facts
                if facts.pool != self._pool:
                    raise NotKeptError(f"it is of pool {facts.pool}")
                if facts.cut > cut_max:
                    raise NotKeptError(f"it stands at cut {facts.cut}, committed is cut {cut_max}")
                if facts.layout_digest != self._layout:
                    raise NotKeptError("code with another layout of the state has written it")
                if facts.settings_digest != self._settings:
                    raise NotKeptError("it was taken with other settings, on which the state rests")
            except NotKeptError as error:
                refuse(path, str(error))
                continue
            yield Found(file)
        structlog.get_logger().info("adl.whole_log", reason="there is no snapshot to go on from")

    def close(self) -> None:
        """Waits for no copy: one that writes ends by itself, and leaves a whole file or none."""
        if self._child:
            self._ended(time.monotonic())

    def wait(self) -> None:
        """Returns when nothing is being written."""
        if self._child:
            _, status = self._asked(0)
            self._tell(status)

    # --- the copy -----------------------------------------------------------------------------------------------------

    def _write(self, facts: Facts, state: Callable[[], tuple[bytes, Sequence[Column]]]) -> None:
        words, columns = state()
        path = self._folder / f"{facts.cut:020d}{SUFFIX}"
        write_snapshot(path, facts, words, columns)
        prune(self._folder, self._keep, path)

    def _ended(self, now: float) -> bool:
        found, status = self._asked(os.WNOHANG)
        if found == 0:
            if now - self._at > STUCK_SECONDS:
                os.kill(self._child, signal.SIGKILL)
            return False
        self._tell(status)
        return True

    def _asked(self, how: int) -> tuple[int, int]:
        """The copy and how it ended; 0 while it writes. One that was reaped by somebody else counts as failed."""
        try:
            return os.waitpid(self._child, how)
        except ChildProcessError:
            return self._child, LOST_STATUS

    def _tell(self, status: int) -> None:
        child, self._child = self._child, 0
        if status:
            for left in self._folder.glob(f"*{SUFFIX}.{child}.tmp"):
                left.unlink(missing_ok=True)
            structlog.get_logger().warning("adl.snapshot_failed", status=os.waitstatus_to_exitcode(status))


def snapshots_in(folder: Path) -> list[Path]:
    """The snapshots of a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def prune(folder: Path, keep: int, newest: Path) -> None:
    """Removes all but the newest, and those that were set aside.

    One of a later cut than the newest is of a pool that began anew since.
    """
    found = snapshots_in(folder)
    kept = [path for path in found if path <= newest][-keep:]
    for path in (*(path for path in found if path not in kept), *folder.glob(f"*{SUFFIX}{REFUSED}")):
        path.unlink(missing_ok=True)
    sync_folder(folder)


def refuse(path: Path, reason: str) -> None:
    """Says why a snapshot is not used, and takes it out of the way of the next."""
    structlog.get_logger().warning("adl.snapshot_refused", file=path.name, reason=reason)
    with suppress(OSError):
        path.replace(path.with_name(path.name + REFUSED))


def _only(write: Callable[[], None]) -> None:
    """In the copy: writes and ends, whatever happens."""
    try:
        gc.disable()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # or ports and connections would outlive the parent
        signal.set_wakeup_fd(-1)  # it is the parent's
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a stop is the parent's too, and this is done soon
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        write()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  nothing may return from here
        with suppress(OSError):  # not by way of `sys.stderr`, whose lock another thread may have held
            os.write(2, f"adl: a snapshot could not be written: {error}\n".encode())
    os._exit(1)
