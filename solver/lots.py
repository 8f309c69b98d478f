"""Whole lots. One demand: as if lots were taken one at a time from the account with the largest present leverage.

The leverage before an item gives its next lot, key(x) = (g + p (q - x)) / (e - d x), falls with x, also in floating
point, so the lots taken one at a time are the z largest keys of all, ties by tie rank. They are found by a search for
the level of the last one, not by looping over lots. That is path independent exactly; floor and largest remainder is not.
Several demands: floor, then the missing lots one by one to the largest present leverage.
"""

import numpy as np
from numba import njit

from solver.policies.level import outside, ratio, rebase, slack

ENUMERATED_MAX = 4096


@njit("f8(i8, f8, f8, i8, f8, f8)", cache=True, error_model="numpy", inline="always")
def key(x, g, e, q, p, d):
    """Leverage of an item that has given x lots."""
    return ratio(g + p * (q - x), e - d * x)


@njit(cache=True, error_model="numpy")
def lots_above(eta, g, e, q, free, p, d):
    """Number of lots an item gives while its leverage is above eta: the smallest x with key(x) <= eta."""
    if eta < 0.0:
        return free
    guess = (g + p * q - eta * e) / slack(eta, p, d)
    x = free if guess >= free else max(np.int64(np.ceil(guess)), 0)
    if x > 0 and key(x - 1, g, e, q, p, d) <= eta:
        high = x - 1  # key(high) <= eta
        step = 1
        low = -1
        while high > 0:
            probe = max(high - step, 0)
            if key(probe, g, e, q, p, d) <= eta:
                high = probe
                step *= 2
            else:
                low = probe
                break
    elif x < free and key(x, g, e, q, p, d) > eta:
        low = x
        step = 1
        high = free
        while True:
            probe = min(low + step, free)
            if probe == free or key(probe, g, e, q, p, d) <= eta:
                high = probe
                break
            low = probe
            step *= 2
    else:
        return x
    # Only where the lot is smaller than the rounding of the rest is this more than one step.
    while high - low > 1:
        middle = low + (high - low) // 2
        if key(middle, g, e, q, p, d) <= eta:
            high = middle
        else:
            low = middle
    return high


@njit(cache=True, error_model="numpy")
def count_between(low, high, g, e, q, free, s, t, p, d, x, spans, open_items):
    """Lots with key above `high` (written to x, summed), and items with lots in (low, high]: count, lots, key range."""
    above = 0
    between = 0
    found = 0
    key_min = np.inf
    key_max = -np.inf
    for j in range(s, t):
        n = lots_above(high, g[j], e[j], q[j], free[j], p, d)
        x[j] = n
        above += n
        if n < free[j]:
            first = key(n, g[j], e[j], q[j], p, d)
            if first > low:
                m = lots_above(low, g[j], e[j], q[j], free[j], p, d)
                open_items[found] = j
                spans[found] = m - n
                found += 1
                between += m - n
                key_max = max(key_max, first)
                key_min = min(key_min, key(m - 1, g[j], e[j], q[j], p, d))
    return above, between, found, key_min, key_max


@njit(cache=True, error_model="numpy")
def one_demand(eta, g, e, q, free, rank, s, t, p, d, z, x):
    """Write to x[s:t] the z lots taken one at a time, 0 < z < all; eta is the relaxed level, a hint."""
    size = t - s
    spans = np.empty(size, np.int64)
    open_items = np.empty(size, np.int64)
    # At the relaxed level about half a lot too many is above it per open item: start where the count should be right.
    slope = 0.0
    active = 0
    for j in range(s, t):
        excess = g[j] + p * q[j] - eta * e[j]
        if excess > 0.0 and excess < slack(eta, p, d) * free[j]:
            slope += e[j] / p
            active += 1
    width = (4.0 * np.sqrt(float(active)) + 2.0) / slope if slope > 0.0 else 0.01 * eta
    middle = eta + 0.5 * active / slope if slope > 0.0 else eta
    low = max(middle - width, 0.0)
    high = middle + width
    while True:
        above, between, found, key_min, key_max = count_between(
            low, high, g, e, q, free, s, t, p, d, x, spans, open_items
        )
        if above <= z <= above + between:
            break
        width *= 8.0
        if above > z:
            low = high
            high = high + width
        else:
            high = low
            low = low - width if low > width else -1.0
    left = z - above
    while left > 0:
        # The lots still missing are among `between` with keys in [key_min, key_max], all in the open items.
        if key_min == key_max:
            tied(open_items[:found], spans[:found], rank, x, left)
            return
        if between <= ENUMERATED_MAX:
            enumerated(open_items[:found], spans[:found], g, e, q, rank, p, d, x, between, left)
            return
        middle = key_min + (key_max - key_min) * (1.0 - left / between)
        if not (middle > key_min and middle < key_max):
            middle = key_min + 0.5 * (key_max - key_min)
        if not middle < key_max:
            middle = key_min
        left, between, found, key_min, key_max = halve(
            middle, g, e, q, p, d, x, spans, open_items, found, left, key_min, key_max
        )


