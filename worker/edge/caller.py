"""Client calls in a thread of their own, so that one that never comes back can be left behind.

librdkafka issues 5456 and 5511: a call with a timeout of its own can hang for ever after all connections dropped, and
Python cannot cancel it. Seen here too, in one of five restarts of a broker. Whoever leaves a call behind must fence it.
"""

import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from traceback import clear_frames
from typing import Any, Final

LOOK_SECONDS: Final = 0.2
HUNG_SECONDS: Final = 3600.0  # a restart of a broker now and then may hang a call each time, for months

_Answer = tuple[Any, Exception | None]
_Work = tuple[Callable[..., Any], tuple[Any, ...], SimpleQueue[_Answer]]


class HungError(Exception):
    """A call did not come back in time, or not before the worker was asked to stop; it may still do its work."""


class Caller:
    """Runs one call at a time; costs about 0.1 ms a call, and holds nothing of it when it has come back."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop
        self._hung_at: list[float] = []
        self._work = _serving()

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
                if left > 0 and not (self._stop() and left < seconds / 2):  # to ask is the sign of life, too
                    continue
                self._hung_at.append(time.monotonic())
                self._work.put(None)
                self._work = _serving()
                raise HungError from None
            if error is None:
                return value
            try:
                raise error
            finally:
                del error  # its traceback holds this frame: without it they hold each other, and the function a client

    def hung(self) -> int:
        """Calls left behind within an hour."""
        now = time.monotonic()
        self._hung_at = [at for at in self._hung_at if now - at < HUNG_SECONDS]
        return len(self._hung_at)


def clear(error: BaseException | None) -> None:
    """An error, and those it came from, then hold no client any more: their frames have ended, what these knew goes."""
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__context__


def _serving() -> SimpleQueue[_Work | None]:
    work: SimpleQueue[_Work | None] = SimpleQueue()
    Thread(target=_serve, args=(work,), name="kafka-calls", daemon=True).start()
    return work


def _serve(work: SimpleQueue[_Work | None]) -> None:
    while (given := work.get()) is not None:
        function, args, answer = given
        result: _Answer
        try:
            result = function(*args), None
        except Exception as error:  # noqa: BLE001  it is the caller's to judge
            result = None, error
        # Before the answer: who waits for it may then let go of the client, and must be the last to hold it.
        del given, function, args
        answer.put(result)
        del result, answer
