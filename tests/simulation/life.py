"""One life of the worker's process, as `adl run` lives it: until it stops, ends by itself, or dies at a point.

A point is the begin or the end of a call of the client library; at any of them the process may be gone.
"""

import importlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import structlog

from tests.simulation.admin import AdminClient
from tests.simulation.consumer import Consumer
from tests.simulation.producer import HangError, Producer
from worker.cli.run import run_pool
from worker.edge.caller import HungError
from worker.edge.exits import Exit

# Where the edge makes its clients and asks for the time.
SEAMS = {
    "worker.cli.run": ("Watchdog", "code_digest", "fail"),
    "worker.edge.kafka_producer": ("Producer", "Caller", "time"),
    "worker.edge.kafka_sink": ("Producer", "Consumer", "time"),
    "worker.edge.kafka_source": ("Consumer", "time"),
    "worker.edge.kafka_cluster": ("AdminClient", "time"),
    "worker.edge.kafka_commit": ("Consumer",),
    "worker.edge.kafka_inputs": ("time",),
    "worker.edge.kafka_words": ("time",),
}
KILLED = "KILLED"  # how a life ends, beside the exit codes


class KilledError(BaseException):
    """The process is gone; no handler of the worker may catch it."""


@dataclass(frozen=True)
class Plan:
    """At which point a life dies, or sleeps while another one lives; counted from its begin, or, `ahead`, from where it
    begins to say something new.
    """

    point: int | None = None
    ahead: bool = False
    sleeps: bool = False


class Life:
    """What the clients of one process know of it."""

    def __init__(self, world, plan):
        self.network, self.clients = world.network, []
        self.queue_max, self.batch_max, self.timely = world.queue_max, world.batch_max(), world.timely
        self._world, self._plan = world, plan
        self._at = None if plan.ahead else plan.point
        self.points = 0
        self.rebuilt = 0  # the point at which the first transaction begins
        self.came = self.reads = False  # whether inputs came since somebody looked, and ever
        self.slept = False
        self.died_in = None

    def enter(self, call):
        """A call begins."""
        if self.died_in is not None:
            raise KilledError
        self.network.turn()
        self._world.turn()
        if call == "begin_transaction" and not self.rebuilt:
            self.rebuilt = self.points
            if self._plan.ahead:
                self._at = self.points + self._plan.point
        self._point(call, "begins")

    def leave(self, call):
        """It has done its work; the caller does not know yet."""
        self._point(call, "is done")

    def _point(self, call, phase):
        self.points += 1
        if self.points != self._at:
            return
        if self._plan.sleeps:
            self.slept = True
            self._world.sleep(self, f"{call} {phase}")
            return
        self.died_in = f"{call} {phase}"
        for client in self.clients:
            client.died(self.network.rng)
        raise KilledError


class Caller:
    """Stands for the thread that a call is made in: one that hangs is left behind, and time has passed."""

    def __init__(self, life):
        self._life, self._hung = life, 0

    def call(self, seconds, function, *args):
        try:
            return function(*args)
        except HangError:
            self._life.network.clock.sleep(seconds)
            self._hung += 1
            raise HungError from None

    def hung(self):
        return self._hung


class Watchdog:
    """Nothing hangs here but what the caller leaves behind."""

    @contextmanager
    def within(self, _seconds, _call, _code=0):
        yield

    @contextmanager
    def unless(self, _stop, _doing):
        yield

    def close(self):
        pass


class EndError(Exception):
    """The process ends with a sentence and a code."""

    def __init__(self, sentence, code):
        super().__init__(sentence)
        self.code = code


def fail(sentence, code):
    raise EndError(sentence, code)


@contextmanager
def seams(world):
    """The edge makes clients of the world's present life, and asks its clock, while this is open."""
    made = {
        "Producer": lambda config, logger=None: Producer(world.life, config, logger),
        "Consumer": lambda config, logger=None: Consumer(world.life, config, logger),
        "AdminClient": lambda config, logger=None: AdminClient(world.life, config, logger),
        "Caller": lambda _stop: Caller(world.life),
        "Watchdog": Watchdog,
        "code_digest": lambda _settings: "",  # reads every source file
        "fail": fail,
        "time": world.clock,
    }
    with ExitStack() as stack:
        for name, attributes in SEAMS.items():
            for attribute in attributes:
                stack.enter_context(patched(importlib.import_module(name), attribute, made[attribute]))
        stack.enter_context(structlog.testing.capture_logs())
        yield


@contextmanager
def patched(place, name, value):
    """An attribute is another one for a while."""
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def live(world, plan):
    """Lives one life inside `seams`: how it ended, its last sentence, and the life."""
    life = world.life = Life(world, plan)
    try:
        code = run_pool(world.settings, world.stops)
    except KilledError:
        return KILLED, "", life
    except EndError as end:
        return Exit(end.code).name, str(end), life
    return Exit(code).name, "", life
