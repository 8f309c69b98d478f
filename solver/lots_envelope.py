"""At which level an account gives which lot: its present marginal, read so that it never falls with what is held.

An account that holds n lots, net and on the demanded side, stands at the marginal m(n), which rises with n because the
expected loss is convex. In floating point it rises only as far as lots are coarser than rounding. So the *envelope* is
read instead: whether an account keeps more than n lots at a level is asked bit by bit of n, which is the same question
whatever it held before. Where nothing is in doubt the envelope is m itself.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.model import curves
from solver.loss.scenarios import evaluate
from solver.optimum.account import ULP, Model

BITS = 56
OFFSET = 2**55  # makes every number of net lots positive


class One(NamedTuple):
    """One item per account, in the order of ties."""

    factor: np.ndarray  # float[n, F], of everything else the account holds
    variance: np.ndarray  # float[n]
    equity: np.ndarray  # float[n]
    net: np.ndarray  # int64[n], lots held on the demanded side less those on the other
    free: np.ndarray  # int64[n], lots that may be taken
    loading: np.ndarray  # float[F], side times the asset's
    idiosyncratic: float
    price: float  # notional of a lot
    haircut: float  # per unit of notional
    model: Model


@njit(cache=True, error_model="numpy")
def present(n, i, one):
    """Marginal of item i that is left with n net lots."""
    if one.model.weight.size > 0:
        return in_scenarios(n, i, one)[0]
    y = n * one.price
    v, c = one.variance[i] + one.idiosyncratic * y * y, one.idiosyncratic * y
    for f in range(one.loading.size):
        x = one.factor[i, f] + one.loading[f] * y
        v += x * x
        c += one.loading[f] * x
    own = one.equity[i] - one.haircut * ((one.net[i] - n) * one.price)
    _, rr, survival, _, _, _ = curves(v, own, one.model.tail)
    return rr * c - survival * one.haircut


@njit(cache=True, error_model="numpy")
def in_scenarios(n, i, one):
    """What `doubted` says, for scenarios, whose returns are the loadings."""
    y = n * one.price
    exposure = np.empty(one.loading.size)
    for s in range(exposure.size):
        exposure[s] = one.factor[i, s] + one.loading[s] * y
    own = one.equity[i] - one.haircut * ((one.net[i] - n) * one.price)
    variance = one.variance[i] + one.idiosyncratic * y * y
    marginal, size, hessian = np.empty(1), np.empty(1), np.empty((1, 1))
    loading = np.empty((1, exposure.size))
    loading[0] = one.loading
    zero = np.zeros(1, np.int64)
    cross, haircut = np.array([one.idiosyncratic * y]), np.array([one.haircut])
    _, rr = evaluate(
        own,
        variance,
        exposure,
        one.model.weight,
        loading,
        zero,
        cross,
        haircut,
        one.model.tail,
        marginal,
        size,
        hessian,
    )
    return marginal[0], 1e-12 * size[0], (hessian[0, 0] + rr * one.idiosyncratic) * one.price


@njit(cache=True, error_model="numpy", inline="always")
def doubted(n, i, one):
    """(m, a bound on its rounding, its rise per lot) of item i left with n net lots."""
    if one.model.weight.size > 0:
        return in_scenarios(n, i, one)
    y = n * one.price
    size = one.idiosyncratic * y * y
    v, c, spread = one.variance[i] + size, one.idiosyncratic * y, one.idiosyncratic
    of_v, of_c = v, abs(c)
    for f in range(one.loading.size):
        x = one.factor[i, f] + one.loading[f] * y
        terms = abs(one.factor[i, f]) + abs(one.loading[f] * y)
        v += x * x
        c += one.loading[f] * x
        of_v += abs(x) * terms
        of_c += abs(one.loading[f]) * terms
        spread += one.loading[f] * one.loading[f]
    paid = one.haircut * ((one.net[i] - n) * one.price)
    own, d = one.equity[i] - paid, one.haircut
    _, rr, survival, kc, kx, kd = curves(v, own, one.model.tail)
    error = rr * of_c + abs(kc * c) * of_v + survival * abs(d) + (abs(kx * c) + kd * abs(d)) * (abs(own) + abs(paid))
    rise = rr * spread + kc * c * c + 2.0 * kx * c * d + kd * d * d
    return rr * c - survival * d, 16.0 * ULP * error, rise * one.price


@njit(cache=True, error_model="numpy")
def by_bits(eta, i, one):
    """Net lots that item i keeps at level eta, read from the highest bit down; the envelope's definition."""
    kept = 0
    for bit in range(BITS - 1, -1, -1):
        more = kept | (1 << bit)
        if present(float(more - OFFSET), i, one) <= eta:
            kept = more
    return kept - OFFSET


@njit(cache=True, error_model="numpy")
def envelope(n, i, one):
    """The smallest level at which item i keeps n net lots or more, never falling with n."""
    m, error, _ = doubted(float(n), i, one)
    below, error_below, _ = doubted(float(n - 1), i, one)
    above, error_above, _ = doubted(float(n + 1), i, one)
    if below + error_below < m - error and m + error < above - error_above:
        return m
    whole = n + OFFSET
    level = -np.inf
    for bit in range(BITS):
        prefix = ((whole >> (bit + 1)) << (bit + 1)) | (1 << bit)
        value = present(float(prefix - OFFSET), i, one)
        level = max(level, value) if whole & (1 << bit) else min(level, value)
    return level


@njit(cache=True, error_model="numpy", inline="always")
def kept_at(eta, i, one, low, high, guess):
    """Net lots that item i keeps at level eta, at least `low` and below `high`, and the most that m may be there.

    At `low` it is known to be below eta, or gives no more than that: -inf is returned for it.
    """
    n, step = guess, 1
    from_low = from_high = False
    largest = -np.inf
    while high - low > 1:
        n = min(max(n, low + 1), high - 1)
        m, error, _ = doubted(float(n), i, one)
        if abs(m - eta) <= error:
            low = min(max(by_bits(eta, i, one), low), high - 1)
            largest = np.inf
            break
        if m > eta:
            high, from_high = n, True
        else:
            low, from_low, largest = n, True, m + error
        if from_low != from_high:
            n, step = low + step if from_low else high - step, 2 * step
        else:
            n = low + (high - low) // 2
    return low, largest
