"""One account's positions in the order in which closing them lowers the risk of its own book.

The variance of a book with values x in assets whose returns have the scale matrix Sigma = B B' + D is

    V(x) = |B' x|^2 + sum_a D_a x_a^2,

and closing a part d of a position in asset a moves it by

    V(x - d e_a) - V(x) = -2 d (B_a . f + D_a x_a) + d^2 (|B_a|^2 + D_a),   f = B' x.

Greedy: next comes the position whose closing, as far as it is still wanted, lowers V most (or raises it least); exact
for one account, O(P^2 K) for P positions and K factors. `tail` scales V and changes no order.
"""

import numpy as np
from numba import njit


@njit("i8[::1](f8[::1], i8[::1], f8[::1], f8[:, ::1], f8[::1], f8)", cache=True, error_model="numpy")
def shedding_order(value, asset, required, loadings, idiosyncratic, wanted):
    """Return every position's index int64[P], first to be closed first; ties fall to the smaller index.

    value float[P] signed, asset int[P] row of loadings float[M, K] and idiosyncratic float[M], the positions of one
    asset side by side, required float[P] > 0 what closing all of a position frees, wanted > 0 what is to be freed. The
    last one before it is reached is judged by the part that is still wanted, those behind it as if all were closed.
    """
    size, factors = len(value), loadings.shape[1]
    exposure, own = np.zeros(factors), np.zeros(len(idiosyncratic))
    for at in range(size):
        own[asset[at]] += value[at]
    order, taken = np.empty(size, np.int64), np.zeros(size, np.bool_)
    for place in range(size):
        # Made anew each time: what subtracting would leave of a hedge decides between positions that are alike.
        exposure[:] = 0.0
        for at in range(size):
            if at == 0 or asset[at] != asset[at - 1]:
                for k in range(factors):
                    exposure[k] += loadings[asset[at], k] * own[asset[at]]
        best, least, best_part = -1, np.inf, 0.0
        for at in range(size):
            if taken[at]:
                continue
            a = asset[at]
            part = value[at] * (wanted / required[at] if 0.0 < wanted < required[at] else 1.0)
            slope, bend = idiosyncratic[a] * own[a], idiosyncratic[a]
            for k in range(factors):
                slope += loadings[a, k] * exposure[k]
                bend += loadings[a, k] * loadings[a, k]
            change = part * (part * bend - 2.0 * slope)
            if best < 0 or change < least:
                best, least, best_part = at, change, part
        order[place], taken[best] = best, True
        wanted -= required[best]
        own[asset[best]] -= best_part
    return order
