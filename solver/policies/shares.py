"""Policies that share a demand by a rule: `pro_rata:contracts`, `pro_rata:profit` and `min_max_haircut`.

contracts: in proportion to what may be taken. profit: x = min(eta P, a), P the entry's unrealised profit, nothing from
entries without one. min_max_haircut: the smallest M such that no account gives up more than M of the profit of its
positions that may be asked; its entries in one demand give in proportion to what is available. Where a demand has no
haircut that is `pro_rata:profit`. Lots by largest remainder, ties by tie rank.
"""

import numpy as np

from solver.objective import added_up
from solver.settlement import split_by_largest_remainder
from solver.solution import NOT_CONVERGED, OPTIMAL

NAMES = ("pro_rata:contracts", "pro_rata:profit", "min_max_haircut")
CYCLES_MAX = 2_000
PROFIT_MIN = 1e-150  # quote currency; what is less is nothing, and divides nothing
MISSED_MAX = 1e-12  # of a demand
MOVED_MIN = 1e-11  # of the largest share of its profit that an account gives up: less is no move


def filled_to(offset, weight, cap, total):
    """Return x = clip(eta weight - offset, 0, cap) that adds up to `total` <= sum of caps with weight > 0.

    eta is found between its breakpoints, sorted with what the sum's slope changes by, so rows may come in any order.
    """
    x = np.zeros(weight.size)
    rows = np.flatnonzero((weight > 0) & (cap > 0))
    w, o, a = weight[rows], offset[rows], cap[rows]
    if total >= a.sum():
        x[rows] = a
        return x
    at = np.concatenate([o / w, (o + a) / w])
    bend = np.concatenate([w, -w])
    order = np.lexsort((bend, at))
    at, bend = at[order], bend[order]
    slope = np.cumsum(bend)
    reached = np.append(0.0, np.cumsum(slope[:-1] * np.diff(at)))
    piece = min(int(np.searchsorted(reached, total, side="right")) - 1, at.size - 1)
    rest = total - reached[piece]
    eta = at[piece] + (rest / slope[piece] if rest > 0 and slope[piece] > 0 else 0.0)
    # What the first sum's rounding left over is a part in 1e13: spread over what is open.
    for _ in range(2):
        taken = np.clip(eta * w - o, 0.0, a)
        is_open = (eta * w > o) & (eta * w - o < a)
        slack = np.sort(w[is_open]).sum()
        eta += (total - np.sort(taken).sum()) / slack if slack > 0 else 0.0
    x[rows] = met(np.clip(eta * w - o, 0.0, a), a, total)
    return x


def met(x, cap, total):
    """Return x, in 0..cap, adding up to `total` to rounding, what is missing spread over what is open.

    Where o is larger than x by far, as a large haircut beside a tiny one makes it, no eta tells lots apart.
    """
    left = total - np.sort(x).sum()
    if abs(left) <= MISSED_MAX * total:
        return x
    room = cap - x if left > 0 else x
    is_open = np.where((x > 0) & (x < cap), room, 0.0)
    room = is_open if np.sort(is_open).sum() >= abs(left) else room
    return np.clip(x + left * (room / np.sort(room).sum()), 0.0, cap)


def largest_remainder(x, free, total, rank):
    """Whole lots that add up to `total`: the whole parts, and one more where the remainder is largest."""
    lots = np.minimum(np.floor(x).astype(np.int64), free)
    remainder = x - lots
    missing = int(total - lots.sum())
    if missing > 0:
        order = np.lexsort((rank, -np.where(lots < free, remainder, -1.0)))
        while missing > 0:  # more than one each only where x is coarser than a lot
            rows = order[lots[order] < free[order]][:missing]
            lots[rows] += 1
            missing -= rows.size
    while missing < 0:
        order = np.lexsort((-rank, np.where(lots > 0, remainder, np.inf)))
        rows = order[lots[order] > 0][:-missing]
        lots[rows] -= 1
        missing += rows.size
    return lots


def profits(problem, items):
    """Positive unrealised profit per item, in quote currency."""
    asset, q = problem.asset[items.entry], problem.quantity_lots[items.entry]
    gain = np.sign(q) * (problem.mark_price[asset] - problem.entry_price[items.entry])
    profit = gain * (items.lots * problem.lot_size[asset])
    return np.where(profit > PROFIT_MIN, profit, 0.0)


