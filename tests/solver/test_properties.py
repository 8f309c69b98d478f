"""The promises of the solver on random books, with naive twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Problem, leverage, solve, verify
from tests.solver.books import isolated, one_at_a_time, random_arguments
from tests.solver.thinning import examples

POLICIES = ("waterfill", "queue:pnl_leverage", "queue:effective_leverage")
FEW = settings(max_examples=examples(60), deadline=None)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def isolated_books(draw, least=1):
    """Whole-number books of one asset, full of exact ties, with a demand they can meet."""
    n = draw(st.integers(least, 8))
    quantity = draw(st.lists(st.integers(1, 40), min_size=n, max_size=n))
    equity = draw(st.lists(st.sampled_from([1.0, 2.0, 2.5, 5.0, 0.1, 7.3]), min_size=n, max_size=n))
    price = draw(st.sampled_from([1.0, 0.1, 3.7, 1000.0]))
    rank = draw(st.permutations(range(n)))
    return quantity, equity, price, rank, draw(st.integers(0, sum(quantity)))


@FEW
@given(SEEDS, st.sampled_from(POLICIES), st.booleans())
def test_every_random_book_is_solved_and_verified(seed, policy, protect):
    """Box, demand in lots, residual, insolvent first, certificate: the verifier finds nothing."""
    problem = Problem(**random_arguments(seed))
    solution = solve(problem, policy=policy, protect_principal=protect)
    assert verify(problem, solution).failures == []
    taken = np.zeros(problem.demand_lots.size, dtype=int)
    side = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
    np.add.at(taken, side[side >= 0], solution.reduction_lots[side >= 0])
    assert (taken + solution.residual_lots == problem.demand_lots).all()


@FEW
@given(isolated_books())
def test_lots_are_taken_one_at_a_time(book):
    """The level search gives what a loop over lots gives, to the tie."""
    quantity, equity, price, rank, demand = book
    solution = solve(isolated(quantity, equity, demand, price, tie_rank=rank), policy="waterfill")
    assert solution.reduction_lots.tolist() == one_at_a_time(quantity, equity, demand, price, rank)


@FEW
@given(isolated_books(), st.floats(0, 1))
def test_two_demands_in_a_row_are_one(book, share):
    """Path independence, exactly in lots."""
    quantity, equity, price, rank, demand = book
    first = int(demand * share)
    whole = solve(isolated(quantity, equity, demand, price, tie_rank=rank), policy="waterfill").reduction_lots
    part = solve(isolated(quantity, equity, first, price, tie_rank=rank), policy="waterfill").reduction_lots
    left = np.array(quantity) - part
    rest = solve(isolated(left, equity, demand - first, price, tie_rank=rank), policy="waterfill").reduction_lots
    assert (part + rest).tolist() == whole.tolist()


@FEW
@given(isolated_books(), st.data())
def test_splitting_an_account_never_helps_it(book, data):
    """Sybil: parts of positive equity in consecutive tie ranks give at least as many lots as the whole did."""
    quantity, equity, price, rank, demand = book
    one = data.draw(st.integers(0, len(quantity) - 1))
    cut = data.draw(st.integers(0, quantity[one]))
    share = data.draw(st.sampled_from([0.25, 0.5, 0.75]))
    whole = solve(isolated(quantity, equity, demand, price, tie_rank=rank), policy="waterfill").reduction_lots[one]
    parts_q = [*quantity[:one], cut, quantity[one] - cut, *quantity[one + 1 :]]
    parts_e = [*equity[:one], equity[one] * share, equity[one] * (1 - share), *equity[one + 1 :]]
    doubled = [2 * r for r in rank]
    ranks = [*doubled[:one], doubled[one], doubled[one] + 1, *doubled[one + 1 :]]
    split = solve(isolated(parts_q, parts_e, demand, price, tie_rank=ranks), policy="waterfill").reduction_lots
    assert split[one] + split[one + 1] >= whole


@FEW
@given(SEEDS, st.sampled_from(POLICIES))
def test_the_order_of_rows_does_not_matter_to_the_bit(seed, policy):
    """Accounts renumbered and entries shuffled within them: the same relaxed bits, lots and level."""
    given_ = random_arguments(seed)
    rng = np.random.default_rng(seed)
    one = Problem(**given_)
    new_number = rng.permutation(one.equity.size)
    shuffle = rng.permutation(one.account.size)
    order = shuffle[np.argsort(new_number[one.account[shuffle]], kind="stable")]
    # Twins (equal account, asset, side and lots) are one position in two rows: only their sum is promised.
    moved = dict(given_)
    for name in ("asset", "quantity_lots", "entry_price", "available_lots", "eligible"):
        if name in moved:
            moved[name] = np.asarray(moved[name])[order]
    moved["account"] = new_number[one.account][order]
    moved["equity"] = np.empty_like(one.equity)
    moved["equity"][new_number] = one.equity
    moved["tie_rank"] = np.empty(one.equity.size, dtype=int)
    moved["tie_rank"][new_number] = one.tie_rank
    a, b = solve(one, policy=policy), solve(Problem(**moved), policy=policy)
    side = np.sign(one.quantity_lots)
    key = np.unique(np.stack([one.account, one.asset, side]), axis=1, return_inverse=True)[1].ravel()
    groups = int(key.max()) + 1 if key.size else 0

    def per_position(values, keys):
        return [sorted(values[keys == g].tolist()) for g in range(groups)]

    assert per_position(a.reduction_lots, key) == per_position(b.reduction_lots, key[order])
    if policy == "waterfill":
        assert a.level.tolist() == b.level.tolist()
        assert per_position(a.relaxed_lots, key) == per_position(b.relaxed_lots, key[order])


@FEW
@given(SEEDS)
def test_entry_prices_do_not_matter(seed):
    """Wash trade: re-opening at another entry price with the same equity changes nothing."""
    given_ = random_arguments(seed)
    other = dict(given_, entry_price=np.asarray(given_["entry_price"]) * 1.7)
    a, b = (solve(Problem(**arguments), policy="waterfill") for arguments in (given_, other))
    assert a.reduction_lots.tolist() == b.reduction_lots.tolist()


@FEW
@given(isolated_books(least=2))
def test_scale(book):
    """Positions, equity and demand times c give the relaxed reductions times c."""
    quantity, equity, price, rank, demand = book
    a = solve(isolated(quantity, equity, demand, price, tie_rank=rank), policy="waterfill")
    bigger = isolated([4 * q for q in quantity], [4 * e for e in equity], 4 * demand, price, tie_rank=rank)
    assert solve(bigger, policy="waterfill").relaxed_lots == pytest.approx(4 * a.relaxed_lots, rel=1e-12, abs=1e-11)


@FEW
@given(SEEDS, st.sampled_from(POLICIES))
def test_nobody_is_made_insolvent_or_more_levered(seed, policy):
    """Being taken, even with a haircut, leaves every solvent account solvent and not more levered."""
    problem = Problem(**random_arguments(seed))
    solution = solve(problem, policy=policy)
    before, after = leverage(problem), leverage(problem, solution.reduction_lots)
    assert not (after > before * (1 + 1e-9)).any()


@FEW
@given(SEEDS, st.sampled_from(POLICIES))
def test_winners_unrelated_to_the_loss_are_untouched(seed, policy):
    """Only the demanded (asset, side) is reduced."""
    problem = Problem(**random_arguments(seed))
    solution = solve(problem, policy=policy)
    related = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)] >= 0
    assert not solution.reduction_lots[~related].any()
    assert not solution.relaxed_lots[~related].any()


def test_large_isolated_book_equals_the_sorted_level():
    """100,000 positions: the level is the one a sort finds, and lots stay within one of the relaxed ones."""
    rng = np.random.default_rng(7)
    quantity = (rng.pareto(1.2, 100_000) * 1000 + 1).astype(int)
    equity = quantity * 3.7 / rng.uniform(1, 50, quantity.size)
    demand = int(quantity.sum() // 10)
    problem = isolated(quantity, equity, demand, 3.7, tie_rank=rng.permutation(quantity.size))
    solution = solve(problem, policy="waterfill")
    lev = 3.7 * quantity / equity
    order = np.argsort(-lev, kind="stable")
    lots, own = np.cumsum(quantity[order]), np.cumsum(equity[order])
    levels = 3.7 * (lots - demand) / own
    below = np.append(lev[order][1:], 0.0)
    at = np.flatnonzero(levels >= below)[0]
    assert solve(problem, policy="waterfill", lots=False).level[0] == pytest.approx(levels[at], rel=1e-12)
    assert verify(problem, solution).failures == []
    assert solution.reduction_lots.sum() == demand


def test_ties_of_a_whole_book_fall_by_tie_rank():
    """10,000 equal accounts and 15,000 lots: the 5,000 smallest ranks give two, the others one."""
    rank = np.random.default_rng(3).permutation(10_000)
    problem = isolated([7] * 10_000, [2.0] * 10_000, 15_000, 3.0, tie_rank=rank)
    solution = solve(problem, policy="waterfill")
    assert solution.reduction_lots.tolist() == np.where(rank < 5_000, 2, 1).tolist()
    assert verify(problem, solution).failures == []


def test_several_demands_reach_the_same_leverages_in_either_order():
    """Leverages after are unique: demands listed backwards give them again."""
    for seed in range(30):
        given_ = random_arguments(seed)
        given_.pop("demand_price", None)
        turned = dict(given_)
        for name in ("demand_asset", "demand_side", "demand_lots"):
            turned[name] = given_[name][::-1]
        a, b = Problem(**given_), Problem(**turned)
        one, two = solve(a, policy="waterfill"), solve(b, policy="waterfill")
        solvent = a.equity > 0
        first, second = leverage(a, one.relaxed_lots)[solvent], leverage(b, two.relaxed_lots)[solvent]
        assert first == pytest.approx(second, rel=1e-7, abs=1e-9 * float(np.max(leverage(a)[solvent], initial=1.0)))


def test_profit_times_leverage_misranks_where_leverage_does_not():
    """A calm account with a large return goes before one near its limit under pnl_leverage, not under leverage."""
    problem = isolated([10, 10], [10.0, 1.25], 10, 1.0, entry_price=[0.05, 0.99])
    by_return = solve(problem, policy="queue:pnl_leverage").reduction_lots.tolist()
    by_leverage = solve(problem, policy="queue:effective_leverage").reduction_lots.tolist()
    assert (by_return, by_leverage) == ([10, 0], [0, 10])
