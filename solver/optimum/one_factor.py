"""One factor, no other risk, one demand at the mark: in closed form, the same allocation for any distribution.

The expected loss of an account depends on its factor leverage l = beta . y / E alone, and its marginal rises with l on
the demanded side, through 0 where a hedge turns into its opposite. So the optimum is l = clip(eta, l_0, l_1) between
the leverages with everything and with nothing taken, eta from the demand (Campbell et al. 2026).
"""

import numpy as np
from numba import njit

from solver.loss.model import curves_at_mark
from solver.optimum.core import Optimum

KKT, CLEARING = 1e-9, 1e-12
ULP, PASSES_MAX, CORRECTIONS = 2.3e-16, 300, 2


def fits(demands, model):
    """Is this the case of the closed form?"""
    one = demands.loading.shape == (1, 1) and demands.loading[0, 0] != 0.0 and not model.weight.size
    return one and demands.idiosyncratic[0] == 0.0 and demands.haircut[0] == 0.0


def in_closed_form(candidates, demands, model):
    """Return the Optimum, or None: other positions bring risk of their own, or rounding stands in the way."""
    if candidates.variance.any():
        return None
    beta, asked, total = float(demands.loading[0, 0]), float(demands.asked[0]), float(demands.total[0])
    equity, reach = candidates.equity, abs(beta) * candidates.available
    rest = np.sign(beta) * candidates.factor[:, 0] + abs(beta) * candidates.kept
    eta, passes = find_level(rest, reach, equity, abs(beta) * asked)
    u, w = np.empty(rest.size), np.empty(rest.size)
    clearing = shares(eta, rest, reach, equity, abs(beta) * asked, abs(beta) * (total - asked), u, w)
    price, kkt = certificate(eta, rest, reach, equity, u, w, abs(beta), model.tail)
    if not (kkt <= KKT and clearing <= CLEARING):
        return None
    return Optimum(True, np.array([price]), u, w, kkt, clearing, passes)


@njit(cache=True, error_model="numpy")
def find_level(rest, reach, equity, asked):
    """(eta at which sum clip(rest + reach - eta equity, 0, reach) = asked, passes): Newton's method in a bracket."""
    low, high = np.inf, -np.inf
    for i in range(rest.size):
        low, high = min(low, rest[i] / equity[i]), max(high, (rest[i] + reach[i]) / equity[i])
    eta = 0.5 * (low + high)
    for step in range(PASSES_MAX):
        given = slope = 0.0
        for i in range(rest.size):
            above = rest[i] + reach[i] - eta * equity[i]
            given += min(max(above, 0.0), reach[i])
            slope += equity[i] if 0.0 < above < reach[i] else 0.0
        if given > asked:
            low = eta
        else:
            high = eta
        new = eta + (given - asked) / slope if slope > 0.0 else np.inf
        if given == asked or abs(new - eta) <= ULP * abs(eta):
            return eta, step + 1
        if not low < new < high:
            new = 0.5 * (low + high)
        if new in (low, high):
            return eta, step + 1
        eta = new
    return eta, PASSES_MAX


@njit(cache=True, error_model="numpy")
def shares(eta, rest, reach, equity, asked, kept, u, w):
    """Fill the shares taken u and left w at eta; return the part of the demand that is missed.

    Beside large positions an ulp of eta is much of a small demand: what is missing goes to the open ones as a level
    beside eta would give it.
    """
    for i in range(rest.size):
        u[i] = min(max((rest[i] + reach[i] - eta * equity[i]) / reach[i], 0.0), 1.0)
        w[i] = min(max((eta * equity[i] - rest[i]) / reach[i], 0.0), 1.0)
    missing = 0.0
    for step in range(CORRECTIONS + 1):
        missing, slope = asked if asked <= kept else -kept, 0.0
        for i in range(rest.size):
            missing += -reach[i] * u[i] if asked <= kept else reach[i] * w[i]
            slope += equity[i] if u[i] > 0.0 and w[i] > 0.0 else 0.0
        if step == CORRECTIONS or slope == 0.0:
            break
        for i in range(rest.size):
            if u[i] > 0.0 and w[i] > 0.0:
                more = missing / slope * equity[i] / reach[i]
                if u[i] < 0.5:
                    u[i] = max(u[i] + more, 0.0)
                    w[i] = 1.0 - u[i]
                else:
                    w[i] = max(w[i] - more, 0.0)
                    u[i] = 1.0 - w[i]
    return abs(missing) / asked


@njit(cache=True, error_model="numpy")
def certificate(eta, rest, reach, equity, u, w, beta, tail):
    """(marginal at eta, largest violation relative to the largest marginal there was, beyond rounding)."""
    per_exposure, _ = curves_at_mark(eta * eta, 1.0, tail)
    price = per_exposure * eta * beta
    peak, worst = max(abs(price), 1e-30), 0.0
    for i in range(rest.size):
        before = rest[i] + reach[i]
        per_exposure, _ = curves_at_mark(before * before, equity[i], tail)
        peak = max(peak, per_exposure * abs(before) * beta)
        left = rest[i] + reach[i] * w[i]
        per_exposure, curvature = curves_at_mark(left * left, equity[i], tail)
        off = per_exposure * left * beta - price
        if u[i] == 0.0:
            off = max(off, 0.0)
        elif w[i] == 0.0:
            off = min(off, 0.0)
        noise = 8 * ULP * beta * (per_exposure + abs(curvature) * left * left) * (abs(rest[i]) + reach[i])
        worst = max(worst, abs(off) - noise)
    return price, worst / peak
