"""The items of several demands as columns, and what an account stands at after giving to all of them.

The order of an account's items is that of their demands, so sums over them do not depend on rows.
The loop over an account's items stands in five kernels: one function for it made a burst of 44 demands 39 -> 112 ms,
and 67 ms inlined, because numba hands the columns over at every call.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.policies.level import ratio


class Book(NamedTuple):
    """K demands and their n items as columns, in order of demand."""

    start: np.ndarray  # int64[K+1], items of demand k are start[k]:start[k+1]
    price: np.ndarray  # float[K], per lot
    haircut: np.ndarray  # float[K], per lot
    others: np.ndarray  # float[n], gross notional of the account outside its items
    equity: np.ndarray  # float[n]
    lots: np.ndarray  # int64[n]
    free: np.ndarray  # int64[n]
    shared: np.ndarray  # bool[n], the account has another item
    kin: np.ndarray  # int64, items of accounts that have several, by account and then by demand
    kin_from: np.ndarray  # int64[n], kin[kin_from:kin_to] are the account's items
    kin_to: np.ndarray
    demand: np.ndarray  # int64[n]


@njit(cache=True, error_model="numpy")
def outside(book, x):
    """Gross notional and equity of every item's account without the item itself, given all reductions x."""
    g, e = book.others.copy(), book.equity.copy()
    shared, kin, kin_from, kin_to, demand = book.shared, book.kin, book.kin_from, book.kin_to, book.demand
    price, haircut, q = book.price, book.haircut, book.lots
    for j in range(x.size):
        if shared[j]:
            for c in range(kin_from[j], kin_to[j]):
                i = kin[c]
                if i != j:
                    g[j] += price[demand[i]] * (q[i] - x[i])
                    e[j] -= haircut[demand[i]] * x[i]
    return g, e


@njit(cache=True, error_model="numpy")
def leverages(book, x):
    """Leverage of every item's account given all reductions x, to the bit the same for all items of an account."""
    lev = np.empty(x.size)
    shared, kin, kin_from, kin_to, demand = book.shared, book.kin, book.kin_from, book.kin_to, book.demand
    price, haircut, q, others, equity = book.price, book.haircut, book.lots, book.others, book.equity
    for j in range(x.size):
        gross, own = others[j], equity[j]
        if shared[j]:
            for c in range(kin_from[j], kin_to[j]):
                i = kin[c]
                gross += price[demand[i]] * (q[i] - x[i])
                own -= haircut[demand[i]] * x[i]
        else:
            gross += price[demand[j]] * (q[j] - x[j])
            own -= haircut[demand[j]] * x[j]
        lev[j] = ratio(gross, own)
    return lev


@njit(cache=True, error_model="numpy")
def bonuses(book):
    """Most that an item's account can gain by bonuses (negative haircuts) of its demands."""
    gain = np.zeros(book.free.size)
    if not (book.haircut < 0.0).any():
        return gain
    for j in range(gain.size):
        if book.shared[j]:
            for c in range(book.kin_from[j], book.kin_to[j]):
                i = book.kin[c]
                gain[j] += max(-book.haircut[book.demand[i]], 0.0) * book.free[i]
        else:
            gain[j] = max(-book.haircut[book.demand[j]], 0.0) * book.free[j]
    return gain
