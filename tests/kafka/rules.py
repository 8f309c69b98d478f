"""What a proxy is told to do to the worker behind it: faults in turn, late commits, a slow broker.

Rule: the next fault waits until the worker has got further since the last, that is, until a transaction's end was
answered; how long that took is kept.
"""

import threading
import time
from typing import NamedTuple

from tests.kafka.proxy import BROKER, Act, Api


class Fault(NamedTuple):
    """Happens at a call's next request, or at the answer to it."""

    api: Api
    answer: bool
    act: Act = Act.GO
    code: int = 0  # what the answer says instead

    def __str__(self):
        what = f"says {self.code}" if self.code else self.act.value
        return f"{self.api.name} {'answer' if self.answer else 'request'} {what}"


def both(api, act):
    """The fault at the request, and at the answer."""
    return [Fault(api, False, act), Fault(api, True, act)]


class InTurn:
    """One fault after the other; `each_start` has the next one wait for a client that begins anew, too."""

    def __init__(self, faults, each_start=False):
        self.left, self.took = list(faults), []  # (fault, seconds until the worker got further)
        self._each_start, self._armed = each_start, not each_start
        self._fired = None
        self._known = set()
        self._lock = threading.Lock()

    def __call__(self, frame):
        with self._lock:
            begins = frame.link.alone and frame.link not in self._known
            self._known.add(frame.link)
            if begins and self._fired is not None and self._fired[0].code:  # no connection was lost: this is another
                self._fired = None
            if self._fired is not None:
                if ends_transaction(frame):
                    fault, at = self._fired
                    self.took.append((fault, time.monotonic() - at))
                    self._fired = None
                return Act.GO
            self._armed |= begins
            if self._armed and self.left and self._is_next(frame):
                fault = self.left.pop(0)
                self._fired, self._armed = (fault, time.monotonic()), not self._each_start
                if fault.code:
                    frame.refuse(fault.code)
                return fault.act
            return Act.GO

    def _is_next(self, frame):
        fault = self.left[0]
        if (frame.api, frame.answer) != fault[:2] or (frame.api == Api.PRODUCE and not frame.in_transaction()):
            return False
        # An answer that says no is of another's doing, and what it says may have no place for a partition.
        return not fault.code or frame.error() == 0

    def waiting_s(self):
        """Seconds since a fault that the worker has not got over yet, else 0."""
        fired = self._fired
        return time.monotonic() - fired[1] if fired else 0.0

    def fired(self):
        """The fault that it has not got over yet."""
        return self._fired[0] if self._fired else None

    def done(self):
        """All have happened and were got over."""
        return not self.left and self._fired is None


def ends_transaction(frame):
    return frame.api == Api.END_TXN and frame.answer and frame.error() == 0


class LateCommit:
    """Holds back the request that commits a transaction with outputs, so that its connection is lost and the client
    asks again; `ready` when an output of the next transaction has arrived, whose offsets wait for `go_on`.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._begin()

    def _begin(self):
        self.ready, self.answered, self.code = threading.Event(), threading.Event(), None
        self._written = self._committed = False
        self._late, self._offsets = None, []

    def __call__(self, frame):
        with self._lock:
            if frame.answer:
                return self._answer(frame)
            if frame.api == Api.PRODUCE and frame.in_transaction():
                self._written = True
            if frame.api == Api.END_TXN and self._written and self._late is None:
                self._late = frame
                frame.link.lose_client()
                return Act.HOLD
            if frame.api == Api.ADD_OFFSETS_TO_TXN and self._committed:
                self._offsets.append(frame)
                return Act.HOLD
            return Act.GO

    def _answer(self, frame):
        if self._late is not None and frame.api == Api.END_TXN:
            if frame.link is self._late.link:
                self.code = frame.error()
                self.answered.set()
            elif frame.error() == 0 and not self._committed:
                self._committed, self._written = True, False
        if frame.api == Api.PRODUCE and self._committed and frame.in_transaction():
            self.ready.set()
        return Act.GO

    def release(self, seconds=10):
        """The late request reaches the broker; the error code that it is answered with, 0 for none."""
        self._late.forward()
        assert self.answered.wait(seconds), "the broker has not answered the late request"
        return self.code

    def go_on(self):
        """Lets the offsets pass, and waits for the next commit to hold back."""
        with self._lock:
            offsets = self._offsets
            self._late.link.lose(BROKER)
            self._begin()
        for frame in offsets:
            frame.forward()


def slow(seconds):
    """A broker that takes its time for what it is given."""

    def rule(frame):
        if frame.answer and frame.api in (Api.PRODUCE, Api.END_TXN):
            time.sleep(seconds)
        return Act.GO

    return rule
