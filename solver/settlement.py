"""Settlement in exact numbers: who pays a deficit, at what price, to the minor unit. Integers and Fractions only.

Quotes are cash from the liquidated account's view, in minor units: it receives what is above 0 and pays what is below.
A *factor* is the settlement price over the mark; a *side* is +1 for a long being closed and -1 for a short.
"""

import math
from fractions import Fraction

import numpy as np

INT64_SAFE = 2**62


def fund_payment(deficits, available, tie_rank=None):
    """What the fund pays towards each deficit: all of it, or pro rata to the deficits; never more than is there."""
    if any(deficit < 0 for deficit in deficits):
        raise ValueError("a deficit must not be negative")
    available = max(0, int(available))
    if available >= sum(deficits):
        return [int(deficit) for deficit in deficits]
    return split_by_largest_remainder(available, deficits, tie_rank)


def takeover_value(equity, paid):
    """TAV: what is left uncovered after the fund paid, never above 0 (an account back above zero pays no bonus)."""
    return min(0, equity + paid)


def bankruptcy_factor(side, mmf, tav, mmr, collar=None):
    """Margin-proportional bankruptcy price over the mark: 1 - side mmf TAV / MMR, never negative, within the collar.

    `collar` is the largest distance from 1. Without a maintenance requirement the price is the mark.
    """
    if mmr < 0 or mmf < 0:
        raise ValueError("mmf and mmr must not be negative")
    if mmr == 0:
        return Fraction(1)
    return clamp(1 - side * Fraction(mmf) * Fraction(tav) / Fraction(mmr), collar)


def clamp(factor, collar=None):
    """A price factor that is never negative and, with a collar, not further than it from the mark."""
    if collar is not None:
        collar = Fraction(collar)
        factor = min(max(factor, 1 - collar), 1 + collar)
    return max(Fraction(0), factor)


def isolated_factor(side, entry_value, margin, mark_value, collar=None):
    """Bankruptcy price over the mark of an isolated position: (entry value - side margin) / mark value.

    `margin` includes what the fund paid; values are of the whole position, unsigned.
    """
    if mark_value <= 0:
        raise ValueError("mark_value must be above 0")
    return clamp((Fraction(entry_value) - side * Fraction(margin)) / Fraction(mark_value), collar)


def loss_since(side, mark, last):
    """What a position lost per unit since its price was `last`; 0 where it gained."""
    return max(Fraction(0), side * (Fraction(last) - Fraction(mark)))


def last_solvent_share(deficit, losses):
    """Part of the losses since the last solvent marks that is undone: as much as the deficit needs, at most all."""
    if deficit < 0 or losses < 0:
        raise ValueError("deficit and losses must not be negative")
    return min(Fraction(1), Fraction(deficit) / losses) if losses else Fraction(0)


def last_solvent_factor(side, mark, loss, share, collar=None):
    """Price over the mark at which `share` of the loss per unit since the last solvent mark is undone.

    What has not lost stands at the mark.
    """
    if mark <= 0:
        raise ValueError("mark must be above 0")
    return clamp(1 + side * share * loss / Fraction(mark), collar)


def quote(side, mark_value, factor=1):
    """Exact cash for closing lots worth `mark_value` (a Fraction, unsigned) at `factor` times the mark."""
    return side * Fraction(mark_value) * factor


def bankruptcy_quote(side, mark_value, mmf, tav, mmr, collar=None):
    """Exact cash for closing lots worth `mark_value` at the margin-proportional bankruptcy price."""
    return quote(side, mark_value, bankruptcy_factor(side, mmf, tav, mmr, collar))


def rounded_up(amount):
    """Whole minor units in favour of the liquidated account: it never receives less, never pays more."""
    return math.ceil(amount)


def split_by_largest_remainder(total, weights, tie_rank=None):
    """Whole parts of `total` in proportion to `weights` (whole, not negative), adding up to it exactly.

    What the floors leave goes one by one to the largest remainders, ties to the smaller `tie_rank` (default: place).
    A negative total is split like its opposite. Weights that are all 0 can only share 0. Returns a list; an int64 array
    where `weights` is one.
    """
    total = int(total)
    if total < 0:
        parts = split_by_largest_remainder(-total, weights, tie_rank)
        return -parts if isinstance(parts, np.ndarray) else [-part for part in parts]
    columns = isinstance(weights, np.ndarray)
    given = weights.tolist() if columns else [int(weight) for weight in weights]
    whole = sum(given)
    if given and min(given) < 0:
        raise ValueError("weights must not be negative")
    if whole == 0:
        if total != 0:
            raise ValueError(f"{total} cannot be shared: every weight is 0")
        return np.zeros(len(given), dtype=np.int64) if columns else [0] * len(given)
    if total < INT64_SAFE and (total // 2**50 + 2) * whole < INT64_SAFE:
        parts = _split(total, weights if columns else np.array(given, dtype=np.int64), whole, tie_rank)
        return parts if columns else parts.tolist()
    pairs = [divmod(total * weight, whole) for weight in given]
    parts = [floor for floor, _ in pairs]
    rank = range(len(given)) if tie_rank is None else [int(r) for r in tie_rank]
    order = sorted(range(len(given)), key=lambda c: (-pairs[c][1], rank[c]))
    for c in order[: total - sum(parts)]:
        parts[c] += 1
    return np.array(parts, dtype=np.int64) if columns else parts


def _split(total, weights, whole, tie_rank):
    """The split in int64, exact although total * weight may not fit: a float guesses each part, integers correct it.

    The guess is off by at most total / 2**50 + 1, its remainder by as many wholes; so, modulo 2**64, that fits.
    """
    guess = np.floor(weights * (total / whole)).astype(np.int64)
    remainders = weights * np.int64(total) - guess * np.int64(whole)
    floors = guess + remainders // whole
    remainders %= whole
    missing = total - int(floors.sum())
    if missing:
        rank = np.arange(floors.size) if tie_rank is None else np.asarray(tie_rank)
        floors[np.lexsort((rank, -remainders))[:missing]] += 1
    return floors
