"""What the general method works on: who may be asked, for how much notional, and what each holds besides.

Rule 1: accounts are in the order of their tie rank, items of an account in that of their demands, fixed positions in
that of their assets: every float sum has one order, whatever the order of the problem's rows.
Rule 2: whole lots are added up before they are multiplied by a price.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

IDLE, CLOSED = -1, -2  # a demand that asks nothing of solvent accounts, and one that takes all they may give


class Candidates(NamedTuple):
    """Columns in notional; A accounts, I items: an account's position in one demand."""

    start: np.ndarray  # int64[A+1], items of account i are start[i]:start[i+1]
    account: np.ndarray  # int64[A], row of the problem's accounts
    demand: np.ndarray  # int64[I], row of Demands
    row: np.ndarray  # int64[I], the first of the problem's entries that make up the item
    available: np.ndarray  # float[I], what may be taken
    kept: np.ndarray  # float[I], net position in the asset, on the item's side, with all of it taken
    mirror: (
        np.ndarray
    )  # int64[I], the account's item on the other side of the asset, or -1; `kept` is then on one of them
    factor: np.ndarray  # float[A, F], factor exposure of positions that are not asked for
    variance: np.ndarray  # float[A], their idiosyncratic variance
    equity: np.ndarray  # float[A], after closed demands were settled


class Demands(NamedTuple):
    """Columns of the K demands that ask for some of what is there, but not for all."""

    index: np.ndarray  # type: ignore[assignment]  # int64[K], the problem's demand; the name is also a tuple's method
    loading: np.ndarray  # float[K, F], of a position on the demanded side: side times the asset's
    idiosyncratic: np.ndarray  # float[K], variance
    haircut: np.ndarray  # float[K], per unit of notional
    total: np.ndarray  # float[K], notional that may be taken
    asked: np.ndarray  # float[K], notional that must be


@njit(cache=True, error_model="numpy")
def _totals(demand, available, count):
    """Lots that may be taken, per demand."""
    total = np.zeros(count, np.int64)
    for row in range(demand.size):
        if demand[row] >= 0:
            total[demand[row]] += available[row]
    return total


@njit(cache=True, error_model="numpy")
def _holders(account, demand, active):
    """Accounts with an item: their number, first and last row and most items, in row order."""
    found = np.empty(account.size, np.int64)
    first_of, last_of, most = (
        np.empty(account.size, np.int64),
        np.empty(account.size, np.int64),
        np.empty(account.size, np.int64),
    )
    count = first = 0
    while first < account.size:
        holder = account[first]
        last, items = first, 0
        while last < account.size and account[last] == holder:
            items += np.int64(demand[last] >= 0 and active[demand[last]] >= 0)
            last += 1
        found[count], first_of[count], last_of[count], most[count] = holder, first, last, items
        count += np.int64(items > 0)
        first = last
    return found[:count], first_of[:count], last_of[:count], most[:count]


