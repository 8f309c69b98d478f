"""Kernels of water filling: the level of one demand, and the cycle over several.

An item holds q lots at price p in an account with gross notional g elsewhere and equity e. With x lots taken and
haircut d its leverage is (g + p (q - x)) / (e - d x); at level eta an item that is neither untouched nor closed gives
x = (g + p q - eta e) / (p - eta d). Numerator and denominator are linear in the sums over such items, so the level that
meets a demand is found by a bracketed Newton search whose steps are exact once the set of items is right.
No (G - p x) anywhere: it breaks exact ties.
"""

import math

import numpy as np
from numba import njit

from solver.grid import grid_scale, on_grid

LEVEL_MAX = 1e200
MOVED_RELATIVE = 1e-11  # an account's leverage that moved less than this wakes no other demand
ROUNDING = 1e-15
SHIFTS_MAX = 200


@njit("f8(f8, f8)", cache=True, error_model="numpy", inline="always")
def ratio(gross, equity):
    """Leverage; nothing held is 0 whatever the equity."""
    if gross <= 0.0:
        return 0.0
    return gross / equity if equity > 0.0 else np.inf


@njit("f8(f8, f8, f8)", cache=True, error_model="numpy", inline="always")
def slack(eta, p, d):
    """p - eta d, which the filter of eligible entries keeps above 0 up to rounding."""
    return max(p - eta * d, 1e-16 * p)


@njit(cache=True, error_model="numpy")
def survey(g, e, q, gain, p):
    """Highest leverage of the items, and the grid scales for g and for e with every bonus `gain` paid."""
    top = 0.0
    g_max = 0.0
    e_max = 0.0
    for j in range(g.size):
        gross = g[j] + p * q[j]
        top = max(top, gross / e[j] if (e[j] > 0.0) & (gross > 0.0) else 0.0)
        g_max = max(g_max, g[j])
        e_max = max(e_max, e[j] + gain[j])
    return min(top, LEVEL_MAX), grid_scale(g_max, g.size), grid_scale(e_max, g.size)


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
def sums_at(eta, g, e, q, free, p, d, g_scale, e_scale):
    """Lots of closed items, then lots, g and e of the open ones, at level eta."""
    # Written without branches, on whole views: that is what LLVM turns into vectors, 11 ms -> 3 ms for 1 M items.
    den = slack(eta, p, d)
    closed = 0
    open_lots = 0
    open_g = 0
    open_e = 0
    for j in range(g.size):
        excess = g[j] + p * q[j] - eta * e[j]
        room = den * free[j]
        is_open = (excess > 0.0) & (excess < room)
        closed += free[j] if (excess > 0.0) & (excess >= room) else 0
        open_lots += q[j] if is_open else 0
        open_g += on_grid(g[j], g_scale) if is_open else 0
        open_e += on_grid(e[j], e_scale) if is_open else 0
    return closed, open_lots, open_g / g_scale, open_e / e_scale


@njit(cache=True, error_model="numpy")
def level_of_all(g, e, q, p, d, z, g_scale, e_scale):
    """Level at which the items give z lots if all of them were open."""
    all_g = 0
    all_e = 0
    all_q = 0
    for j in range(g.size):
        all_q += q[j]
        all_g += on_grid(g[j], g_scale)
        all_e += on_grid(e[j], e_scale)
    equity = all_e / e_scale - z * d
    return (all_g / g_scale + p * (all_q - z)) / equity if equity > 0.0 else -1.0


