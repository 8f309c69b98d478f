"""`solve`: the one door. Checks the arguments of the policy, takes insolvent accounts first, hands the rest on."""

import numpy as np

from solver.askable import askable
from solver.insolvent import take_insolvent
from solver.items import collect
from solver.optimum.threads import Threads
from solver.policies import isolated, one_asset, queues, shares
from solver.policies.risk import minimise, unfit
from solver.policies.waterfill import waterfill
from solver.solution import NOT_CONVERGED, RESIDUAL, Solution, invalid

PRICED = ("risk", "factor")  # policies that minimise an expected loss
POLICIES = (*PRICED, "waterfill", *(f"queue:{name}" for name in queues.NAMES), *shares.NAMES)


def needs(policy):
    """Optional columns of a problem without which a policy has no meaning."""
    if policy.startswith("queue:"):
        return queues.NEEDS[policy[6:]]
    return ("entry_price",) if policy in ("pro_rata:profit", "min_max_haircut") else ()


def misfit(problem, policy, protect_principal, risk):
    """The sentence why this policy cannot run on this problem, or an empty string."""
    if policy not in POLICIES:
        return f"policy must be one of {', '.join(POLICIES)}, was {policy!r}"
    if policy in PRICED and (reason := unfit(problem, policy, risk)):
        return reason
    missing = [name for name in needs(policy) if getattr(problem, name) is None]
    if missing:
        return f"policy {policy} needs {' and '.join(missing)}"
    if problem.entry_price is None and protect_principal:
        return "protect_principal needs entry_price"
    return ""


def solve(problem, policy="risk", *, risk=None, protect_principal=False, lots=True):
    """Allocate every demand of a Problem; never raises on a valid one, never silently short."""
    options = {"protect_principal": bool(protect_principal), "lots": bool(lots)}
    policy = policy if isinstance(policy, str) else repr(policy)  # a solution's figures are plain
    reason = misfit(problem, policy, protect_principal, risk)
    if reason:
        return invalid(policy, options, reason)
    solution = Solution(status=NOT_CONVERGED, policy=policy, options=options)
    fast = policy == "waterfill" and isolated.fits(problem)
    if fast and isolated.waterfill_isolated(problem, bool(protect_principal), lots, solution) is not None:
        return solution
    fast = policy in PRICED and one_asset.fits(problem, risk)
    if fast and one_asset.minimise_alone(problem, risk, bool(protect_principal), lots, solution):
        return solution
    size = problem.account.size
    relaxed = np.zeros(size)
    reduction = np.zeros(size, dtype=np.int64) if lots else None
    if policy in PRICED:
        from_insolvent, asked, filled = _priced(problem, protect_principal, risk, relaxed, reduction, solution)
    else:
        from_insolvent, asked, filled = _by_items(problem, protect_principal, relaxed, reduction, solution)
    solution.relaxed_lots, solution.reduction_lots = relaxed, reduction
    solution.insolvent_lots = from_insolvent
    solution.residual_lots = asked - filled
    if solution.residual_lots.any() and solution.status != NOT_CONVERGED:
        solution.status = RESIDUAL
    return solution


def _after_insolvent(problem, broke, relaxed, reduction):
    """Take from insolvent accounts first; return (lots taken of every demand, lots still asked)."""
    rows, taken, from_insolvent = take_insolvent(problem, *broke)
    relaxed[rows] += taken
    if reduction is not None:
        reduction[rows] += taken
    return from_insolvent, problem.demand_lots - from_insolvent


def _priced(problem, protect_principal, risk, relaxed, reduction, solution):
    """Fill relaxed and reduction by a policy that minimises an expected loss; lots (insolvent, asked, filled)."""
    with Threads(problem.account.size) as threads:
        demand, broke = askable(problem, bool(protect_principal), threads)
        from_insolvent, asked = _after_insolvent(problem, broke, relaxed, reduction)
        filled = minimise(problem, demand, asked, relaxed, reduction, risk, solution, threads)
    return from_insolvent, asked, filled


def _by_items(problem, protect_principal, relaxed, reduction, solution):
    """Fill relaxed and reduction by any other policy; lots (insolvent, asked, filled)."""
    policy = solution.policy
    items, broke = collect(problem, bool(protect_principal), merge=policy == "waterfill")
    from_insolvent, asked = _after_insolvent(problem, broke, relaxed, reduction)
    available = np.abs(problem.quantity_lots) if problem.available_lots is None else problem.available_lots
    if policy == "waterfill":
        filled = waterfill(problem, items, asked, relaxed, reduction, available, solution)
    elif policy in shares.NAMES:
        filled = shares.share(problem, policy, items, asked, relaxed, reduction, solution)
    else:
        filled = queues.queue(problem, policy[6:], items, asked, relaxed, reduction, available, solution)
    return from_insolvent, asked, filled
