"""Scenario losses, marginals and curvature against mpmath, far from where an account usually stands."""

import math

import mpmath
import numpy as np
import pytest

from solver.loss.model import tail_of
from solver.loss.scenarios import evaluate

GAUSSIAN = tail_of(math.inf)
NEAR, ULP = 1e-10, 2.0**-52
FAINT = 1e-190  # below it order is kept, not values: model.py, rule 2
KERNELS = {
    "narrow": [1e-9, 1e-9, 1e-9],
    "usual": [0.02, 0.01, 0.05],
    "wide": [3.0, 9.0, 1.0],
    "one asset without": [0.02, 0.0, 0.03],
    "one asset with": [0.0, 0.0, 1e-3],
}
SCENARIOS = {
    "one": ([[0.03, -0.02, 0.05]], [1.0]),
    "one that stays": ([[0.0, 0.0, 0.0]], [1.0]),
    "a crash": ([[-0.4, -0.6, -0.5], [0.01, 0.02, -0.01], [1e-4, 0.0, -1e-4]], [1e-6, 0.7, 0.299999]),
    "some never": ([[-0.1, 0.2, 0.1], [-0.9, 3.0, 4.0], [0.02, -0.01, 0.0]], [0.4, 0.0, 0.6]),
}
HELD = np.array([4.0, -2.5, 1.5])  # notional, the first two demanded on the side that they are on
SIDE = np.array([1.0, -1.0])
HAIRCUT = np.array([0.01, -0.02])


def true_values(equity, held, returns, weights, kernel):
    """(L, m, Hessian) and what each may be off by: 1e-10 of the terms added up, and the rounding of every E + y.R_s."""
    mp = mpmath.mpf
    y, D, d = [mp(v) for v in held], [mp(v) for v in kernel], [mp(v) for v in HAIRCUT]
    sigma = mpmath.sqrt(mpmath.fsum(D[j] * y[j] ** 2 for j in range(3)))
    c = [mp(s) * D[i] * y[i] / sigma for i, s in enumerate(SIDE)]  # x_i moves sigma by -c_i
    loss, m, H = mp(0), np.zeros(2, object), np.zeros((2, 2), object)
    off, m_off, H_off = mp(0), np.zeros(2, object), np.zeros((2, 2), object)
    for R, w in zip(returns, weights, strict=True):
        worth = [mp(equity), *(mp(R[j]) * y[j] for j in range(3))]
        k = mpmath.fsum(worth) / sigma
        dk = ULP * (abs(k) + mpmath.fsum(abs(v) for v in worth) / sigma)
        g, S = w * mpmath.npdf(k), w * mpmath.erfc(k / mpmath.sqrt(2)) / 2
        f = [d[i] + mp(s) * mp(R[i]) for i, s in enumerate(SIDE)]
        loss += sigma * (g - k * S)
        off += sigma * S * dk
        for i in range(2):
            m[i] += g * c[i] - S * f[i]
            m_off[i] += NEAR * (abs(g * c[i]) + abs(S * f[i])) + g * (abs(k * c[i]) + abs(f[i])) * dk
            for j in range(2):
                own = D[i] * (i == j) - c[i] * c[j]
                H[i, j] += g / sigma * (own + (k * c[i] - f[i]) * (k * c[j] - f[j]))
                terms = abs(own) + (abs(k * c[i]) + abs(f[i])) * (abs(k * c[j]) + abs(f[j]))
                H_off[i, j] += g / sigma * terms * (NEAR + (2 + abs(k)) * dk)
    return loss, m, H, NEAR * loss + off, m_off + FAINT, H_off + FAINT


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e12])
@pytest.mark.parametrize("scenarios", SCENARIOS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_scenarios_agree_with_mpmath(kernel, scenarios, scale):
    """Loss, marginals and Hessian of the rich, the poor and the ruined, of dust and of billions."""
    returns, weights = (np.array(a) for a in SCENARIOS[scenarios])
    D, held = np.array(KERNELS[kernel]) ** 2, scale * HELD
    loading, cross = np.ascontiguousarray(SIDE[:, None] * returns[:, :2].T), SIDE * D[:2] * held[:2]
    m, size, hessian = np.empty(2), np.empty(2), np.empty((2, 2))
    checked = 0
    for leverage in (-1e6, -3.0, -0.1, 0.0, 1e-9, 0.05, 0.4, 1.0, 3.0, 20.0, 1e5):
        loss, rr = evaluate(
            scale * leverage, float(np.sum(D * held * held)), returns @ held, weights, loading, np.arange(2), cross,
            HAIRCUT, GAUSSIAN, m, size, hessian,
        )  # fmt: skip
        assert np.isfinite([loss, rr, *m, *size, *hessian.ravel()]).all()
        assert (size >= (1 - 1e-15) * np.abs(m)).all()
        with mpmath.workprec(200):
            true, true_m, true_H, off, m_off, H_off = true_values(scale * leverage, held, returns, weights, D)
            if true >= FAINT * scale:
                checked += 1
                assert abs(loss - true) <= off
                assert (abs(m - true_m) <= m_off).all()
                assert (abs(hessian + rr * np.diag(D[:2]) - true_H) <= H_off).all()
            else:
                assert 0 <= loss <= 1e-100 * scale
    assert checked >= 2
