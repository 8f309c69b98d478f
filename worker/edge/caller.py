"""Client calls in a thread of their own, so that one that never comes back can be left behind.

librdkafka issues 5456 and 5511: a call with a timeout of its own can hang for ever after all connections dropped, and
Python cannot cancel it. Seen here too, in one of five restarts of a broker. Whoever leaves a call behind must fence it.
"""

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final

LOOK_SECONDS: Final = 0.2

_Answer = tuple[Any, Exception | None]
_Work = tuple[Callable[..., Any], tuple[Any, ...], SimpleQueue[_Answer]]


class HungError(Exception):
    """A call did not come back in time, or not before the worker was asked to stop; it may still do its work."""


class Caller:
    """Runs one call at a time; costs about 0.1 ms a call."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self.hung = 0  # calls left behind
        self._work: SimpleQueue[_Work] = SimpleQueue()
        self._begin()

    def call(self, seconds: float, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns or raises; HungError after `seconds`, half of them when the worker must stop."""
        answer: SimpleQueue[_Answer] = SimpleQueue()
        self._work.put((function, args, answer))
        left = seconds
        while True:
            try:
                value, error = answer.get(timeout=LOOK_SECONDS)
            except Empty:
                left -= LOOK_SECONDS
                if left > 0 and not (left < seconds / 2 and self._stop()):
                    continue
                self.hung += 1
                self._begin()
                raise HungError from None
            if error is not None:
                raise error
            return value

    def _begin(self) -> None:
        self._work = SimpleQueue()
        Thread(target=_serve, args=(self._work,), name="kafka-calls", daemon=True).start()


def _serve(work: SimpleQueue[_Work]) -> None:
    while True:
        function, args, answer = work.get()
        try:
            answer.put((function(*args), None))
        except Exception as error:  # noqa: BLE001  it is the caller's to judge
            answer.put((None, error))
