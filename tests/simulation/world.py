"""One seed's world: broker, network, clock, inputs, and the worker's lives, one after the other or over each other."""

import random
from collections import Counter

from tests.simulation.broker import Broker
from tests.simulation.clock import Clock
from tests.simulation.inputs import Arriving, Beforehand
from tests.simulation.life import KILLED, Plan, live, seams
from tests.simulation.network import Network
from tests.simulation.reader import OutputReader
from tests.worker.random_exchange import PARTITIONS
from tests.worker.random_tape import random_settings
from worker.edge.exits import Exit
from worker.edge.topics import FOREVER, identity
from worker.output import ADVISORY, CHAINED

EXPECTED = (KILLED, Exit.DONE.name)
RESTARTED = (Exit.UNREACHABLE.name, Exit.HUNG.name)  # where calls fail again and again
FENCED = (Exit.FENCED.name,)  # whoever slept while another one took the pool over
POINTS_MAX = 60_000  # of a life; whoever needs more does not get further
LOOK_SECONDS = 0.4  # between two looks at whether everything is done
QUIET_SECONDS = 1.0  # beyond the time of a watch cut: a quiet log is cut once more
AHEAD_POINTS = (20, 200)  # a life gets at most so much further than where it begins to say something new


class StuckError(AssertionError):
    """The worker does not come to an end that it must come to."""


class World:
    """What a seed makes; `run` lets the worker live in it until everything is read and said."""

    def __init__(self, swarm):
        self.swarm, self.rng = swarm, random.Random(f"world {swarm.seed}")
        self.settings = random_settings("worker.start_at=beginning", *swarm.flags)
        self.clock = Clock()
        self.broker = Broker(self.clock)
        self.network = Network(self.rng, self.clock, self.broker, swarm.rates)
        self.broker.marker_delay = lambda: self.network.happens("marker is late")
        self.queue_max, self.timely = swarm.queue_max, swarm.timely
        self._make_topics()
        self.reader = OutputReader(self.broker, self.settings.pool.name, CHAINED)
        if swarm.live:
            self.inputs = Arriving(self.rng, self.clock, self.broker, swarm, self.reader)
        else:
            self.inputs = Beforehand(self.rng, self.broker, swarm)
        self.life = None
        self.ends, self.deaths, self.slept = Counter(), Counter(), Counter()
        self._looked = self._quiet = 0.0
        self._stop = False
        self._rebuilt = 30  # the point at which the life before began to say something new

    def _make_topics(self):
        for topic, number in PARTITIONS:
            partitions = 1 + max(number, len(self.broker.topics.get(topic, [])) - 1)
            self.broker.create(topic, partitions, cleanup_policy="delete")
        for topic in CHAINED:
            ahead = {"message_timestamp_after_max_ms": FOREVER}
            self.broker.create(topic, self.swarm.output_partitions, cleanup_policy="delete", **ahead)
        for topic in ADVISORY:
            self.broker.create(topic, 1, cleanup_policy="compact", message_timestamp_after_max_ms=FOREVER)

    def batch_max(self):
        """How much of what is there a fetch gives at most, in this life."""
        return self.rng.choice(self.swarm.batches)

    # --- while a life is lived ----------------------------------------------------------------------------------------

    def turn(self):
        """Each call of a client lets the world go on."""
        self.inputs.turn()
        if self.life.points > POINTS_MAX:
            raise StuckError(f"a life does not end, after {self.life.points} points")

    def stops(self):
        """Whether the worker is asked to stop: everything is read, and nothing has followed from it for a while."""
        now = self.clock.now
        if not self._stop and now - self._looked > LOOK_SECONDS:
            came, self.life.came = self.life.came, False
            if came or not (self.life.reads and self.inputs.done() and self._all_committed()):
                self._quiet = 0.0
            else:
                self._quiet += min(now - self._looked, 2 * LOOK_SECONDS)  # in a call that hangs nothing can follow
            self._looked = now
            self._stop = self._quiet > QUIET_SECONDS + self.settings.cut.watch_ms / 1000
        return self._stop

    def _all_committed(self):
        offsets = self.broker._groups.get(identity(self.settings), {})
        return all(not self.broker.log(*place).read(offsets.get(place, (0,))[0], 1)[0] for place in PARTITIONS)

    # --- lives --------------------------------------------------------------------------------------------------------

    def run(self):
        """Lives until one stops because everything is done; the last ones without faults."""
        with seams(self):
            for _ in range(self.swarm.lives):
                self.lived(self.plan(may_sleep=True))
                self.clock.now += self.rng.choice((0, 0.1, 2))
                if self._stop:
                    break
            self.network.calm = True
            if not self._stop:
                self.lived(Plan())
            if not self._stop:
                raise StuckError(f"a life without faults ends before everything is done: {dict(self.ends)}")
        self.broker.write_markers()
        self.reader.finish()
        return self

    def plan(self, *, may_sleep):
        """The next life dies, or sleeps, while it finds where it stands, or while it says something new."""
        sleeps = may_sleep and self.rng.random() < self.swarm.sleeps
        if self.rng.random() < (0.6 if sleeps else 0.3):
            return Plan(self.rng.randint(1, self._rebuilt), sleeps=sleeps)
        return Plan(self.rng.randint(1, self.rng.choice(AHEAD_POINTS)), ahead=True, sleeps=sleeps)

    def sleep(self, sleeper, where):
        """A life stands still, others open the pool behind its back; then it goes on, and must find that out."""
        self.slept[where] += 1
        for _ in range(self.rng.randint(1, 2)):
            self.clock.now += self.rng.choice((0, 5, 70))
            self.lived(self.plan(may_sleep=False))
        self.life, self._quiet = sleeper, 0.0
        self._stop = False

    def lived(self, plan):
        """One life, which must end as may be expected."""
        self._quiet = 0.0
        end, sentence, life = live(self, plan)
        self.reader.take()
        self.ends[end] += 1
        self._rebuilt = life.rebuilt or self._rebuilt
        if life.died_in is not None:
            self.deaths[life.died_in] += 1
        restarted = () if self.network.calm else RESTARTED
        if end not in (*EXPECTED, *restarted, *(FENCED if life.slept else ())):
            raise StuckError(f"a life ends with {end}: {sentence}")
