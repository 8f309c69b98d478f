"""Whole lots: one demand by `lots_one`; several by floor, then the missing lots one by one.

A missing lot goes to the largest present leverage, ties by tie rank, account and demand, never past what is available.
Where lots are finer than the rounding of a level the floors may exceed a demand: then those that one at a time takes
last are given back first.
One sort of all candidates with a heap for those met twice took 15 ms where a heap per demand takes 9 (20,000 lots).
"""

import numpy as np
from numba import njit

from solver.lots_one import likely_bracket, one_demand, open_at
from solver.policies.book import leverages, outside
from solver.policies.level import ratio


@njit(cache=True, error_model="numpy", inline="always")
def sooner(a, b, lev, rank, account):
    """Does item a give its next lot before item b of the same demand: leverage, tie rank, account number."""
    if lev[a] != lev[b]:
        return lev[a] > lev[b]
    if rank[a] != rank[b]:
        return rank[a] < rank[b]
    return account[a] < account[b]


@njit(cache=True, error_model="numpy")
def sift(row, s, end, root, lev, rank, account):
    """Move the item at `root` of the heap row[s:end], whose subtrees are in order, down to its place."""
    if root >= end - s:
        return
    mine = row[s + root]
    top = root
    # Who has just given a lot belongs far down: go to the bottom by one comparison a step, then up.
    while 2 * root + 2 < end - s:
        child = 2 * root + 1
        if sooner(row[s + child + 1], row[s + child], lev, rank, account):
            child += 1
        row[s + root] = row[s + child]
        root = child
    if 2 * root + 1 < end - s:
        row[s + root] = row[s + 2 * root + 1]
        root = 2 * root + 1
    while root > top and sooner(mine, row[s + (root - 1) // 2], lev, rank, account):
        row[s + root] = row[s + (root - 1) // 2]
        root = (root - 1) // 2
    row[s + root] = mine


@njit(cache=True, error_model="numpy")
def heap_of(k, bar, book, x, lev, rank, account, row):
    """Write the items of demand k above `bar` with lots left to `row` from start[k] on, as a heap; their number."""
    free = book.free
    s = end = book.start[k]
    for j in range(s, book.start[k + 1]):
        row[end] = j
        end += np.int64((x[j] < free[j]) & (lev[j] > bar))
    for root in range((end - s) // 2 - 1, -1, -1):
        sift(row, s, end, root, lev, rank, account)
    return end - s


@njit(cache=True, error_model="numpy")
def next_demand(first, row, start, lev, rank, account):
    """The demand whose best item is the best of all; -1 where nobody is left. Of equal ones the first."""
    best = -1
    for k in range(first.size):
        if first[k] < 0.0:
            continue
        higher = best < 0 or first[k] > first[best]
        if higher or (first[k] == first[best] and sooner(row[start[k]], row[start[best]], lev, rank, account)):
            best = k
    return best


@njit(cache=True, error_model="numpy")
def several(book, rank, account, level, missing, x):
    """Give the missing lots one by one to the largest present leverage; `missing` counts down, x up."""
    start, price, haircut, others, equity, q, free = book[:7]
    shared, kin, kin_from, kin_to, demand = book[7:]
    lev = leverages(book, x)
    row, size = np.empty(x.size, np.int64), np.zeros(missing.size, np.int64)
    # Lots are nearly always found above the relaxed level; everybody is looked at once nobody is left above it.
    bar = level * (1.0 - 1e-9)
    first = np.full(missing.size, -1.0)  # leverage of the first of each heap, -1 where nothing is missing
    for k in range(missing.size):
        if missing[k] > 0:
            size[k] = heap_of(k, bar[k], book, x, lev, rank, account, row)
            if size[k] == 0:
                bar[k] = -1.0
                size[k] = heap_of(k, bar[k], book, x, lev, rank, account, row)
            first[k] = lev[row[start[k]]]
    while True:
        k = next_demand(first, row, start, lev, rank, account)
        if k < 0:
            return
        s = start[k]
        j = row[s]
        # A lot that its account gave elsewhere may have lowered it since it was put here: then it is only moved.
        for step in range(2):
            gross, own = others[j], equity[j]
            if shared[j]:
                for c in range(kin_from[j], kin_to[j]):
                    i = kin[c]
                    gross += price[demand[i]] * (q[i] - x[i])
                    own -= haircut[demand[i]] * x[i]
            else:
                gross += price[k] * (q[j] - x[j])
                own -= haircut[k] * x[j]
            now = ratio(gross, own)
            if step == 1 or now != lev[j]:
                lev[j] = now
                break
            x[j] += 1
            missing[k] -= 1
        if x[j] == free[j]:
            size[k] -= 1
            row[s] = row[s + size[k]]
        sift(row, s, s + size[k], 0, lev, rank, account)
        if bar[k] >= 0.0 and missing[k] > 0 and (size[k] == 0 or lev[row[s]] <= bar[k]):
            bar[k] = -1.0
            size[k] = heap_of(k, bar[k], book, x, lev, rank, account, row)
        first[k] = lev[row[s]] if missing[k] > 0 else -1.0


@njit(cache=True, error_model="numpy")
def levels_in_lots(book, z, x):
    """Per demand the largest leverage of an account with lots left; if none has any, the smallest leverage left."""
    lev = leverages(book, x)
    level = np.empty(z.size)
    for k in range(z.size):
        highest, lowest = -1.0, np.inf
        for j in range(book.start[k], book.start[k + 1]):
            highest = max(highest, lev[j]) if x[j] < book.free[j] else highest
            lowest = min(lowest, lev[j])
        level[k] = highest if highest >= 0.0 else lowest
    return level


def per_demand(start, lots):
    """Whole lots summed up per demand, of items in order of demand."""
    sums = np.append(0, np.cumsum(lots))
    return sums[start[1:]] - sums[start[:-1]]


def alone(k, z, book, rank, level, free, x):
    """Write to x the z lots of demand k that one at a time takes, up to `free`, beside what x says of the others."""
    g, e = outside(book, x)
    s, t, p, d = book.start[k], book.start[k + 1], book.price[k], book.haircut[k]
    mine = [column[s:t] for column in (g, e, book.lots, free)]
    bracket = likely_bracket(level[k], *open_at(level[k], *mine, p, d), p)
    one_demand(*bracket, *mine, rank[s:t], p, d, z[k], x[s:t])


def in_lots(book, rank, account, live, z, x, level):
    """Whole lots of the relaxed reductions x at their levels, meeting z of every demand exactly; the levels in lots."""
    # Beyond 2**53 lots of several entries, the relaxed reduction of everything is not everything.
    everything = (~live & (z > 0))[book.demand]
    if np.count_nonzero(live) == 1:
        taken = np.where(everything, book.free, np.rint(x).astype(np.int64))
        alone(int(np.flatnonzero(live)[0]), z, book, rank, level, book.free, taken)
    else:
        taken = np.where(everything, book.free, np.minimum(np.floor(x).astype(np.int64), book.free))
        missing = z - per_demand(book.start, taken)
        for k in np.flatnonzero(missing < 0):
            alone(k, z, book, rank, level, taken.copy(), taken)
        missing = np.maximum(missing, 0)
        several(book, rank, account, level, missing, taken)
    return taken, levels_in_lots(book, z, taken)
