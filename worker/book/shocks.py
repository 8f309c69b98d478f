"""What a shock of prices does to margin units: who would be bankrupt, what they would lack, what would be taken over.

A shock moves the value of symbol s by m[s] parts per million. With x[u, s] the value of unit u in s, its equity becomes
E[u] + sum over s of floor(x[u, s] * m[s] / 10**6); at zero or below it is bankrupt, with the deficit minus that.
Rule: all sums are of integers that are not negative and stop at SUM_MAX, so their order and blocks change nothing.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel

Cells = NDArray[np.int64]
Cubes = NDArray[np.int64]

PPM: Final = 1_000_000
# (2**58 + 2**10) * 8 of gross at most, and 2**60 of equity, stay within int64: see `census`.
MOVE_PPM_MAX: Final = 8 * PPM
SUM_MAX: Final = 2**61


@kernel("int64(int64, int64)")
def moved(value: int, ppm: int) -> int:
    """floor(value * ppm / 10**6), without a product that could overflow: |value| < 2**59, |ppm| <= 2**23."""
    whole = value // PPM
    return whole * ppm + (value - whole * PPM) * ppm // PPM


@kernel("int64(int64, int64)")
def add(total: int, term: int) -> int:
    """total + term, at most SUM_MAX; both not negative."""
    return min(total + min(term, SUM_MAX), SUM_MAX)


@kernel("int64(int64[::1], int64[::1], int64[::1], int64[::1], int64, int64, int64[::1], int64[::1])")
def fund_of(
    symbol: Cells, longs: Cells, shorts: Cells, collateral: Cells, first: int, end: int, rank: Cells, fund: Cells
) -> int:
    """The fund that answers for a unit: that of its first symbol by name, as for a bankruptcy that names no fund.

    A symbol that only converts a balance is not one of its own.
    """
    least, own_least = symbol[first], False
    for at in range(first, end):
        own = collateral[at] == 0 or longs[at] != 0 or shorts[at] != 0
        if own and (not own_least or rank[symbol[at]] < rank[least]):
            least, own_least = symbol[at], True
    found: int = fund[least]
    return found


@kernel(
    "void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], "
    "int64[::1], "
    "int64[:, ::1], int64[:, :, ::1], int64[:, :, ::1])"
)
def shock_symbols(
    equity: Cells,
    first: Cells,
    symbol: Cells,
    longs: Cells,
    shorts: Cells,
    collateral: Cells,
    ppm: Cells,
    rank: Cells,
    fund: Cells,
    bankrupt: Cells,
    deficit: Cubes,
    volume: Cubes,
) -> None:
    """Moves each symbol alone by its ppm[M, K], which rise or fall; adds up over its holders that are bankrupt then.

    Into bankrupt[M, K], deficit[M, K + 1, F] (the last of K: without a shock), volume[M, 3, K]: value of longs, of
    shorts, and what the same units hold of other symbols.
    """
    shocks, most = ppm.shape[1], 0
    for row in range(len(ppm)):
        most = max(most, abs(ppm[row, 0]), abs(ppm[row, shocks - 1]))
    for unit in range(len(equity)):
        begin, end, own = first[unit], first[unit + 1], equity[unit]
        gross = moving = 0
        for at in range(begin, end):
            gross += longs[at] - shorts[at]
            moving += longs[at] - shorts[at] + abs(collateral[at])
        if own > moved(moving, most) + 1:  # no move of one symbol costs more; + 1 for what floor takes of a short
            continue
        fund_row = fund_of(symbol, longs, shorts, collateral, begin, end, rank, fund)
        for at in range(begin, end):
            row, long, short = symbol[at], longs[at], shorts[at]
            if own <= 0:
                deficit[row, shocks, fund_row] = add(deficit[row, shocks, fund_row], -own)
            value, elsewhere = long + short + collateral[at], gross - long + short
            whole = value // PPM
            rest = value - whole * PPM
            upwards = (value >= 0) == (ppm[row, 0] <= ppm[row, shocks - 1])
            for step in range(shocks):  # from the worst move on: once it is not bankrupt, it is so at none that follows
                shock = step if upwards else shocks - 1 - step
                change = whole * ppm[row, shock] + rest * ppm[row, shock] // PPM
                if own + change > 0:
                    break
                bankrupt[row, shock] += 1
                deficit[row, shock, fund_row] = add(deficit[row, shock, fund_row], -own - change)
                if long != 0:
                    fallen = change if value == long else moved(long, ppm[row, shock])
                    volume[row, 0, shock] = add(volume[row, 0, shock], long + fallen)
                if short != 0:
                    fallen = change if value == short else moved(short, ppm[row, shock])
                    volume[row, 1, shock] = add(volume[row, 1, shock], -short - fallen)
                volume[row, 2, shock] = add(volume[row, 2, shock], elsewhere)


@kernel(
    "void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], "
    "int64[::1], "
    "int64[::1], int64[:, ::1], int64[:, :, ::1])"
)
def shock_all(
    equity: Cells,
    first: Cells,
    symbol: Cells,
    longs: Cells,
    shorts: Cells,
    collateral: Cells,
    ppm: Cells,
    rank: Cells,
    fund: Cells,
    bankrupt: Cells,
    deficit: Cells,
    volume: Cubes,
) -> None:
    """Moves all symbols at once by each column of ppm[M, K]; adds up over all units that are bankrupt then.

    Into bankrupt[K], deficit[K, F] and volume[M, 2, K]: value of longs and of shorts.
    """
    symbols, shocks = ppm.shape
    most = np.zeros(symbols, np.int64)
    for row in range(symbols):
        for shock in range(shocks):
            most[row] = max(most[row], abs(ppm[row, shock]))
    after = np.empty(shocks, np.int64)
    for unit in range(len(equity)):
        begin, end, own = first[unit], first[unit + 1], equity[unit]
        worst = 0
        for at in range(begin, end):
            worst += moved(longs[at] - shorts[at] + abs(collateral[at]), most[symbol[at]]) + 1
        if own > worst:
            continue
        after[:] = own
        for at in range(begin, end):
            row, value = symbol[at], longs[at] + shorts[at] + collateral[at]
            whole = value // PPM
            rest = value - whole * PPM
            for shock in range(shocks):
                after[shock] += whole * ppm[row, shock] + rest * ppm[row, shock] // PPM
        fund_row = fund_of(symbol, longs, shorts, collateral, begin, end, rank, fund)
        for shock in range(shocks):
            if after[shock] <= 0:
                bankrupt[shock] += 1
                deficit[shock, fund_row] = add(deficit[shock, fund_row], -after[shock])
        for at in range(begin, end):
            row, long, short = symbol[at], longs[at], shorts[at]
            for shock in range(shocks):
                if after[shock] <= 0:
                    if long != 0:
                        volume[row, 0, shock] = add(volume[row, 0, shock], long + moved(long, ppm[row, shock]))
                    if short != 0:
                        volume[row, 1, shock] = add(volume[row, 1, shock], -short - moved(short, ppm[row, shock]))


@kernel("void(int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[:, ::1])")
def lacking(deficit: Cells, before: Cells, missing: Cells, fund: Cells, sums: Cells) -> None:
    """Of deficit[K, F] the sum over funds, and what the funds do not cover of it, into sums[2, K].

    A fund pays first what units that the shock does not move lack already: missing[F], of all, less before[F], of
    those that it moves.
    """
    for shock in range(len(deficit)):
        for row in range(len(fund)):
            own = deficit[shock, row]
            left = max(0, fund[row] - (missing[row] - before[row]))
            sums[0, shock] = add(sums[0, shock], own)
            sums[1, shock] = add(sums[1, shock], max(0, own - left))
