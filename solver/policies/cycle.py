"""Kernels of water filling several demands: fill them in turn until nobody's leverage moves, and the certificate.

An account in two demands ties their levels; what it has given to one is missing from its gross notional in the other.
"""

import numpy as np
from numba import njit

from solver.grid import grid_scale, on_grid
from solver.policies.level import ROUNDING, find_level, pour, ratio, survey

MOVED_RELATIVE = 1e-11  # an account's leverage that moved less than this wakes no other demand
SHIFTS_MAX = 200  # turns with shifts; after them plain cycling, which always converges


@njit(cache=True, error_model="numpy")
def bonuses(shared, free, haircut, kin, kin_from, kin_to, demand):
    """Most that an item's account can gain by bonuses (negative haircuts) of its demands."""
    gain = np.zeros(free.size)
    for j in range(free.size):
        if shared[j]:
            for c in range(kin_from[j], kin_to[j]):
                i = kin[c]
                gain[j] += max(-haircut[demand[i]], 0.0) * free[i]
        else:
            gain[j] = max(-haircut[demand[j]], 0.0) * free[j]
    return gain


@njit(cache=True, error_model="numpy")
def rebase(s, t, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand, g, e):
    """Write, for items s..t, gross notional and equity of the account without the item, given all reductions x."""
    # One call for a range: a call per item spends more on counting array references than on the sums.
    for j in range(s, t):
        if shared[j]:
            gross = others[j]
            own = equity[j]
            for c in range(kin_from[j], kin_to[j]):
                i = kin[c]
                if i != j:
                    k = demand[i]
                    gross += price[k] * (q[i] - x[i])
                    own -= haircut[k] * x[i]
            g[j] = gross
            e[j] = own


@njit(cache=True, error_model="numpy")
def outside(x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand):
    """Gross notional and equity of every item's account without the item itself."""
    g, e = others.copy(), equity.copy()
    rebase(0, x.size, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand, g, e)
    return g, e


@njit(cache=True, error_model="numpy")
def shift(live, price, free, e, shared, kin, kin_from, kin_to, demand, x, level, woken):
    """Let accounts give to the demand of lower level what they give to one of higher level, as far as both levels move.

    Cycling alone moves, each time, only what the equity of the accounts in both demands is of the equity in one of
    them: hundreds of cycles where few accounts tie two demands. The next fill restores what this overdraws.
    """
    demands = live.size
    room = np.zeros((demands, demands), np.int64)
    weight = np.zeros(demands, np.int64)
    largest = 0.0
    richest = 0.0
    count = x.size
    for j in range(count):
        largest = max(largest, price[demand[j]] * free[j])
        richest = max(richest, e[j])
    scale = grid_scale(largest, count * 4)
    e_scale = grid_scale(richest, count)
    for j in range(count):
        k = demand[j]
        if not live[k] or not (0.0 < x[j] < free[j] or (shared[j] and x[j] < free[j])):
            continue
        if x[j] > 0.0:
            weight[k] += on_grid(e[j], e_scale)
        if shared[j]:
            for c in range(kin_from[j], kin_to[j]):
                i = kin[c]
                other = demand[i]
                if live[other] and x[i] > 0.0 and level[other] > level[k] * (1.0 + 1e-12):
                    room[other, k] += on_grid(min(price[other] * x[i], price[k] * (free[j] - x[j])), scale)
    partners = np.zeros(demands)
    for a in range(demands):
        for b in range(demands):
            if room[a, b] > 0:
                partners[a] += 1.0
                partners[b] += 1.0
    part = np.zeros((demands, demands))
    for a in range(demands):
        for b in range(demands):
            if room[a, b] > 0 and weight[a] > 0 and weight[b] > 0:
                give = (level[a] - level[b]) / (e_scale / weight[a] + e_scale / weight[b])
                part[a, b] = min(1.0, give / max(partners[a], partners[b]) / (room[a, b] / scale))
    for j in range(count):
        k = demand[j]
        if live[k] and shared[j] and x[j] < free[j]:
            for c in range(kin_from[j], kin_to[j]):
                i = kin[c]
                other = demand[i]
                if part[other, k] > 0.0 and x[i] > 0.0:
                    give = part[other, k] * min(price[other] * x[i], price[k] * (free[j] - x[j]))
                    x[i] = max(x[i] - give / price[other], 0.0)
                    x[j] = min(x[j] + give / price[k], float(free[j]))
                    woken[k] = True
                    woken[other] = True


