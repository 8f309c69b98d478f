"""Lots of policy `risk` are those of the rule as it is written: one at a time, from the largest present marginal."""

import heapq
import math
from itertools import pairwise

import numpy as np
import pytest

from solver import lots_envelope as envelope
from solver import lots_held
from solver import lots_marginal as several
from solver.loss.model import tail_of
from solver.lots_marginal_one import between_bits, one_demand, ordinal
from solver.optimum.account import Model
from solver.optimum.candidates import gather
from solver.optimum.threads import Threads
from tests.solver.risk_books import cross_book

TAILS = [tail_of(nu) for nu in (4.0, 2.5, math.inf)]


def random_items(seed, lots_max=40, haircut=0.0):
    """Items of one demand, a third of them twins of others, hedged or not, wholly or partly available."""
    rng = np.random.default_rng(seed)
    n, factors, price = int(rng.integers(2, 25)), int(rng.integers(0, 3)), 10 ** rng.uniform(-6, 3)
    net = np.maximum(1, (lots_max * rng.random(n) ** 3).astype(np.int64))
    factor = rng.normal(0, 1, (n, factors)) * (np.median(net) * price * 0.05 * rng.choice([0, 1, 3], (n, 1)))
    variance = (rng.normal(0, 1, n) * np.median(net) * price * 0.02 * rng.choice([0, 1], n)) ** 2
    equity, twin = net * price / rng.uniform(0.5, 50, n), rng.integers(0, max(n // 3, 1), n)
    net, factor, variance, equity = net[twin], np.ascontiguousarray(factor[twin]), variance[twin], equity[twin]
    free = np.where(rng.random(n) < 0.7, net, (net * rng.random(n)).astype(np.int64))
    free[0] = max(free[0], 2)
    net[0] = max(net[0], 2)
    return envelope.One(
        factor, variance, equity, net, free, rng.normal(0, 0.05, factors), float(rng.choice([0.001, 0.01])),
        float(price), haircut, Model(TAILS[seed % 3], np.zeros(0)),
    )  # fmt: skip


def relaxed(one, z):
    """(relaxed lots, their level) by bisection."""
    rows = range(one.net.size)
    high = max(envelope.present(float(one.net[i]), i, one) for i in rows)
    low = min(envelope.present(float(one.net[i] - one.free[i]), i, one) for i in rows)

    def at(level):
        x = np.zeros(one.net.size)
        for i in rows:
            few, many = 0.0, float(one.free[i])
            for _ in range(45):
                middle = 0.5 * (few + many)
                is_above = envelope.present(float(one.net[i]) - middle, i, one) > level
                few, many = (middle, many) if is_above else (few, middle)
            x[i] = many if many > 1e-9 * one.free[i] else 0.0
        return x

    for _ in range(60):
        level = 0.5 * (low + high)
        low, high = (level, high) if at(level).sum() > z else (low, level)
    return at(high), high


def taken(one, z):
    x = np.empty(one.net.size, np.int64)
    one_demand(one, *relaxed(one, z), z, x)
    assert x.sum() == z
    assert ((x >= 0) & (x <= one.free)).all()
    return x


def loop_over_lots(one, z):
    """Always one lot from the largest present marginal, of equal ones from the smaller item."""
    x = np.zeros(one.net.size, dtype=np.int64)
    heap = [(-envelope.present(float(one.net[i]), i, one), i) for i in range(x.size) if one.free[i]]
    heapq.heapify(heap)
    for _ in range(z):
        _, i = heapq.heappop(heap)
        x[i] += 1
        if x[i] < one.free[i]:
            heapq.heappush(heap, (-envelope.present(float(one.net[i] - x[i]), i, one), i))
    return x


@pytest.mark.parametrize("haircut", [0.0, 0.01, -0.01])
@pytest.mark.parametrize("seed", range(6))
def test_one_demand_is_a_loop_over_lots(seed, haircut):
    """The search for the last lot's level gives what a loop gives, ties included."""
    one = random_items(seed, haircut=haircut)
    for share in (0.1, 0.5, 0.95):
        z = max(1, min(int(one.free.sum() * share), int(one.free.sum()) - 1))
        assert taken(one, z).tolist() == loop_over_lots(one, z).tolist()


@pytest.mark.parametrize("lots_max", [10**3, 10**9, 2**50])
@pytest.mark.parametrize("seed", range(6))
def test_two_demands_in_a_row_are_one_however_fine_the_lots(seed, lots_max):
    """Path independence to the lot, also where a lot is far below the rounding of a marginal."""
    one = random_items(seed, lots_max)
    z = int(one.free.sum() * 0.4)
    first = int(z * np.random.default_rng(seed).random())
    part = taken(one, first) if first else np.zeros(one.net.size, dtype=np.int64)
    left = one._replace(net=one.net - part, free=one.free - part)
    assert (part + taken(left, z - first)).tolist() == taken(one, z).tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_envelope_never_falls(seed):
    """Lots finer than rounding: m goes up and down, its envelope does not, and bits read the same levels."""
    one = random_items(seed, 2**52)
    middle = int(one.net[0] // 2)
    levels = [envelope.envelope(middle + step, 0, one) for step in range(60)]
    assert levels == sorted(levels)
    for step, level in enumerate(levels):
        assert envelope.by_bits(level, 0, one) >= middle + step
        assert envelope.by_bits(np.nextafter(level, -np.inf), 0, one) < middle + step


def test_half_way_between_floats():
    """Numbers in the order of all floats, from minus to plus infinity."""
    values = [-np.inf, -1e300, -1.0, -5e-324, -0.0, 0.0, 5e-324, 1e-300, 1.0, np.inf]
    numbers = [ordinal(value) for value in values]
    assert numbers == sorted(numbers)
    assert all(a <= between_bits(a, b) <= b for a, b in pairwise(values))


@pytest.mark.parametrize("seed", range(25))
def test_several_demands_are_a_loop_over_missing_lots(seed):
    """Whole parts first; then one lot after the other to the largest present marginal of all demands that miss one."""
    rng = np.random.default_rng(seed)
    problem, risk = cross_book(seed, accounts=8, demands=3)
    demand = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
    free = np.abs(problem.quantity_lots)
    candidates, demands = gather(problem, demand, problem.demand_lots, free, risk.loadings, risk.idiosyncratic)
    free, price = free[candidates.row], problem.lot_price[problem.demand_asset[demands.index]]
    total = np.bincount(candidates.demand, free, 3)
    share = rng.uniform(0, 2, free.size)
    share *= (problem.demand_lots / np.bincount(candidates.demand, share * free, 3))[candidates.demand]
    x = np.minimum(share, 1) * free  # any reductions will do, optimal or not
    asked = np.minimum(problem.demand_lots, total.astype(np.int64) - 1)
    model, level = Model(tail_of(risk.tail), np.zeros(0)), rng.uniform(0, 1e-2, 3)
    with Threads(0) as one:
        lots = several.in_lots(candidates, demands, price, model, x, free, asked, level, one)
    held = lots_held.Held(
        candidates.start, np.repeat(np.arange(candidates.account.size), np.diff(candidates.start)), candidates.demand,
        np.rint(candidates.kept / price[candidates.demand]).astype(np.int64), free, candidates.mirror,
        candidates.factor, candidates.variance, candidates.equity, demands.loading, demands.idiosyncratic, price,
        demands.haircut, model,
    )  # fmt: skip
    expected = np.floor(x).astype(np.int64)
    missing = asked - np.bincount(candidates.demand, expected, 3).astype(np.int64)
    assert missing.min() >= 0
    assert missing.sum() > 0
    m, scratch = np.empty(free.size), np.empty(demands.loading.shape[1])
    while missing.any():
        for account in range(candidates.account.size):
            lots_held.present(account, held, expected, scratch, m)
        may = (missing[candidates.demand] > 0) & (expected < free)
        best = int(np.argmax(np.where(may, m, -np.inf)))
        expected[best] += 1
        missing[candidates.demand[best]] -= 1
    assert lots.tolist() == expected.tolist()


def test_whole_parts_beyond_a_demand_are_lessened():
    """Relaxed reductions that exceed a demand by rounding: no demand starts with more than it asks."""
    x = np.array([3.0, 4.0, 5.0, 2.5])
    lots, missing = several.whole_parts(x, np.array([0, 0, 0, 1]), np.array([9, 9, 9, 9]), np.array([11, 3]))
    assert (lots <= x).all()
    assert missing.min() >= 0
    assert lots[3] == 2
