"""What a seed switches on: each gets a part of the faults and of the worker's settings, and its own measures.

Swarm testing: with everything on all the time, one fault hides behind another.
"""

import random
from dataclasses import dataclass, field

from tests.simulation.network import FATES

POLICIES = ("waterfill", "risk", "factor", "queue:pnl_leverage", "queue:effective_leverage")
# How often each befalls a call, where it is on.
RATES = dict.fromkeys(FATES, 0.1) | {
    "hangs": 0.05, "undelivered": 0.02, "partly": 0.2, "sent early": 0.3, "away": 0.03, "stalls": 0.1,
    "advice is lost": 0.3, "marker is late": 0.5, "clock jumps": 0.01,
}  # fmt: skip


@dataclass
class Swarm:
    """One seed's choice."""

    seed: int
    live: bool = False  # records arrive while the worker runs, the exchange answers what was published
    poison: bool = False
    accounts: int = 8
    end_ms: int = 8_000
    flags: list = field(default_factory=list)
    rates: dict = field(default_factory=dict)
    batches: tuple = (1000,)
    queue_max: int = 1000
    output_partitions: int = 1
    foreign: float = 0.0  # how often an input record comes in a transaction of somebody else
    timely: bool = True  # the oldest records are fetched first
    delays_ms: dict = field(default_factory=dict)  # of what arrives, by partition
    repeats: float = 0.0
    silence: float = 0.0  # how often the exchange never answers a trade
    answer_ms: int = 0  # by how much later it answers
    lives: int = 20
    sleeps: float = 0.0  # how often a life sleeps while others open the pool, instead of dying


def swarm_of(seed, partitions=()):
    """The choice of a seed."""
    rng = random.Random(f"swarm {seed}")
    swarm = Swarm(seed, live=rng.random() < 0.5, poison=rng.random() < 0.3)
    swarm.accounts, swarm.end_ms = rng.choice(((6, 7_000), (8, 8_000), (10, 9_000)))
    swarm.rates = {name: rate * rng.choice((0.3, 1, 2)) for name, rate in RATES.items() if rng.random() < 0.5}
    swarm.batches = rng.choice(((1,), (1, 3, 10), (20, 1000), (1, 1000), (1000,)))
    swarm.queue_max = rng.choice((1000, 1000, 3))
    swarm.output_partitions = rng.choice((1, 1, 2))
    swarm.foreign = rng.choice((0, 0, 0.02, 0.2))
    swarm.timely = rng.random() < 0.7
    swarm.flags = [f"decision.policy={rng.choice(POLICIES)}"]
    if rng.random() < 0.3:
        swarm.flags.append("cut.joint_window_ms=5")
    if rng.random() < 0.3:
        swarm.flags.append(f"cut.watch_ms={rng.choice((250, 3000))}")
    if rng.random() < 0.3:
        swarm.flags.append("reductions.tiers=null")
    if rng.random() < 0.3:
        swarm.flags.append("ranks.records_per_second=100")
    late = [place for place in partitions if place[0] not in ("instruments", "accounts")]
    if rng.random() < 0.7:
        swarm.delays_ms = {place: rng.choice((0, 0, 40, 700, 2500)) for place in late}
    swarm.repeats = rng.choice((0, 0, 0.05))
    swarm.silence = rng.choice((0, 0, 0.1, 1))
    swarm.sleeps = rng.choice((0, 0.3))
    swarm.answer_ms = rng.choice((0, 0, 300, 5_000))
    return swarm
