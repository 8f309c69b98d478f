"""One life of the worker's process: the pool opened, the loop run, until it stops, ends by itself, or dies at a point.

A point is the begin or the end of a call of the client library; at any of them the process may be gone.
"""

import importlib
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import structlog

from tests.simulation.admin import AdminClient
from tests.simulation.consumer import Consumer
from tests.simulation.producer import HangError, Producer
from worker.cli.run import start_of_pool
from worker.edge import kafka
from worker.edge.caller import HungError
from worker.edge.exits import EdgeError, StoppedError
from worker.loop import run

# Where the edge makes its clients and asks for the time.
SEAMS = {
    "worker.edge.kafka_producer": ("Producer", "Caller", "time"),
    "worker.edge.kafka_sink": ("Producer", "Consumer", "time"),
    "worker.edge.kafka_source": ("Consumer", "time"),
    "worker.edge.kafka_cluster": ("AdminClient", "time"),
    "worker.edge.kafka_commit": ("Consumer",),
    "worker.edge.kafka_inputs": ("time",),
    "worker.edge.kafka_words": ("time",),
}
KILLED, STOPPED = "KILLED", "STOPPED"  # how a life ends, beside the names of the errors of the edge


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
def seams(world):
    """The edge makes clients of the world's present life, and asks its clock, while this is open."""
    made = {
        "Producer": lambda config, logger=None: Producer(world.life, config, logger),
        "Consumer": lambda config, logger=None: Consumer(world.life, config, logger),
        "AdminClient": lambda config, logger=None: AdminClient(world.life, config, logger),
        "Caller": lambda _stop: Caller(world.life),
        "time": world.clock,
    }
    before = []
    try:
        for name, attributes in SEAMS.items():
            module = importlib.import_module(name)
            for attribute in attributes:
                before.append((module, attribute, getattr(module, attribute)))
                setattr(module, attribute, made[attribute])
        with structlog.testing.capture_logs() as said:
            world.said = said
            yield
    finally:
        for module, attribute, was in before:
            setattr(module, attribute, was)


def live(world, plan):
    """Lives one life inside `seams`; how it ended, and the life."""
    life = world.life = Life(world, plan)
    pool = None
    try:
        pool = kafka.open_pool(world.settings, {}, watchdog=Watchdog(), stop=world.stops)
        run(pool.source, pool.sink, world.settings, start=start_of_pool(pool.origin), stop=world.stops)
    except KilledError:
        return KILLED, life
    except StoppedError:
        return STOPPED, life
    except EdgeError as error:
        return f"{type(error).__name__}: {error}", life
    finally:
        if pool is not None:
            with suppress(KilledError):
                pool.close()
    return STOPPED, life
