"""What the general method works on: who may be asked, for how much notional, and what each holds besides.

Rule 1: accounts are in the order of their tie rank, items of an account in that of their demands, fixed positions in
that of their assets: every float sum has one order, whatever the order of the problem's rows.
Rule 2: whole lots are added up before they are multiplied by a price.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.optimum.screen import at_rest, stays
from solver.optimum.threads import Threads, bounds

IDLE, CLOSED = -1, -2  # a demand that asks nothing of solvent accounts, and one that takes all they may give


class Candidates(NamedTuple):
    """Columns in notional; A accounts, I items: an account's position in one demand."""

    start: np.ndarray  # int64[A+1], items of account i are start[i]:start[i+1]
    account: np.ndarray  # int64[A], row of the problem's accounts
    demand: np.ndarray  # int64[I], row of Demands
    row: np.ndarray  # int64[I], the first of the problem's entries that make up the item
    available: np.ndarray  # float[I], what may be taken
    kept: np.ndarray  # float[I], net position in the asset, on the item's side, with all of it taken
    mirror: np.ndarray  # int64[I], the account's item on the asset's other side, or -1; `kept` is then on one of them
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


class Holders(NamedTuple):
    """Accounts with a row that is asked for something, by tie rank, as ranges of rows."""

    first: np.ndarray  # int64[H]
    last: np.ndarray  # int64[H]


@njit(cache=True, error_model="numpy", inline="always")
def _whole(row, account):
    """The first row from `row` on that begins an account."""
    while 0 < row < account.size and account[row] == account[row - 1]:
        row += 1
    return row


@njit(cache=True, nogil=True, error_model="numpy")
def _scan(part, limits, account, quantity, demand, available, asked, total, first_of, last_of):
    """Note accounts with a row that is asked, from place limits[part]; add up lots per demand; how many there are."""
    row, end = _whole(limits[part], account), _whole(limits[part + 1], account)
    count = limits[part]
    while row < end:
        if demand[row] < 0:
            row += 1
            continue
        holder, first, last, some = account[row], row, row, False
        while first > 0 and account[first - 1] == holder:
            first -= 1
        while last < end and account[last] == holder:
            k = demand[last]
            if k >= 0 and asked[k] > 0:
                total[part, k] += available[last] if available.size > 0 else abs(quantity[last])
                some = True
            last += 1
        if some:
            first_of[count], last_of[count] = first, last
            count += 1
        row = last
    return count - limits[part]


def holders(problem, demand, asked_lots, available, threads):
    """Return (Holders, lots that may be taken per demand int64[demands], 0 where nothing is asked)."""
    size = problem.account.size
    limits = bounds(size)
    parts = limits.size - 1
    first, last = np.empty(size, np.int64), np.empty(size, np.int64)
    total = np.zeros((parts, asked_lots.size), np.int64)
    free = np.zeros(0, np.int64) if available is None else available
    counts = threads.run(
        _scan, parts, limits, problem.account, problem.quantity_lots, demand, free, asked_lots, total, first, last
    )
    first, last = (
        np.concatenate([column[at : at + n] for at, n in zip(limits[:-1], counts, strict=True)])
        for column in (first, last)
    )
    if problem.tie_rank is not None:
        rank = problem.tie_rank[problem.account[first]]
        if (rank[1:] < rank[:-1]).any():
            order = np.argsort(rank, kind="stable")
            first, last = first[order], last[order]
    return Holders(first, last), total.sum(axis=0)


