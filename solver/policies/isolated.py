"""Water filling where every account has one entry and there is one demand: the same answer in a tenth of the time.

A sample of accounts, drawn by tie rank, guesses the level; a pass over the book sums up the accounts on which a bracket
around the guess is agreed, and the search looks only at the others. The guess decides nothing: a level at an end of the
bracket repeats the work without one.
Two threads (prange, workqueue) on two shared cores were slower, 3.1 -> 3.6 ms a pass, and cost 0.4 ms a call. Copying
out the accounts above a screen first cost more passes than it saved: 13.5 ms for 1 M positions, 8.5 without.
"""

import numpy as np
from numba import njit

from solver.grid import grid_scale, on_grid
from solver.items import given_or_empty
from solver.lots_one import likely_bracket, one_demand, sure_lots
from solver.policies import level as kernel
from solver.policies.level import ROUNDING, slack
from solver.solution import OPTIMAL

ROWS_MIN = 20_000  # below this the general road is as fast
BRACKET = 0.02  # around the guess, relative
SAMPLE = 16_384  # accounts, at most


@njit(cache=True, error_model="numpy")
def totals(member, q, free, e):
    """Lots that members may give, lots they hold, and how many members are insolvent."""
    total = 0
    held = 0
    broke = 0
    for j in range(q.size):
        mine = np.int64(member[j] & (e[j] > 0.0))
        held += abs(q[j]) * mine
        total += (free[j] if free.size > 0 else abs(q[j])) * mine
        broke += np.int64(member[j] & (e[j] <= 0.0))
    return total, held, broke


@njit(cache=True, error_model="numpy")
def sampled(member, q, rank, chance):
    """Mask of members drawn with probability |q| chance / 2**48, by a hash of their tie rank."""
    mask = np.empty(member.size, np.bool_)
    for j in range(member.size):
        r = np.uint64(rank[j] if rank.size > 0 else j)
        draw = np.int64((r * np.uint64(11400714819323198485)) >> np.uint64(16))
        mask[j] = member[j] & (draw < chance * abs(q[j]))
    return mask


@njit(cache=True, error_model="numpy")
def agreed(low, high, member, q, free, e, p, d, e_scale):
    """Sums of the members open, or closed, at both levels, as `find_level` takes them; a mask of the doubtful ones."""
    # Two loops: with both questions in one, LLVM gives up vectors, 2 -> 9 ms for 1 M rows with everything available.
    mask = np.empty(member.size, np.bool_)
    closed = 0
    open_lots = 0
    open_e = 0
    e_max = 2.0**62 / e_scale  # the grid need not fit closed accounts: what they add is taken out again below
    for j in range(member.size):
        lots = abs(q[j])
        is_open = member[j] & (p * lots - high * e[j] > 0.0)
        mask[j] = member[j] & (p * lots - low * e[j] > 0.0) & ~is_open
        open_lots += lots if is_open else 0
        open_e += on_grid(min(e[j], e_max), e_scale) if is_open else 0
    low_den, high_den = slack(low, p, d), slack(high, p, d)
    for j in range(free.size):
        lots = abs(q[j])
        at_low, at_high = p * lots - low * e[j], p * lots - high * e[j]
        at_end = member[j] & (at_high > 0.0) & (at_low >= low_den * free[j])
        is_closed = at_end & (at_high >= high_den * free[j])
        mask[j] = mask[j] | (at_end & ~is_closed)
        closed += free[j] if is_closed else 0
        open_lots -= lots if at_end else 0
        open_e -= on_grid(min(e[j], e_max), e_scale) if at_end else 0
    return (closed, open_lots, 0.0, open_e / e_scale), mask


@njit(cache=True, error_model="numpy")
def gathered(rows, q, free, e):
    """Arguments of the kernels of a level: g, e, q and free of the given rows."""
    n = rows.size
    own, lots, room = np.empty(n), np.empty(n, np.int64), np.empty(n, np.int64)
    for c in range(n):
        own[c] = e[rows[c]]
        lots[c] = abs(q[rows[c]])
        room[c] = free[rows[c]] if free.size > 0 else lots[c]
    return np.zeros(n), own, lots, room


