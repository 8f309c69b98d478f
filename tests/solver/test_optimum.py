"""The general method reaches the optimum of every shape, certified in plain numpy on the problem's rows."""

import math
from functools import cache

import numpy as np
import pytest

from solver import Problem, RiskModel, Scenarios
from solver.loss.model import tail_of
from solver.optimum.account import Model
from solver.optimum.candidates import gather
from solver.optimum.core import solve_core
from tests.solver import shapes
from tests.solver.thinning import thin

tail = cache(tail_of)
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
    if isinstance(risk, RiskModel):
        loading, variance, model = risk.loadings, risk.idiosyncratic, Model(tail(risk.tail), np.zeros(0))
    else:
        loading, variance = np.ascontiguousarray(risk.returns.T), risk.kernel_variance
        model = Model(tail(math.inf), risk.weights)
    candidates, demands = gather(problem, demand, asked, free_lots(problem), loading, variance)
    if not demands.index.size:
        return demand, asked, candidates, demands, None
    return demand, asked, candidates, demands, solve_core(candidates, demands, model)


def remaining(problem, demand, asked, candidates, optimum):
    """(notional with its sign and gross float[N, M], equity and what went into it float[N], lots taken float[P])."""
    p = problem
    N, M = p.equity.size, p.mark_price.size
    free, price = free_lots(p), p.lot_price[p.asset]
    total = np.bincount(demand[demand >= 0], free[demand >= 0], p.demand_lots.size)
    closed = (demand >= 0) & (asked >= total)[demand] & (asked > 0)[demand]
    taken, left = np.where(closed, free, 0.0), np.where(closed, 0.0, free.astype(float))
    taken[candidates.row] = free[candidates.row] * optimum.u
    left[candidates.row] = free[candidates.row] * optimum.w
    y, gross = np.zeros((N, M)), np.zeros((N, M))
    size = (np.abs(p.quantity_lots) - free + left) * price
    np.add.at(y, (p.account, p.asset), np.sign(p.quantity_lots) * size)
    np.add.at(gross, (p.account, p.asset), size)
    cut = np.where(demand >= 0, p.haircut[demand] / price, 0.0) * taken * price
    equity = p.equity - np.bincount(p.account, cut, N)
    return y, gross, equity, np.abs(p.equity) + np.bincount(p.account, np.abs(cut), N), taken


def ratio(a, b, otherwise=0.0):
    """a / b, and `otherwise` where b is 0."""
    return np.divide(a, b, out=np.full(np.broadcast(a, b).shape, otherwise), where=b != 0)


def elliptical(risk, y, gross, equity, parts, i, j, side, d):
    """(m, its rounding, H) per item: account i, asset j, side, haircut d per notional."""
    B, D = risk.loadings, risk.idiosyncratic
    sigma_y = (y @ B) @ B.T + y * D
    terms = (gross @ np.abs(B)) @ np.abs(B).T + gross * D
    sigma = np.sqrt(((y @ B) ** 2).sum(axis=1) + (y * y * D).sum(axis=1))
    k = np.clip(ratio(equity, sigma, 1e150), -1e150, 1e150)
    H, S = height_and_survival(k, risk.tail)
    per_sigma = ratio(H, sigma)
    m = per_sigma[i] * side * sigma_y[i, j] - S[i] * d
    power = 1 + (np.minimum(k * k, 1e30) if risk.tail == math.inf else risk.tail)  # of m in sigma and in E
    off = ratio((gross * terms).sum(axis=1), sigma * sigma, 1.0)  # of sigma, in ulp
    blurred = sigma + 1e-15 * np.sqrt((gross * terms).sum(axis=1))  # a net of 0 is one within rounding
    at_most = ratio(height_and_survival(ratio(equity, blurred, 1e150), risk.tail)[0], blurred)
    noise = 2e-15 * (np.maximum(per_sigma, at_most)[i] * terms[i, j] + S[i] * np.abs(d))
    steep = power * (off + ratio(parts, np.abs(equity), 1.0))
    noise += 4e-16 * steep[i] * (np.abs(per_sigma[i] * sigma_y[i, j]) + H[i] * np.abs(d))
    return m, noise, (H[:, None] * np.sqrt((B * B).sum(axis=1) + D))[i, j]


def mixture(risk, y, gross, equity, parts, i, j, side, d):
    """The same of scenarios, with the largest earning in place of sqrt(Sigma_jj)."""
    R, D = risk.returns, risk.kernel_variance
    sigma = np.sqrt((y * y * D).sum(axis=1))[:, None]
    k = np.clip(ratio(equity[:, None] + y @ R.T, sigma, 1e9), -1e9, 1e9)
    H, S = height_and_survival(k.ravel(), math.inf)
    H, S = H.reshape(k.shape) * risk.weights, S.reshape(k.shape) * risk.weights
    per_sigma = ratio(H.sum(axis=1), sigma[:, 0])
    m = per_sigma[i] * side * y[i, j] * D[j] - (S[i] * (d[:, None] + side[:, None] * R.T[j])).sum(axis=1)
    size = per_sigma[i] * gross[i, j] * D[j] + (S[i] * (np.abs(d)[:, None] + np.abs(R.T[j]))).sum(axis=1)
    off = (1 + k * k) * (1 + ratio(parts[:, None] + gross @ np.abs(R.T), sigma))
    step = np.abs(ratio(gross[i, j] * D[j], sigma[i, 0]))[:, None] + np.abs(d)[:, None] + np.abs(R.T[j])
    return m, 1e-14 * (size + (H[i] * off[i] * step).sum(axis=1)), size


