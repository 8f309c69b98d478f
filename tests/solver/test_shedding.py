"""The order in which one account sheds its own risk."""

import itertools

import numpy as np
import pytest

from solver.shedding import shedding_order


def variance(value, asset, loadings, idiosyncratic):
    own = np.zeros(len(idiosyncratic))
    np.add.at(own, asset, value)
    return float(((loadings.T @ own) ** 2).sum() + (idiosyncratic * own**2).sum())


@pytest.mark.parametrize("seed", range(30))
def test_each_next_position_is_the_best_of_those_left(seed):
    """By the variance of the whole book, worked out anew for each choice, as far as closing is still wanted."""
    rng = np.random.default_rng(seed)
    size, factors = int(rng.integers(1, 12)), int(rng.integers(1, 4))
    asset = np.sort(rng.integers(0, size, size))
    value, loadings = rng.normal(0, 100, size).round(2), rng.normal(0.02, 0.02, (size, factors))
    idiosyncratic, required = rng.uniform(1e-4, 1e-3, size), rng.uniform(1, 50, size)
    wanted = float(required.sum() * rng.uniform(0.05, 1.2))
    order = shedding_order(value, asset, required, loadings, idiosyncratic, wanted)
    assert sorted(order.tolist()) == list(range(size))
    left = value.copy()
    for place, best in enumerate(order):
        changes = {}
        for at in order[place:]:
            part = min(1.0, wanted / required[at]) if wanted > 0 else 1.0
            closed = left.copy()
            closed[at] -= part * value[at]
            changes[at] = variance(closed, asset, loadings, idiosyncratic), closed
        least = min(change for change, _ in changes.values())
        assert changes[best][0] <= least * (1 + 1e-9) + 1e-12
        left, wanted = changes[best][1], wanted - required[best]


def test_positions_that_are_alike_fall_to_the_first():
    """Also where a hedge stands between them, and whatever was closed before."""
    asset, loadings, own = np.array([0, 0, 1, 1]), np.array([[0.1, 0.3], [0.3, 0.1]]), np.array([0.01, 0.02])
    for sizes in itertools.product((1.0, 3.0), repeat=2):
        value = np.array([sizes[0], -sizes[0], sizes[1], -sizes[1]])
        order = shedding_order(value, asset, np.abs(value), loadings, own, 100.0).tolist()
        assert order.index(0) < order.index(1)
        assert order.index(2) < order.index(3)


def test_the_size_of_money_changes_nothing():
    """Powers of two are exact, so every choice is the same."""
    rng = np.random.default_rng(7)
    value, required = rng.normal(0, 100, 9), rng.uniform(1, 50, 9)
    rest = np.arange(9), rng.normal(0.02, 0.02, (9, 2)), rng.uniform(1e-4, 1e-3, 9)
    asset, loadings, own = rest
    small = shedding_order(value, asset, required, loadings, own, 60.0)
    large = shedding_order(value * 2.0**30, asset, required * 2.0**30, loadings, own, 60.0 * 2.0**30)
    assert small.tolist() == large.tolist()
