"""One account at a point of its box: exposures, marginals and curvature of its expected loss, in notional.

An item keeps the share w of what may be taken and gives the share u = 1 - w. With side s, scale matrix
Sigma = B B' + diag(D), remaining positions y and haircuts d per notional (Campbell et al. 2026, section 3 for L):
    v = y' Sigma y,  c = s (Sigma y),  E = equity after the haircuts,  L(v, E) the expected loss
    m = -dL/dx = rr c - S d,
    Hessian of L in x = rr s Sigma s + kc c c' + kx (c d' + d c') + kd d d'
where rr, S, kc, kx, kd are what `solver.loss.model.curves` returns for (v, E).

Rule 1: what remains is added up from what is kept, E from what the haircuts leave: no digit is lost near full closure.
Rule 2: kernels take one account at a time; only what is called once per pair of items is inlined.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.model import curves
from solver.optimum.mixture import evaluate_mixture

ULP = 2.3e-16


class Model(NamedTuple):
    """A loss model as the kernels take it."""

    tail: np.ndarray  # of `solver.loss.model.tail_of`
    weight: np.ndarray  # float[S] of scenarios, whose returns are then the loadings; empty for an elliptical model


def least_equity(candidates, demands):
    """Candidates whose equity is the least in the box, every haircut above 0 paid; above 0 against rounding.

    From there E is a sum of terms above 0: an account that the haircuts bring to the edge has no digit to lose.
    """
    k, holder = candidates.demand, np.repeat(np.arange(candidates.account.size), np.diff(candidates.start))
    haircut = np.maximum(demands.haircut[k], 0.0) * candidates.available
    paid = np.bincount(holder, haircut, candidates.account.size)
    # The eligibility filter leaves at least 0; where nothing is left, L would have a kink at full closure.
    least = np.maximum(candidates.equity - paid, 1e-15 * np.abs(candidates.equity))
    return candidates._replace(equity=np.where(paid > 0.0, least, candidates.equity))


@njit(cache=True, error_model="numpy", inline="always")
def remaining(p, candidates, w):
    """Signed notional of item p that is left, on its side, less the account's other leg of the asset."""
    rest = candidates.kept[p] + candidates.available[p] * w[p]
    other = candidates.mirror[p]
    return rest - (candidates.kept[other] + candidates.available[other] * w[other]) if other >= 0 else rest


@njit(cache=True, error_model="numpy")
def exposure(i, candidates, demands, elliptical, u, w, factor, c):
    """Return (v, E) of account i; fills c float[n] and factor float[F], its factor exposures.

    candidates as `least_equity` gives them. Factors that are scenarios, not elliptical, are no part of v and c.
    """
    first, last = candidates.start[i], candidates.start[i + 1]
    variance, equity = candidates.variance[i], candidates.equity[i]
    for f in range(factor.size):
        factor[f] = candidates.factor[i, f]
    for p in range(first, last):
        k = candidates.demand[p]
        rest = candidates.kept[p] + candidates.available[p] * w[p]
        for f in range(factor.size):
            factor[f] += rest * demands.loading[k, f]
        net = remaining(p, candidates, w)
        c[p - first] = demands.idiosyncratic[k] * net
        if candidates.mirror[p] < p:  # the two legs of an asset are one net position
            variance += c[p - first] * net
        haircut = demands.haircut[k] * candidates.available[p]
        equity += haircut * w[p] if haircut > 0.0 else -haircut * u[p]
    if elliptical:
        for f in range(factor.size):
            variance += factor[f] * factor[f]
        for p in range(first, last):
            k = candidates.demand[p]
            for f in range(factor.size):
                c[p - first] += demands.loading[k, f] * factor[f]
    return variance, equity


