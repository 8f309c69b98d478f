"""Which promise belongs to which policy, where `test_properties`, `test_risk` and `test_one_asset` leave it open."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Problem, RiskModel, leverage, solve
from solver.solve import POLICIES
from tests.solver.books import isolated
from tests.solver.risk_books import cross_book
from tests.solver.test_policies import arguments
from tests.solver.test_properties import isolated_books

FEW = settings(max_examples=60, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
ONE = RiskModel([[0.05]], [0.0])
EQUITY_ONLY = ("risk", "factor", "waterfill", "queue:effective_leverage", "pro_rata:contracts")
SCALE_FREE = [name for name in POLICIES if name not in ("risk", "factor", "queue:binance")]  # a wallet of 1 is a scale


def model_of(seed, assets):
    """One factor with loadings of both signs."""
    return RiskModel(np.random.default_rng(seed).normal(0.05, 0.04, (assets, 1)), np.zeros(assets))


@FEW
@given(SEEDS, st.sampled_from(POLICIES))
def test_the_order_of_rows_does_not_matter_to_the_bit(seed, policy):
    """Permutation: accounts renumbered, entries shuffled within them: the same bits of everything."""
    given_ = arguments(seed)
    rng, one = np.random.default_rng(seed), Problem(**given_)
    number, shuffle = rng.permutation(one.equity.size), rng.permutation(one.account.size)
    order = shuffle[np.argsort(number[one.account[shuffle]], kind="stable")]
    moved = dict(given_, account=number[one.account][order])
    for name in ("asset", "quantity_lots", "entry_price", "available_lots", "eligible"):
        if name in moved:
            moved[name] = np.asarray(moved[name])[order]
    for name in ("equity", "tie_rank", "balance", "maintenance_margin"):
        moved[name] = np.asarray(given_[name])[np.argsort(number)]
    risk = model_of(seed, one.mark_price.size)
    a, b = (solve(problem, policy=policy, risk=risk) for problem in (one, Problem(**moved)))
    side = np.sign(one.quantity_lots)
    key = np.unique(np.stack([one.account, one.asset, side]), axis=1, return_inverse=True)[1].ravel()

    def per_position(values, keys):  # twins, one position in two rows, may change places
        return sorted(zip(keys.tolist(), values.tolist(), strict=True))

    assert per_position(a.reduction_lots, key) == per_position(b.reduction_lots, key[order])
    assert per_position(a.relaxed_lots, key) == per_position(b.relaxed_lots, key[order])
    for name in ("level", "shadow_price", "residual_lots", "insolvent_lots"):
        first, second = getattr(a, name), getattr(b, name)
        assert first is second is None or first.tobytes() == second.tobytes()


@FEW
@given(SEEDS, st.sampled_from(SCALE_FREE))
def test_scale(seed, policy):
    """Positions, equity and demand times 4 give the relaxed reductions times 4; queues to the lot."""
    given_ = arguments(seed)
    bigger = dict(given_)
    for name in ("quantity_lots", "available_lots", "demand_lots", "equity", "balance", "maintenance_margin"):
        if name in given_:
            bigger[name] = 4 * np.asarray(given_[name])
    a, b = (solve(Problem(**columns), policy=policy) for columns in (given_, bigger))
    most = max(1, np.abs(given_["quantity_lots"]).max(initial=1))
    if policy == "waterfill":  # several demands: leverages are unique, who gave what need not be
        problem, larger = Problem(**given_), Problem(**bigger)
        after, of_larger = leverage(problem, a.relaxed_lots), leverage(larger, b.relaxed_lots)
        solvent = problem.equity > 0
        least = 1e-9 * np.max(leverage(problem)[solvent], initial=1.0)
        assert of_larger[solvent] == pytest.approx(after[solvent], rel=1e-6, abs=least)
    else:
        assert b.relaxed_lots == pytest.approx(4 * a.relaxed_lots, rel=1e-9, abs=1e-9 * most)


@FEW
@given(SEEDS, st.integers(2, 12))
def test_scale_of_factor(seed, accounts):
    """The same for factor leverages, which are unique."""
    problem, _ = cross_book(seed, accounts=accounts, demands=1)
    bigger, _ = cross_book(seed, accounts=accounts, demands=1, times=8)
    a, b = (solve(p, policy="factor", risk=model_of(seed, 4), lots=False) for p in (problem, bigger))
    assert b.level == pytest.approx(a.level, rel=1e-9, abs=1e-12)
    assert b.relaxed_lots == pytest.approx(8 * a.relaxed_lots, rel=1e-9, abs=1e-6)


@FEW
@given(SEEDS, st.sampled_from(EQUITY_ONLY))
def test_entry_prices_do_not_matter(seed, policy):
    """Wash trade: re-opening at another entry price with the same equity changes nothing, not a bit."""
    given_ = arguments(seed)
    other = dict(given_, entry_price=np.asarray(given_["entry_price"]) * 1.7)
    risk = model_of(seed, len(given_["mark_price"]))
    a, b = (solve(Problem(**columns), policy=policy, risk=risk) for columns in (given_, other))
    assert a.relaxed_lots.tobytes() == b.relaxed_lots.tobytes()
    assert a.reduction_lots.tolist() == b.reduction_lots.tolist()


@FEW
@given(isolated_books(), st.floats(0, 1))
def test_two_demands_in_a_row_are_one_for_factor(book, share):
    """Path independence, exactly in lots."""
    quantity, equity, price, rank, demand = book
    first = int(demand * share)

    def lots(held, asked):
        problem = isolated(held, [price * own for own in equity], asked, price, tie_rank=rank)
        return solve(problem, policy="factor", risk=ONE).reduction_lots

    part = lots(quantity, first)
    assert (part + lots(np.array(quantity) - part, demand - first)).tolist() == lots(quantity, demand).tolist()


@FEW
@given(isolated_books(), st.data(), st.sampled_from(["risk", "factor"]))
def test_splitting_an_account_never_helps_it(book, data, policy):
    """Sybil in lots: parts of positive equity in consecutive tie ranks give at least what the whole did."""
    quantity, equity, price, rank, demand = book
    one = data.draw(st.integers(0, len(quantity) - 1))
    cut, share = data.draw(st.integers(0, quantity[one])), data.draw(st.sampled_from([0.25, 0.5, 0.75]))

    def lots(held, own, ranks):
        return solve(isolated(held, own, demand, price, tie_rank=ranks), policy=policy, risk=ONE).reduction_lots

    parts_q = [*quantity[:one], cut, quantity[one] - cut, *quantity[one + 1 :]]
    parts_e = [*equity[:one], equity[one] * share, equity[one] * (1 - share), *equity[one + 1 :]]
    ranks = [2 * r for r in rank]
    split = lots(parts_q, parts_e, [*ranks[: one + 1], ranks[one] + 1, *ranks[one + 1 :]])
    assert split[one] + split[one + 1] >= lots(quantity, equity, rank)[one]


@FEW
@given(SEEDS, st.sampled_from(["waterfill", "factor"]))
def test_splitting_a_cross_account_in_proportion_changes_nothing(seed, policy):
    """Sybil, several assets, relaxed: a quarter and three quarters of an account stand after where the whole stood."""
    problem, _ = cross_book(seed, times=4)
    one, beta = int(np.argmax(np.bincount(problem.account))), np.abs(model_of(seed, 4).loadings) + 0.01
    mine = problem.account == one
    number = problem.account + (problem.account > one)
    account = np.concatenate([number, number[mine] + 1])
    order, lots = np.argsort(account, kind="stable"), problem.quantity_lots
    quarter = np.where(mine, lots // 4, lots)
    equity = np.insert(problem.equity, one + 1, 0.75 * problem.equity[one])
    equity[one] *= 0.25
    split = Problem(
        account[order], np.concatenate([problem.asset, problem.asset[mine]])[order],
        np.concatenate([quarter, (lots - quarter)[mine]])[order], equity, problem.mark_price,
        demand_asset=problem.demand_asset, demand_side=problem.demand_side, demand_lots=problem.demand_lots,
    )  # fmt: skip
    risk = RiskModel(beta, np.zeros(4))

    def stands(p):
        relaxed = solve(p, policy=policy, risk=risk, lots=False).relaxed_lots
        if policy == "waterfill":
            return leverage(p, relaxed)
        left = (p.quantity_lots - np.sign(p.quantity_lots) * relaxed) * p.lot_price[p.asset] * beta[p.asset, 0]
        return (np.bincount(p.account, left, p.equity.size) / p.equity) ** 3  # marginals are flat at 0 as cubes are

    whole, parts = stands(problem), stands(split)
    least = 1e-6 * np.abs(whole).max()
    assert parts[[one, one + 1]] == pytest.approx(whole[[one, one]], rel=1e-4, abs=least)
    assert np.delete(parts, one + 1) == pytest.approx(whole, rel=1e-4, abs=least)
