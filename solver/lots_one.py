"""Whole lots of one demand: as if taken one at a time from the account with the largest present leverage.

The leverage before an item gives its next lot, key(x) = (g + p (q - x)) / (e - d x), falls with x, also in floating
point, so the lots taken one at a time are the z largest keys of all, ties by tie rank. They are found by a search for
the level of the last one, not by looping over lots. That is path independent exactly; a largest remainder is not.
"""

import numpy as np
from numba import njit

from solver.policies.level import ROUNDING, ratio, slack

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


@njit(cache=True, error_model="numpy", inline="always")
def sure_lots(low, high, g, e, q, free, p):
    """Number of lots with key above `high`, at the mark, and whether rounding cannot matter and none is in (low, high].

    The number of lots above a level is the ceiling of a real number; unless that is within its rounding error of a
    whole number nothing has to be tried, and both levels give the same.
    """
    real = (g + p * q - high * e) / p
    more = real + (high - low) * e / p
    error = 1e-14 * (g / p + q)
    n = np.ceil(real - error)
    # Below the first lot and beyond the last one there is nothing to tell apart.
    sure = (n == np.ceil(more + error)) | (more + error <= 0.0) | (real - error > free)
    return min(max(n, 0.0), float(free)), sure


@njit(cache=True, error_model="numpy")
def counted_plainly(low, high, g, e, q, free, p, x, unsure):
    """Write to x the lots with key above `high`; the sum over items that are sure, and how many are not (listed)."""
    above = 0
    count = 0
    for j in range(q.size):
        n, sure = sure_lots(low, high, g[j], e[j], q[j], free[j], p)
        x[j] = free[j] if n >= free[j] else np.int64(n)  # beyond 2**53 a float is not every whole number
        above += x[j] if sure else 0
        unsure[count] = j
        count += np.int64(not sure)
    return above, count


@njit(cache=True, error_model="numpy")
def count_between(low, high, g, e, q, free, p, d, x, spans, open_items):
    """Lots with key above `high` (written to x, summed), and items with lots in (low, high]: count, lots, key range."""
    above = 0
    between = 0
    found = 0
    key_min = np.inf
    key_max = -np.inf
    if d == 0.0 and low >= 0.0:
        above, unsure = counted_plainly(low, high, g, e, q, free, p, x, open_items)
    else:
        unsure = q.size
        for j in range(q.size):
            open_items[j] = j
    for c in range(unsure):
        j = open_items[c]
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
def likely_bracket(eta, active, open_equity, p):
    """Levels between which the last lot most likely is taken, from what is open at the relaxed level eta."""
    # At the relaxed level about half a lot too many is above it per open item: start where the count should be right.
    slope = open_equity / p
    width = (4.0 * np.sqrt(float(active)) + 2.0) / slope if slope > 0.0 else 0.01 * eta
    middle = eta + 0.5 * active / slope if slope > 0.0 else eta
    return max(middle - width, 0.0), middle + width


@njit(cache=True, error_model="numpy")
def open_at(eta, g, e, q, free, p, d):
    """How many items are open at level eta, and their equity: a hint, its last bits do not matter."""
    active = 0
    equity = 0.0
    den = slack(eta, p, d)
    for j in range(q.size):
        excess = g[j] + p * q[j] - eta * e[j]
        is_open = (excess > 0.0) & (excess < den * free[j])
        equity += e[j] if is_open else 0.0
        active += 1 if is_open else 0
    return active, equity


@njit(cache=True, error_model="numpy")
def one_demand(low, high, g, e, q, free, rank, p, d, z, x):
    """Write to x the z lots taken one at a time from the items, 0 < z < all; was the last one's level in (low, high]?

    The bracket is a hint: where it is wrong it is moved.
    """
    spans = np.empty(q.size, np.int64)
    open_items = np.empty(q.size, np.int64)
    # Where lots are finer than the rounding of a level the bracket may be empty, and would be for ever.
    width = max(0.5 * (high - low), ROUNDING * high, 1e-300)
    held = True
    while True:
        above, between, found, key_min, key_max = count_between(low, high, g, e, q, free, p, d, x, spans, open_items)
        if above <= z <= above + between:
            break
        held = False
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
            break
        if between <= ENUMERATED_MAX:
            enumerated(open_items[:found], spans[:found], g, e, q, rank, p, d, x, between, left)
            break
        middle = key_min + (key_max - key_min) * (1.0 - left / between)
        if not (middle > key_min and middle < key_max):
            middle = key_min + 0.5 * (key_max - key_min)
        if not middle < key_max:
            middle = key_min
        left, between, found, key_min, key_max = halve(
            middle, g, e, q, p, d, x, spans, open_items, found, left, key_min, key_max
        )
    return held


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