@njit(cache=True, error_model="numpy")
def halve(middle, g, e, q, p, d, x, spans, open_items, found, left, key_min, key_max):
    """Keep the part of the open lots, above `middle` or not above it, in which the last missing lot lies."""
    upper = 0
    for c in range(found):
        j = open_items[c]
        upper += lots_above(middle, g[j], e[j], q[j], x[j] + spans[c], p, d) - x[j]
    keep_upper = upper >= left
    if not keep_upper:
        left -= upper
    between = 0
    kept = 0
    key_min = np.inf
    key_max = -np.inf
    for c in range(found):
        j = open_items[c]
        span = spans[c]
        part = lots_above(middle, g[j], e[j], q[j], x[j] + span, p, d) - x[j]
        if not keep_upper:
            x[j] += part
            part = span - part
        if part > 0:
            open_items[kept] = j
            spans[kept] = part
            kept += 1
            between += part
            key_max = max(key_max, key(x[j], g[j], e[j], q[j], p, d))
            key_min = min(key_min, key(x[j] + part - 1, g[j], e[j], q[j], p, d))
    return left, between, kept, key_min, key_max


@njit(cache=True, error_model="numpy")
def tied(open_items, spans, rank, x, left):
    """All open lots have one key: by tie rank, each item as far as it goes."""
    # Rows are in order of account, so a stable sort settles equal ranks by the account's number.
    order = np.argsort(rank[open_items], kind="mergesort")
    for c in order:
        part = min(left, spans[c])
        x[open_items[c]] += part
        left -= part
        if left == 0:
            return


@njit(cache=True, error_model="numpy")
def enumerated(open_items, spans, g, e, q, rank, p, d, x, between, left):
    """Few open lots: sort them by key, ties by tie rank."""
    keys = np.empty(between)
    owner = np.empty(between, np.int64)
    by_rank = np.argsort(rank[open_items], kind="mergesort")
    n = 0
    for c in by_rank:
        j = open_items[c]
        for step in range(spans[c]):
            keys[n] = -key(x[j] + step, g[j], e[j], q[j], p, d)
            owner[n] = j
            n += 1
    order = np.argsort(keys, kind="mergesort")
    for c in order[:left]:
        x[owner[c]] += 1


@njit(cache=True, error_model="numpy")
def present(j, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand):
    """Leverage of the account of item j after the whole lots x."""
    g, e = others[j], equity[j]
    k = demand[j]
    if shared[j]:
        g, e = rebase(j, x, q, others, equity, price, haircut, kin, kin_from, kin_to, demand)
    return key(x[j], g, e, q[j], price[k], haircut[k])


@njit(cache=True, error_model="numpy")
def before(a, b, lev, rank, account, demand):
    """Does item a give its next lot before item b: leverage, tie rank, account number, demand number."""
    if lev[a] != lev[b]:
        return lev[a] > lev[b]
    if rank[a] != rank[b]:
        return rank[a] < rank[b]
    if account[a] != account[b]:
        return account[a] < account[b]
    return demand[a] < demand[b]


@njit(cache=True, error_model="numpy")
def sift(heap, size, c, lev, rank, account, demand):
    """Restore the heap below place c."""
    while True:
        best = c
        for child in (2 * c + 1, 2 * c + 2):
            if child < size and before(heap[child], heap[best], lev, rank, account, demand):
                best = child
        if best == c:
            return
        heap[c], heap[best] = heap[best], heap[c]
        c = best


@njit(cache=True, error_model="numpy")
def several(missing, near, x, q, free, others, equity, rank, account, price, haircut, shared, kin, kin_from, kin_to,
            demand):  # fmt: skip
    """Give the missing lots of each demand one by one to the largest present leverage among the `near` items."""
    lev = np.zeros(x.size)
    heap = np.empty(near.size, np.int64)
    size = 0
    for j in near:
        if x[j] < free[j] and missing[demand[j]] > 0:
            lev[j] = present(j, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand)
            heap[size] = j
            size += 1
    for c in range(size // 2 - 1, -1, -1):
        sift(heap, size, c, lev, rank, account, demand)
    while size > 0:
        j = heap[0]
        k = demand[j]
        if x[j] >= free[j] or missing[k] == 0:
            size -= 1
            heap[0] = heap[size]
        else:
            now = present(j, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand)
            # Another demand's lot may have lowered it since it was put here.
            if now == lev[j]:
                x[j] += 1
                missing[k] -= 1
                now = present(j, x, q, others, equity, price, haircut, shared, kin, kin_from, kin_to, demand)
            lev[j] = now
        sift(heap, size, 0, lev, rank, account, demand)


def in_lots(items, live, z, x, level, price, haircut, family):
    """Whole lots of the relaxed reductions x, meeting z of every demand exactly."""
    demand = family[-1]
    if np.count_nonzero(live) == 1:
        k = int(np.flatnonzero(live)[0])
        taken = np.rint(x).astype(np.int64)
        g, e = items.others, items.equity
        if items.shared.any():
            g, e = outside(taken, items.lots, items.others, items.equity, price, haircut, *family)
        s, t = items.start[k], items.start[k + 1]
        one_demand(
            level[k], g, e, items.lots, items.available, items.rank, s, t, price[k], haircut[k], z[k], taken
        )
        return taken
    taken = np.minimum(np.floor(x).astype(np.int64), items.available)
    missing = z.copy()
    np.subtract.at(missing, demand, taken)
    near = np.flatnonzero(live[demand] & (taken < items.available) & (x > 0))
    rest = (items.others, items.equity, items.rank, items.account, price, haircut, *family)
    several(missing, near, taken, items.lots, items.available, *rest)
    if missing.any():
        # The relaxed solution was not exact to the lot: everybody with lots left may be asked.
        several(missing, np.flatnonzero(live[demand]), taken, items.lots, items.available, *rest)
    return taken
