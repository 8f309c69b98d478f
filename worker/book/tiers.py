"""Margin tiers of all symbols as columns, and what one position requires by them, in floats.

Rule: the exact answer is `Scale.requirement`; this one is for the many rows of a decision, whose floats are only
compared. A symbol without tiers has the one product that it always had, so its bits do not depend on others' tiers.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas.units import Scale
from worker.book.kernel import kernel

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Tiers(NamedTuple):
    """S symbols with T steps; those of symbol s are `first[s]:first[s + 1]`."""

    fraction: Floats  # [S] of the first tier
    first: Ints  # [S + 1]
    begin: Ints  # [T] minor units of value
    step: Floats  # [T] change of the fraction from there on


def tiers_of(scales: Iterable[Scale]) -> Tiers:
    """The tiers of symbols, in their order."""
    fraction: list[float] = []
    first, begin = [0], list[int]()
    step: list[float] = []
    for scale in scales:
        fraction.append(float(scale.mmf))
        for at, change in scale.tiers:
            begin.append(at)
            step.append(float(change))
        first.append(len(begin))
    return Tiers(
        np.array(fraction, np.float64), np.array(first, np.int64), np.array(begin, np.int64), np.array(step, np.float64)
    )


@kernel("float64(int64, int64, float64[::1], int64[::1], int64[::1], float64[::1])")
def requirement(value: int, symbol: int, fraction: Floats, first: Ints, begin: Ints, step: Floats) -> float:
    """Maintenance requirement of a position worth so many minor units, of either sign."""
    size = abs(value)
    required: float = size * fraction[symbol]
    for tier in range(first[symbol], first[symbol + 1]):
        if size > begin[tier]:
            required += (size - begin[tier]) * step[tier]
    return required
