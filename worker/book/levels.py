"""How urgent a position is, as an integer: the bits of its margin ratio, equity / |value|, which is 1 / leverage.

Rule 1: a ratio is one division of two floats made from integers, so it has the same bits on every machine. Rule 2: the
smaller its key, the sooner a position is deleveraged; a level is the first bits of the key, eight levels an octave.
"""

import numpy as np

from worker.book.kernel import kernel

LEVELS = 128
INSOLVENT = 0  # no equity left
WORTHLESS = LEVELS - 1  # positions of no value: nothing to deleverage
_LEVEL_BITS = 49  # of a float64 that stand behind its sign, exponent and first three digits
_OCTAVE_MIN = -10  # leverage 1024; beyond is level 1, and what has leverage below 1/52 is level 126
_LEVEL_BASE = (1023 + _OCTAVE_MIN) * 8 - 1

_MAGNITUDE = 2**63 - 1
KEY_WORTHLESS = _MAGNITUDE


@kernel("int64(float64)")
def ordered(number: float) -> int:
    """An integer that is ordered as the number; both zeros are 0."""
    bits = np.float64(number).view(np.int64)
    return bits if bits >= 0 else -(bits & _MAGNITUDE)  # type: ignore[return-value]  # int64 inside a kernel


@kernel("float64(int64)")
def number_of(key: int) -> float:
    """The number that an `ordered` integer stands for."""
    magnitude = np.int64(abs(key)).view(np.float64)
    return magnitude if key >= 0 else -magnitude


@kernel("int64(int64, int64)")
def cross_key(equity: int, gross: int) -> int:
    """The key of an account with equity and the sum of |value| of its cross positions, both in minor units."""
    return KEY_WORTHLESS if gross == 0 else ordered(np.float64(equity) / np.float64(gross))


@kernel("int64(int64)")
def level_of(key: int) -> int:
    """The level of a key; levels do not fall as keys rise."""
    if key <= 0:
        return INSOLVENT
    if key == KEY_WORTHLESS:
        return WORTHLESS
    return min(max((key >> _LEVEL_BITS) - _LEVEL_BASE, 1), WORTHLESS - 1)


@kernel("float64(int64, int64)")
def bankruptcy_value(lots: int, cash: int) -> float:
    """Minor units per lot at which lots and cash (margin - entry + held quote) are worth nothing together."""
    return -np.float64(cash) / np.float64(lots)


@kernel("int64(float64, float64, boolean)")
def isolated_key(bankruptcy: float, value: float, short: bool) -> int:
    """The key of an isolated position, from its bankruptcy value and the mark's value, both per lot.

    equity / |value| = lots * (value - bankruptcy) / (|lots| * value). It never falls as a long's bankruptcy value falls
    or a short's rises, for subtraction and division round monotonically: so that order is the same at every mark.
    """
    distance = bankruptcy - value if short else value - bankruptcy
    return ordered(distance / value)


def leverage_of(key: int) -> float:
    """|value| / equity: 0 where worthless, infinite at no equity, negative below."""
    if key == KEY_WORTHLESS:
        return 0.0
    ratio = number_of(key)
    return 1 / ratio if ratio else float("inf")


def key_from(level: int) -> int:
    """The smallest key of a level above INSOLVENT."""
    return {INSOLVENT + 1: 1, WORTHLESS: KEY_WORTHLESS}.get(level, (level + _LEVEL_BASE) << _LEVEL_BITS)


def leverage_from(level: int) -> float:
    """Every leverage of a level is above this, or infinite, or negative; 0 for the last two."""
    if level == INSOLVENT:
        return float("inf")
    return leverage_of(key_from(level + 1)) if level < WORTHLESS else 0.0