class _Pool:
    """The items of one demand as one position per account."""

    def __init__(self, items, stretch, profit, haircut):
        self.stretch, self.haircut = stretch, haircut
        self.account, self.group = np.unique(items.account[stretch], return_inverse=True)
        self.free = items.available[stretch]
        self.cap = np.bincount(self.group, self.free, self.account.size)
        self.profit, self.x = profit[self.account], np.zeros(self.account.size)

    def fill(self, total, paid):
        """Give `total` lots, the other demands' haircuts being `paid` per account; by how much any share changed."""
        others = (paid[self.account] - self.haircut * self.x) / self.haircut
        x = filled_to(np.maximum(others, 0.0), self.profit / self.haircut, self.cap, total)
        moved = np.where(self.profit > 0, self.haircut * np.abs(x - self.x), 0.0)
        paid[self.account] += self.haircut * (x - self.x)
        self.x = x
        return np.max(np.divide(moved, self.profit, out=np.zeros_like(moved), where=self.profit > 0), initial=0.0)

    def most(self, paid):
        """The largest share of its profit that an account gives up."""
        return float(np.max(paid[self.account][self.profit > 0] / self.profit[self.profit > 0], initial=0.0))

    def rows(self):
        """Reductions of the items; rounding must not take more of one than there is."""
        return np.minimum(self.x[self.group] * self.free / np.maximum(self.cap[self.group], 1), self.free)


def smallest_share(problem, items, z, profit):
    """Reductions of demands with a haircut that keep the largest share of profit given up smallest; converged?

    In quote currency accounts and demands form a network, in which the shares that minimise sum h^2 / P are also the
    smallest in the order of the largest: filled demand by demand until nothing moves, h what an account gives up.
    """
    owned = np.zeros(problem.equity.size)
    np.add.at(owned, items.account, profit)
    paid = np.zeros(problem.equity.size)
    pools = [
        (z[k], _Pool(items, slice(items.start[k], items.start[k + 1]), owned, problem.haircut[k]))
        for k in range(z.size) if z[k] > 0 and problem.haircut[k] > 0
    ]  # fmt: skip
    x, moved, most = np.zeros(items.entry.size), 0.0, 0.0
    for _ in range(CYCLES_MAX if len(pools) > 1 else 1):
        moved = max((pool.fill(total, paid) for total, pool in pools), default=0.0)
        most = max((pool.most(paid) for _, pool in pools), default=0.0)
        if moved <= MOVED_MIN * most:
            break
    for _, pool in pools:
        x[pool.stretch] = pool.rows()
    return x, len(pools) < 2 or moved <= MOVED_MIN * most


def share(problem, name, items, asked, relaxed, reduction, solution):
    """Fill `asked` lots per demand from solvent `items`, one per entry; adds to relaxed and reduction (or None)."""
    profit = None if name == "pro_rata:contracts" else profits(problem, items)
    weight = items.available.astype(np.float64) if profit is None else profit
    k_of = np.repeat(np.arange(asked.size), np.diff(items.start))
    if name == "min_max_haircut":
        earning = np.bincount(items.account, profit, problem.equity.size)[items.account] > 0
        gives = np.where(problem.haircut[k_of] > 0, earning, profit > 0)
    else:
        gives = weight > 0
    there = np.append(0, np.cumsum(np.where(gives, items.available, 0)))
    z = np.minimum(asked, there[items.start[1:]] - there[items.start[:-1]])
    solution.status, solution.iterations, missed = OPTIMAL, 1, 0.0
    x = np.zeros(items.entry.size)
    if name == "min_max_haircut":
        x, converged = smallest_share(problem, items, z, profit)
        solution.status = OPTIMAL if converged else NOT_CONVERGED
    for k in range(asked.size):
        stretch = slice(items.start[k], items.start[k + 1])
        if z[k] == 0:
            continue
        free = items.available[stretch]
        if name != "min_max_haircut" or problem.haircut[k] <= 0:
            x[stretch] = filled_to(np.zeros(free.size), weight[stretch], free.astype(np.float64), z[k])
        missed = max(missed, abs(added_up(x[stretch]) - z[k]))
        relaxed[items.entry[stretch]] += x[stretch]
        if reduction is not None:
            # Entries of one account and remainder are told apart by their lots, never by their row.
            rank = np.lexsort((-items.lots[stretch], -free, items.account[stretch], items.rank[stretch]))
            place = np.empty(rank.size, dtype=np.int64)
            place[rank] = np.arange(rank.size)
            may = np.where(gives[stretch], free, 0)
            if profit is None:
                lots = split_by_largest_remainder(int(z[k]), may, place)
            else:
                lots = largest_remainder(x[stretch], may, z[k], place)
            reduction[items.entry[stretch]] += lots
    solution.clearing_residual_lots = float(missed)
    return z
