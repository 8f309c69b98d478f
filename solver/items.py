"""The part of a problem that can be asked for something: one *item* per (demand, account) with lots to give.

Rule: entries that nobody demands cost one pass and leave only their gross notional, summed independently of order.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from solver.grid import grid_scale, on_grid

SOLVENT, INSOLVENT = 0, 1


@dataclass
class Items:
    """Columns of n items, by demand and then by account; an account's demanded entries are not in its `others`."""

    start: np.ndarray  # int64[K+1], items of demand k are start[k]:start[k+1]
    entry: np.ndarray  # int64[n], row of the problem (the first one where an account has several of one demand)
    account: np.ndarray  # int64[n]
    lots: np.ndarray  # int64[n], |quantity|
    available: np.ndarray  # int64[n]
    others: np.ndarray  # float[n], gross notional of the account outside its items
    equity: np.ndarray  # float[n]
    rank: np.ndarray  # int64[n]
    shared: np.ndarray  # bool[n], the account has another item
    split: dict  # item -> rows, where one item stands for several entries of one account and demand


@njit(cache=True, error_model="numpy")
def gross_of(first, last, asset, quantity, lot_price, demand):
    """Gross notional of the rows first..last that belong to no demand (-1), independent of their order.

    With an empty `demand` of all rows.
    """
    largest = 0.0
    count = 0
    value = 0.0
    for row in range(first, last):
        counts = demand.size == 0 or demand[row] < 0
        term = abs(quantity[row]) * lot_price[asset[row]] if counts else 0.0
        if term > 0.0:
            largest = max(largest, term)
            value += term
            count += 1
    if count <= 2:  # two terms add up to the same in either order
        return value
    scale = grid_scale(largest, count)
    total = 0
    for row in range(first, last):
        if demand.size == 0 or demand[row] < 0:
            total += on_grid(abs(quantity[row]) * lot_price[asset[row]], scale)
    return total / scale


@njit(cache=True, error_model="numpy")
def _demands(asset, quantity, available, eligible, entry_price, mark_price, demand_of, demand_lots, demand_side,
             haircut_mark, protect):  # fmt: skip
    """Demand of every row that may be asked as far as the row alone can tell, else -1."""
    demand = np.empty(asset.size, np.int64)
    for row in range(asset.size):
        q = quantity[row]
        k = demand_of[2 * asset[row] + (1 if q < 0 else 0)]
        if k >= 0:
            asked = (q != 0) & (demand_lots[k] > 0)
            if eligible.size > 0:
                asked = asked and eligible[row]
            if available.size > 0:
                asked = asked and available[row] > 0
            if protect:
                asked = asked and haircut_mark[k] <= demand_side[k] * (mark_price[asset[row]] - entry_price[row])
            k = k if asked else -1
        demand[row] = k
    return demand


@njit(cache=True, error_model="numpy")
def _collect(account, asset, quantity, equity, lot_price, haircut, demand):
    """Rows that may be asked, with solvency and what the account holds besides them, in row order; counts per demand.

    `demand` is set to -1 where the account cannot pay the haircut.
    """
    size = account.size
    nothing = np.empty(0, np.int64)
    rows = np.empty(size, np.int64)
    kind = np.empty(size, np.int8)
    others = np.empty(size, np.float64)
    shared = np.empty(size, np.bool_)
    total = np.zeros(haircut.size, np.int64)
    costly = (haircut > 0.0).any()
    count = 0
    first = 0
    while first < size:
        holder = account[first]
        found = count
        last = first
        while last < size and account[last] == holder:
            rows[count] = last
            count += np.int64(demand[last] >= 0)
            last += 1
        if count > found:
            own = equity[holder]
            broke = not own > 0.0
            if costly:
                gross = gross_of(first, last, asset, quantity, lot_price, nothing)
                kept = found
                for c in range(found, count):
                    row = rows[c]
                    d = haircut[demand[row]]
                    if d > 0.0 and (broke or not d * gross < own * lot_price[asset[row]]):
                        demand[row] = -1
                    else:
                        rows[kept] = row
                        kept += 1
                count = kept
            rest = 0.0
            # An insolvent account's order needs its whole gross notional, a solvent one's lots need the rest.
            if broke:
                rest = gross_of(first, last, asset, quantity, lot_price, nothing)
            elif last - first > count - found:
                rest = gross_of(first, last, asset, quantity, lot_price, demand)
            for c in range(found, count):
                kind[c] = INSOLVENT if broke else SOLVENT
                others[c] = rest
                shared[c] = count - found > 1
                total[demand[rows[c]]] += 0 if broke else 1
        first = last
    return rows[:count], kind[:count], others[:count], shared[:count], total


