"""Exact integer value of lots at a mark, without a product that could overflow.

value = floor(q * m / den) with m = scaled price * value_num. Write m = A * den + B: value = q * A + floor(q * B / den),
and the last term by digits of q in base 2**31. The proof that nothing overflows stands in schemas/limits.py.

Where |q| <= 2**31 the quotient needs no division of integers, which costs 15 of 18 ns: |q * B| < 2**62, and the float
quotient, below 2**31, is off by less than 2**-20, so its floor is off by at most one, which the remainder tells.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.table import DEN, EFFECTIVE, KEY, MARK_REST, MARK_WHOLE

_DIGIT_BITS = 31
_DIGIT_MASK = 2**31 - 1


@kernel("int64(int64, int64, int64, int64)")
def value_minor(lots: int, whole: int, rest: int, den: int) -> int:
    """floor(lots * (whole * den + rest) / den), also below zero; 0 <= rest < den < 2**31."""
    if -_DIGIT_MASK <= lots <= _DIGIT_MASK:
        product = lots * rest
        near = int(np.floor(np.float64(product) / np.float64(den)))
        remainder = product - near * den
        return lots * whole + near + (remainder >= den) - (remainder < 0)
    high = (lots >> _DIGIT_BITS) * rest
    quotient = high // den
    low = (lots & _DIGIT_MASK) * rest + (high - quotient * den) * (_DIGIT_MASK + 1)
    return lots * whole + quotient * (_DIGIT_MASK + 1) + low // den


@kernel("int64(int64[:, ::1], int64[:, ::1], int64)")
def slot_value(slots: NDArray[np.int64], terms: NDArray[np.int64], slot: int) -> int:
    """The value of any slot's effective lots at the mark; 0 where there never was one."""
    symbol = slots[KEY, slot] >> 2
    return value_minor(slots[EFFECTIVE, slot], terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol], terms[DEN, symbol])


@kernel("int64[::1](int64[::1], int64, int64, int64)")
def values_minor(lots: NDArray[np.int64], whole: int, rest: int, den: int) -> NDArray[np.int64]:
    """`value_minor` of a column of lots."""
    values = np.empty_like(lots)
    for at in range(len(lots)):
        values[at] = value_minor(lots[at], whole, rest, den)
    return values


def lots_limit(mark_num: int, den: int) -> int:
    """The most lots whose value is sure to stay within POSITION_VALUE_MINOR_MAX at this mark."""
    return min(limits.QUANTITY_LOTS_MAX, limits.POSITION_VALUE_MINOR_MAX // (mark_num // den + 1))