@njit(cache=True, error_model="numpy")
def find_level(eta, g, e, q, free, p, d, z, top, g_scale, e_scale):
    """Level at which the items give z lots (0 < z < all they have), and the passes it took; eta is a first guess."""
    low = 0.0
    high = top
    if not (eta > low and eta < high):
        eta = level_of_all(g, e, q, p, d, z, g_scale, e_scale)
        if not (eta > low and eta < high):
            eta = 0.5 * high
    for step in range(1, 400):
        closed, open_lots, open_g, open_e = sums_at(eta, g, e, q, free, p, d, g_scale, e_scale)
        if open_lots == 0 and closed == z:
            return eta, step
        left = z - closed
        weight = open_e - left * d
        new = (open_g + p * (open_lots - left)) / weight if open_lots > 0 and weight > 0.0 else -1.0
        if abs(new - eta) <= ROUNDING * eta:
            return eta, step
        if closed + (open_g + p * open_lots - eta * open_e) / slack(eta, p, d) > z:
            low = max(low, eta)
        else:
            high = min(high, eta)
        if not (new > low and new < high):
            new = math.sqrt(low) * math.sqrt(high) if low > 0.0 and high > 4.0 * low else 0.5 * (low + high)
        if high - low <= ROUNDING * high or new == eta:
            return eta, step
        eta = new
    return eta, 400


@njit(cache=True, error_model="numpy")
def pour(eta, g, e, q, free, p, d, x):
    """Write the reductions of the items at level eta."""
    den = slack(eta, p, d)
    for j in range(g.size):
        excess = g[j] + p * q[j] - eta * e[j]
        x[j] = min(max(excess / den, 0.0), float(free[j]))


@njit(cache=True, error_model="numpy")
def rebase(j, x, q, others, equity, price, haircut, kin, kin_from, kin_to, demand):
    """Gross notional outside item j, and equity without its own haircut, given everybody's reductions x."""
    g = others[j]
    e = equity[j]
    for c in range(kin_from[j], kin_to[j]):
        i = kin[c]
        if i != j:
            g += price[demand[i]] * (q[i] - x[i])
            e -= haircut[demand[i]] * x[i]
    return g, e


@njit(cache=True, error_model="numpy")
def outside(x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand):
    """Gross notional and equity of every item's account without the item itself."""
    g, e = others.copy(), equity.copy()
    for j in range(x.size):
        if shared[j]:
            g[j], e[j] = rebase(j, x, q, others, equity, price, haircut, kin, kin_from, kin_to, demand)
    return g, e


@njit(cache=True, error_model="numpy")
def shift(start, live, price, q, free, e, shared, kin, kin_from, kin_to, demand, x, level, woken):
    """Let accounts give to the demand of lower level what they give to one of higher level, as far as both levels move.

    Cycling alone moves, each time, only what the equity of the accounts in both demands is of the equity in one of
    them: hundreds of cycles where few accounts tie two demands. The next fill restores what this overdraws.
    """
    demands = start.size - 1
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
        if 0.0 < x[j]:
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
            for j in range(s, t):
                if shared[j]:
                    g[j], e[j] = rebase(j, x, q, others, equity, price, haircut, kin, kin_from, kin_to, demand)
            tops[k], g_scale[k], e_scale[k] = survey(g[s:t], e[s:t], q[s:t], gain[s:t], price[k])
    before = np.empty(0)
    for turn in range(1, cycles_max + 1):
        moved = False
        for k in range(demands):
            if not (live[k] and woken[k]):
                continue
            woken[k] = False
            s, t, p, d = start[k], start[k + 1], price[k], haircut[k]
            for j in range(s, t):
                if shared[j]:
                    g[j], e[j] = rebase(j, x, q, others, equity, price, haircut, kin, kin_from, kin_to, demand)
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
            shift(start, live, price, q, free, e, shared, kin, kin_from, kin_to, demand, x, level, woken)
    return -cycles_max


@njit(cache=True, error_model="numpy")
def certificate(start, live, z, price, haircut, others, equity, q, free, shared, kin, kin_from, kin_to, demand, x, level):
    """Largest violation of "no untouched account above the level, no open one off it, no closed one below it"."""
    worst = 0.0
    clearing = 0.0
    for k in range(start.size - 1):
        p, d = price[k], haircut[k]
        whole = 0
        part = 0
        lowest = np.inf
        for j in range(start[k], start[k + 1]):
            g, e = others[j], equity[j]
            if shared[j]:
                g, e = rebase(j, x, q, others, equity, price, haircut, kin, kin_from, kin_to, demand)
            own = e - d * x[j]
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
