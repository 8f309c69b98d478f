"""What the general method works on: who may be asked, for how much notional, and what each holds besides.

Rule 1: accounts are in the order of their tie rank, items of an account in that of their demands, fixed positions in
that of their assets: every float sum has one order, whatever the order of the problem's rows.
Rule 2: whole lots are added up before they are multiplied by a price.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from solver.optimum.fill import CLOSED, IDLE, Entries, fill
from solver.optimum.holders import holders
from solver.optimum.threads import Threads, bounds


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

    index: np.ndarray  # type: ignore[assignment]  # int64[K], the problem's demand; a tuple's index() is not used
    loading: np.ndarray  # float[K, F], of a position on the demanded side: side times the asset's
    idiosyncratic: np.ndarray  # float[K], variance
    haircut: np.ndarray  # float[K], per unit of notional
    total: np.ndarray  # float[K], notional that may be taken
    asked: np.ndarray  # float[K], notional that must be


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

    def nobody(self):
        """Candidates without an account."""
        none = np.zeros(0, np.int64)
        return self.take(self.holders._replace(first=none, last=none))[0]

    def take(self, found=None, weight=None, level=None, tail=None):
        """Return (Candidates among the holders `found` (None: all), what others might give float[K]).

        weight float[H]: what each is multiplied by; level float[K]: whoever stays untouched at it is left out.
        """
        found = self.holders if found is None else found
        none = np.zeros(0)
        limits = bounds(found.first.size)
        room = found.last - found.first
        offset = np.array([0, *np.cumsum([room[a:b].sum() for a, b in pairwise(limits)])])
        out = _columns(found.first.size + 1, offset[-1], self.entries.loading.shape[1])
        outside = np.zeros((limits.size - 1, self.demands.index.size))
        counts = self.threads.run(
            fill, limits.size - 1, limits, offset, found, none if weight is None else weight, self.entries,
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
