"""The promises of policies `risk` and `factor`, and a rival that solves the same problems another way."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Problem, RiskModel, Scenarios, solve, verify
from tests.solver.books import isolated
from tests.solver.risk_books import awkward, cross_book
from tests.solver.rival import Book, optimum
from tests.solver.thinning import examples, thin

FEW = settings(max_examples=examples(40), deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
MODELS = [
    RiskModel(np.zeros((1, 0)), [0.003]),
    RiskModel([[0.05]], [0.0]),
    RiskModel([[0.03, -0.02]], [0.001], 2.5),
    RiskModel([[0.05]], [0.001], math.inf),
]


@st.composite
def one_asset_books(draw, least=1):
    """Whole-number longs of one asset, full of exact ties, with a demand they can meet."""
    n = draw(st.integers(least, 7))
    quantity = draw(st.lists(st.integers(1, 40), min_size=n, max_size=n))
    equity = draw(st.lists(st.sampled_from([1.0, 2.0, 2.5, 5.0, 0.1, 7.3]), min_size=n, max_size=n))
    price = draw(st.sampled_from([1.0, 0.1, 3.7, 1000.0]))
    equity = [price * own for own in equity]  # a loss hardly sees leverages of thousands
    rank = draw(st.permutations(range(n)))
    return quantity, equity, price, rank, draw(st.integers(1, sum(quantity)))


@FEW
@given(one_asset_books(), st.sampled_from(MODELS))
def test_one_asset_alone_is_water_filling(book, model):
    """At the mark the optimum of every loss drains to one leverage: the same relaxed reductions as `waterfill`."""
    quantity, equity, price, rank, demand = book
    problem = isolated(quantity, equity, demand, price, tie_rank=rank, bystander=True)
    solution = solve(problem, policy="risk", risk=model)
    assert verify(problem, solution, risk=model).failures == []
    if solution.shadow_price[0] < 1e-20:  # near the least risk per notional that the certificate tells from none
        return
    filled = solve(problem, policy="waterfill")
    assert solution.relaxed_lots == pytest.approx(filled.relaxed_lots, abs=1e-6 * max(quantity))


@FEW
@given(one_asset_books(), st.floats(0, 1), st.sampled_from(MODELS))
def test_two_demands_in_a_row_are_one(book, share, model):
    """Path independence, exactly in lots."""
    quantity, equity, price, rank, demand = book
    first = int(demand * share)

    def lots(held, asked):
        problem = isolated(held, equity, asked, price, tie_rank=rank, bystander=True)
        return solve(problem, policy="risk", risk=model).reduction_lots

    part = lots(quantity, first)
    rest = lots(np.array(quantity) - part, demand - first)
    assert (part + rest).tolist() == lots(quantity, demand).tolist()


@FEW
@given(SEEDS, st.floats(0.01, 0.99), st.integers(0, 40))
def test_two_demands_in_a_row_are_one_for_cross_accounts(seed, share, scale):
    """Path independence beside other positions, lots from coarse to far finer than the rounding of a marginal."""
    problem, model = cross_book(seed, demands=1, times=2**scale)
    first = int(problem.demand_lots[0] * share)
    side = problem.demand_side[0]

    def lots(quantity, asked):
        changed = Problem(
            problem.account, problem.asset, quantity, problem.equity, problem.mark_price,
            demand_asset=problem.demand_asset, demand_side=[side], demand_lots=[asked],
        )  # fmt: skip
        return solve(changed, policy="risk", risk=model).reduction_lots

    part = lots(problem.quantity_lots, first)
    rest = lots(problem.quantity_lots - side * part, int(problem.demand_lots[0]) - first)
    assert (part + rest).tolist() == lots(problem.quantity_lots, int(problem.demand_lots[0])).tolist()


@FEW
@given(one_asset_books(), st.data(), st.sampled_from(MODELS))
def test_splitting_an_account_never_helps_it(book, data, model):
    """Sybil: parts of positive equity in consecutive tie ranks give at least as many lots as the whole did."""
    quantity, equity, price, rank, demand = book
    one = data.draw(st.integers(0, len(quantity) - 1))
    cut = data.draw(st.integers(0, quantity[one]))
    share = data.draw(st.sampled_from([0.25, 0.5, 0.75]))
    problem = isolated(quantity, equity, demand, price, tie_rank=rank, bystander=True)
    whole = solve(problem, policy="risk", risk=model).reduction_lots[one]
    parts_q = [*quantity[:one], cut, quantity[one] - cut, *quantity[one + 1 :]]
    parts_e = [*equity[:one], equity[one] * share, equity[one] * (1 - share), *equity[one + 1 :]]
    doubled = [2 * r for r in rank]
    ranks = [*doubled[:one], doubled[one], doubled[one] + 1, *doubled[one + 1 :]]
    problem = isolated(parts_q, parts_e, demand, price, tie_rank=ranks, bystander=True)
    split = solve(problem, policy="risk", risk=model).reduction_lots
    assert split[one] + split[one + 1] >= whole


@FEW
@given(SEEDS)
def test_splitting_a_cross_account_in_proportion_changes_nothing(seed):
    """Sybil, several assets: two accounts of a quarter and three quarters give together what the whole one gave."""
    problem, model = cross_book(seed, times=4, tail=4.0)
    one = int(np.argmax(np.bincount(problem.account)))
    rows = problem.account == one
    number = problem.account + (problem.account > one)
    account = np.concatenate([number, number[rows] + 1])
    order = np.argsort(account, kind="stable")
    lots = problem.quantity_lots
    quantity = np.concatenate([np.where(rows, lots // 4, lots), lots[rows] - lots[rows] // 4])
    equity = np.insert(problem.equity, one + 1, 0.75 * problem.equity[one])
    equity[one] *= 0.25
    split = Problem(
        account[order], np.concatenate([problem.asset, problem.asset[rows]])[order], quantity[order], equity,
        problem.mark_price, demand_asset=problem.demand_asset, demand_side=problem.demand_side,
        demand_lots=problem.demand_lots,
    )  # fmt: skip
    a, b = (solve(p, policy="risk", risk=model, lots=False) for p in (problem, split))
    total = np.bincount(np.concatenate([number, number[rows]])[order], b.relaxed_lots)
    if model.idiosyncratic.all():  # else the allocation need not be unique
        tolerance = 1e-6 * np.abs(lots).max()
        assert np.bincount(number, a.relaxed_lots) == pytest.approx(total, abs=tolerance)
    assert b.objective_after == pytest.approx(a.objective_after, rel=1e-9)


@FEW
@given(SEEDS, st.sampled_from(["risk", "factor"]))
def test_the_order_of_rows_does_not_matter_to_the_bit(seed, policy):
    """Accounts renumbered and entries shuffled within them: the same bits of everything."""
    rng = np.random.default_rng(seed)
    rank = rng.permutation(10)
    one, model = cross_book(seed, rank=rank)
    if policy == "factor":
        model = RiskModel(rng.normal(0.05, 0.02, (4, 1)), np.zeros(4))
    number, shuffle = rng.permutation(10), rng.permutation(one.account.size)
    order = shuffle[np.argsort(number[one.account[shuffle]], kind="stable")]
    equity, ranks = np.empty(10), np.empty(10, dtype=int)
    equity[number], ranks[number] = one.equity, rank
    other = Problem(
        number[one.account][order], one.asset[order], one.quantity_lots[order], equity, one.mark_price,
        demand_asset=one.demand_asset, demand_side=one.demand_side, demand_lots=one.demand_lots, tie_rank=ranks,
    )  # fmt: skip
    a, b = solve(one, policy=policy, risk=model), solve(other, policy=policy, risk=model)
    assert a.relaxed_lots[order].tobytes() == b.relaxed_lots.tobytes()
    assert a.reduction_lots[order].tolist() == b.reduction_lots.tolist()
    assert a.shadow_price.tobytes() == b.shadow_price.tobytes()
    assert (a.objective(), a.kkt_residual, a.iterations) == (b.objective(), b.kkt_residual, b.iterations)
    assert a.level is b.level is None or a.level.tobytes() == b.level.tobytes()


@FEW
@given(SEEDS)
def test_scale(seed):
    """Positions, equity and demand times 8 give the relaxed reductions times 8 and the same prices."""
    problem, model = cross_book(seed)
    bigger, _ = cross_book(seed, times=8)
    a, b = (solve(p, policy="risk", risk=model, lots=False) for p in (problem, bigger))
    assert b.shadow_price == pytest.approx(a.shadow_price, rel=1e-7, abs=1e-12)
    assert b.objective_after == pytest.approx(8 * a.objective_after, rel=1e-9)


@FEW
@given(SEEDS)
def test_entry_prices_do_not_matter(seed):
    """Wash trade: re-opening at another entry price with the same equity changes nothing."""
    problem, model = awkward(seed)
    other = Problem(
        problem.account, problem.asset, problem.quantity_lots, problem.equity, problem.mark_price,
        demand_asset=problem.demand_asset, demand_side=problem.demand_side, demand_lots=problem.demand_lots,
        demand_price=problem.demand_price, available_lots=problem.available_lots, eligible=problem.eligible,
        entry_price=problem.entry_price * 1.7, tie_rank=problem.tie_rank,
    )  # fmt: skip
    a, b = (solve(p, policy="risk", risk=model) for p in (problem, other))
    assert a.relaxed_lots.tobytes() == b.relaxed_lots.tobytes()
    assert a.reduction_lots.tolist() == b.reduction_lots.tolist()


@pytest.mark.parametrize("first", range(0, 200, 25))
def test_never_worse_than_a_general_purpose_optimiser(first):
    """200 problems, every second one with haircuts: the loss is never above scipy's by more than 1e-8 of it."""
    compared, seeds = 0, thin(range(first, first + 25))
    for seed in seeds:
        haircut = 0.02 * (seed % 2)
        problem, model = cross_book(seed, accounts=2 + seed % 7, assets=1 + seed // 7 % 4, haircut=haircut)
        solution = solve(problem, policy="risk", risk=model, lots=False)
        assert verify(problem, solution, risk=model).failures == []
        book = Book(problem, model)
        mine = book.loss(solution.relaxed_lots[book.rows] * problem.lot_price[problem.asset[book.rows]])[0]
        theirs, _, missed = optimum(problem, model)
        assert mine == pytest.approx(solution.objective_after, rel=1e-9)
        if missed <= 1e-9:
            compared += 1
            assert mine <= theirs * (1 + 1e-8), seed
    assert compared >= 0.9 * len(seeds)


@pytest.mark.parametrize("first", range(0, 60, 20))
def test_scenarios_are_never_worse_than_a_general_purpose_optimiser(first):
    """Weighted scenarios, each blurred by a kernel: certified, and never above scipy's by more than 1e-8."""
    compared, seeds = 0, thin(range(first, first + 20))
    for seed in seeds:
        problem, _ = cross_book(seed, accounts=2 + seed % 7, assets=1 + seed // 7 % 4, haircut=0.02 * (seed % 2))
        rng, assets = np.random.default_rng(seed), problem.mark_price.size
        returns = rng.normal(0, 0.08, (rng.integers(1, 30), assets))
        model = Scenarios(returns, rng.dirichlet(np.ones(len(returns))), rng.uniform(1e-4, 1e-2, assets))
        solution = solve(problem, policy="risk", risk=model)
        assert verify(problem, solution, risk=model).failures == []
        theirs, _, missed = optimum(problem, model)
        if missed <= 1e-9:
            compared += 1
            # The certificate counts a level as no less than 1e-30: losses below it are nothing.
            assert solution.objective_after <= theirs * (1 + 1e-8) + 1e-30, seed
    assert compared >= 0.9 * len(seeds)


@FEW
@given(SEEDS)
def test_one_factor_is_the_same_for_every_distribution(seed):
    """Distribution-free: at the mark any tail leaves the factor leverages of `factor`, for several demands too."""
    rng = np.random.default_rng(seed)
    problem, _ = cross_book(seed)
    beta = rng.uniform(0.02, 0.1, (4, 1))
    model = RiskModel(beta, np.zeros(4))
    solution = solve(problem, policy="factor", risk=model)
    assert verify(problem, solution, risk=model).failures == []

    def leverages(relaxed):
        left = problem.quantity_lots - np.sign(problem.quantity_lots) * relaxed
        exposure = left * problem.lot_price[problem.asset] * beta[problem.asset, 0]
        return np.bincount(problem.account, exposure, problem.equity.size) / problem.equity

    for tail in (2.5, 9.0):
        other = solve(problem, policy="risk", risk=RiskModel(beta, np.zeros(4), tail), lots=False)
        after = leverages(solution.relaxed_lots)
        # Near 0 a loss is flat in leverage, which its certificate therefore fixes to a root of its own accuracy only.
        close = 1e-5 * np.abs(after).max() ** 3
        assert leverages(other.relaxed_lots) ** 3 == pytest.approx(after**3, rel=1e-4, abs=close)


def test_one_demand_by_one_factor_is_water_filling_in_factor_leverage():
    """The level is the closed form's: drained accounts meet at it, found here by bisection."""
    for seed in thin(range(30)):
        problem, _ = cross_book(seed, demands=1)
        beta = np.random.default_rng(seed).uniform(0.02, 0.1, (4, 1))
        solution = solve(problem, policy="factor", risk=RiskModel(beta, np.zeros(4)), lots=False)
        k = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
        rows, weight = np.flatnonzero(k == 0), beta[problem.asset, 0] * problem.lot_price[problem.asset]
        side, account = problem.demand_side[0], problem.account[k == 0]
        exposure = side * np.bincount(problem.account, weight * problem.quantity_lots, problem.equity.size)[account]
        low, high = -1e3, 1e3
        for _ in range(200):
            level = 0.5 * (low + high)
            x = np.clip(
                (exposure - level * problem.equity[account]) / weight[rows], 0, np.abs(problem.quantity_lots[rows])
            )
            low, high = (level, high) if x.sum() > problem.demand_lots[0] else (low, level)
        assert solution.relaxed_lots[rows] == pytest.approx(x, abs=1e-5)
        assert solution.level[0] == pytest.approx(level, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("seed", thin(range(12)))
def test_equal_accounts_give_equally_but_for_the_odd_lots(seed):
    """Twins to the bit: reductions in lots differ by at most one, the smaller ranks giving more."""
    rng = np.random.default_rng(seed)
    quantity, equity = np.tile([int(rng.integers(5, 50)), -3], 9), np.full(9, rng.uniform(1, 5))
    rank = rng.permutation(9)
    problem = Problem(np.repeat(np.arange(9), 2), np.tile([0, 1], 9), quantity, equity, [1.0, 2.0], demand_asset=[0],
                      demand_side=[1], demand_lots=[int(quantity[0] * 9 * 0.37)], tie_rank=rank)  # fmt: skip
    model = RiskModel([[0.05], [0.04]], [0.002, 0.001])
    lots = solve(problem, policy="risk", risk=model).reduction_lots[::2]
    assert lots[np.argsort(rank)].tolist() == sorted(lots.tolist(), reverse=True)
    assert lots.max() - lots.min() <= 1


def test_twin_entries_are_one_position():
    """Several entries of one account, asset and side give as one, the larger available first."""
    model = RiskModel([[0.05]], [0.001])
    twins = Problem([0, 0, 1], [0, 0, 0], [6, 14, 20], [3.0, 5.0], [1.0], demand_asset=[0], demand_side=[1],
                    demand_lots=[18])  # fmt: skip
    whole = isolated([20, 20], [3.0, 5.0], 18)
    a, b = (solve(p, policy="risk", risk=model) for p in (twins, whole))
    assert verify(twins, a, risk=model).failures == []
    assert [a.reduction_lots[:2].sum(), a.reduction_lots[2]] == b.reduction_lots.tolist()
    assert a.reduction_lots[0] == 0


def test_a_hedged_account_is_spared():
    """Of two equal longs the one with a short against it is asked last; gross leverage would ask it first."""
    model = RiskModel([[0.05], [0.05]], [1e-5, 1e-5])
    problem = Problem([0, 0, 1], [0, 1, 0], [10, -9, 10], [2.0, 2.0], [1.0, 1.0], demand_asset=[0], demand_side=[1],
                      demand_lots=[6])  # fmt: skip
    assert solve(problem, policy="risk", risk=model).reduction_lots.tolist() == [0, 0, 6]
    assert solve(problem, policy="waterfill").reduction_lots.tolist() == [6, 0, 0]