@njit(cache=True, error_model="numpy", inline="always")
def _by(key, rows, first, last):
    """rows[first:last] in the order of key[row], equal ones as they were."""
    for c in range(first + 1, last):
        row, place = rows[c], c
        while place > first and key[rows[place - 1]] > key[row]:
            rows[place] = rows[place - 1]
            place -= 1
        rows[place] = row


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(part, limits, offset, found, weight, entries, demands, level, tail, out, outside):
    """Write the candidates among the holders of a part from place offset[part]; how many (accounts, items).

    Each is multiplied by its weight (none: 1). Left out is whoever stays untouched at the levels (none: -inf); what
    they might give is added to outside[part].
    """
    account, asset, quantity, demand, available, equity, lot_price, lot_haircut, side, state, loading, own_variance = entries
    start, holder, item_demand, item_row, free, kept, mirror, factor, variance, own = out
    found_first, found_last = found
    d_loading, d_variance, d_haircut = demands.loading, demands.idiosyncratic, demands.haircut
    most = 1
    for h in range(limits[part], limits[part + 1]):
        most = max(most, found_last[h] - found_first[h])
    rows, twin = np.empty(most, np.int64), np.empty(most, np.int64)
    k_of, row_of, order = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    free_of, kept_of = np.empty(most), np.empty(most)
    marginal, exposed = np.empty(most), np.empty(loading.shape[1])
    i, p = limits[part], offset[part]
    base = p
    for h in range(limits[part], limits[part + 1]):
        first, count, items = found_first[h], found_last[h] - found_first[h], 0
        for c in range(count):
            rows[c] = first + c
        _by(asset, rows, 0, count)
        scale = weight[h] if weight.size > 0 else 1.0
        a = account[first]
        paid, var, pairs = 0.0, 0.0, False
        for f in range(exposed.size):
            exposed[f] = 0.0
        c = 0
        while c < count:
            j, net, long, short, long_row, short_row = asset[rows[c]], 0, 0, 0, -1, -1
            while c < count and asset[rows[c]] == j:
                row = rows[c]
                q, k = quantity[row], demand[row]
                net += q
                if k >= 0 and state[k] != IDLE:
                    lots = available[row] if available.size > 0 else abs(q)
                    net -= side[k] * lots
                    if side[k] > 0:
                        long += lots
                        long_row = row if long_row < 0 else long_row
                    else:
                        short += lots
                        short_row = row if short_row < 0 else short_row
                c += 1
            y, before = net * lot_price[j] * scale, items
            if long_row >= 0:
                k = demand[long_row]
                if state[k] == CLOSED:
                    paid += lot_haircut[k] * long
                else:
                    k_of[items], row_of[items], free_of[items] = state[k], long_row, long * lot_price[j] * scale
                    kept_of[items], twin[items] = y, -1
                    items += 1
            if short_row >= 0:
                k = demand[short_row]
                if state[k] == CLOSED:
                    paid += lot_haircut[k] * short
                else:
                    k_of[items], row_of[items], free_of[items] = state[k], short_row, short * lot_price[j] * scale
                    kept_of[items], twin[items] = (-y if items == before else 0.0), -1
                    items += 1
            if items == before:
                var += own_variance[j] * y * y
                for f in range(exposed.size):
                    exposed[f] += loading[j, f] * y
            elif items == before + 2:
                twin[before], twin[before + 1], pairs = before + 1, before, True
        if items == 0:
            continue
        for c in range(items):
            order[c] = c
        _by(k_of, order, 0, items)
        for c in range(items):
            o = order[c]
            item_demand[p + c], item_row[p + c], free[p + c], kept[p + c] = k_of[o], row_of[o], free_of[o], kept_of[o]
            mirror[p + c] = -1
            if pairs and twin[o] >= 0:
                for other in range(items):
                    if order[other] == twin[o]:
                        mirror[p + c] = p + other - base
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


def states(asked_lots, total_lots):
    """Per demand of the problem its number among those that are solved for, or IDLE or CLOSED."""
    state = np.where(asked_lots <= 0, IDLE, np.where(asked_lots >= total_lots, CLOSED, 0))
    open_ones = np.flatnonzero(state == 0)
    state[open_ones] = np.arange(open_ones.size)
    return state


def demands_of(problem, state, asked_lots, total_lots, loading, idiosyncratic):
    """Demands of a problem."""
    index = np.flatnonzero(state >= 0)
    asset, side = problem.demand_asset[index], problem.demand_side[index]
    price = problem.lot_price[asset]
    return Demands(
        index, side[:, None] * loading[asset], idiosyncratic[asset], problem.haircut[index] / price,
        total_lots[index] * price, asked_lots[index] * price,
    )  # fmt: skip


