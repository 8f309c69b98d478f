"""A sample of the accounts that carries the whole problem: who holds a large share of a demand is in it for certain.

An account is in with probability pi = min(1, c times its largest share of a demand), by a hash of its tie rank, and is
then multiplied by 1 / pi: expected loss is homogeneous in positions and equity, so that is 1 / pi copies of it.
(A sample with equal probabilities makes the levels wrong by 10 to 70 %: sizes have heavy tails.)
"""

import numpy as np
from numba import njit

from solver.optimum.holders import Holders


@njit(cache=True, nogil=True, error_model="numpy")
def _draw(part, limits, found, entries, per_lot, rank, share, chance):
    """Fill share and chance float[H]: an account is in a sample of size c where chance < c share."""
    account, quantity, demand, available = entries.account, entries.quantity, entries.demand, entries.available
    first, last = found
    for h in range(limits[part], limits[part + 1]):
        largest = 0.0
        for row in range(first[h], last[h]):
            k = demand[row]
            if k >= 0 and per_lot[k] > 0.0:
                lots = available[row] if available.size > 0 else abs(quantity[row])
                largest = max(largest, lots * per_lot[k])
        holder = account[first[h]]
        bits = np.uint64(rank[holder] if rank.size > 0 else holder) * np.uint64(0x9E3779B97F4A7C15)
        bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        bits ^= bits >> np.uint64(32)
        share[h], chance[h] = largest, np.float64(bits >> np.uint64(11)) * 2.0**-53


class Lottery:
    """Every holder's largest share of a demand, and its draw."""

    def __init__(self, gatherer, rank, threads, limits):
        self.found = gatherer.holders
        size = self.found.first.size
        self.share, self.chance = np.empty(size), np.empty(size)
        threads.run(
            _draw, limits.size - 1, limits, self.found, gatherer.entries, gatherer.per_lot(),
            np.zeros(0, np.int64) if rank is None else rank, self.share, self.chance,
        )  # fmt: skip

    def sample(self, c):
        """Return (Holders, weight float[H]) of a sample of about c accounts per demand."""
        chosen = np.flatnonzero(self.chance < c * self.share)
        return (
            Holders(self.found.first[chosen], self.found.last[chosen]),
            1.0 / np.minimum(c * self.share[chosen], 1.0),
        )
