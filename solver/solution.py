"""What a solve gives back. A field that has no meaning for a policy is None; nothing is ever NaN."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numba import njit

OPTIMAL = "OPTIMAL"  # every demand met and the certificate holds
RESIDUAL = "RESIDUAL"  # everything eligible was taken where residual_lots > 0; the certificate holds
NOT_CONVERGED = "NOT_CONVERGED"  # feasible and exact in lots, but the certificate is not within its bound
INVALID = "INVALID"  # the arguments of the policy do not fit; .reason says which


@dataclass
class Solution:
    """Reductions in lots and relaxed, with the level that certifies them.

    `level` of a demand is the largest leverage, after all reductions in whole lots, of a solvent account that has lots
    left which may be asked in it: nobody with lots left, taken or untouched, stands above it, not even by one lot.
    Where nobody has lots left it is the smallest leverage left, where solvent accounts were asked for nothing it is
    infinite. With lots=False it is the same of the relaxed reductions: the water level. For one demand, whoever was
    taken gave the fewest lots that bring it to the level or below (equal ones by tie rank). Of `factor` at the
    mark it is the factor leverage, relaxed.
    """

    status: str
    policy: str
    options: dict = field(default_factory=dict)
    reason: str = ""
    reduction_lots: np.ndarray | None = None  # int64[P]
    relaxed_lots: np.ndarray | None = None  # float[P]
    residual_lots: np.ndarray | None = None  # int64[K], demanded but not there
    insolvent_lots: np.ndarray | None = None  # int64[K], taken from insolvent accounts first
    level: np.ndarray | None = None  # float[K]
    shadow_price: np.ndarray | None = None  # float[K]
    score: np.ndarray | None = None  # float[P], queues only
    kkt_residual: float | None = None
    clearing_residual_lots: float | None = None
    # Gives the two below when somebody asks: a pass over the whole book.
    objective: Callable[[], tuple[float, float]] | None = None
    iterations: int = 0

    @property
    def objective_before(self):
        """Expected loss over solvent accounts before anything is taken; None without a risk model."""
        return None if self.objective is None else self.objective()[0]

    @property
    def objective_after(self):
        """Expected loss over solvent accounts after the relaxed reductions; None without a risk model."""
        return None if self.objective is None else self.objective()[1]


def invalid(policy, options, reason):
    """A solution that says why the policy could not run on these arguments."""
    return Solution(status=INVALID, policy=policy, options=options, reason=reason)


@njit(cache=True, error_model="numpy")
def _gross(account, asset, lots, lot_price, out):
    for row in range(account.size):
        out[account[row]] += abs(lots[row]) * lot_price[asset[row]]


def leverage(problem, reduction_lots=None):
    """Gross notional over equity per account, float[N], after settling `reduction_lots` where they are given.

    Infinite where something is held on equity that is not positive; 0 where nothing is held. For reports, not ties.
    """
    held = problem.held_lots()
    equity = problem.equity
    if reduction_lots is not None:
        taken = np.asarray(reduction_lots)
        held = np.abs(held) - taken
        demand = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
        rows = np.flatnonzero((taken != 0) & (demand >= 0))
        if rows.size and problem.haircut.any():
            paid = problem.haircut[demand[rows]] * taken[rows]
            equity = equity - np.bincount(problem.account[rows], weights=paid, minlength=equity.size)
    gross = np.zeros(problem.equity.size)
    _gross(problem.account, problem.asset, held, problem.lot_price, gross)
    result = np.where(gross > 0, np.inf, 0.0)
    np.divide(gross, equity, out=result, where=equity > 0)
    return result
