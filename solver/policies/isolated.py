"""Water filling where every account has one entry and there is one demand: the same answer in a tenth of the time.

A sample of accounts, drawn by tie rank, guesses the level; only accounts above nine tenths of it are looked at
again. The guess decides nothing: a level below the screen repeats the work without one.
"""

import numpy as np
from numba import njit

from solver.lots_one import one_demand
from solver.policies import level as kernel
from solver.policies.level import ROUNDING
from solver.solution import OPTIMAL

ROWS_MIN = 20_000  # below this the general road is as fast
SCREEN = 0.9
SAMPLE_BITS = 6


@njit(cache=True, error_model="numpy")
def totals(member, free, e):
    """Lots that members have, and whether a member is insolvent."""
    total = 0
    broke = 0
    for j in range(free.size):
        total += free[j] * np.int64(member[j] & (e[j] > 0.0))
        broke += np.int64(member[j] & (e[j] <= 0.0))
    return total, broke


@njit(cache=True, error_model="numpy")
def sample(member, rank, bits):
    """Rows of the members whose tie rank hashes to 0."""
    rows = np.empty(member.size, np.int64)
    count = 0
    for j in range(member.size):
        r = np.uint64(rank[j] if rank.size > 0 else j)
        rows[count] = j
        count += np.int64(member[j] & ((r * np.uint64(11400714819323198485)) >> np.uint64(64 - bits) == np.uint64(0)))
    return rows[:count]


@njit(cache=True, error_model="numpy")
def above(screen, member, q, e, p):
    """Rows of the members whose leverage is above `screen`."""
    rows = np.empty(member.size, np.int64)
    count = 0
    for j in range(member.size):
        rows[count] = j
        count += np.int64(member[j] & (p * abs(q[j]) - screen * e[j] > 0.0))
    return rows[:count]


@njit(cache=True, error_model="numpy")
def gathered(rows, q, e):
    """Lots and equity of the given rows."""
    n = rows.size
    lots, own = np.empty(n, np.int64), np.empty(n)
    for c in range(n):
        lots[c] = abs(q[rows[c]])
        own[c] = e[rows[c]]
    return lots, own


@njit(cache=True, error_model="numpy")
def scatter(rows, values, out):
    for c in range(rows.size):
        out[rows[c]] = values[c]


@njit(cache=True, error_model="numpy")
def audit(eta, lots, room, own, p, d, x):
    """Largest relative distance from the level of an account on the wrong side of it, and the lots given."""
    worst = 0.0
    whole = 0
    part = 0
    for j in range(x.size):
        equity = own[j] - d * x[j]
        # Compared as notional: one division less, and an account drained to nothing needs no case of its own.
        off = p * (lots[j] - x[j]) - eta * equity
        noise = 4.0 * ROUNDING * p * lots[j]
        wrong = max(off - noise if x[j] < room[j] else 0.0, -off - noise if x[j] > 0.0 else 0.0)
        worst = max(worst, wrong / (eta * equity) if wrong > 0.0 else 0.0)
        steps = np.int64(x[j])
        whole += steps
        part += np.int64((x[j] - steps) * 1099511627776.0)
    return worst, whole, part / 1099511627776.0


def members(problem, protect_principal):
    """Who may be asked, solvency aside; None where an insolvent account could be asked or lots do not add up here."""
    side, asset = problem.demand_side[0], problem.demand_asset[0]
    q, d = problem.quantity_lots, problem.haircut[0]
    member = q > 0 if side > 0 else q < 0
    if problem.mark_price.size > 1:
        member &= problem.asset == asset
    if problem.eligible is not None:
        member &= problem.eligible
    if d > 0:
        price = problem.lot_price[asset]
        member &= d * (np.abs(q) * price) < problem.equity * price
    if protect_principal:
        member &= d / problem.lot_size[asset] <= side * (problem.mark_price[asset] - problem.entry_price)
    return member


def fits(problem):
    """Is this the case of the fast road: one demand, and every account has exactly one entry?"""
    one = problem.demand_lots.size == 1 and problem.one_entry_each
    return one and ROWS_MIN <= problem.account.size == problem.equity.size


def columns(rows, q, free, e, p, d):
    """Arguments of the level kernels for the given rows; `free` is None where everything may be taken."""
    lots, own = gathered(rows, q, e)
    room = lots if free is None else free[rows]
    zero = np.zeros(rows.size)
    gain = np.maximum(-d, 0.0) * room if d < 0 else zero
    top, g_scale, e_scale = kernel.survey(zero, own, lots, gain, p)
    return (zero, own, lots, room, p, d), (top, g_scale, e_scale)


def guess(member, z, total, q, free, e, rank, p, d):
    """A level near the right one, from a sample; 0 where the sample says nothing."""
    mine, scales = columns(sample(member, rank, SAMPLE_BITS), q, free, e, p, d)
    held = int(mine[3].sum())
    z_sample = int(z * (held / total))
    if not 0 < z_sample < held:
        return 0.0
    return kernel.find_level(np.inf, *mine, z_sample, *scales)[0]


def waterfill_isolated(problem, protect_principal, lots, solution):
    """Solve a problem that `fits`; False, with nothing done, where insolvent accounts or a shortage are in the way."""
    q, e, d = problem.quantity_lots, problem.equity, float(problem.haircut[0])
    p = float(problem.lot_price[problem.demand_asset[0]])
    free = problem.available_lots
    rank = np.zeros(0, dtype=np.int64) if problem.tie_rank is None else problem.tie_rank
    member = members(problem, protect_principal)
    total, broke = totals(member, np.abs(q) if free is None else free, e)
    z = int(problem.demand_lots[0])
    if (broke and d <= 0) or not 0 < z < total:
        return False
    if broke or not e.min() > 0:
        member &= e > 0
    hint = guess(member, z, total, q, free, e, rank, p, d)
    screen = SCREEN * hint
    while True:
        rows = above(screen, member, q, e, p)
        mine, scales = columns(rows, q, free, e, p, d)
        eta = 0.0
        if screen == 0.0 or z < int(mine[3].sum()):
            eta, passes = kernel.find_level(hint, *mine, z, *scales, free is None)
        if screen == 0.0 or eta > screen:
            break
        screen = hint = 0.0
    x = np.empty(rows.size)
    kernel.pour(eta, *mine, x)
    worst, whole, part = audit(eta, mine[2], mine[3], mine[1], p, d, x)
    solution.relaxed_lots = np.zeros(q.size)
    scatter(rows, x, solution.relaxed_lots)
    if lots:
        taken = np.zeros(rows.size, dtype=np.int64)
        order = rows if problem.tie_rank is None else problem.tie_rank[rows]
        one_demand(eta, mine[0], mine[1], mine[2], mine[3], order, p, d, z, taken)
        solution.reduction_lots = np.zeros(q.size, dtype=np.int64)
        scatter(rows, taken, solution.reduction_lots)
    solution.insolvent_lots = np.zeros(1, dtype=np.int64)
    solution.residual_lots = np.zeros(1, dtype=np.int64)
    solution.level = np.array([eta])
    solution.kkt_residual = worst
    solution.clearing_residual_lots = abs(float(whole - z) + part)
    solution.iterations = passes
    solution.status = OPTIMAL
    return True
