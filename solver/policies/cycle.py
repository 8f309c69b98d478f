"""Kernels of water filling several demands: fill them in turn until nobody's leverage moves, and the certificate.

An account in two demands ties their levels; what it has given to one is missing from its gross notional in the other.
Accounts in one demand only never change: around a level they are known by their sums, and only those whose state the
bracket around it leaves open are looked at again, together with the tied ones (13 cycles, 103,000 items: 43 -> 25 ms).
What a turn calls for each demand is inlined, for numba hands all columns over at every call (204 cycles: 8 % less).
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.grid import on_grid
from solver.policies.book import bonuses, leverages, outside
from solver.policies.level import ROUNDING, find_level, finer, ratio, slack, survey
from solver.policies.shift import shift

MOVED_RELATIVE = 1e-11  # an account's leverage that moved less than this wakes no other demand
SHIFTS_MAX = 200  # turns with shifts; after them plain cycling, which always converges


class Search(NamedTuple):
    """The items that a search for the level of demand k still looks at: from start[k] on, shared ones first."""

    row: np.ndarray  # int64[n], item
    g: np.ndarray  # float[n], gross notional of the account outside the item
    e: np.ndarray  # float[n], its equity
    whole_g: np.ndarray  # float[n], by item: the same of everybody, as it was when the demand was last looked at whole
    whole_e: np.ndarray
    lots: np.ndarray  # int64[n]
    free: np.ndarray  # int64[n]
    seen: np.ndarray  # bool[n], by item: is it among them?
    top: np.ndarray  # float[n], by shared item: the account's leverage before anything is taken
    size: np.ndarray  # int64[K], how many
    tied: np.ndarray  # int64[K], how many of them are shared
    base_lots: np.ndarray  # int64[K, 2], sums of the others, as `find_level` takes them: lots of closed and open ones
    base: np.ndarray  # float[K, 2], g and e of open ones
    low: np.ndarray  # float[K], bracket in which `base` is right
    high: np.ndarray
    highest: np.ndarray  # float[K], above every level of the demand
    g_scale: np.ndarray  # float[K], grids
    e_scale: np.ndarray


@njit(cache=True, error_model="numpy")
def new_search(book, live, x):
    """A search in which no demand has a bracket yet."""
    n, demands = x.size, live.size
    g, e = outside(book, x)
    gain = bonuses(book)
    highest, g_scale, e_scale = np.zeros(demands), np.ones(demands), np.ones(demands)
    top, shared, q = np.empty(n), book.shared, book.lots
    for k in range(demands):
        if live[k]:
            s, t, p = book.start[k], book.start[k + 1], book.price[k]
            highest[k], g_scale[k], e_scale[k] = survey(g[s:t], e[s:t], q[s:t], gain[s:t], p)
            for j in range(s, t):
                if shared[j]:
                    top[j] = ratio(g[j] + p * q[j], e[j])
    return Search(
        np.empty(n, np.int64), np.empty(n), np.empty(n), g, e, np.empty(n, np.int64), np.empty(n, np.int64),
        np.zeros(n, np.bool_), top, np.zeros(demands, np.int64), np.zeros(demands, np.int64),
        np.zeros((demands, 2), np.int64), np.zeros((demands, 2)), np.zeros(demands), np.zeros(demands), highest,
        g_scale, e_scale,
    )  # fmt: skip


@njit(cache=True, error_model="numpy")
def narrow(k, low, high, book, search, x):
    """Sort the items of demand k into those that a level in (low, high) leaves as they are and those to look at."""
    s, t, p, d = book.start[k], book.start[k + 1], book.price[k], book.haircut[k]
    shared, q, free, others, equity = book.shared, book.lots, book.free, book.others, book.equity
    row, seen, top = search.row, search.seen, search.top
    g_scale, e_scale = search.g_scale[k], search.e_scale[k]
    end = s
    for j in range(s, t):
        if shared[j]:
            # Being taken never raises a leverage: who starts below the bracket is not reached by it.
            seen[j] = x[j] > 0.0 or top[j] > low
            row[end] = j
            end += np.int64(seen[j])
    search.tied[k] = end - s
    low_den, high_den = slack(low, p, d), slack(high, p, d)
    first = end
    while True:
        end = first
        closed = open_lots = g_steps = e_steps = 0
        for j in range(s, t):
            gross = others[j] + p * q[j]
            at_low, at_high = gross - low * equity[j], gross - high * equity[j]
            is_closed = ~shared[j] & (at_high > 0.0) & (at_high >= high_den * free[j])
            is_open = ~shared[j] & (at_high > 0.0) & (at_low < low_den * free[j])
            closed += free[j] if is_closed else 0
            open_lots += q[j] if is_open else 0
            g_steps += on_grid(others[j], g_scale) if is_open else 0
            e_steps += on_grid(equity[j], e_scale) if is_open else 0
            if ~shared[j] & (at_low > 0.0) & (is_open == is_closed):
                row[end] = j
                end += 1
        open_g, open_e = g_steps / g_scale, e_steps / e_scale
        g_fine = finer(open_g + p * open_lots, g_scale, t - s)
        e_fine = finer(open_e, e_scale, t - s)
        if open_lots == 0 or (g_fine == g_scale and e_fine == e_scale):
            break
        g_scale, e_scale = g_fine, e_fine
    search.size[k] = end - s
    search.low[k], search.high[k] = low, high
    search.base_lots[k, 0], search.base_lots[k, 1] = closed, open_lots
    search.base[k, 0], search.base[k, 1] = open_g, open_e
    g, e, lots, room = search.g, search.e, search.lots, search.free
    for c in range(s, end):
        j = row[c]
        g[c], e[c], lots[c], room[c] = others[j], equity[j], q[j], free[j]


@njit(cache=True, error_model="numpy", inline="always")
def refresh(k, book, search, x):
    """Bring the shared items that are looked at up to what their accounts have given elsewhere."""
    kin, kin_from, kin_to, demand = book.kin, book.kin_from, book.kin_to, book.demand
    price, haircut, q = book.price, book.haircut, book.lots
    row, g, e = search.row, search.g, search.e
    for c in range(book.start[k], book.start[k] + search.tied[k]):
        j = row[c]
        gross, own = book.others[j], book.equity[j]
        for b in range(kin_from[j], kin_to[j]):
            i = kin[b]
            if i != j:
                gross += price[demand[i]] * (q[i] - x[i])
                own -= haircut[demand[i]] * x[i]
        g[c] = gross
        e[c] = own


@njit(cache=True, error_model="numpy", inline="always")
def level_within(k, eta, z, book, search, x):
    """Level of demand k in its bracket, and the equity of its open items."""
    refresh(k, book, search, x)
    s = book.start[k]
    t = s + search.size[k]
    base = (search.base_lots[k, 0], search.base_lots[k, 1], search.base[k, 0], search.base[k, 1])
    level, _, open_equity, _ = find_level(
        eta, search.low[k], search.high[k], search.g[s:t], search.e[s:t], search.lots[s:t], search.free[s:t],
        book.price[k], book.haircut[k], z, base, search.g_scale[k], search.e_scale[k],
    )  # fmt: skip
    return level, open_equity


@njit(cache=True, error_model="numpy")
def level_of_everybody(k, eta, z, book, search, x):
    """Level of demand k without a bracket, and the equity of its open items."""
    s, t = book.start[k], book.start[k + 1]
    shared, kin, kin_from, kin_to, demand = book.shared, book.kin, book.kin_from, book.kin_to, book.demand
    price, haircut, q, g, e = book.price, book.haircut, book.lots, search.whole_g, search.whole_e
    for j in range(s, t):
        if shared[j]:
            gross, own = book.others[j], book.equity[j]
            for b in range(kin_from[j], kin_to[j]):
                i = kin[b]
                if i != j:
                    gross += price[demand[i]] * (q[i] - x[i])
                    own -= haircut[demand[i]] * x[i]
            g[j] = gross
            e[j] = own
    level, _, open_equity, _ = find_level(
        eta, 0.0, search.highest[k], g[s:t], e[s:t], q[s:t], book.free[s:t], price[k], haircut[k], z, (0, 0, 0.0, 0.0),
        search.g_scale[k], search.e_scale[k],
    )  # fmt: skip
    return level, open_equity


@njit(cache=True, error_model="numpy", inline="always")
def fill(k, z, bracket, book, search, x, level, live, woken):
    """Fill demand k: its level and the x of its shared items are written; the equity of open items comes back.

    Demands in which somebody moved are woken.
    """
    eta, weight = level[k], 0.0
    if search.high[k] > 0.0:
        eta, weight = level_within(k, eta, z, book, search, x)
    if not search.low[k] * (1.0 + 1e-9) < eta < search.high[k] * (1.0 - 1e-9):
        eta, weight = level_of_everybody(k, level[k], z, book, search, x)
        narrow(k, eta * (1.0 - bracket), eta * (1.0 + bracket), book, search, x)
        refresh(k, book, search, x)
    level[k] = eta
    p = book.price[k]
    den = slack(eta, p, book.haircut[k])
    q, free, kin, kin_from, kin_to, demand = book.lots, book.free, book.kin, book.kin_from, book.kin_to, book.demand
    row, g, e, seen = search.row, search.g, search.e, search.seen
    for c in range(book.start[k], book.start[k] + search.tied[k]):
        j = row[c]
        new = min(max((g[c] + p * q[j] - eta * e[c]) / den, 0.0), float(free[j]))
        step = abs(new - x[j])
        x[j] = new
        if step > 4.0 * ROUNDING * q[j] and p * step > MOVED_RELATIVE * (g[c] + p * (q[j] - new)):
            for b in range(kin_from[j], kin_to[j]):
                i = kin[b]
                other = demand[i]
                # Before its first fill a demand has seen nobody, and is awake.
                if other != k and live[other] and seen[i]:
                    woken[other] = True
    return weight


@njit(cache=True, error_model="numpy")
def cycle(book, live, z, bracket, x, level, cycles_max):
    """Fill the live demands in turn until nobody's leverage moves; x and level are written, cycles come back.

    A demand is filled again only after an account of its own was moved by another one.
    """
    search = new_search(book, live, x)
    woken = live.copy()
    weight = np.zeros(live.size)
    turn = 0
    while woken.any() and turn < cycles_max:
        turn += 1
        if 3 <= turn <= SHIFTS_MAX:
            shift(live, weight, book, search, x, level, woken)
        for k in range(live.size):
            if woken[k]:
                woken[k] = False
                weight[k] = fill(k, z[k], bracket, book, search, x, level, live, woken)
    start, shared, q, free, others, equity = book.start, book.shared, book.lots, book.free, book.others, book.equity
    for k in range(live.size):
        if live[k]:
            p = book.price[k]
            den = slack(level[k], p, book.haircut[k])
            for j in range(start[k], start[k + 1]):
                if not shared[j]:
                    excess = others[j] + p * q[j] - level[k] * equity[j]
                    x[j] = min(max(excess / den, 0.0), float(free[j]))
    return turn


@njit(cache=True, error_model="numpy")
def certificate(book, live, z, x, level):
    """Largest violation of "no untouched account above the level, no open one off it, no closed one below it".

    The largest clearing residual in lots comes with it. A demand that takes everything gets the smallest leverage left
    as its level.
    """
    lev = leverages(book, x)
    worst = 0.0
    clearing = 0.0
    for k in range(live.size):
        p, d = book.price[k], book.haircut[k]
        whole = 0
        part = 0
        lowest = np.inf
        for j in range(book.start[k], book.start[k + 1]):
            lowest = min(lowest, lev[j])
            whole += int(x[j])
            part += int((x[j] - int(x[j])) * 1099511627776.0)
            if live[k]:
                # What the rounding of x itself moves is no violation.
                own = book.equity[j] - d * x[j]
                noise = 4.0 * ROUNDING * (p * book.lots[j] / own + lev[j]) if own > 0.0 else 0.0
                high = lev[j] - level[k] - noise if x[j] < book.free[j] else 0.0
                low = level[k] - lev[j] - noise if x[j] > 0.0 else 0.0
                worst = max(worst, max(high, low, 0.0) / max(level[k], 1e-30))
        if live[k]:
            clearing = max(clearing, abs(float(whole - z[k]) + part / 1099511627776.0))
        elif z[k] > 0:
            level[k] = lowest
    return worst, clearing
