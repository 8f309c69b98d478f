"""Policy `risk`: the allocation that leaves the smallest expected loss of all accounts together.

minimise sum_i E[max(0, -(E_i - d.x_i + y_i . R))] over what may be taken, every demand met (Campbell et al. 2026): y_i
the remaining notional of account i, E_i its equity, d haircuts per unit, R the returns over the horizon.
"""

from functools import cache

import numpy as np

from solver import handing
from solver.loss.model import tail_of
from solver.lots_marginal import in_lots
from solver.objective import Rows, added_up, least_marginals, losses
from solver.optimum.account import Model
from solver.optimum.candidates import Gatherer
from solver.optimum.fast import optimise
from solver.policies.factor import levels, one_factor
from solver.risk import RiskModel, Scenarios
from solver.solution import NOT_CONVERGED, OPTIMAL

KKT_MAX = 1e-8


@cache
def tail(nu):
    """The table of a tail, made once in a process."""
    return tail_of(nu)


def unfit(problem, policy, risk):
    """The sentence why these policies cannot run with this risk model, or an empty string."""
    wanted = "RiskModel(...) of one factor" if policy == "factor" else "RiskModel(...) or Scenarios(...)"
    if not isinstance(risk, RiskModel if policy == "factor" else RiskModel | Scenarios):
        return f"policy {policy} needs risk={wanted}"
    assets = risk.loadings.shape[0] if isinstance(risk, RiskModel) else risk.returns.shape[1]
    if assets != problem.mark_price.size:
        return f"the risk model must have one row per asset, {problem.mark_price.size}, had {assets}"
    if policy == "factor" and risk.loadings.shape[1] != 1:
        return f"policy factor needs a risk model of one factor, had {risk.loadings.shape[1]}"
    return ""


def columns_of(risk):
    """(loadings float[M, C], variances float[M], Model): scenarios are factors whose loadings are their returns."""
    if isinstance(risk, Scenarios):
        return np.ascontiguousarray(risk.returns.T), risk.kernel_variance, Model(tail(np.inf), risk.weights)
    return risk.loadings, risk.idiosyncratic, Model(tail(risk.tail), np.zeros(0))


def minimise(problem, demand, asked, relaxed, reduction, risk, solution, threads):
    """Fill `asked` lots per demand from solvent rows; adds to relaxed and reduction (None: relaxed only).

    demand int64[P]: of rows that may be asked, else -1. Return the lots filled per demand.
    """
    loading, idiosyncratic, model = columns_of(one_factor(risk) if solution.policy == "factor" else risk)
    gatherer = Gatherer(problem, demand, asked, problem.available_lots, loading, idiosyncratic, threads)
    held, demands, total = handing.Rows(problem, demand, threads), gatherer.demands, gatherer.total_lots
    z = np.minimum(asked, total)
    whole, price = (z > 0) & (z == total), np.zeros(asked.size)
    solution.kkt_residual, solution.clearing_residual_lots, solution.status = 0.0, 0.0, OPTIMAL
    if demands.index.size:
        optimum, candidates = optimise(gatherer, problem.tie_rank, model)
        free = held.free(candidates.row)
        x = handing.lots_of(free, optimum.u, optimum.w)
        del gatherer  # lots need room as well
        optimum = optimum._replace(u=None, w=None)
        held.give(candidates.row, x, free, relaxed)
        price[demands.index] = optimum.level
        solution.kkt_residual, solution.iterations = float(optimum.kkt), optimum.iterations
        solution.clearing_residual_lots = float(optimum.clearing * z[demands.index].max())
        solution.status = OPTIMAL if optimum.converged and optimum.kkt <= KKT_MAX else NOT_CONVERGED
        if reduction is not None:
            lot = problem.lot_price[problem.demand_asset[demands.index]]
            asked_of = z[demands.index]
            lots = in_lots(candidates, demands, lot, model, x, free, asked_of, optimum.level, threads)
            held.give(candidates.row, lots, free, reduction)
    rows = Rows(
        problem.account, problem.asset, problem.quantity_lots, demand, problem.equity, problem.lot_price,
        problem.haircut, problem.demand_side, loading, idiosyncratic, model,
    )  # fmt: skip
    if whole.any():
        held.give_all(whole, relaxed, reduction)
        price = np.where(whole, least_marginals(rows, relaxed, whole), price)
    solution.shadow_price = price + 0.0  # no minus nothing
    if solution.policy == "factor" and not problem.haircut.any():
        available = np.abs(problem.quantity_lots) if problem.available_lots is None else problem.available_lots
        level = levels(rows, relaxed, available)
        solution.level = np.where(z > 0, level + 0.0, np.inf)
    solution.objective = cache(lambda: tuple(added_up(column) for column in losses(rows, relaxed)))
    return z
