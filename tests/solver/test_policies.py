"""Policies for comparison: shares by contracts and by profit, the smallest largest share of profit, more queues."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Problem, solve, verify
from tests.solver.books import isolated, random_arguments
from tests.solver.thinning import examples

FEW = settings(max_examples=examples(60), deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
SHARES = ("pro_rata:contracts", "pro_rata:profit", "min_max_haircut")
QUEUES = ("queue:binance", "queue:okx", "queue:hyperliquid")


def arguments(seed):
    """A random book with everything that a score may need; a third of them with haircuts on all demands."""
    given_ = random_arguments(seed)
    rng = np.random.default_rng(seed)
    size = given_["equity"].size
    given_["balance"] = given_["equity"] + rng.normal(0, 1, size)
    given_["maintenance_margin"] = rng.uniform(0, 1, size)
    if seed % 3 == 0:
        side, mark = given_["demand_side"], given_["mark_price"][given_["demand_asset"]]
        given_["demand_price"] = mark * (1 - side * rng.uniform(0, 0.02, side.size))
    return given_


@FEW
@given(SEEDS, st.sampled_from(SHARES + QUEUES), st.booleans())
def test_every_random_book_is_shared_and_verified(seed, policy, protect):
    """Box, demand in lots, residual, insolvent first, the policy's own rule: the verifier finds nothing."""
    problem = Problem(**arguments(seed))
    solution = solve(problem, policy=policy, protect_principal=protect)
    assert solution.status in ("OPTIMAL", "RESIDUAL")
    assert verify(problem, solution).failures == []


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("pro_rata:contracts", [6, 3, 3, 0]),  # 12 of 40 each: 6, 3, 3 and nothing of nothing
        ("pro_rata:profit", [9, 3, 0, 0]),  # profits 60, 20, none
        ("min_max_haircut", [9, 3, 0, 0]),
        ("queue:okx", [12, 0, 0, 0]),
        ("queue:hyperliquid", [12, 0, 0, 0]),
    ],
)
def test_shares_by_hand(policy, expected):
    """Longs of 20, 10 and 10 lots at 10, bought at 7, 8 and 12."""
    problem = isolated([20, 10, 10, 0], [100.0, 60.0, 70.0, 5.0], 12, 10.0, entry_price=[7.0, 8.0, 12.0, 1.0])
    solution = solve(problem, policy=policy)
    assert solution.reduction_lots.tolist() == expected
    assert verify(problem, solution).failures == []


def test_what_winners_cannot_give_is_a_residual():
    """A loser gives nothing by profit; by contracts it does."""
    problem = isolated([10, 10], [50.0, 50.0], 15, 10.0, entry_price=[8.0, 12.0])
    by_profit, by_contracts = (solve(problem, policy=name) for name in SHARES[1::-1])
    assert (by_profit.reduction_lots.tolist(), by_profit.residual_lots.tolist()) == ([10, 0], [5])
    assert by_profit.status == "RESIDUAL"
    assert (by_contracts.reduction_lots.tolist(), by_contracts.residual_lots.tolist()) == ([8, 7], [0])


def test_a_cap_passes_the_rest_on():
    """min(eta profit, available): who has little left to give is closed, the others give more."""
    problem = isolated([2, 30, 30], [9.0, 99.0, 99.0], 32, 10.0, entry_price=[1.0, 9.0, 9.0])
    solution = solve(problem, policy="pro_rata:profit")
    assert solution.reduction_lots.tolist() == [2, 15, 15]


def test_odd_lots_fall_by_tie_rank():
    """Three equal accounts and four lots: the extra one goes to the smallest tie rank."""
    problem = isolated([5, 5, 5], [9.0, 9.0, 9.0], 4, 1.0, entry_price=[0.5] * 3, tie_rank=[2, 0, 1])
    for policy in SHARES:
        assert solve(problem, policy=policy).reduction_lots.tolist() == [1, 2, 1]


def test_shares_of_profit_are_levelled_across_demands():
    """An account asked in two demands gives up no larger share of its profit than one that is asked in one."""
    problem = Problem(
        [0, 0, 1, 2], [0, 1, 0, 1], [100, 100, 100, 100], [900.0, 500.0, 500.0], [10.0, 10.0], demand_asset=[0, 1],
        demand_side=[1, 1], demand_lots=[60, 60], demand_price=[9.0, 9.0], entry_price=[9.0, 9.0, 9.0, 9.0],
    )  # fmt: skip
    solution = solve(problem, policy="min_max_haircut")
    assert verify(problem, solution).failures == []
    # Profits 200, 100, 100 and 120 to pay: 30 % of each.
    assert solution.reduction_lots.tolist() == [30, 30, 30, 30]


