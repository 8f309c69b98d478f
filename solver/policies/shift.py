"""Kernel that speeds up filling demands in turn: tied accounts move what they give from one demand to another.

Cycling alone moves, each time, only what the equity of the accounts in both demands is of the equity in one of them:
hundreds of cycles where few accounts tie two demands.
"""

import numpy as np
from numba import njit

from solver.grid import grid_scale, on_grid


@njit(cache=True, error_model="numpy")
def shift(live, weight, book, search, x, level, woken):
    """Let accounts give to the demand of lower level what they give to one of higher level, as far as both levels move.

    `weight` is the equity of the open accounts of a demand. The next fill restores what this overdraws.
    """
    demands = live.size
    start, price, free, kin, kin_from, kin_to = book.start, book.price, book.free, book.kin, book.kin_from, book.kin_to
    demand, row, tied = book.demand, search.row, search.tied
    room = np.zeros((demands, demands), np.int64)
    largest = 0.0
    for k in range(demands):
        for c in range(start[k], start[k] + tied[k]):
            largest = max(largest, price[k] * free[row[c]])
    scale = grid_scale(largest, x.size * 4)
    for k in range(demands):
        for c in range(start[k], start[k] + tied[k]):
            j = row[c]
            if x[j] < free[j]:
                for b in range(kin_from[j], kin_to[j]):
                    i = kin[b]
                    other = demand[i]
                    if live[other] and x[i] > 0.0 and level[other] > level[k] * (1.0 + 1e-12):
                        room[other, k] += on_grid(min(price[other] * x[i], price[k] * (free[j] - x[j])), scale)
    part = shares(room / scale, weight, level)
    for k in range(demands):
        for c in range(start[k], start[k] + tied[k]):
            j = row[c]
            if x[j] < free[j]:
                for b in range(kin_from[j], kin_to[j]):
                    i = kin[b]
                    other = demand[i]
                    if part[other, k] > 0.0 and x[i] > 0.0:
                        give = part[other, k] * min(price[other] * x[i], price[k] * (free[j] - x[j]))
                        x[i] = max(x[i] - give / price[other], 0.0)
                        x[j] = min(x[j] + give / price[k], float(free[j]))
                        woken[k] = True
                        woken[other] = True


@njit(cache=True, error_model="numpy")
def shares(room, weight, level):
    """Part of the notional `room` that may move from a to b: what evens out their levels, split over partners."""
    demands = level.size
    partners = np.zeros(demands)
    part = np.zeros((demands, demands))
    for a in range(demands):
        for b in range(demands):
            partners[a] += room[a, b] > 0.0
            partners[b] += room[a, b] > 0.0
    for a in range(demands):
        for b in range(demands):
            if room[a, b] > 0.0 and weight[a] > 0.0 and weight[b] > 0.0:
                give = (level[a] - level[b]) / (1.0 / weight[a] + 1.0 / weight[b])
                part[a, b] = min(1.0, give / max(partners[a], partners[b]) / room[a, b])
    return part