@njit(cache=True, error_model="numpy")
def _fill(
    holder, first, last, most, asset, quantity, available, demand, active, side, lot_price, lot_haircut, equity,
    loading, idiosyncratic, key_of,
):  # fmt: skip
    """Columns of Candidates; `key_of`[2 j + (side < 0)] is the problem's demand of an asset's side, or -1."""
    accounts, assets, factors = holder.size, lot_price.size, loading.shape[1]
    start, room = np.zeros(accounts + 1, np.int64), most.sum()
    item_demand, item_row = np.empty(room, np.int64), np.empty(room, np.int64)
    item_available, item_kept = np.empty(room), np.zeros(room)
    mirror = np.full(room, -1, np.int64)
    factor, variance, own = np.zeros((accounts, factors)), np.zeros(accounts), np.empty(accounts)
    net, seen = np.zeros(assets, np.int64), np.full(assets, -1, np.int64)
    lots, entry = np.zeros(active.size, np.int64), np.full(active.size, -1, np.int64)
    place = np.zeros(active.size, np.int64)
    held = np.empty(assets, np.int64)
    wanted = np.empty(active.size, np.int64)
    n = 0
    for i in range(accounts):
        own[i] = equity[holder[i]]
        some = asks = 0
        for row in range(first[i], last[i]):
            j, q, k = asset[row], quantity[row], demand[row]
            if seen[j] != i:
                seen[j], net[j] = i, 0
                held[some] = j
                some += 1
            net[j] += q
            if k >= 0 and active[k] != -1:
                net[j] -= side[k] * available[row]
                if entry[k] < 0:
                    entry[k], lots[k] = row, 0
                    wanted[asks] = k
                    asks += 1
                lots[k] += available[row]
        wanted[:asks].sort()
        for c in range(asks):
            k = wanted[c]
            if active[k] < 0:
                own[i] -= lot_haircut[k] * lots[k]
            else:
                item_demand[n], item_row[n] = active[k], entry[k]
                item_available[n] = lots[k] * lot_price[asset[entry[k]]]
                place[k] = n
                n += 1
        held[:some].sort()
        for c in range(some):
            j = held[c]
            y = net[j] * lot_price[j]
            long = _item(key_of[2 * j], active, entry, place)
            short = _item(key_of[2 * j + 1], active, entry, place)
            if long >= 0:
                item_kept[long] = y
            elif short >= 0:
                item_kept[short] = -y
            else:
                variance[i] += idiosyncratic[j] * y * y
                for f in range(factors):
                    factor[i, f] += loading[j, f] * y
            if long >= 0 and short >= 0:
                mirror[long], mirror[short] = short, long
        start[i + 1] = n
        for c in range(asks):
            entry[wanted[c]] = -1
    return (
        start, item_demand[:n], item_row[:n], item_available[:n], item_kept[:n], mirror[:n], factor, variance, own
    )  # fmt: skip


@njit(cache=True, error_model="numpy", inline="always")
def _item(k, active, entry, place):
    """The item at hand of the problem's demand k, or -1."""
    return place[k] if k >= 0 and active[k] >= 0 and entry[k] >= 0 else -1


def states(demand, asked_lots, available):
    """Per demand of the problem its number among those that are solved for, or IDLE or CLOSED; and the total lots."""
    total = _totals(demand, available, asked_lots.size)
    active = np.where(asked_lots <= 0, IDLE, np.where(asked_lots >= total, CLOSED, 0))
    open_ones = np.flatnonzero(active == 0)
    active[open_ones] = np.arange(open_ones.size)
    return active, total


def gather(problem, demand, asked_lots, available, loading, idiosyncratic):
    """Return (Candidates, Demands) of a problem.

    demand int64[P]: of rows that may be asked, by solvent accounts, else -1; asked_lots int64[K] of them; available
    int64[P]; loading float[M, F] and idiosyncratic float[M] of the risk model.
    """
    active, total = states(demand, asked_lots, available)
    holder, first, last, most = _holders(problem.account, demand, active)
    if problem.tie_rank is not None:
        order = np.argsort(problem.tie_rank[holder], kind="stable")
        holder, first, last, most = holder[order], first[order], last[order], most[order]
    start, *items, factor, variance, equity = _fill(
        holder, first, last, most, problem.asset, problem.quantity_lots, available, demand, active,
        problem.demand_side, problem.lot_price, problem.haircut, problem.equity, loading, idiosyncratic,
        problem.demand_of,
    )  # fmt: skip
    of, row, free, kept, mirror = items
    index = np.flatnonzero(active >= 0)
    asset, side = problem.demand_asset[index], problem.demand_side[index]
    price = problem.lot_price[asset]
    demands = Demands(
        index, side[:, None] * loading[asset], idiosyncratic[asset], problem.haircut[index] / price,
        total[index] * price, asked_lots[index] * price,
    )  # fmt: skip
    return Candidates(start, holder, of, row, free, kept, mirror, factor, variance, equity), demands