def test_binance_asks_for_a_gain_and_a_positive_balance():
    """A loss scores 0, and so does an account that even its gain leaves below nothing."""
    problem = isolated([10, 10, 10], [50.0, 50.0, 50.0], 5, 10.0, entry_price=[8.0, 12.0, 9.0],
                       balance=[30.0, 70.0, -20.0], maintenance_margin=[5.0, 5.0, 5.0])  # fmt: skip
    solution = solve(problem, policy="queue:binance")
    assert solution.score.tolist() == pytest.approx([20 / 30 * 5 / 50, 0.0, 0.0])
    assert verify(problem, solution).failures == []


def test_okx_multiplies_a_loss_where_bitmex_divides_it():
    """Of two equal losers the more levered one is last at OKX and first at BitMEX."""
    problem = isolated([10, 10], [50.0, 10.0], 10, 10.0, entry_price=[12.0, 12.0])
    assert solve(problem, policy="queue:okx").reduction_lots.tolist() == [10, 0]
    assert solve(problem, policy="queue:pnl_leverage").reduction_lots.tolist() == [0, 10]


def test_scores_stay_numbers_without_an_entry_price():
    """An entry price of 0: infinite for a gaining long, never NaN."""
    problem = Problem([0, 1], [0, 0], [5, -5], [9.0, 9.0], [1.0], demand_asset=[0, 0], demand_side=[1, -1],
                      demand_lots=[2, 2], entry_price=[0.0, 0.0])  # fmt: skip
    for policy in ("queue:okx", "queue:hyperliquid"):
        solution = solve(problem, policy=policy)
        assert not np.isnan(solution.score).any()
        assert solution.reduction_lots.tolist() == [2, 2]


@pytest.mark.parametrize("policy", SHARES)
def test_a_share_moved_is_found(policy):
    """Lots or relaxed reductions moved from one account to another, or one lot to the wrong side of a remainder."""
    problem = isolated([20, 30, 10], [100.0, 90.0, 70.0], 25, 10.0, entry_price=[7.0, 8.0, 9.0], demand_price=[9.9])
    solution = solve(problem, policy=policy)
    assert verify(problem, solution).failures == []
    for step in ([1, -1, 0], [0, 1, -1], [-1, 0, 1]):
        lots = replace(solution, reduction_lots=solution.reduction_lots + np.array(step))
        assert not verify(problem, lots).ok
        relaxed = replace(solution, relaxed_lots=solution.relaxed_lots + 1e-3 * np.array(step))
        assert any("relaxed" in sentence for sentence in verify(problem, relaxed).failures)


def test_one_policys_answer_is_not_anothers():
    """Every share policy's verifier refuses the others' allocations."""
    problem = isolated([20, 30, 10], [100.0, 90.0, 70.0], 25, 10.0, entry_price=[7.0, 9.5, 9.0], demand_price=[9.9])
    contracts, profit = (solve(problem, policy=policy) for policy in SHARES[:2])
    assert not verify(problem, replace(contracts, policy="pro_rata:profit")).ok
    assert not verify(problem, replace(profit, policy="pro_rata:contracts")).ok


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ("pro_rata:profit", "entry_price"),
        ("min_max_haircut", "entry_price"),
        ("queue:hyperliquid", "entry_price"),
        ("queue:binance", "entry_price and balance and maintenance_margin"),
    ],
)
def test_what_a_policy_needs_is_said(policy, word):
    """INVALID carries the missing columns."""
    solution = solve(isolated([1], [1.0], 1), policy=policy)
    assert solution.status == "INVALID"
    assert solution.reason == f"policy {policy} needs {word}"


@FEW
@given(SEEDS, st.sampled_from(SHARES))
def test_the_order_of_accounts_does_not_matter(seed, policy):
    """One entry per account: renumbered, the same bits and lots."""
    rng = np.random.default_rng(seed)
    quantity, turn = rng.integers(1, 60, 8), rng.permutation(8)
    equity, entry, rank = quantity / rng.uniform(1, 9, 8), rng.uniform(0.5, 1.1, 8), rng.permutation(8)
    z, price = int(quantity.sum() * rng.uniform(0.05, 0.4)), [1.0 - 0.01 * rng.integers(0, 2)]
    one = isolated(quantity, equity, z, entry_price=entry, tie_rank=rank, demand_price=price)
    two = isolated(quantity[turn], equity[turn], z, entry_price=entry[turn], tie_rank=rank[turn], demand_price=price)
    a, b = solve(one, policy=policy), solve(two, policy=policy)
    assert a.relaxed_lots[turn].tobytes() == b.relaxed_lots.tobytes()
    assert a.reduction_lots[turn].tolist() == b.reduction_lots.tolist()
