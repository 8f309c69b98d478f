"""The general method reaches the optimum of every shape: certified in plain numpy on the problem's rows."""

import math

import numpy as np
import pytest

from solver.loss.model import tail_of
from solver.optimum.account import Model
from solver.optimum.candidates import gather
from solver.optimum.core import solve_core
from tests.solver import shapes

NODES, WEIGHTS = np.polynomial.legendre.leggauss(120)


def height_and_survival(k, nu):
    """H and S of the standard variable, from their definitions; arrays."""
    if nu == math.inf:
        density = np.exp(-0.5 * k * k) / math.sqrt(2 * math.pi)
        return density, np.array([0.5 * math.erfc(x / math.sqrt(2)) for x in k])
    constant = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(nu * math.pi)
    density = constant * (1 + k * k / nu) ** (-(nu + 1) / 2)
    # t = k + (1 + |k|) s / (1 - s), s in 0..1: algebraic in s
    s = 0.5 * (NODES + 1)
    t = np.abs(k)[:, None] + (1 + np.abs(k))[:, None] * (s / (1 - s))
    area = constant * (1 + t * t / nu) ** (-(nu + 1) / 2) * (1 + np.abs(k))[:, None] / (1 - s) ** 2
    beyond = 0.5 * (area * WEIGHTS).sum(axis=1)
    return density * (nu + k * k) / (nu - 1), np.where(k >= 0, beyond, 1 - beyond)


def demand_of_rows(problem):
    """The demand of every row that may be asked, else -1: the right side, solvent, able to pay the haircut."""
    p = problem
    demand = p.demand_of[2 * p.asset + (p.quantity_lots < 0)]
    free = free_lots(p)
    gross = np.bincount(p.account, np.abs(p.quantity_lots) * p.lot_price[p.asset], p.equity.size)
    cut = np.where(demand >= 0, p.haircut[demand] / p.lot_price[p.asset], 0.0)
    own = p.equity[p.account]
    able = (cut <= 0) | (cut * gross[p.account] < own)
    return np.where((demand >= 0) & (free > 0) & (own > 0) & able, demand, -1)


def free_lots(problem):
    return np.abs(problem.quantity_lots) if problem.available_lots is None else problem.available_lots


def solved(problem, risk):
    """Return (demand of rows, lots asked, Candidates, Demands, Optimum or None)."""
    demand = demand_of_rows(problem)
    asked = np.where(np.bincount(demand[demand >= 0], minlength=problem.demand_lots.size) > 0, problem.demand_lots, 0)
    candidates, demands = gather(problem, demand, asked, free_lots(problem), risk.loadings, risk.idiosyncratic)
    if not demands.index.size:
        return demand, asked, candidates, demands, None
    model = Model(tail_of(risk.tail), np.zeros(0))
    return demand, asked, candidates, demands, solve_core(candidates, demands, model)


def certificate(problem, risk, demand, asked, candidates, demands, optimum):
    """(largest violation relative to the design's scale, the same relative to lambda, worst clearing error in lots)."""
    p = problem
    M, N = p.mark_price.size, p.equity.size
    free, price = free_lots(p), p.lot_price[p.asset]
    total = np.bincount(demand[demand >= 0], free[demand >= 0], p.demand_lots.size)
    closed = (demand >= 0) & (asked >= total)[demand] & (asked > 0)[demand]
    taken, left = np.where(closed, free, 0.0), np.where(closed, 0.0, free.astype(float))
    taken[candidates.row] = free[candidates.row] * optimum.u
    left[candidates.row] = free[candidates.row] * optimum.w
    y = np.zeros((N, M))
    gross = np.zeros((N, M))
    remaining = (np.abs(p.quantity_lots) - free + left) * price
    np.add.at(y, (p.account, p.asset), np.sign(p.quantity_lots) * remaining)
    np.add.at(gross, (p.account, p.asset), remaining)
    cut = np.where(demand >= 0, p.haircut[demand] / price, 0.0)
    equity = p.equity - np.bincount(p.account, cut * taken * price, N)
    paid = np.bincount(p.account, np.abs(cut) * taken * price, N) + np.abs(p.equity)
    B, D = risk.loadings, risk.idiosyncratic
    sigma_y = (y @ B) @ B.T + y * D
    sigma = np.sqrt(((y @ B) ** 2).sum(axis=1) + (y * y * D).sum(axis=1))
    k = np.divide(equity, sigma, out=np.full(N, 1e150), where=sigma > 1e-150 * np.abs(equity))
    H, S = height_and_survival(np.clip(k, -1e150, 1e150), risk.tail)
    per_sigma = np.divide(H, sigma, out=np.zeros(N), where=sigma > 0)
    i, j, d = p.account[candidates.row], p.asset[candidates.row], demands.haircut[candidates.demand]
    m = per_sigma[i] * p.demand_side[demand[candidates.row]] * sigma_y[i, j] - S[i] * d
    terms = (gross @ np.abs(B)) @ np.abs(B).T + gross * D
    power = 1 + (np.minimum(k * k, 1e30) if risk.tail == math.inf else risk.tail)  # of m in sigma and in E
    off = np.divide((gross * terms).sum(axis=1), sigma * sigma, out=np.ones(N), where=sigma > 0)  # of sigma, in ulp
    part = np.divide(paid, np.abs(equity), out=np.ones(N), where=equity != 0)
    blurred = sigma + 1e-15 * np.sqrt((gross * terms).sum(axis=1))  # a net of 0 is one within rounding
    k_blurred = np.divide(equity, blurred, out=np.full(N, 1e150), where=blurred > 0)
    at_most = np.divide(height_and_survival(k_blurred, risk.tail)[0], blurred, out=np.zeros(N), where=blurred > 0)
    noise = 2e-15 * (np.maximum(per_sigma, at_most)[i] * terms[i, j] + S[i] * np.abs(d))
    noise += 4e-16 * (power * (off + part))[i] * (np.abs(per_sigma[i] * sigma_y[i, j]) + H[i] * np.abs(d))
    level = optimum.level[candidates.demand]
    over = m - level
    wrong = np.where(optimum.u <= 0, np.maximum(over, 0), np.where(optimum.w <= 0, np.maximum(-over, 0), np.abs(over)))
    wrong = np.maximum(wrong - noise, 0)
    scale = np.zeros(demands.index.size)
    unit = np.sqrt((B * B).sum(axis=1) + D)
    np.maximum.at(scale, candidates.demand, H[i] * unit[j])
    scale = np.maximum(scale[candidates.demand], 1e-30)
    met = np.bincount(candidates.demand, taken[candidates.row], demands.index.size) - asked[demands.index]
    return (
        (wrong / np.maximum(np.abs(level), scale)).max(),
        (wrong / np.maximum(np.abs(level), 1e-10 * scale)).max(),
        np.abs(met / asked[demands.index]).max(),
    )


@pytest.mark.parametrize("tail", [4.0, math.inf, 2.5])
def test_every_shape_is_solved(tail):
    """Converged, certified and cleared, whatever the shape."""
    for seed in range(10 * len(shapes.SHAPES)):
        problem, risk = shapes.problem(seed, tail)
        *context, optimum = solved(problem, risk)
        if optimum is None:
            continue
        assert optimum.converged, (seed, optimum)
        kkt, _, uncleared = certificate(problem, risk, *context, optimum)
        assert kkt <= 1e-8, (seed, kkt)
        assert uncleared <= 1e-9, (seed, uncleared)
        assert ((optimum.u >= 0) & (optimum.u <= 1) & (optimum.w >= 0) & (optimum.w <= 1)).all(), seed
