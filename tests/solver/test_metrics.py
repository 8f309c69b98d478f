"""Figures by which policies are compared: by hand, and against a second computation in fractions and quadrature."""

from dataclasses import asdict
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

from solver import Problem, RiskModel, Scenarios, solve
from solver.metrics import Tally, gini, measure
from tests.solver.books import random_arguments


def three(**more):
    """Longs of 10, 5 and 4 at a mark of 100 with equity 500, 1000 and -10, entered at 50, 90 and 120."""
    return Problem(
        [0, 1, 2], [0, 0, 0], [10, 5, 4], [500.0, 1000.0, -10.0], [100.0], entry_price=[50.0, 90.0, 120.0],
        demand_asset=[0], demand_side=[1], demand_lots=[6], demand_price=[90.0], **more,
    )  # fmt: skip


def taken(*lots):
    return SimpleNamespace(reduction_lots=np.array(lots, dtype=np.int64))


def test_every_figure_of_three_accounts_by_hand():
    """Five lots of the first and one of the second at 10 below the mark, for deficits of 30 and 20."""
    found = asdict(measure(three(), taken(5, 1, 0), deficit=[30.0, 20.0]))
    assert found == {
        "expected_loss_before": None,
        "expected_loss_after": None,
        "leverage_max_before": 2.0,
        "leverage_max_after": pytest.approx(500 / 450),
        "insolvent_left": 1,
        "touched": 2,
        "closed": 0,
        "haircut": 60.0,
        "haircut_of_equity_max": 0.1,  # 50 of 500
        "haircut_of_profit_max": 0.2,  # 10 of the second's 50; 50 of the first's 500
        "overshoot": 10.0,
        "gini": pytest.approx(1 / 3),  # of 50 and 10: mean difference of all four pairs 20, over twice the mean
        "ptsr": 9.0,  # (500 - 50) / 50
        "pmr": 15.0,
    }


def test_who_pays_without_a_profit_is_infinitely_above_it():
    """The third gained nothing; its haircut is more than any share of that. Insolvent, it has no share of equity."""
    assert measure(three(), taken(0, 0, 4)).haircut_of_profit_max == 0.0  # insolvent accounts do not count
    problem = Problem(
        [0], [0], [4], [50.0], [100.0], entry_price=[120.0],
        demand_asset=[0], demand_side=[1], demand_lots=[4], demand_price=[99.0],
    )  # fmt: skip
    found = measure(problem, taken(4), deficit=[10.0], covered=[4.0])
    assert found.haircut_of_profit_max == np.inf
    assert (found.closed, found.leverage_max_after, found.ptsr, found.overshoot) == (1, 0.0, 0.0, -6.0)


def test_without_haircut_or_deficit_nobody_is_compared_by_them():
    """None, not zero by zero."""
    problem = Problem([0, 1], [0, 0], [3, 3], [9.0, 9.0], [1.0], demand_asset=[0], demand_side=[1], demand_lots=[2])
    found = measure(problem, taken(1, 1))
    assert (found.gini, found.ptsr, found.pmr, found.haircut_of_profit_max) == (None, None, None, None)
    assert (found.haircut, found.overshoot) == (0.0, 0.0)


def test_rounds_add_up_to_one():
    """A decision's second round begins where the first ended, and may write into the first's equities."""
    equity = np.array([500.0, 1000.0, -10.0])
    first = Problem(
        [0, 1, 2], [0, 0, 0], [10, 5, 4], equity, [100.0], entry_price=[50.0, 90.0, 120.0],
        demand_asset=[0], demand_side=[1], demand_lots=[6], demand_price=[90.0], eligible=[True, False, True],
    )  # fmt: skip
    tally = Tally(first)
    tally.add(first, np.array([5, 0, 0]))
    equity -= [50.0, 0.0, 0.0]
    second = Problem(
        [0, 1, 2], [0, 0, 0], [5, 5, 4], equity, [100.0], entry_price=[50.0, 90.0, 120.0],
        demand_asset=[0], demand_side=[1], demand_lots=[1], demand_price=[90.0],
    )  # fmt: skip
    tally.add(second, np.array([0, 1, 0]))
    assert tally.metrics(deficit=[30.0, 20.0]) == measure(three(), taken(5, 1, 0), deficit=[30.0, 20.0])


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [([7.0], 0.0), ([2.0, 2.0, 2.0], 0.0), ([0.0, 0.0, 0.0, 8.0], 0.75), ([1.0, 3.0], 0.25), ([0.0, 0.0], None)],
)
def test_gini_of_small_sets(amounts, expected):
    """All alike 0, one of n pays all (n - 1) / n."""
    assert gini(np.array(amounts)) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("seed", range(150))
def test_figures_are_those_of_a_second_computation(seed):
    """Hedges, twins, insolvent accounts, partial eligibility, haircuts and bonuses, under three policies."""
    problem = Problem(**random_arguments(seed))
    policy = ("waterfill", "queue:pnl_leverage", "queue:effective_leverage")[seed % 3]
    solution = solve(problem, policy)
    deficit = [1.0, 2.5]
    found, naive = measure(problem, solution, deficit=deficit), by_hand(problem, solution.reduction_lots, deficit)
    for name, value in naive.items():
        wanted = value if value is None else pytest.approx(value, rel=1e-9, abs=1e-7)
        assert getattr(found, name) == wanted, name


