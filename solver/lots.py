"""Whole lots: one demand by `lots_one`; several by floor, then the missing lots one by one.

A missing lot goes to the largest present leverage, ties by tie rank, never past what is available.
"""

import numpy as np
from numba import njit

from solver.lots_one import key, one_demand
from solver.policies.cycle import outside


@njit(cache=True, error_model="numpy", inline="always")
def sooner(lev_a, rank_a, account_a, demand_a, lev_b, rank_b, account_b, demand_b):
    """Does item a give its next lot before item b: leverage, tie rank, account number, demand number."""
    if lev_a != lev_b:
        return lev_a > lev_b
    if rank_a != rank_b:
        return rank_a < rank_b
    if account_a != account_b:
        return account_a < account_b
    return demand_a < demand_b


@njit(cache=True, error_model="numpy")
def several(missing, order, lev, x, q, free, others, equity, rank, account, price, haircut, shared, kin, kin_from,
            kin_to, demand):  # fmt: skip
    """Give the missing lots one by one to the largest present leverage.

    `order` lists the items by present leverage `lev`. Most items are met once, in that order; those that were met and
    may be asked again wait in a heap.
    """
    heap = np.empty(order.size + 1, np.int64)
    size = 0
    head = 0
    while True:
        while head < order.size and missing[demand[order[head]]] == 0:
            head += 1
        if head < order.size:
            j = order[head]
            from_heap = False
            if size > 0:
                i = heap[0]
                from_heap = sooner(lev[i], rank[i], account[i], demand[i], lev[j], rank[j], account[j], demand[j])
        elif size > 0:
            from_heap = True
        else:
            return
        if from_heap:
            j = heap[0]
            size -= 1
            i = heap[size]
            c = 0
            while 2 * c + 1 < size:
                child = 2 * c + 1
                a = heap[child]
                if child + 1 < size:
                    b = heap[child + 1]
                    if sooner(lev[b], rank[b], account[b], demand[b], lev[a], rank[a], account[a], demand[a]):
                        child += 1
                        a = b
                if not sooner(lev[a], rank[a], account[a], demand[a], lev[i], rank[i], account[i], demand[i]):
                    break
                heap[c] = a
                c = child
            heap[c] = i
        else:
            head += 1
        k = demand[j]
        if x[j] >= free[j] or missing[k] == 0:
            continue
        gross = others[j]
        own = equity[j]
        if shared[j]:
            for c in range(kin_from[j], kin_to[j]):
                i = kin[c]
                if i != j:
                    gross += price[demand[i]] * (q[i] - x[i])
                    own -= haircut[demand[i]] * x[i]
        now = key(x[j], gross, own, q[j], price[k], haircut[k])
        # Another demand's lot may have lowered it since it was put in its place: then it only goes back.
        if now == lev[j]:
            x[j] += 1
            missing[k] -= 1
            now = key(x[j], gross, own, q[j], price[k], haircut[k])
        lev[j] = now
        c = size
        size += 1
        while c > 0:
            i = heap[(c - 1) // 2]
            if not sooner(now, rank[j], account[j], k, lev[i], rank[i], account[i], demand[i]):
                break
            heap[c] = i
            c = (c - 1) // 2
        heap[c] = j


def by_leverage(near, x, items, price, haircut, family):
    """Present leverage of all items, and the items `near` in the order in which they would give their next lot."""
    demand = family[-1]
    g, e = outside(x, items.lots, items.others, items.equity, price, haircut, *family)
    held = g + price[demand] * (items.lots - x)
    own = e - haircut[demand] * x
    lev = np.full(x.size, np.inf)
    np.divide(held, own, out=lev, where=own > 0)
    lev[held <= 0] = 0.0
    order = near[np.argsort(-lev[near], kind="stable")]
    if order.size and (lev[order[1:]] == lev[order[:-1]]).any():
        order = near[np.lexsort((demand[near], items.account[near], items.rank[near], -lev[near]))]
    return order, lev


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
        mine = (column[s:t] for column in (g, e, items.lots, items.available, items.rank))
        one_demand(level[k], *mine, price[k], haircut[k], z[k], taken[s:t])
        return taken
    taken = np.minimum(np.floor(x).astype(np.int64), items.available)
    missing = z.copy()
    np.subtract.at(missing, demand, taken)
    rest = (items.lots, items.available, items.others, items.equity, items.rank, items.account, price, haircut)
    near = live[demand] & (taken < items.available)
    for candidates in (near & (x > 0), near):
        # The second round is for a relaxed solution that was not exact to the lot: everybody may be asked.
        if missing.any():
            order, lev = by_leverage(np.flatnonzero(candidates), taken, items, price, haircut, family)
            several(missing, order, lev, taken, *rest, *family)
    return taken
