"""Problems for the tests: seeded random books, and a naive twin that takes one lot at a time."""

from fractions import Fraction

import numpy as np

from solver import Problem


def isolated(quantity, equity, demand, price=1.0, *, bystander=False, **more):
    """Longs of one asset, one account each; a bystander who holds nothing keeps closed forms away."""
    n = len(quantity)
    if bystander:
        equity = [*equity, 1.0]
        if "tie_rank" in more:
            more["tie_rank"] = [*more["tie_rank"], n]
    return Problem(
        np.arange(n), np.zeros(n, dtype=int), quantity, np.asarray(equity, dtype=float), [price],
        demand_asset=[0], demand_side=[1], demand_lots=[demand], **more,
    )  # fmt: skip


def one_at_a_time(quantity, equity, demand, price, rank):
    """The rule of lots as it is written: always one lot from the largest present leverage, ties by tie rank."""
    left = [int(q) for q in quantity]
    for _ in range(demand):
        open_rows = [i for i in range(len(left)) if left[i] > 0]
        first = min(open_rows, key=lambda i: (-(price * left[i]) / equity[i], rank[i]))
        left[first] -= 1
    return [int(q) - kept for q, kept in zip(quantity, left, strict=True)]


def random_arguments(seed):
    """Arguments of a Problem with hedges, twins, zero lots, insolvent accounts, partial availability and haircuts."""
    rng = np.random.default_rng(seed)
    n, m, p = rng.integers(1, 25), rng.integers(1, 6), rng.integers(0, 50)
    account = np.sort(rng.integers(0, n, p))
    asset = rng.integers(0, m, p)
    size = 10 ** rng.integers(0, 7)
    quantity = rng.integers(-size, size + 1, p)
    equity = rng.normal(1, 1, n) * size * rng.choice([0.01, 0.1, 1])
    if rng.random() < 0.3:  # small whole numbers: many exact ties
        quantity = np.sign(quantity) * rng.integers(0, 4, p)
        equity = rng.integers(-1, 4, n).astype(float)
    mark = rng.choice([1.0, 10.0, 0.5, np.pi, 123.4], m)
    pairs = [(a, s) for a in range(m) for s in (1, -1)]
    rng.shuffle(pairs)
    pairs = pairs[: rng.integers(1, len(pairs) + 1)]
    assets, sides = np.array([a for a, _ in pairs]), np.array([s for _, s in pairs])
    held = [np.abs(quantity[(asset == a) & (np.sign(quantity) == s)]).sum() for a, s in pairs]
    lots = (np.array(held) * rng.random(len(pairs)) * 1.1).astype(int)
    more = {"tie_rank": rng.permutation(n), "entry_price": mark[asset] * np.exp(rng.normal(0, 0.2, p))}
    if rng.random() < 0.4:
        more["demand_price"] = mark[assets] * (1 + rng.normal(0, 0.02, len(pairs)))
    if rng.random() < 0.5:
        more["available_lots"] = (np.abs(quantity) * rng.random(p)).astype(int)
    if rng.random() < 0.5:
        more["eligible"] = rng.random(p) < 0.8
    return {
        "account": account, "asset": asset, "quantity_lots": quantity, "equity": equity, "mark_price": mark,
        "demand_asset": assets, "demand_side": sides, "demand_lots": lots, **more,
    }  # fmt: skip


def several_one_at_a_time(problem, relaxed_lots):
    """The rule of lots for several demands as it is written, one lot at a time; lots per row.

    Every position gives the whole part of its relaxed reduction; where these exceed a demand, the lot whose return
    leaves the smallest leverage goes back, ties by the larger tie rank, account. Then, as long as a demand misses a
    lot, one is taken from the account of the largest present leverage that has lots left in such a demand; ties by tie
    rank, account, demand. A position is an account's rows of one demand; only rows of solvent accounts that may be
    asked count. From nothing (relaxed 0), for one demand, it is the rule of one demand.
    """
    p = problem
    positions = {}  # (demand, account) -> rows, the larger available and then the larger held first
    for row in range(p.account.size):
        k = int(p.demand_of[2 * p.asset[row] + (p.quantity_lots[row] < 0)])
        may = p.eligible is None or p.eligible[row]
        may = may and k >= 0 and p.equity[p.account[row]] > 0 and available(p, row) > 0
        if may and can_pay(p, k, p.account[row]):
            positions.setdefault((k, int(p.account[row])), []).append(row)
    free = {key: sum(available(p, row) for row in rows) for key, rows in positions.items()}
    taken = {key: int(sum(relaxed_lots[row] for row in rows)) for key, rows in positions.items()}
    for k in range(p.demand_lots.size):
        mine = [key for key in positions if key[0] == k]
        wanted = min(int(p.demand_lots[k]), sum(free[key] for key in mine))
        for _ in range(sum(taken[key] for key in mine) - wanted):
            given = [key for key in mine if taken[key] > 0]
            last = max(given, key=lambda key: (-present_leverage(p, taken | {key: taken[key] - 1}, key[1]),
                                               p.rank()[key[1]], key[1]))  # fmt: skip
            taken[last] -= 1
    missing = {
        k: min(int(p.demand_lots[k]), sum(n for key, n in free.items() if key[0] == k))
        - sum(n for key, n in taken.items() if key[0] == k)
        for k in range(p.demand_lots.size)
    }
    while any(missing.values()):
        waiting = [key for key in positions if missing[key[0]] > 0 and taken[key] < free[key]]
        first = min(waiting, key=lambda key: (-present_leverage(p, taken, key[1]),
                                              p.rank()[key[1]], key[1], key[0]))  # fmt: skip
        taken[first] += 1
        missing[first[0]] -= 1
    lots = np.zeros(p.account.size, dtype=np.int64)
    for key, rows in positions.items():
        left = taken[key]
        for row in sorted(rows, key=lambda row: (-available(p, row), -abs(p.quantity_lots[row]))):
            lots[row] = min(left, available(p, row))
            left -= lots[row]
    return lots


def available(problem, row):
    """Lots that a row may give."""
    return int(abs(problem.quantity_lots[row]) if problem.available_lots is None else problem.available_lots[row])


def present_leverage(problem, taken, account):
    """Exact leverage of an account after what was taken from it so far."""
    p = problem
    gone = {key: n for key, n in taken.items() if key[1] == account}
    gross = exact_gross(p, account)
    gross -= sum(n * Fraction(p.lot_price[p.demand_asset[k]]) for (k, _), n in gone.items())
    equity = Fraction(p.equity[account]) - sum(n * Fraction(p.haircut[k]) for (k, _), n in gone.items())
    return gross / equity if gross else Fraction(0)


def exact_gross(problem, account):
    """Gross notional of an account as given."""
    rows = np.flatnonzero(problem.account == account)
    return sum(
        Fraction(int(abs(problem.quantity_lots[row]))) * Fraction(problem.lot_price[problem.asset[row]]) for row in rows
    )


def can_pay(problem, k, account):
    """Is the account left solvent by giving up demand k's haircut on everything it holds?"""
    haircut, price = Fraction(problem.haircut[k]), Fraction(problem.lot_price[problem.demand_asset[k]])
    return haircut <= 0 or haircut * exact_gross(problem, account) < Fraction(problem.equity[account]) * price
