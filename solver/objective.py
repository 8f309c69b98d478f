"""Expected loss of every solvent account, and the smallest marginal of demands that take everything.

Rule: rows of an account are added up by asset, lots and what was taken of them, accounts on a grid, so that no figure
depends on the order of the problem's rows.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.grid import grid_scale, on_grid
from solver.loss.model import curves
from solver.loss.scenarios import evaluate
from solver.optimum.account import Model


class Rows(NamedTuple):
    """Columns of a problem and of its risk model."""

    account: np.ndarray  # int64[P]
    asset: np.ndarray
    quantity: np.ndarray
    demand: np.ndarray  # int64[P], of rows that may be asked, else -1
    equity: np.ndarray  # float[N]
    lot_price: np.ndarray  # float[M]
    lot_haircut: np.ndarray  # float[K]
    side: np.ndarray  # int64[K]
    loading: np.ndarray  # float[M, C]
    idiosyncratic: np.ndarray  # float[M]
    model: Model


@njit(cache=True, error_model="numpy", inline="always")
def before(a, b, rows, taken):
    """Is row a added up before row b of the same account?"""
    if rows.asset[a] != rows.asset[b]:
        return rows.asset[a] < rows.asset[b]
    if rows.quantity[a] != rows.quantity[b]:
        return rows.quantity[a] < rows.quantity[b]
    return taken[a] < taken[b]


@njit(cache=True, error_model="numpy")
def state(first, last, rows, taken, order, total, net):
    """(variance, equity) of the account in rows first..last-1 after `taken` lots.

    Fills total float[C], its exposures, and net float[c], what is left in the asset of row order[c], in notional.
    """
    count = last - first
    for c in range(count):
        row, place = first + c, c
        while place > 0 and before(row, order[place - 1], rows, taken):
            order[place] = order[place - 1]
            place -= 1
        order[place] = row
    equity, variance = rows.equity[rows.account[first]], 0.0
    total[:] = 0.0
    c = 0
    while c < count:
        j, lots, begin = rows.asset[order[c]], 0.0, c
        while c < count and rows.asset[order[c]] == j:
            row = order[c]
            q, k = rows.quantity[row], rows.demand[row]
            lots += q - taken[row] if q > 0 else q + taken[row]
            if k >= 0:
                equity -= rows.lot_haircut[k] * taken[row]
            c += 1
        y = lots * rows.lot_price[j]
        net[begin:c] = y
        variance += rows.idiosyncratic[j] * y * y
        for f in range(total.size):
            total[f] += rows.loading[j, f] * y
    return variance, equity


@njit(cache=True, error_model="numpy")
def loss_at(variance, equity, total, model):
    """Expected loss of an account."""
    if model.weight.size == 0:
        for f in range(total.size):
            variance += total[f] * total[f]
        return curves(variance, equity, model.tail)[0]
    nobody, nothing = np.empty(0, np.int64), np.empty(0)
    none = np.empty((0, 0))
    return evaluate(equity, variance, total, model.weight, none, nobody, nothing, nothing, model.tail, nothing,
                    nothing, none)[0]  # fmt: skip


@njit(cache=True, error_model="numpy")
def losses(rows, taken):
    """(expected loss of every solvent account before, after `taken` float[P]); 0 for the others."""
    size = rows.account.size
    was, now = np.zeros(rows.equity.size), np.zeros(rows.equity.size)
    total, nothing = np.empty(rows.loading.shape[1]), np.zeros(size)
    order, net = np.empty(size, np.int64), np.empty(size)
    first = 0
    while first < size:
        a, last, touched = rows.account[first], first, False
        while last < size and rows.account[last] == a:
            touched = touched or taken[last] > 0.0
            last += 1
        if rows.equity[a] > 0.0:
            variance, equity = state(first, last, rows, nothing, order, total, net)
            was[a] = now[a] = loss_at(variance, equity, total, rows.model)
            if touched:
                variance, equity = state(first, last, rows, taken, order, total, net)
                now[a] = loss_at(variance, equity, total, rows.model)
        first = last
    return was, now


@njit(cache=True, error_model="numpy")
def added_up(values):
    """Sum of non-negative values that does not depend on their order."""
    scale, total = grid_scale(values.max() if values.size else 0.0, values.size), 0
    for value in values:
        total += on_grid(value, scale)
    return total / scale


@njit(cache=True, error_model="numpy")
def least_marginals(rows, taken, wanted):
    """Per demand, where it is `wanted` bool[K], the smallest marginal after `taken` of whoever was asked; else inf."""
    size, least = rows.account.size, np.full(wanted.size, np.inf)
    total, order, net = np.empty(rows.loading.shape[1]), np.empty(size, np.int64), np.empty(size)
    marginal, terms, none = np.empty(1), np.empty(1), np.empty((0, 0))
    loading, zero = np.empty((1, total.size)), np.zeros(1, np.int64)
    first = 0
    while first < size:
        a, last, asked = rows.account[first], first, False
        while last < size and rows.account[last] == a:
            asked = asked or (rows.demand[last] >= 0 and wanted[rows.demand[last]])
            last += 1
        if asked:
            variance, equity = state(first, last, rows, taken, order, total, net)
            whole = variance
            for f in range(total.size):
                whole += total[f] * total[f]
            for c in range(last - first):
                k, j = rows.demand[order[c]], rows.asset[order[c]]
                if k < 0 or not wanted[k]:
                    continue
                d = rows.lot_haircut[k] / rows.lot_price[j]
                cross = rows.side[k] * rows.idiosyncratic[j] * net[c]
                if rows.model.weight.size > 0:
                    loading[0] = rows.side[k] * rows.loading[j]
                    evaluate(equity, variance, total, rows.model.weight, loading, zero, np.array([cross]),
                             np.array([d]), rows.model.tail, marginal, terms, none)  # fmt: skip
                    least[k] = min(least[k], marginal[0])
                else:
                    for f in range(total.size):
                        cross += rows.side[k] * rows.loading[j, f] * total[f]
                    _, rr, survival, _, _, _ = curves(whole, equity, rows.model.tail)
                    least[k] = min(least[k], rr * cross - survival * d)
        first = last
    return least
