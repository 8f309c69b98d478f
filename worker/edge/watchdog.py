"""Ends the process from a thread of its own: when a call to the Kafka client does not come back that cannot be left
behind (see caller.py), and when the worker is asked to stop while it does what asks nobody.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

import structlog

from worker.edge.exits import Exit

LOOK_SECONDS: Final = 0.2


class Watchdog:
    """One deadline at a time, for the one thread that calls the client."""

    def __init__(self) -> None:
        self._until: tuple[float, str, int] | None = None
        self._unless: tuple[Callable[[], bool], str] | None = None
        self._closed = Event()
        Thread(target=self._look, name="watchdog", daemon=True).start()

    @contextmanager
    def within(self, seconds: float, call: str, code: int = Exit.HUNG) -> Iterator[None]:
        """The process ends with the code when the block takes longer."""
        self._until = time.monotonic() + seconds, call, code
        try:
            yield
        finally:
            self._until = None

    @contextmanager
    def unless(self, stop: Callable[[], bool], doing: str) -> Iterator[None]:
        """The process ends, as one that was asked to, when `stop()` is true during the block: it has nothing to lose.

        From outside, because a kernel takes seconds to compile, and numba takes an exception for one of its own.
        """
        self._unless = stop, doing
        try:
            yield
        finally:
            self._unless = None

    def close(self) -> None:
        """Nothing is watched any more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            until = self._until
            if until is not None and time.monotonic() > until[0]:
                os.write(2, f"adl: {until[1]} did not come back from the Kafka client\n".encode())
                os._exit(until[2])
            unless = self._unless
            if unless is not None and unless[0]():
                structlog.get_logger().info("adl.stopped", reason=f"stopped while {unless[1]}")
                os._exit(Exit.DONE)