@njit(cache=True, error_model="numpy")
def cycle(start, live, z, price, haircut, others, equity, q, free, shared, kin, kin_from, kin_to, demand, x, level,
          cycles_max):  # fmt: skip
    """Fill the live demands in turn until nobody's leverage moves; x and level are written, cycles come back.

    A demand is filled again only after an account of its own was moved by another one. Returns -cycles if the last
    allowed cycle still moved something.
    """
    demands = start.size - 1
    g = others.copy()
    e = equity.copy()
    tops = np.zeros(demands)
    g_scale = np.ones(demands)
    e_scale = np.ones(demands)
    woken = live.copy()
    gain = bonuses(shared, free, haircut, kin, kin_from, kin_to, demand)
    for k in range(demands):
        if live[k]:
            s, t = start[k], start[k + 1]
            rebase(s, t, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand, g, e)
            tops[k], g_scale[k], e_scale[k] = survey(g[s:t], e[s:t], q[s:t], gain[s:t], price[k])
    before = np.empty(0)
    for turn in range(1, cycles_max + 1):
        moved = False
        for k in range(demands):
            if not (live[k] and woken[k]):
                continue
            woken[k] = False
            s, t, p, d = start[k], start[k + 1], price[k], haircut[k]
            rebase(s, t, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand, g, e)
            before = x[s:t].copy()
            mine = (g[s:t], e[s:t], q[s:t], free[s:t], p, d)
            level[k], _ = find_level(level[k], *mine, z[k], tops[k], g_scale[k], e_scale[k])
            pour(level[k], *mine, x[s:t])
            for j in range(s, t):
                if shared[j]:
                    step = abs(x[j] - before[j - s])
                    if step > 4.0 * ROUNDING * q[j] and p * step > MOVED_RELATIVE * (g[j] + p * (q[j] - x[j])):
                        for c in range(kin_from[j], kin_to[j]):
                            i = demand[kin[c]]
                            if i != k and live[i]:
                                woken[i] = True
                                moved = True
        if not moved:
            return turn
        if turn >= 2 and turn <= SHIFTS_MAX:
            shift(live, price, free, e, shared, kin, kin_from, kin_to, demand, x, level, woken)
    return -cycles_max


@njit(cache=True, error_model="numpy")
def certificate(
    start, live, z, price, haircut, others, equity, q, free, shared, kin, kin_from, kin_to, demand, x, level
):
    """Largest violation of "no untouched account above the level, no open one off it, no closed one below it"."""
    rest, left = outside(x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand)
    worst = 0.0
    clearing = 0.0
    for k in range(start.size - 1):
        p, d = price[k], haircut[k]
        whole = 0
        part = 0
        lowest = np.inf
        for j in range(start[k], start[k + 1]):
            g = rest[j]
            own = left[j] - d * x[j]
            lev = ratio(g + p * (q[j] - x[j]), own)
            lowest = min(lowest, lev)
            whole += int(x[j])
            part += int((x[j] - int(x[j])) * 1099511627776.0)
            if not live[k]:
                continue
            # What the rounding of x itself moves is no violation.
            noise = 4.0 * ROUNDING * (p * q[j] + g) / own if own > 0.0 else 0.0
            off = 0.0
            if x[j] < free[j]:
                off = max(off, lev - level[k] - noise)
            if x[j] > 0.0:
                off = max(off, level[k] - lev - noise)
            worst = max(worst, off / max(level[k], 1e-30))
        if live[k]:
            clearing = max(clearing, abs(float(whole - z[k]) + part / 1099511627776.0))
        elif z[k] > 0:
            level[k] = lowest
    return worst, clearing
