"""The worker as a process of its own, started by the demo with the command an operator would use.

Rule: however the demo ends, the worker does not outlive it.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final, Self

from worker.edge.exits import EdgeError, Exit
from worker.settings import ENVIRONMENT_PREFIX

STOP_SECONDS: Final = 15.0  # a stop takes at most ten


class WorkerEndedError(EdgeError):
    """The worker ended before it was asked to, or not as it should."""

    exit = Exit.DIFFERENCE


class WorkerProcess:
    """`adl run` with a settings file; its logs go where ours go."""

    def __init__(self, settings_file: Path) -> None:
        self._handler = signal.signal(signal.SIGTERM, signal.default_int_handler)  # else it would end us at once
        # The file says everything; a variable would win over it.
        environ = {n: v for n, v in os.environ.items() if not (n.startswith(ENVIRONMENT_PREFIX) and "__" in n)}
        command = [sys.executable, "-m", "worker.cli", "run", "--settings", str(settings_file)]
        self._process = subprocess.Popen(  # noqa: S603  ourselves
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environ
        )

    def check(self) -> None:
        """Raises WorkerEndedError where it runs no more."""
        if (code := self._process.poll()) is not None:
            raise WorkerEndedError(
                f"the worker {_ended(code)} before the exchange had closed; its last words are above"
            )

    def stop(self) -> None:
        """Asks it to end as an operator would; raises WorkerEndedError unless it ends well and in time."""
        self.check()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise WorkerEndedError(f"the worker did not stop within {STOP_SECONDS:.0f} s") from None
        if code != Exit.DONE:
            raise WorkerEndedError(f"the worker {_ended(code)} when it was asked to stop")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()  # nothing where it has ended
        self._process.wait()
        signal.signal(signal.SIGTERM, self._handler)


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