@njit(cache=True, error_model="numpy")
def _rounding(i, candidates, demands, tail, w, variance, equity, shape, factor, gross, c, bound):
    """Fill bound float[I]: a few ulp of the sizes of all terms that make up each marginal of account i.

    factor and c as `exposure` left them; gross float[F] is scratch; shape the tuple (loss, rr, survival, kc, kx, kd).
    Where the variance is itself rounding, a marginal is anything that its H sqrt(Sigma_jj) allows.
    """
    _, rr, survival, kc, kx, kd = shape
    first, last = candidates.start[i], candidates.start[i + 1]
    for f in range(gross.size):
        gross[f] = abs(candidates.factor[i, f])
    of_equity, of_variance = abs(equity), candidates.variance[i]
    for p in range(first, last):
        k, other = candidates.demand[p], candidates.mirror[p]
        size = abs(candidates.kept[p]) + candidates.available[p] * w[p]
        of_equity += abs(demands.haircut[k]) * candidates.available[p] * (1.0 - w[p])
        for f in range(gross.size):
            gross[f] += size * abs(demands.loading[k, f])
        if other < p:  # the two legs of an asset are one net position
            if other >= 0:
                size += abs(candidates.kept[other]) + candidates.available[other] * w[other]
            of_variance += demands.idiosyncratic[k] * size * (abs(remaining(p, candidates, w)) + 4 * ULP * size)
    for f in range(gross.size):
        of_variance += gross[f] * (abs(factor[f]) + 4 * ULP * gross[f])
    vague = variance < 16 * ULP * of_variance
    height, most = 0.0, 0.0
    if vague:
        blurred = variance + 4 * ULP * of_variance
        _, height, most, _, _, _ = curves(blurred, equity, tail)
        height *= 2.0 * math.sqrt(blurred)
    for p in range(first, last):
        k, other = candidates.demand[p], candidates.mirror[p]
        d, unit = abs(demands.haircut[k]), demands.idiosyncratic[k]
        size = abs(candidates.kept[p]) + candidates.available[p] * w[p]
        if other >= 0:
            size += abs(candidates.kept[other]) + candidates.available[other] * w[other]
        size *= demands.idiosyncratic[k]
        for f in range(gross.size):
            size += abs(demands.loading[k, f]) * gross[f]
            unit += demands.loading[k, f] * demands.loading[k, f]
        of_state = abs(kc * c[p - first]) * of_variance + (abs(kx * c[p - first]) + kd * d) * of_equity
        bound[p] = 8 * ULP * (rr * size + survival * d) + 2 * ULP * of_state
        if vague:
            bound[p] = min(bound[p], height * math.sqrt(unit) + most * d)


@njit(cache=True, error_model="numpy")
def evaluate(i, candidates, demands, model, u, w, scratch, c, H, m, bound):
    """Fill marginals m float[I] and their rounding for account i; return (v, its curves).

    scratch float[2, F]; c float[n] and, of scenarios, H float[n, n] stay for the Hessian; H may have no elements.
    """
    variance, equity = exposure(i, candidates, demands, model.weight.size == 0, u, w, scratch[0], c)
    if model.weight.size > 0:
        return evaluate_mixture(
            i, candidates, demands, model, w, variance, equity, scratch[0], scratch[1], c, H, m, bound
        )
    shape = curves(variance, equity, model.tail)
    first = candidates.start[i]
    for p in range(first, candidates.start[i + 1]):
        m[p] = shape[1] * c[p - first] - shape[2] * demands.haircut[candidates.demand[p]]
    _rounding(i, candidates, demands, model.tail, w, variance, equity, shape, scratch[0], scratch[1], c, bound)
    return variance, shape


@njit(cache=True, error_model="numpy")
def hessian(i, candidates, demands, shape, c, theta, free, second, n, K):
    """Fill the upper triangle of K[:n, :n]: Hessian and diagonal theta[I] in the items free[:n] of account i.

    An item with a `second` >= 0 stands for taking that item, the other leg of its asset, and itself alike.
    """
    _, rr, _, kc, kx, kd = shape
    first = candidates.start[i]
    for x in range(n):
        p = free[x]
        cx, dx = c[p - first], demands.haircut[candidates.demand[p]]
        if second[p] >= 0:
            cx, dx = 0.0, dx + demands.haircut[candidates.demand[second[p]]]
        for z in range(x, n):
            o = free[z]
            cz, dz = c[o - first], demands.haircut[candidates.demand[o]]
            scale = 0.0
            if second[o] >= 0:
                cz, dz = 0.0, dz + demands.haircut[candidates.demand[second[o]]]
            elif second[p] < 0:
                for f in range(demands.loading.shape[1]):
                    scale += demands.loading[candidates.demand[p], f] * demands.loading[candidates.demand[o], f]
                if p == o:
                    scale += demands.idiosyncratic[candidates.demand[p]]
            K[x, z] = rr * scale + kc * cx * cz + kx * (cx * dz + dx * cz) + kd * dx * dz
            if second[o] == p or second[p] == o:
                K[x, z] += theta[second[p] if second[p] >= 0 else p]
        K[x, x] = max(K[x, x], 0.0) + theta[p]
        if second[p] >= 0:
            K[x, x] += theta[second[p]]
