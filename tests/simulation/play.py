"""One seed from its choice of faults to the checks of what was published."""

import traceback
from collections import Counter
from contextlib import nullcontext

from tests.simulation.checks import check
from tests.simulation.mutations import MUTATIONS
from tests.simulation.swarm import swarm_of
from tests.simulation.world import World
from tests.worker.random_exchange import PARTITIONS


class Report:
    """What became of a seed; `failure` is empty where all is right."""

    def __init__(self, world, failure):
        self.world, self.failure = world, failure

    def counts(self):
        """How many of each thing happened."""
        world, counts = self.world, Counter()
        counts["deaths"] = sum(world.deaths.values())
        counts["sleeps"] = sum(world.slept.values())
        counts["lives"] = sum(world.ends.values())
        counts["answers lost"] = world.network.answers_lost
        counts["decisions"] = len(world.reader.said["adl-decisions"])
        counts["forced trades"] = len(world.reader.said["forced-trades"])
        counts.update({f"fate: {name}": count for name, count in world.network.happened.items()})
        counts.update({f"end: {name}": count for name, count in world.ends.items()})
        return counts


def play(seed, mutation=None):
    """Runs a seed; whatever is raised in it is its failure."""
    world = World(swarm_of(seed, PARTITIONS))
    try:
        with MUTATIONS[mutation]() if mutation else nullcontext():
            world.run()
        check(world)
    except Exception as error:  # noqa: BLE001  a seed that fails must not end the others
        place = traceback.extract_tb(error.__traceback__)[-1]
        return Report(world, f"{type(error).__name__}: {error} ({place.filename}:{place.lineno})")
    return Report(world, "")
