"""Places within lines: the exact order, and what a figure says of an entry that is asked for nothing yet."""

import numpy as np
import pytest

from solver.marginals import marginals
from solver.places import places, radix_order
from solver.problem import Problem
from solver.risk import RiskModel
from solver.standing import TIERS, Held, figures, tiers

SPECIAL = [0.0, -0.0, np.inf, -np.inf, 5e-324, -5e-324, 1.0, -1.0, 1.7e308]


def figures_of(rng, size):
    """Figures with many ties and every odd number."""
    return np.where(rng.random(size) < 0.3, rng.choice(SPECIAL, size), np.round(rng.standard_normal(size), 2))


@pytest.mark.parametrize("size", [0, 1, 2, 700, 5000])
def test_places_are_those_of_a_plain_sort(size):
    """By line, then tier, then figure falling, then the order in which they came; 0.0 and -0.0 tie."""
    rng, lines = np.random.default_rng(size), 7
    figure, bucket = figures_of(rng, size), rng.integers(0, lines * TIERS, size)
    place, population = places(figure, bucket, lines, TIERS)
    found = sorted(range(size), key=lambda at: (bucket[at], -figure[at], at))
    seen = [0] * lines
    for at in found:
        seen[bucket[at] // TIERS] += 1
        assert place[at] == seen[bucket[at] // TIERS]
    assert population.tolist() == seen


def test_a_radix_order_is_a_stable_sort():
    """Also of keys that differ in a single digit, or in none."""
    rng = np.random.default_rng(2)
    for top in (1, 2, 2**11, 2**40, 2**64 - 1):
        keys = rng.integers(0, top, 3000, dtype=np.uint64)
        assert radix_order(keys).tolist() == np.argsort(keys, kind="stable").tolist()


def random_held(rng, accounts=400, assets=5):
    """Accounts with one to three positions; hedges in one asset, some without equity."""
    count = rng.integers(1, 4, accounts)
    account = np.repeat(np.arange(accounts), count)
    size = account.size
    asset, lots = rng.integers(0, assets, size), rng.integers(1, 100, size) * rng.choice((-1, 1), size)
    price = rng.uniform(1, 100, assets)
    equity = rng.uniform(-50, 2000, accounts)
    return Held(
        account, asset, lots, price, price, np.ones(assets), price[asset] * rng.uniform(0.8, 1.2, size), equity,
        equity * 0.5, rng.uniform(1, 50, accounts),
    )  # fmt: skip


@pytest.mark.parametrize("factors", [1, 3])
@pytest.mark.parametrize("tail", [4.0, 7.0, np.inf])
def test_the_figure_under_risk_is_the_marginal_of_the_reports(factors, tail):
    """What a forced trade says as score at first, without a haircut, for every entry in one pass."""
    rng = np.random.default_rng(factors)
    held = random_held(rng)
    risk = RiskModel(rng.normal(0, 0.05, (5, factors)), rng.uniform(1e-4, 1e-3, 5), tail)
    bucket = 2 * held.asset + (held.quantity_lots < 0)
    sides = [(asset, side) for asset in range(5) for side in (1, -1)]
    problem = Problem(
        held.account, held.asset, held.quantity_lots, held.equity, held.mark_price,
        demand_asset=[asset for asset, _ in sides], demand_side=[side for _, side in sides], demand_lots=[1] * 10,
    )  # fmt: skip
    wanted = marginals(problem, risk, np.arange(held.account.size))
    found = figures(held, "risk", risk, bucket)
    solvent = held.equity[held.account] > 0
    np.testing.assert_allclose(found[solvent], wanted[solvent], rtol=1e-12)
    assert (found[~solvent] >= 0).all()


def test_tiers_are_asked_in_order():
    """Insolvent before solvent, normal before last."""
    held = random_held(np.random.default_rng(3), accounts=4)._replace(
        account=np.arange(4), equity=np.array([-1.0, 1.0, 0.0, 1.0])
    )
    assert tiers(held, np.array([False, False, True, True])).tolist() == [0, 1, 2, 3]


def test_parts_of_a_side_add_up():
    """Under the shares every lot that is taken is taken from all of a side at once."""
    held = random_held(np.random.default_rng(4))
    bucket = TIERS * (2 * held.asset + (held.quantity_lots < 0)) + tiers(held, np.zeros(400, bool))
    for policy in ("pro_rata:contracts", "pro_rata:profit", "min_max_haircut"):
        part = figures(held, policy, None, bucket)
        solvent = held.equity[held.account] > 0
        sums = np.bincount(bucket[solvent], part[solvent])
        np.testing.assert_allclose(sums[sums > 0], 1.0)
        assert (sums > 0).sum() == 10
