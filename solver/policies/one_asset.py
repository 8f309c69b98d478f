"""Policies `risk` and `factor` in closed form: one demand, every account one entry. There the optimum is water filling.

An account that holds y of asset j alone has sigma = |y| s, s^2 = Sigma_jj, and with its leverage l = |y| / E
    m(l) = H(1 / (l s)) s - S(1 / (l s)) d / p,
the same function for everybody. It rises with l, for L is convex and being taken never raises a leverage: to drain the
largest marginals to one level is to drain the largest leverages to one (Campbell et al. 2026).
Rule: lots go by leverage, which tells accounts apart whose marginals are rounded to one.
"""

from functools import cache

import numpy as np

from solver.loss.model import curves
from solver.objective import Rows, added_up, losses
from solver.policies.factor import levels, one_factor
from solver.policies.isolated import alone, members, waterfill_isolated
from solver.policies.risk import KKT_MAX, columns_of
from solver.risk import RiskModel


def fits(problem, risk):
    """Is this the case of the closed form? Marginals of scenarios may be flat in leverage."""
    return isinstance(risk, RiskModel) and alone(problem)


def marginal(leverage, variance, haircut, tail):
    """m(l), per unit of notional; variance is Sigma_jj, haircut d / p."""
    _, per_exposure, survival, _, _, _ = curves(leverage * leverage * variance, 1.0, tail)
    return per_exposure * leverage * variance - survival * haircut


def minimise_alone(problem, risk, protect_principal, lots, solution):
    """Solve a problem that `fits`; False where the general method has to, which overwrites what was filled."""
    loading, idiosyncratic, model = columns_of(one_factor(risk) if solution.policy == "factor" else risk)
    j = problem.demand_asset[0]
    variance = float(idiosyncratic[j])
    for b in loading[j].tolist():  # BLAS would add them up as the processor likes
        variance += b * b
    level = waterfill_isolated(problem, protect_principal, lots, solution) if variance > 0.0 else None
    solution.level = None
    if level is None:
        return False
    haircut = float(problem.haircut[0] / problem.lot_price[j])
    off = level * (1.0 + solution.kkt_residual)  # the leverage farthest from the level that must stand at it
    price, beside = (marginal(at, variance, haircut, model.tail) for at in (level, off))
    solution.kkt_residual = abs(beside - price) / max(abs(price), 1e-30)
    if solution.kkt_residual > KKT_MAX:
        return False
    solution.shadow_price = np.array([price])
    relaxed = solution.relaxed_lots

    @cache
    def rows():
        asked = members(problem, protect_principal) & (problem.equity > 0)
        return Rows(
            problem.account, problem.asset, problem.quantity_lots, np.where(asked, 0, -1), problem.equity,
            problem.lot_price, problem.haircut, problem.demand_side, loading, idiosyncratic, model,
        )  # fmt: skip

    if solution.policy == "factor" and not haircut:
        available = np.abs(problem.quantity_lots) if problem.available_lots is None else problem.available_lots
        solution.level = levels(rows(), relaxed, available)
    solution.objective = cache(lambda: tuple(added_up(column) for column in losses(rows(), relaxed)))
    return True