@pytest.mark.parametrize("tail", [4.0, np.inf])
def test_expected_losses_are_those_of_quadrature(tail):
    """The tail's density integrated numerically, for accounts with hedges and haircuts; insolvent ones do not count."""
    for seed in (3, 5, 8):
        problem = Problem(**random_arguments(seed))
        size = problem.mark_price.size
        risk = RiskModel(np.full((size, 1), 0.2), np.linspace(0.01, 0.05, size), tail=tail)
        solution = solve(problem, "waterfill")
        found = measure(problem, solution, risk)
        nothing = np.zeros_like(solution.reduction_lots)
        assert found.expected_loss_before == pytest.approx(integrated(problem, nothing, risk), rel=1e-8)
        assert found.expected_loss_after == pytest.approx(integrated(problem, solution.reduction_lots, risk), rel=1e-8)


def test_losses_of_scenarios_are_their_mean():
    """A kernel of next to nothing leaves the scenarios' own shortfalls."""
    risk = Scenarios(np.array([[-0.9], [0.1]]), [0.25, 0.75], [1e-12])
    found = measure(three(), taken(5, 1, 0), risk)
    assert found.expected_loss_before == pytest.approx(0.25 * (900 - 500))
    assert found.expected_loss_after == pytest.approx(0.25 * (0.9 * 500 - 450), abs=1e-3)


def by_hand(problem, lots, deficit):
    """Every figure that needs no risk model, in fractions, row by row."""
    p, exact = problem, Fraction
    accounts = range(p.equity.size)
    paid, profit, gross, kept, payable = ([exact(0)] * len(accounts) for _ in range(5))
    for row, (a, j, q) in enumerate(zip(p.account, p.asset, p.quantity_lots, strict=True)):
        k, x = int(p.demand_of[2 * j + (q < 0)]), int(lots[row])
        price = exact(p.mark_price[j]) * exact(p.lot_size[j])
        gross[a] += abs(int(q)) * price
        kept[a] += (abs(int(q)) - x) * price
        if k >= 0 and q:
            side = int(p.demand_side[k])
            haircut = side * (exact(p.mark_price[j]) - exact(p.demand_price[k])) if p.demand_price is not None else 0
            paid[a] += haircut * exact(p.lot_size[j]) * x
            gained = exact(p.mark_price[j]) - exact(p.entry_price[row])
            profit[a] += max(exact(0), int(q) * gained * exact(p.lot_size[j]))
            payable[a] += p.eligible is None or bool(p.eligible[row])
    equity = [exact(value) for value in p.equity]
    solvent = [a for a in accounts if equity[a] > 0]
    left = [a for a in accounts if equity[a] - paid[a] > 0]
    payers = [a for a in solvent if paid[a] > 0]
    shares = [max(exact(0), paid[a]) for a in solvent if payable[a]]
    pairs = sum(abs(x - y) for x in shares for y in shares)
    remaining = max([exact(0), *(profit[a] - paid[a] for a in accounts)])
    touched = {int(a) for a, x in zip(p.account, lots, strict=True) if x}
    ratios = [np.inf if profit[a] == 0 else paid[a] / profit[a] for a in payers]
    return {
        "leverage_max_before": float(max((gross[a] / equity[a] for a in solvent), default=0)),
        "leverage_max_after": float(max((kept[a] / (equity[a] - paid[a]) for a in left), default=0)),
        "insolvent_left": sum(equity[a] - paid[a] <= 0 and kept[a] > 0 for a in accounts),
        "touched": len(touched),
        "closed": sum(kept[a] == 0 for a in touched),
        "haircut": float(sum(paid)),
        "haircut_of_equity_max": float(max((paid[a] / equity[a] for a in payers), default=0)),
        "haircut_of_profit_max": float(max(ratios, default=0)),
        "overshoot": float(sum(paid)) - sum(deficit),
        "gini": float(pairs / (2 * len(shares) * sum(shares))) if sum(shares) else None,
        "ptsr": float(remaining) / sum(deficit),
        "pmr": float(remaining) / max(deficit),
    }


def integrated(problem, lots, risk):
    """Sum over solvent accounts of the integral of (sigma t - E)+ over the tail's density."""
    p, total = problem, mpmath.mpf(0)
    covariance = risk.loadings @ risk.loadings.T + np.diag(risk.idiosyncratic)
    for a in range(p.equity.size):
        if p.equity[a] <= 0:
            continue
        notional, equity = np.zeros(p.mark_price.size), p.equity[a]
        for row in np.flatnonzero(p.account == a):
            j, q = p.asset[row], p.quantity_lots[row]
            notional[j] += (q - np.sign(q) * lots[row]) * p.lot_price[j]
            if lots[row]:
                equity -= p.haircut[p.demand_of[2 * j + (q < 0)]] * lots[row]
        sigma = float(np.sqrt(notional @ covariance @ notional))
        if sigma:
            total += sigma * mpmath.quad(
                lambda t, k=equity / sigma: (t - k) * density(t, risk.tail), [equity / sigma, mpmath.inf]
            )
    return float(total)


def density(t, tail):
    """Of a standard normal, or of Student's t."""
    if tail == np.inf:
        return mpmath.npdf(t)
    scale = mpmath.gamma((tail + 1) / 2) / (mpmath.sqrt(tail * mpmath.pi) * mpmath.gamma(tail / 2))
    return scale * (1 + t * t / tail) ** (-(tail + 1) / 2)
