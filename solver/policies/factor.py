"""Policy `factor`: risk by one factor and nothing else, R = beta f. The same allocation for any distribution of f.

An account's expected loss depends on its factor leverage beta . y / E alone, so at the mark the optimum drains accounts
above a level of it (Campbell et al. 2026): several demands too, each to its own level, for every strictly convex loss.
One distribution being as good as another, it is found as `risk` with a Student t of 4 degrees of freedom. With a
haircut the distribution matters, and this is the one that is minimised; there is no level then.
"""

import numpy as np
from numba import njit

from solver.objective import state
from solver.risk import RiskModel

TAIL = 4.0
ROUNDING = 8e-15  # of a factor leverage, relative to the sum of its terms


def one_factor(risk):
    """The risk model that is minimised: the factor of `risk` alone."""
    return RiskModel(risk.loadings, np.zeros(risk.loadings.shape[0]), TAIL)


@njit(cache=True, error_model="numpy")
def levels(rows, taken, available):
    """Per demand the largest factor leverage, on the demanded side, of an account with lots left after `taken`.

    Largest is who stands highest beyond rounding: of almost no equity nobody knows where it stands. Where nobody has
    lots left it is the smallest, where nobody was asked infinite.
    """
    size, level = rows.account.size, np.zeros(rows.side.size)
    highest, lowest = np.full(rows.side.size, -np.inf), np.full(rows.side.size, np.inf)
    total, order, net = np.empty(1), np.empty(size, np.int64), np.empty(size)
    first = 0
    while first < size:
        a, last, asked = rows.account[first], first, False
        while last < size and rows.account[last] == a:
            asked = asked or rows.demand[last] >= 0
            last += 1
        if asked:
            _, equity = state(first, last, rows, taken, order, total, net)
            size_of_terms = 0.0
            for row in order[: last - first]:
                j = rows.asset[row]
                size_of_terms += abs(rows.loading[j, 0] * rows.lot_price[j] * rows.quantity[row])
            for row in range(first, last):
                k = rows.demand[row]
                if k >= 0:
                    lev = np.sign(rows.side[k] * rows.loading[rows.asset[row], 0]) * total[0] / equity
                    lowest[k] = min(lowest[k], lev)
                    at_least = lev - ROUNDING * size_of_terms / equity
                    if taken[row] < available[row] and (at_least, lev) > (highest[k], level[k]):
                        highest[k], level[k] = at_least, lev
        first = last
    return np.where(highest > -np.inf, level, lowest)
