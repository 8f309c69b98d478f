"""What a shock of prices does to margin units: who would be bankrupt, what they would lack, what would be taken over.

A shock moves the mark of symbol s by m[s] parts per million. With x[u, s] the value of unit u in s, its equity becomes
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
MOVE_PPM_MIN: Final = -PPM  # a price does not fall below zero
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


@kernel("int64(int64[::1], int64, int64, int64[::1], int64[::1])")
def fund_of(symbol: Cells, first: int, end: int, rank: Cells, fund: Cells) -> int:
    """The fund that answers for a unit: that of its first symbol by name, as for a bankruptcy that names no fund."""
    least = symbol[first]
    for at in range(first + 1, end):
        if rank[symbol[at]] < rank[least]:
            least = symbol[at]
    found: int = fund[least]
    return found


@kernel(
    "void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], "
    "int64[:, ::1], int64[:, :, ::1], int64[:, :, ::1])"
)
def shock_symbols(
    equity: Cells,
    first: Cells,
    symbol: Cells,
    longs: Cells,
    shorts: Cells,
    ppm: Cells,
    rank: Cells,
    fund: Cells,
    bankrupt: Cells,
    deficit: Cubes,
    volume: Cubes,
) -> None:
    """Moves each symbol alone by each of ppm[K], and adds up over its holders that are bankrupt then.

    Into bankrupt[M, K], deficit[M, K + 1, F] (the last of K: without a shock), volume[M, 3, K]: value of longs, of
    shorts, and what the same units hold of other symbols.
    """
    shocks = len(ppm)
    most = 0
    for shock in range(shocks):
        most = max(most, abs(ppm[shock]))
    for unit in range(len(equity)):
        gross = 0
        for at in range(first[unit], first[unit + 1]):
            gross += longs[at] - shorts[at]
        own = equity[unit]
        if own > moved(gross, most) + 1:  # no move of one symbol costs more; + 1 for what floor takes of a short
            continue
        fund_row = fund_of(symbol, first[unit], first[unit + 1], rank, fund)
        for at in range(first[unit], first[unit + 1]):
            row, value = symbol[at], longs[at] + shorts[at]
            if own <= 0:
                deficit[row, shocks, fund_row] = add(deficit[row, shocks, fund_row], -own)
            whole = value // PPM
            rest = value - whole * PPM
            for shock in range(shocks):
                after = own + whole * ppm[shock] + rest * ppm[shock] // PPM
                if after > 0:
                    continue
                bankrupt[row, shock] += 1
                deficit[row, shock, fund_row] = add(deficit[row, shock, fund_row], -after)
                long = longs[at] + moved(longs[at], ppm[shock])
                short = -(shorts[at] + moved(shorts[at], ppm[shock]))
                volume[row, 0, shock] = add(volume[row, 0, shock], long)
                volume[row, 1, shock] = add(volume[row, 1, shock], short)
                volume[row, 2, shock] = add(volume[row, 2, shock], gross - longs[at] + shorts[at])


@kernel(
    "void(int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], int64[::1], "
    "int64[::1], int64[:, ::1], int64[:, :, ::1])"
)
def shock_all(
    equity: Cells,
    first: Cells,
    symbol: Cells,
    longs: Cells,
    shorts: Cells,
    ppm: Cells,
    rank: Cells,
    fund: Cells,
    bankrupt: Cells,
    deficit: Cells,
    volume: Cubes,
) -> None:
    """Moves all symbols at once by each row of ppm[K, M]; adds up over all units that are bankrupt then.

    Into bankrupt[K], deficit[K, F] and volume[K, 2, M]: value of longs and of shorts.
    """
    shocks, symbols = ppm.shape
    most = np.zeros(symbols, np.int64)
    for shock in range(shocks):
        for row in range(symbols):
            most[row] = max(most[row], abs(ppm[shock, row]))
    for unit in range(len(equity)):
        begin, end, own = first[unit], first[unit + 1], equity[unit]
        worst = 0
        for at in range(begin, end):
            worst += moved(longs[at] - shorts[at], most[symbol[at]]) + 1
        if own > worst:
            continue
        fund_row = fund_of(symbol, begin, end, rank, fund)
        for shock in range(shocks):
            after = own
            for at in range(begin, end):
                after += moved(longs[at] + shorts[at], ppm[shock, symbol[at]])
            if after > 0:
                continue
            bankrupt[shock] += 1
            deficit[shock, fund_row] = add(deficit[shock, fund_row], -after)
            for at in range(begin, end):
                row = symbol[at]
                long = longs[at] + moved(longs[at], ppm[shock, row])
                short = -(shorts[at] + moved(shorts[at], ppm[shock, row]))
                volume[shock, 0, row] = add(volume[shock, 0, row], long)
                volume[shock, 1, row] = add(volume[shock, 1, row], short)


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
