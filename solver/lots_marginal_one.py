"""Whole lots of one demand of policy `risk`: as if taken one at a time from the largest present marginal.

These are the lots of the z largest levels in the accounts' envelopes, ties by tie rank: z and then z' are the same lots
as z + z', exactly. They are found by a search for the level of the last one, not by looping over lots.
"""

import numpy as np
from numba import njit

from solver.lots_envelope import doubted, envelope, kept_at

# Lots in question that are looked at one by one. Of few items many are better halved: with scenarios a level is a sum.
ENUMERATED_MAX, ENUMERATED_PER_ITEM = 4096, 32
CERTAIN = 1e-6  # of the relaxed level: far above what its certificate allows a relaxed reduction to be off by
NOISE = 1e-12  # of the largest marginal that there can be: far above the rounding of any


@njit(cache=True, error_model="numpy")
def likely_bracket(one, relaxed, level):
    """Levels between which the last lot most likely is taken, from what is open at the relaxed level."""
    active, response = 0, 0.0  # items, and lots that a level higher by one would leave
    for i in range(relaxed.size):
        if (relaxed[i] > 0.0) & (relaxed[i] < one.free[i]):
            _, _, rise = doubted(one.net[i] - relaxed[i], i, one)
            response += 1.0 / rise if rise > 0.0 else 0.0
            active += 1
    # About half a lot too many per open item is above the relaxed level: start where the count should be right.
    lot = 1.0 / response if response > 0.0 else 0.0
    width = max((4.0 * np.sqrt(float(active)) + 2.0) * lot, 1e-14 * abs(level), 1e-300)
    return level + 0.5 * active * lot - width, level + 0.5 * active * lot + width


@njit(cache=True, error_model="numpy")
def count_between(low, high, one, relaxed, level, trusted, x, spans, open_items):
    """Lots above `high` (written to x, summed), and items with lots in (low, high]: lots, count.

    trusted: the relaxed lots are those of an optimum.
    """
    above = between = found = 0
    spread = one.idiosyncratic
    for f in range(one.loading.size):
        spread += one.loading[f] * one.loading[f]
    # Above the level by more than relaxed reductions may be off, or any marginal rounded: what they keep is kept.
    certain = trusted and low > level + CERTAIN * abs(level) + NOISE * (np.sqrt(spread) + abs(one.haircut))
    for i in range(relaxed.size):
        net, free = one.net[i], one.free[i]
        if certain and relaxed[i] == 0.0:
            x[i] = 0
            continue
        guess = net - np.int64(np.ceil(relaxed[i]))
        least = guess if certain else net - free
        kept, largest = kept_at(high, i, one, least, net + 1, guess)
        x[i] = net - kept
        above += x[i]
        if largest > low:
            fewer, _ = kept_at(low, i, one, least, kept + 1, kept)
            if fewer < kept:
                open_items[found] = i
                spans[found] = kept - fewer
                found += 1
                between += kept - fewer
    return above, between, found


@njit(cache=True, error_model="numpy")
def one_demand(one, relaxed, level, z, x):
    """Write to x the z lots taken one at a time, 0 < z < all, given the relaxed lots and their level.

    The bracket of levels in which the last one is looked for is a hint: where it is wrong it is moved.
    """
    low, high = likely_bracket(one, relaxed, level)
    width = 0.5 * (high - low)
    spans, open_items = np.empty(relaxed.size, np.int64), np.empty(relaxed.size, np.int64)
    trusted, up = True, 0
    while True:
        above, between, found = count_between(low, high, one, relaxed, level, trusted, x, spans, open_items)
        if above <= z <= above + between:
            break
        width *= 8.0
        # Counts that send the search up and then down contradict each other: it was no optimum.
        trusted = trusted and up != (-1 if above > z else 1)
        up = 1 if above > z else -1
        low, high = (high, high + width) if above > z else (low - width, low)
    left, guessed = z - above, True
    while left > 0:
        key_min, key_max = key_range(one, x, spans, open_items, found)
        if key_min == key_max:
            for c in range(found):  # all equal: by tie rank, each item as far as it goes
                part = min(left, spans[c])
                x[open_items[c]] += part
                left -= part
            break
        if between <= min(ENUMERATED_MAX, ENUMERATED_PER_ITEM * found):
            enumerated(one, x, spans, open_items, found, between, left)
            break
        # Where marginals lie evenly a guess in proportion is close; halving the floats between them never takes long.
        middle = key_min + (key_max - key_min) * (1.0 - left / between) if guessed else between_bits(key_min, key_max)
        guessed = not guessed
        if not (key_min <= middle < key_max):
            middle = key_min
        left, between, found = halve(middle, one, x, spans, open_items, found, left)


@njit(cache=True, error_model="numpy")
def key_range(one, x, spans, open_items, found):
    """Smallest and largest level of the lots still in question."""
    key_min, key_max = np.inf, -np.inf
    for c in range(found):
        i = open_items[c]
        key_max = max(key_max, envelope(one.net[i] - x[i], i, one))
        key_min = min(key_min, envelope(one.net[i] - x[i] - spans[c] + 1, i, one))
    return key_min, key_max


@njit(cache=True, error_model="numpy")
def ordinal(value):
    """Number of a float in the order of all floats."""
    bits = np.float64(value).view(np.int64)
    return bits if bits >= 0 else np.int64(-(2**63)) - bits


@njit(cache=True, error_model="numpy")
def between_bits(low, high):
    """A float in the middle of all floats from low to high."""
    a, b = ordinal(low), ordinal(high)
    middle = (a >> 1) + (b >> 1) + (a & b & 1)
    bits = middle if middle >= 0 else np.int64(-(2**63)) - middle
    return np.int64(bits).view(np.float64)


@njit(cache=True, error_model="numpy")
def halve(middle, one, x, spans, open_items, found, left):
    """Keep the part of the lots in question, above `middle` or not above it, in which the last missing lot lies."""
    parts = np.empty(found, np.int64)
    upper = 0
    for c in range(found):
        i = open_items[c]
        most = one.net[i] - x[i]
        parts[c] = most - kept_at(middle, i, one, most - spans[c], most + 1, most - spans[c] // 2)[0]
        upper += parts[c]
    keep_upper = upper >= left
    if not keep_upper:
        left -= upper
    between = kept = 0
    for c in range(found):
        i, part = open_items[c], parts[c]
        if not keep_upper:
            x[i] += part
            part = spans[c] - part
        if part > 0:
            open_items[kept] = i
            spans[kept] = part
            kept += 1
            between += part
    return left, between, kept


@njit(cache=True, error_model="numpy")
def enumerated(one, x, spans, open_items, found, between, left):
    """Few lots in question: sort them by level, ties by tie rank."""
    keys, owner = np.empty(between), np.empty(between, np.int64)
    n = 0
    for c in range(found):
        i = open_items[c]
        for step in range(spans[c]):
            keys[n] = -envelope(one.net[i] - x[i] - step, i, one)
            owner[n] = i
            n += 1
    order = np.argsort(keys, kind="mergesort")
    for c in order[:left]:
        x[owner[c]] += 1
