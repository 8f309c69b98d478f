"""Figures by which policies are compared: by hand, and against a second computation in fractions and quadrature."""

from dataclasses import asdict
from fractions import Fraction
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest

from solver import Problem, RiskModel, Scenarios, metrics, solve
from solver.metrics import Tally, gini
from tests.solver.books import isolated, random_arguments
from tests.solver.risk_books import cross_book
from tests.solver.thinning import thin


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
    found = asdict(metrics(three(), taken(5, 1, 0), deficits=[30.0, 20.0], hit_before=[True, False, True]))
    assert found == {
        "expected_loss_before": None,
        "expected_loss_after": None,
        "leverage_after_max": pytest.approx(500 / 450),
        "accounts_insolvent": 1,
        "accounts_touched": 2,
        "accounts_closed": 0,
        "repeat_hits": 1,
        "haircut_total": 60.0,
        "haircut_to_equity_max": 0.1,  # 50 of 500
        "haircut_to_profit_max": 0.2,  # 10 of the second's 50; 50 of the first's 500
        "overshoot": 10.0,
        "haircut_gini": pytest.approx(1 / 3),  # of 50 and 10: mean difference of all four pairs 20, over twice the mean
        "profit_to_deficits": 9.0,  # (500 - 50) / 50
        "profit_to_largest_deficit": 15.0,
    }


def test_who_pays_without_a_profit_is_infinitely_above_it():
    """The third gained nothing; its haircut is more than any share of that. Insolvent, it has no share of equity."""
    assert metrics(three(), taken(0, 0, 4)).haircut_to_profit_max == 0.0  # insolvent accounts do not count
    problem = Problem(
        [0], [0], [4], [50.0], [100.0], entry_price=[120.0],
        demand_asset=[0], demand_side=[1], demand_lots=[4], demand_price=[99.0],
    )  # fmt: skip
    tally = Tally(problem)
    tally.add(problem, np.array([4]))
    found = tally.metrics(deficits=[10.0], covered=[4.0])
    assert found.haircut_to_profit_max == np.inf
    assert (found.accounts_closed, found.leverage_after_max, found.profit_to_deficits, found.overshoot) == (1, 0, 0, -6)


def test_without_haircut_or_deficit_nobody_is_compared_by_them():
    """None, not zero by zero."""
    problem = Problem([0, 1], [0, 0], [3, 3], [9.0, 9.0], [1.0], demand_asset=[0], demand_side=[1], demand_lots=[2])
    found = metrics(problem, taken(1, 1))
    assert (found.haircut_gini, found.profit_to_deficits, found.profit_to_largest_deficit) == (None, None, None)
    assert (found.haircut_to_profit_max, found.overshoot, found.repeat_hits, found.haircut_total) == (
        None,
        None,
        None,
        0,
    )


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
    assert tally.metrics(deficits=[30.0, 20.0]) == metrics(three(), taken(5, 1, 0), deficits=[30.0, 20.0])


@pytest.mark.parametrize(
    ("amounts", "expected"),
    [([7.0], 0.0), ([2.0, 2.0, 2.0], 0.0), ([0.0, 0.0, 0.0, 8.0], 0.75), ([1.0, 3.0], 0.25), ([0.0, 0.0], None)],
)
def test_gini_of_small_sets(amounts, expected):
    """All alike 0, one of n pays all (n - 1) / n."""
    assert gini(np.array(amounts)) == (None if expected is None else pytest.approx(expected))


@pytest.mark.parametrize("seed", thin(range(150)))
def test_figures_are_those_of_a_second_computation(seed):
    """Hedges, twins, insolvent accounts, partial eligibility, haircuts and bonuses, under three policies."""
    problem = Problem(**random_arguments(seed))
    policy = ("waterfill", "queue:pnl_leverage", "queue:effective_leverage")[seed % 3]
    solution = solve(problem, policy)
    deficits = [1.0, 2.5]
    found, naive = metrics(problem, solution, deficits=deficits), by_hand(problem, solution.reduction_lots, deficits)
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
        found = metrics(problem, solution, risk=risk)
        nothing = np.zeros_like(solution.reduction_lots)
        assert found.expected_loss_before == pytest.approx(integrated(problem, nothing, risk), rel=1e-8)
        assert found.expected_loss_after == pytest.approx(integrated(problem, solution.reduction_lots, risk), rel=1e-8)