@njit(cache=True, error_model="numpy")
def poured(eta, member, q, free, e, p, d, out):
    """Write the reductions at level eta; how many accounts give, and how many are beyond rounding on the wrong side."""
    active = 0
    wrong = 0
    den = slack(eta, p, d)
    for j in range(q.size):
        lots = abs(q[j])
        room = float(free[j] if free.size > 0 else lots)
        x = min(max((p * lots - eta * e[j]) / den, 0.0), room)
        x = x if member[j] else 0.0
        out[j] = x
        active += np.int64(x > 0.0)
        off = p * (lots - x) - eta * (e[j] - d * x)
        noise = 4.0 * ROUNDING * p * lots
        wrong += np.int64(member[j] & (((off > noise) & (x < room)) | ((-off > noise) & (x > 0.0))))
    return active, wrong


@njit(cache=True, error_model="numpy")
def audit(eta, member, q, free, e, p, d, x):
    """Largest distance, relative to the level, of an account on the wrong side of it."""
    worst = 0.0
    for j in range(q.size):
        lots = abs(q[j])
        right = eta * (e[j] - d * x[j])
        off = p * (lots - x[j]) - right
        is_wrong = (off > 0.0) & (x[j] < (free[j] if free.size > 0 else lots)) | ((off < 0.0) & (x[j] > 0.0))
        if member[j] & is_wrong:
            worst = max(worst, (abs(off) - 4.0 * ROUNDING * p * lots) / right)
    return worst


@njit(cache=True, error_model="numpy")
def settled(low, high, member, q, free, e, p, out):
    """Write the lots of members that give the same at any level in (low, high], at the mark; 0 for the others.

    The sum of these lots and a mask of the others come back.
    """
    mask = np.empty(member.size, np.bool_)
    given = 0
    for j in range(q.size):
        lots = abs(q[j])
        n, sure = sure_lots(low, high, 0.0, e[j], lots, free[j] if free.size > 0 else lots, p)
        mask[j] = member[j] & ~sure
        out[j] = np.int64(n) if member[j] & sure else 0
        given += out[j]
    return given, mask


@njit(cache=True, error_model="numpy")
def highest_left(member, q, free, e, p, d, taken):
    """Largest leverage of a member that has lots left."""
    highest = 0.0
    for j in range(q.size):
        lots = abs(q[j])
        more = member[j] & (taken[j] < (free[j] if free.size > 0 else lots))
        lev = p * (lots - taken[j]) / (e[j] - d * taken[j])
        highest = max(highest, lev if more else 0.0)
    return highest


@njit(cache=True, error_model="numpy")
def scatter(rows, values, out):
    for c in range(rows.size):
        out[rows[c]] = values[c]


def members(problem, protect_principal):
    """Who may be asked, solvency aside."""
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


def alone(problem):
    """Is there one demand, and has every account exactly one entry?"""
    return problem.demand_lots.size == 1 and problem.one_entry_each and problem.account.size == problem.equity.size


def fits(problem):
    """Is this the case of the fast road?"""
    return problem.account.size >= ROWS_MIN and alone(problem)


def searched(columns, z, p, d):
    """What `find_level` gives without a bracket."""
    g, own, lots, _ = columns
    top, g_scale, e_scale = kernel.survey(g, own, lots, g, p)
    return kernel.find_level(np.inf, 0.0, top, *columns, p, d, z, (0, 0, 0.0, 0.0), g_scale, e_scale)