@njit(cache=True, error_model="numpy")
def _columns(rows, demand, kind, others, shared, total, account, quantity, available, equity, rank):
    """Solvent rows as columns by demand, in row order within each."""
    start = np.zeros(total.size + 1, np.int64)
    for k in range(total.size):
        start[k + 1] = start[k] + total[k]
    n = start[-1]
    place = start[:-1].copy()
    entry, holder = np.empty(n, np.int64), np.empty(n, np.int64)
    lots, free = np.empty(n, np.int64), np.empty(n, np.int64)
    rest, own = np.empty(n), np.empty(n)
    order, both = np.empty(n, np.int64), np.empty(n, np.bool_)
    twice = False
    for c in range(rows.size):
        if kind[c] != 0:
            continue
        row = rows[c]
        k = demand[c]
        j = place[k]
        place[k] += 1
        a = account[row]
        entry[j] = row
        holder[j] = a
        lots[j] = abs(quantity[row])
        free[j] = available[row] if available.size > 0 else lots[j]
        rest[j] = others[c]
        own[j] = equity[a]
        order[j] = rank[a] if rank.size > 0 else a
        both[j] = shared[c]
        twice = twice or (j > start[k] and holder[j - 1] == a)
    return start, entry, holder, lots, free, rest, own, order, both, twice


def given_or_empty(array, dtype):
    """An optional array as the kernels take it: with None they would be compiled again, in the middle of a decision."""
    return np.zeros(0, dtype=dtype) if array is None else array


def collect(problem, protect_principal, merge=True):
    """Return (Items of solvent accounts, (rows, demands, gross notional of the account) of insolvent entries).

    Without `merge` every entry is an item of its own.
    """
    available = given_or_empty(problem.available_lots, np.int64)
    demand = _demands(
        problem.asset, problem.quantity_lots, available, given_or_empty(problem.eligible, np.bool_),
        given_or_empty(problem.entry_price, np.float64), problem.mark_price, problem.demand_of, problem.demand_lots,
        problem.demand_side, problem.haircut / problem.lot_size[problem.demand_asset], protect_principal,
    )  # fmt: skip
    rows, kind, others, shared, total = _collect(
        problem.account,
        problem.asset,
        problem.quantity_lots,
        problem.equity,
        problem.lot_price,
        problem.haircut,
        demand,
    )
    demand = demand[rows]
    *columns, twice = _columns(
        rows, demand, kind, others, shared, total, problem.account, problem.quantity_lots, available,
        problem.equity, given_or_empty(problem.tie_rank, np.int64),
    )  # fmt: skip
    items = Items(*columns, {})
    if twice and merge:
        items = _merged(items)
    broke = kind == INSOLVENT
    return items, (rows[broke], demand[broke], others[broke])


def _merged(items):
    """One item per (demand, account): several entries of one account on one side are one position in two rows."""
    demand = np.repeat(np.arange(items.start.size - 1), np.diff(items.start))
    new = np.ones(items.entry.size, dtype=bool)
    new[1:] = (items.account[1:] != items.account[:-1]) | (demand[1:] != demand[:-1])
    head = np.flatnonzero(new)
    tail = np.append(head[1:], items.entry.size)
    split = {}
    for item in np.flatnonzero(tail - head > 1):
        block = slice(head[item], tail[item])
        # Rows are filled in an order that their position in the input cannot change.
        order = np.lexsort((-items.lots[block], -items.available[block]))
        split[int(item)] = items.entry[block][order]
    per_account = np.bincount(items.account[head], minlength=1)
    return Items(
        start=np.searchsorted(head, items.start),
        entry=items.entry[head],
        account=items.account[head],
        lots=np.add.reduceat(items.lots, head),
        available=np.add.reduceat(items.available, head),
        others=items.others[head],
        equity=items.equity[head],
        rank=items.rank[head],
        shared=per_account[items.account[head]] > 1,
        split=split,
    )


def spread(items, amount, out, available):
    """Add each item's `amount` to its row of `out`; an item of several rows fills them one after the other."""
    if not items.split:
        out[items.entry] += amount
        return
    plain = np.ones(items.entry.size, dtype=bool)
    plain[list(items.split)] = False
    out[items.entry[plain]] += amount[plain]
    for item, rows in items.split.items():
        left = amount[item]
        for row in rows:
            part = min(left, available[row])
            out[row] += part
            left -= part
