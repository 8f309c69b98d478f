"""Ends the process when a call to the Kafka client does not come back that cannot be left behind (see caller.py)."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Final

from worker.edge.exits import Exit

LOOK_SECONDS: Final = 0.2


class Watchdog:
    """One deadline at a time, for the one thread that calls the client."""

    def __init__(self) -> None:
        self._until: tuple[float, str, int] | None = None
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

    def close(self) -> None:
        """Nothing is watched any more."""
        self._closed.set()

    def _look(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            until = self._until
            if until is not None and time.monotonic() > until[0]:
                os.write(2, f"adl: {until[1]} did not come back from the Kafka client\n".encode())
                os._exit(until[2])
