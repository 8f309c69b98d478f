"""Expected loss under weighted scenarios of returns, each blurred by a Gaussian kernel.

With R_s the returns of scenario s, w_s its weight, D the kernel's variances, sigma^2 = sum_j D_j y_j^2 and
E_s = E + y.R_s what an account is worth in s:
    L = sum_s w_s sigma h(E_s / sigma),   h of the normal distribution.
One scenario is the elliptical case of model.py with scale matrix diag(D), equity E_s and haircuts f_s = dl + q_s, where
q_is = s_i R_sj is what a unit of item i earns in s; sums over scenarios give the marginals and the Hessian.
Rule 1: scenarios are factors. What model.py's callers keep as factor exposure B'y is here the vector y.R_s, with
loading[k, s] = s_k R_sj; nothing else about an account is needed.
Rule 2: without a kernel (sigma = 0) L is piecewise linear: no curvature, and half of the slope's jump at a kink.
"""

import numpy as np
from numba import njit

from solver.loss.model import curves


@njit(cache=True, error_model="numpy", inline="always")
def _scenario(variance, equity, tail):
    """curves of one scenario, and their limit for variance 0."""
    if variance > 0.0:
        return curves(variance, equity, tail)
    survival = 0.0 if equity > 0.0 else (1.0 if equity < 0.0 else 0.5)
    return max(0.0, -equity), 0.0, survival, 0.0, 0.0, 0.0


@njit(cache=True, error_model="numpy")
def expected_loss(equity, variance, exposure, weights, tail):
    """L of one account; arguments as in `evaluate`."""
    loss = 0.0
    for s in range(weights.size):
        loss += weights[s] * _scenario(variance, equity + exposure[s], tail)[0]
    return loss


@njit(cache=True, error_model="numpy")
def evaluate(equity, variance, exposure, weights, loading, demand, cross, haircut, tail, marginal, size, hessian):
    """Return (loss, rr) of one account and write what its I items do to it.

    equity after the haircuts of what is taken; variance sum_j D_j y_j^2; exposure float[S] y.R_s; weights float[S];
    loading float[K, S] per demand, demand int64[I] of each item, cross float[I] s_i D_j y_j, haircut float[I] per
    notional; tail = tail_of(math.inf). Written: marginal float[I]; size float[I], the sum of the absolute values of its
    terms; hessian float[I, I] but for rr s D s (D_j on the diagonal, -D_j between an item and its mirror), or nothing
    where it has no elements.
    """
    scenarios, items = weights.size, demand.size
    survival, turn, density = np.empty(scenarios), np.empty(scenarios), np.empty(scenarios)
    loss = rr = kc = total = total_turn = 0.0
    for s in range(scenarios):
        w = weights[s]
        loss_s, rr_s, survival_s, kc_s, kx_s, kd_s = _scenario(variance, equity + exposure[s], tail)
        survival[s], turn[s], density[s] = w * survival_s, w * kx_s, w * kd_s
        loss += w * loss_s
        rr += w * rr_s
        kc += w * kc_s
        total += survival[s]
        total_turn += turn[s]
    turned = np.empty(items)
    for i in range(items):
        earned = loading[demand[i]]
        pull = pulled = turned_i = 0.0
        for s in range(scenarios):
            pull += survival[s] * earned[s]
            pulled += survival[s] * abs(earned[s])
            turned_i += turn[s] * earned[s]
        marginal[i] = rr * cross[i] - (haircut[i] * total + pull)
        size[i] = abs(rr * cross[i]) + abs(haircut[i]) * total + pulled
        turned[i] = turned_i + haircut[i] * total_turn
    if hessian.size:
        for i in range(items):
            for j in range(i + 1):
                bent = _bent(density, loading[demand[i]], haircut[i], loading[demand[j]], haircut[j])
                value = kc * cross[i] * cross[j] + (cross[i] * turned[j] + turned[i] * cross[j]) + bent
                hessian[i, j] = hessian[j, i] = value
    return loss, rr


@njit(cache=True, error_model="numpy")
def _bent(density, earned, haircut, earned_too, haircut_too):
    """Sum over scenarios of kd f f' for two items."""
    value = 0.0
    for s in range(density.size):
        value += density[s] * (haircut + earned[s]) * (haircut_too + earned_too[s])
    return value