class Gatherer:
    """A problem's entries and who holds what is asked; `take` makes candidates of some of them."""

    def __init__(self, problem, demand, asked_lots, available, loading, idiosyncratic, threads):
        self.threads = threads
        self.holders, self.total_lots = holders(problem, demand, asked_lots, available, threads)
        state = states(asked_lots, self.total_lots)
        self.demands = demands_of(problem, state, asked_lots, self.total_lots, loading, idiosyncratic)
        self.entries = Entries(
            problem.account, problem.asset, problem.quantity_lots, demand,
            np.zeros(0, np.int64) if available is None else available, problem.equity, problem.lot_price,
            problem.haircut, problem.demand_side, state, loading, idiosyncratic,
        )  # fmt: skip

    def per_lot(self):
        """Share of its demand that one lot is, float[demands]; 0 where nothing is solved for."""
        share = np.zeros(self.entries.state.size)
        share[self.demands.index] = 1.0 / self.total_lots[self.demands.index]
        return share

    def take(self, found=None, weight=None, level=None, tail=None):
        """Return (Candidates among the holders `found` (None: all), what others might give float[K]).

        weight float[H]: what each is multiplied by; level float[K]: whoever stays untouched at it is left out.
        """
        found = self.holders if found is None else found
        none = np.zeros(0)
        limits = bounds(found.first.size)
        room = found.last - found.first
        offset = np.array([0, *np.cumsum([room[a:b].sum() for a, b in zip(limits[:-1], limits[1:], strict=True)])])
        out = _columns(found.first.size + 1, offset[-1], self.entries.loading.shape[1])
        outside = np.zeros((limits.size - 1, self.demands.index.size))
        counts = self.threads.run(
            _fill, limits.size - 1, limits, offset, found, none if weight is None else weight, self.entries,
            self.demands, none if level is None else level, none if tail is None else tail, out,
            outside,
        )  # fmt: skip
        return _packed(out, limits, offset, counts), outside.sum(axis=0)


def _columns(accounts, items, factors):
    """Room for the columns of Candidates; pages that nobody writes to cost nothing."""
    whole, real = np.int64, np.float64
    return Candidates(
        np.empty(accounts, whole), np.empty(accounts, whole), np.empty(items, whole), np.empty(items, whole),
        np.empty(items, real), np.empty(items, real), np.empty(items, whole), np.empty((accounts, factors), real),
        np.empty(accounts, real), np.empty(accounts, real),
    )  # fmt: skip


def _packed(out, limits, offset, counts):
    """Columns with the parts moved together."""
    accounts = items = 0
    for part, (n, m) in enumerate(counts):
        a, p = limits[part], offset[part]
        end, mirror = out.start[a : a + n], out.mirror[p : p + m]
        end += items
        if items and m and mirror.max() >= 0:
            mirror[mirror >= 0] += items
        for column in (out.start, out.account, out.factor, out.variance, out.equity):
            column[accounts : accounts + n] = column[a : a + n]
        for column in (out.demand, out.row, out.available, out.kept, out.mirror):
            column[items : items + m] = column[p : p + m]
        accounts, items = accounts + n, items + m
    start = np.append(0, out.start[:accounts])
    return Candidates(
        start, out.account[:accounts], out.demand[:items], out.row[:items], out.available[:items], out.kept[:items],
        out.mirror[:items], out.factor[:accounts], out.variance[:accounts], out.equity[:accounts],
    )  # fmt: skip


def gather(problem, demand, asked_lots, available, loading, idiosyncratic):
    """Return (Candidates, Demands) of a problem: everyone who may be asked.

    demand int64[P]: of rows that may be asked, by solvent accounts, else -1; asked_lots int64[demands] of them;
    available int64[P], None: whole positions; loading float[M, F] and idiosyncratic float[M] of the risk model.
    """
    with Threads(problem.account.size) as threads:
        gatherer = Gatherer(problem, demand, asked_lots, available, loading, idiosyncratic, threads)
        return gatherer.take()[0], gatherer.demands
