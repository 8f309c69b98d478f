"""A slice of the simulation; `make simulation` runs more of its seeds."""

import pytest

from tests.simulation.__main__ import again
from tests.simulation.checks import check
from tests.simulation.life import Plan, seams
from tests.simulation.mutations import MUTATIONS
from tests.simulation.play import play
from tests.simulation.swarm import Swarm
from tests.simulation.world import World

SEEDS, BLOCK = 40, 5
# A worker that is broken so is found out within so many seeds.
FOUND_WITHIN = dict.fromkeys(MUTATIONS, 10) | {"producer is kept after doubt": 200, "lost state is believed": 20}


@pytest.mark.parametrize("block", range(SEEDS // BLOCK))
def test_nothing_is_lost_doubled_or_reordered_whatever_happens_to_the_worker(block):
    """Catalogue 1, 2, 4, 6, 12, 17, 17a and 18: deaths, lost and late requests, sleepers, late records, clocks."""
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        report = play(seed)
        assert not report.failure, f"{report.failure}; again: {again(seed, None)}"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_worker_that_is_broken_is_found_out(mutation):
    """Within a stated number of seeds; else what passes here would prove nothing."""
    assert any(play(seed, mutation).failure for seed in range(FOUND_WITHIN[mutation]))


@pytest.mark.parametrize("point", [9, 12, 15, 18, 21, 33, 45])
def test_who_sleeps_while_opening_a_new_pool_is_fenced_and_loses_no_state(point):
    """Another process starts behind its back, decides and dies; exit code 4 would ask for a person."""
    world = World(Swarm(5, lives=0, accounts=6, end_ms=7000))
    world.plan = lambda **_: Plan(150, ahead=True)
    with seams(world):
        world.lived(Plan(point, sleeps=True))
    world.run()
    check(world)
    assert world.ends["FENCED"] == 1


def test_a_seed_happens_again_as_it_happened():
    """The same deaths at the same points, the same faults, the same bytes."""
    worlds = [play(3).world for _ in range(2)]
    first, second = (
        (world.deaths, world.ends, world.network.happened, world.clock.now, published(world)) for world in worlds
    )
    assert first == second


def published(world):
    return {topic: [entry.value() for entry in said] for topic, said in world.reader.said.items()}
