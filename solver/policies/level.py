"""Kernels of water filling one demand: find its level.

An item holds q lots at price p in an account with gross notional g elsewhere and equity e. With x lots taken and
haircut d its leverage is (g + p (q - x)) / (e - d x); at level eta an item that is neither untouched nor closed gives
x = (g + p q - eta e) / (p - eta d). Numerator and denominator are linear in the sums over such items, so the level that
meets a demand is found by a bracketed Newton search whose steps are exact once the set of items is right.
Items on which a bracket of levels is agreed (open, closed or untouched at both ends) are passed as their sums, `base`:
lots of the closed ones; lots, g and e of the open ones. No (G - p x) anywhere: it breaks exact ties.
"""

import math

import numpy as np
from numba import njit

from solver.grid import grid_scale, on_grid

LEVEL_MAX = 1e200
ROUNDING = 1e-15
PASSES_MAX = 400
STEP_MAX = 2.0**-46  # one grid step, relative to what is open: the rounding of a sum is a few thousand times this


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
    # A second, finer grid from the first one's sums: with heavy tails count x maximum is a thousand times the sum.
    g_scale, e_scale = grid_scale(g_max, g.size), grid_scale(e_max, g.size)
    g_sum = 0
    e_sum = 0
    for j in range(g.size):
        g_sum += on_grid(g[j], g_scale) + 1
        e_sum += on_grid(e[j] + gain[j], e_scale) + 1
    return min(top, LEVEL_MAX), grid_scale(g_sum / g_scale, 2), grid_scale(e_sum / e_scale, 2)


@njit(cache=True, error_model="numpy")
def sums_at(eta, g, e, q, free, p, d, g_scale, e_scale):
    """Lots of closed items, then lots, g and e (on their grids) of the open ones, at level eta."""
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
    return closed, open_lots, open_g, open_e


@njit(cache=True, error_model="numpy")
def finer(total, scale, count):
    """The scale, or, where its steps are coarse against the total of `count` terms, one that just fits that total."""
    return scale if STEP_MAX * total * scale >= 1.0 else max(scale, grid_scale(total + count / scale, 2))


@njit(cache=True, error_model="numpy")
def open_sums(eta, g, e, q, free, p, d, base, g_scale, e_scale):
    """Lots of closed items, then lots, g and e of the open ones, at level eta, with `base`.

    The grids given fit everybody. Beside a whale they round small open accounts away: then the sums are taken again on
    grids that just fit the open ones.
    """
    while True:
        closed, lots, g_steps, e_steps = sums_at(eta, g, e, q, free, p, d, g_scale, e_scale)
        lots += base[1]
        open_g = g_steps / g_scale + base[2]
        open_e = e_steps / e_scale + base[3]
        g_fine = finer(open_g + p * lots, g_scale, g.size)
        e_fine = finer(open_e, e_scale, g.size)
        if lots == 0 or (g_fine == g_scale and e_fine == e_scale):
            return closed + base[0], lots, open_g, open_e
        g_scale, e_scale = g_fine, e_fine


@njit(cache=True, error_model="numpy")
def level_of_all(g, e, q, p, d, z, base, g_scale, e_scale):
    """Level at which the items give z lots if all of them were open."""
    closed, all_q, all_g, all_e = base
    g_steps = e_steps = 0
    for j in range(g.size):
        all_q += q[j]
        g_steps += on_grid(g[j], g_scale)
        e_steps += on_grid(e[j], e_scale)
    equity = e_steps / e_scale + all_e - (z - closed) * d
    return (g_steps / g_scale + all_g + p * (all_q - (z - closed))) / equity if equity > 0.0 else -1.0


@njit(cache=True, error_model="numpy")
def find_level(eta, low, high, g, e, q, free, p, d, z, base, g_scale, e_scale):
    """Level in [low, high] at which the items and `base` give z lots; lots given, equity of open items, passes it took.

    eta is a first guess. Where no level in between gives z lots, the nearer end comes back.
    """
    if not (eta > low and eta < high):
        eta = level_of_all(g, e, q, p, d, z, base, g_scale, e_scale)
        if not (eta > low and eta < high):
            eta = 0.5 * (low + high)
    step = 0
    while True:
        step += 1
        closed, open_lots, open_g, open_equity = open_sums(eta, g, e, q, free, p, d, base, g_scale, e_scale)
        given = closed + (open_g + p * open_lots - eta * open_equity) / slack(eta, p, d)
        left = z - closed
        weight = open_equity - left * d
        new = (open_g + p * (open_lots - left)) / weight if open_lots > 0 and weight > 0.0 else -1.0
        if (open_lots == 0 and closed == z) or abs(new - eta) <= ROUNDING * eta or step == PASSES_MAX:
            return eta, given, open_equity, step
        if given > z:
            low = max(low, eta)
        else:
            high = min(high, eta)
        if not (new > low and new < high):
            new = math.sqrt(low) * math.sqrt(high) if low > 0.0 and high > 4.0 * low else 0.5 * (low + high)
        if high - low <= ROUNDING * high or new == eta:
            return eta, given, open_equity, step
        eta = new