def guessed(member, z, total, held, book, rank, p, d):
    """A level near the right one, from a sample; 0 where the sample says nothing."""
    chance = (SAMPLE << 48) // held
    rows = np.flatnonzero(sampled(member, book[0], rank, chance))
    g, own, lots, room = gathered(rows, *book)
    # An account drawn with probability w stands for 1 / w of its kind; a plain sample misses the few large ones.
    weight = np.maximum(1.0, 2.0**48 / (chance * lots))
    lots, room = (np.rint(column * weight).astype(np.int64) for column in (lots, room))
    z = int(z * (int(room.sum()) / total))
    return searched((g, own * weight, lots, room), z, p, d)[0] if 0 < z < room.sum() else 0.0


def leveled(member, z, total, held, book, rank, p, d):
    """What `find_level` gives for the book."""
    guess = guessed(member, z, total, held, book, rank, p, d)
    low, high = guess * (1 - BRACKET), guess * (1 + BRACKET)
    if guess > 0:
        # Whoever is open at `low` has less equity than its notional over `low`.
        e_scale = scale = grid_scale(p * held / low, 2)
        base, mask = agreed(low, high, member, *book, p, d, scale)
        while base[1] and kernel.finer(base[3], scale, member.size) > scale:
            scale = kernel.finer(base[3], scale, member.size)
            base, mask = agreed(low, high, member, *book, p, d, scale)
        mine = gathered(np.flatnonzero(mask), *book)
        found = kernel.find_level(guess, low, high, *mine, p, d, z, base, grid_scale(0.0, 1), e_scale)
        if low * (1 + 1e-9) < found[0] < high * (1 - 1e-9):
            return found
    return searched(gathered(np.flatnonzero(member), *book), z, p, d)


def whole_lots(bracket, member, z, book, rank, p, d):
    """Lots per row; only the rows whose last lot may lie in the bracket of levels are looked at one by one."""
    q, free, e = book
    lots = np.zeros(q.size, dtype=np.int64)
    given, mask = 0, member
    if d == 0:
        given, mask = settled(*bracket, member, q, free, e, p, lots)
    while True:
        rows = np.flatnonzero(mask)
        mine = gathered(rows, *book)
        taken = np.zeros(rows.size, dtype=np.int64)
        order = rank[rows] if rank.size else rows
        if 0 < z - given < mine[3].sum():
            held = one_demand(*bracket, *mine, order, p, d, z - given, taken)
            if held or mask is member:
                scatter(rows, taken, lots)
                return lots
        given, mask = 0, member


def waterfill_isolated(problem, protect_principal, lots, solution):
    """Solve a problem of accounts that are alone; return the level of the relaxed reductions.

    None, with nothing done, where insolvent accounts or a shortage are in the way.
    """
    p, d = float(problem.lot_price[problem.demand_asset[0]]), float(problem.haircut[0])
    rank = given_or_empty(problem.tie_rank, np.int64)
    book = (problem.quantity_lots, given_or_empty(problem.available_lots, np.int64), problem.equity)
    member = members(problem, protect_principal)
    total, held, broke = totals(member, *book)
    z = int(problem.demand_lots[0])
    if (broke and d <= 0) or not 0 < z < total:
        return None
    if broke:
        member &= problem.equity > 0
    eta, given, open_equity, passes = leveled(member, z, total, held, book, rank, p, d)
    relaxed = np.empty(member.size)
    active, wrong = poured(eta, member, *book, p, d, relaxed)
    solution.level = np.array([eta])
    if lots:
        taken = whole_lots(likely_bracket(eta, active, open_equity, p), member, z, book, rank, p, d)
        solution.reduction_lots = taken
        solution.level[0] = highest_left(member, *book, p, d, taken)
    solution.relaxed_lots = relaxed
    solution.insolvent_lots = np.zeros(1, dtype=np.int64)
    solution.residual_lots = np.zeros(1, dtype=np.int64)
    solution.kkt_residual = audit(eta, member, *book, p, d, relaxed) if wrong else 0.0
    solution.clearing_residual_lots = abs(given - z)
    solution.iterations = passes
    solution.status = OPTIMAL
    return eta