def certificate(problem, risk, demand, asked, candidates, demands, optimum):
    """(largest violation beside the largest marginal that could be, the same beside lambda, worst clearing error)."""
    p = problem
    y, gross, equity, parts, taken = remaining(p, demand, asked, candidates, optimum)
    of = elliptical if isinstance(risk, RiskModel) else mixture
    items = (
        p.account[candidates.row], p.asset[candidates.row], p.demand_side[demand[candidates.row]],
        demands.haircut[candidates.demand],
    )  # fmt: skip
    m, noise, height = of(risk, y, gross, equity, parts, *items)
    untouched = optimum._replace(u=np.zeros_like(optimum.u), w=np.ones_like(optimum.w))
    height = np.maximum(height, of(risk, *remaining(p, demand, asked, candidates, untouched)[:4], *items)[2])
    level = optimum.level[candidates.demand]
    over = m - level
    wrong = np.where(optimum.u <= 0, np.maximum(over, 0), np.where(optimum.w <= 0, np.maximum(-over, 0), np.abs(over)))
    wrong = np.maximum(wrong - noise, 0)
    scale = np.full(demands.index.size, 1e-30)
    np.maximum.at(scale, candidates.demand, height)
    scale = scale[candidates.demand]
    met = np.bincount(candidates.demand, taken[candidates.row], demands.index.size) - asked[demands.index]
    return (
        (wrong / np.maximum(np.abs(level), scale)).max(),
        (wrong / np.maximum(np.abs(level), 1e-10 * scale)).max(),
        np.abs(met / asked[demands.index]).max(),
    )


def check(seed, problem, risk):
    """Solved, certified and cleared."""
    *context, optimum = solved(problem, risk)
    if optimum is None:
        return
    assert optimum.converged, (seed, optimum.kkt, optimum.clearing)
    kkt, _, uncleared = certificate(problem, risk, *context, optimum)
    assert kkt <= 1e-8, (seed, kkt)
    assert uncleared <= 1e-9, (seed, uncleared)
    assert ((optimum.u >= 0) & (optimum.u <= 1) & (optimum.w >= 0) & (optimum.w <= 1)).all(), seed


@pytest.mark.parametrize("tail", [4.0, math.inf, 2.5])
def test_every_shape_is_solved(tail):
    """Converged, certified and cleared, whatever the shape and the tail."""
    for seed in thin(range(8 * len(shapes.SHAPES))):
        check(seed, *shapes.problem(seed, tail))


def test_scenarios_are_solved():
    """The same where the loss is a mixture of scenarios."""
    for seed in thin(range(2 * len(shapes.SHAPES))):
        rng = np.random.default_rng(seed)
        problem, _ = shapes.problem(seed)
        M = problem.mark_price.size
        returns = 0.05 * rng.standard_t(4, size=(40, 1)) + 0.03 * rng.standard_t(4, size=(40, M))
        check(seed, problem, Scenarios(returns, rng.dirichlet(np.ones(40)), np.full(M, 0.01**2)))


def test_accounts_of_many_positions():
    """Accounts with more than a hundred items in as many demands."""
    rng = np.random.default_rng(1)
    n, m = 12, 240
    account, asset = np.repeat(np.arange(n), m), np.tile(np.arange(m), n)
    quantity = np.rint(np.exp(rng.normal(8, 1, n * m))).astype(np.int64) * rng.choice([-1, 1], n * m)
    equity = np.bincount(account, np.abs(quantity)) / np.exp(rng.normal(1, 0.7, n))
    longs = np.bincount(asset[quantity > 0], quantity[quantity > 0], m)
    problem = Problem(
        account, asset, quantity, equity, np.ones(m),
        demand_asset=np.arange(m), demand_side=np.ones(m, int), demand_lots=np.rint(0.3 * longs),
    )  # fmt: skip
    loadings = np.column_stack([np.full(m, 0.05), 0.02 * rng.normal(size=m)])
    check(1, problem, RiskModel(loadings, (0.02 + 0.04 * rng.random(m)) ** 2))


def test_two_legs_give_as_if_they_were_one():
    """Accounts long and short one asset: with both sides demanded, who is hedged gives both legs alike."""
    account, asset = np.array([0, 0, 1, 1]), np.zeros(4, np.int64)
    problem = Problem(
        account, asset, [1000, -1000, 1000, -1000], [100.0, 100.0], [1.0],
        demand_asset=[0, 0], demand_side=[1, -1], demand_lots=[500, 500],
    )  # fmt: skip
    *_, optimum = solved(problem, RiskModel(np.full((1, 1), 0.05), np.array([1e-4])))
    assert optimum.converged
    assert abs(optimum.u - 0.25).max() <= 1e-9
    assert abs(optimum.level).max() <= 1e-12
