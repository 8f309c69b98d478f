"""The kernel that turns an account's rows into its candidates' columns, one account after the other.

Rule 1: an account's rows are added up asset by asset in the order of assets, whole lots before they meet a price.
Rule 2: its items are written in the order of their demands.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.optimum.screen import at_rest, stays

IDLE, CLOSED = -1, -2  # a demand that asks nothing of solvent accounts, and one that takes all they may give


class Entries(NamedTuple):
    """The problem's columns that are read account by account."""

    account: np.ndarray  # int64[P]
    asset: np.ndarray  # int64[P]
    quantity: np.ndarray  # int64[P], lots
    demand: np.ndarray  # int64[P], of rows that may be asked, else -1
    available: np.ndarray  # int64[P], or empty: whole positions
    equity: np.ndarray  # float[N]
    lot_price: np.ndarray  # float[M]
    lot_haircut: np.ndarray  # float[demands]
    side: np.ndarray  # int64[demands]
    state: np.ndarray  # int64[demands], number among those solved for, or IDLE or CLOSED
    loading: np.ndarray  # float[M, F]
    idiosyncratic: np.ndarray  # float[M]


@njit(cache=True, error_model="numpy", inline="always")
def _sort(key, rows, count):
    """rows[:count] in the order of key[row], equal ones as they were."""
    for c in range(1, count):
        row, place = rows[c], c
        while place > 0 and key[rows[place - 1]] > key[row]:
            rows[place] = rows[place - 1]
            place -= 1
        rows[place] = row


@njit(cache=True, error_model="numpy", inline="always")
def _of_asset(c, count, rows, asset, quantity, demand, available, side, state):
    """Add up the rows of one asset from place c on.

    Return (place of the next asset, net lots with everything asked taken, lots that longs and shorts may give, the
    first row of each or -1).
    """
    j, net, longs, shorts, long_row, short_row = asset[rows[c]], 0, 0, 0, -1, -1
    while c < count and asset[rows[c]] == j:
        row = rows[c]
        q, k = quantity[row], demand[row]
        net += q
        if k >= 0 and state[k] != IDLE:
            lots = available[row] if available.size > 0 else abs(q)
            net -= side[k] * lots
            if side[k] > 0:
                longs += lots
                long_row = row if long_row < 0 else long_row
            else:
                shorts += lots
                short_row = row if short_row < 0 else short_row
        c += 1
    return c, net, longs, shorts, long_row, short_row


@njit(cache=True, nogil=True, error_model="numpy")
def fill(part, limits, offset, found, weight, entries, demands, level, tail, out, outside):
    """Write the candidates among the holders of a part from place offset[part]; how many (accounts, items).

    Each is multiplied by its weight (none: 1). Left out is whoever stays untouched at the levels (none: -inf); what
    they might give is added to outside[part].
    """
    account, asset, quantity, demand, available, equity, price, haircut, side, state, loading, own_variance = entries
    start, holder, item_demand, item_row, free, kept, mirror, factor, variance, own = out
    found_first, found_last = found
    d_loading, d_variance, d_haircut = demands.loading, demands.idiosyncratic, demands.haircut
    most = 1
    for h in range(limits[part], limits[part + 1]):
        most = max(most, found_last[h] - found_first[h])
    rows, order, twin = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    k_of, row_of = np.empty(most, np.int64), np.empty(most, np.int64)
    free_of, kept_of, marginal = np.empty(most), np.empty(most), np.empty(most)
    exposed = np.empty(loading.shape[1])
    i, p = limits[part], offset[part]
    base = p
    for h in range(limits[part], limits[part + 1]):
        first, count, items = found_first[h], found_last[h] - found_first[h], 0
        for c in range(count):
            rows[c] = first + c
        _sort(asset, rows, count)
        scale = weight[h] if weight.size > 0 else 1.0
        a, paid, var, pairs, c = account[first], 0.0, 0.0, False, 0
        for f in range(exposed.size):
            exposed[f] = 0.0
        while c < count:
            j, before = asset[rows[c]], items
            c, net, longs, shorts, long_row, short_row = _of_asset(
                c, count, rows, asset, quantity, demand, available, side, state
            )
            y = net * price[j] * scale
            for leg in range(2):
                row, lots = (long_row, longs) if leg == 0 else (short_row, shorts)
                if row < 0:
                    continue
                k = demand[row]
                if state[k] == CLOSED:
                    paid += haircut[k] * lots
                    continue
                k_of[items], row_of[items], free_of[items], twin[items] = state[k], row, lots * price[j] * scale, -1
                kept_of[items] = 0.0 if items > before else (y if leg == 0 else -y)
                items += 1
            if items == before:
                var += own_variance[j] * y * y
                for f in range(exposed.size):
                    exposed[f] += loading[j, f] * y
            elif items == before + 2:
                twin[before], twin[before + 1], pairs = before + 1, before, True
        if items == 0:
            continue
        for m in range(items):
            order[m] = m
        _sort(k_of, order, items)
        for m in range(items):
            o = order[m]
            item_demand[p + m], item_row[p + m], free[p + m], kept[p + m] = k_of[o], row_of[o], free_of[o], kept_of[o]
            mirror[p + m] = -1
            if pairs and twin[o] >= 0:
                for other in range(items):
                    if order[other] == twin[o]:
                        mirror[p + m] = p + other - base
        for f in range(exposed.size):
            factor[i, f] = exposed[f]
        variance[i], own[i] = var, scale * (equity[a] - paid)
        if level.size > 0:
            at_rest(p, p + items, base, item_demand, free, kept, mirror, var, own[i], d_loading, d_variance, d_haircut,
                    tail, exposed, marginal)  # fmt: skip
            if stays(p, p + items, item_demand, marginal, level):
                for o in range(p, p + items):
                    outside[part, item_demand[o]] += free[o]
                continue
        holder[i] = a
        p += items
        start[i] = p - base  # where the account's items end
        i += 1
    return i - limits[part], p - base