def test_losses_of_scenarios_are_their_mean():
    """A kernel of next to nothing leaves the scenarios' own shortfalls."""
    risk = Scenarios(np.array([[-0.9], [0.1]]), [0.25, 0.75], [1e-12])
    found = metrics(three(), taken(5, 1, 0), risk=risk)
    assert found.expected_loss_before == pytest.approx(0.25 * (900 - 500))
    assert found.expected_loss_after == pytest.approx(0.25 * (0.9 * 500 - 450), abs=1e-3)


def test_the_policy_that_minimises_the_loss_has_the_smallest():
    """On the relaxed solutions of one event no other policy leaves a smaller expected loss; it is the objective."""
    for seed in thin(range(25)):
        problem, model = cross_book(seed)
        best = solve(problem, policy="risk", risk=model, lots=False)
        least = metrics(problem, best, risk=model)
        assert least.expected_loss_after == pytest.approx(best.objective_after, rel=1e-12)
        assert least.expected_loss_before == best.objective_before
        for policy in ("waterfill", "pro_rata:contracts", "queue:effective_leverage"):
            other = metrics(problem, solve(problem, policy=policy, lots=False), risk=model)
            assert other.expected_loss_before == least.expected_loss_before
            assert other.expected_loss_after >= least.expected_loss_after * (1 - 1e-9)


def test_min_max_haircut_has_the_smallest_share_of_profit():
    """Nobody else's largest share of profit given up is smaller, one demand, relaxed."""
    for seed in thin(range(40)):
        rng = np.random.default_rng(seed)
        mark, quantity = 10.0, rng.integers(1, 50, 6)
        problem = isolated(quantity, quantity * mark / rng.uniform(1, 9, 6), int(quantity.sum() * 0.4), mark,
                           entry_price=rng.uniform(5, 9.9, 6), demand_price=[9.9])  # fmt: skip
        least = metrics(problem, solve(problem, policy="min_max_haircut", lots=False)).haircut_to_profit_max
        for policy in ("waterfill", "pro_rata:contracts", "queue:okx"):
            other = metrics(problem, solve(problem, policy=policy, lots=False)).haircut_to_profit_max
            assert least <= other * (1 + 1e-9)


def test_figures_do_not_depend_on_the_order_of_accounts():
    """To the bit."""
    problem, model = cross_book(4)
    turn = np.argsort(-problem.account, kind="stable")
    other = Problem(
        (9 - problem.account)[turn], problem.asset[turn], problem.quantity_lots[turn], problem.equity[::-1].copy(),
        problem.mark_price, demand_asset=problem.demand_asset, demand_side=problem.demand_side,
        demand_lots=problem.demand_lots, demand_price=problem.demand_price, tie_rank=np.arange(9, -1, -1),
    )  # fmt: skip
    a, b = (metrics(p, solve(p, policy="waterfill"), risk=model) for p in (problem, other))
    assert a == b


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
            if p.eligible is None or p.eligible[row]:
                profit[a] += max(exact(0), int(q) * gained * exact(p.lot_size[j]))
                payable[a] = True
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
        "leverage_after_max": float(max((kept[a] / (equity[a] - paid[a]) for a in left), default=0)),
        "accounts_insolvent": sum(equity[a] - paid[a] <= 0 and kept[a] > 0 for a in accounts),
        "accounts_touched": len(touched),
        "accounts_closed": sum(kept[a] == 0 for a in touched),
        "haircut_total": float(sum(paid)),
        "haircut_to_equity_max": float(max((paid[a] / equity[a] for a in payers), default=0)),
        "haircut_to_profit_max": float(max(ratios, default=0)),
        "overshoot": float(sum(paid)) - sum(deficit),
        "haircut_gini": float(pairs / (2 * len(shares) * sum(shares))) if sum(shares) else None,
        "profit_to_deficits": float(remaining) / sum(deficit),
        "profit_to_largest_deficit": float(remaining) / max(deficit),
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
