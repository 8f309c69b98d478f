"""`verify`: which checks a solution of each policy must pass.

Shares no kernel with the solver. Every check that fails leaves one sentence; no failure, no doubt.
"""

import numpy as np

from solver.policies import shares
from solver.policies.factor import one_factor
from solver.solve import PRICED, misfit
from solver.verify import factor, queues, risk, waterfill
from solver.verify import shares as shared
from solver.verify.common import box, clearing, insolvent, nobody_harmed
from solver.verify.report import Report
from solver.verify.view import Positions, View

KKT_MAX = {
    "waterfill": waterfill.KKT_MAX,
    "risk": risk.KKT_MAX,
    "factor": risk.KKT_MAX,
}  # policies that optimise, and how well


def verify(problem, solution, *, risk=None):
    """Check a solution of `problem` independently; the report has .ok and .failures (sentences)."""
    report = Report()
    if solution.status == "INVALID":
        report.check(bool(solution.reason), "an INVALID solution must say why")
        return report
    reason = misfit(problem, solution.policy, solution.options["protect_principal"], risk)
    report.check(not reason, reason)
    if reason or not _shapes(problem, solution, report):
        return report
    status = "RESIDUAL" if solution.residual_lots.any() else "OPTIMAL"
    report.check(solution.status == status, f"status must be {status}, was {solution.status}")
    view = View(problem, solution)
    box(view, solution, report)
    clearing(view, solution, report)
    if not report.ok:
        return report
    insolvent(view, solution, report)
    nobody_harmed(view, report)
    _policy(view, solution, risk, report)
    return report


def _policy(view, solution, model, report):
    if solution.policy.startswith("queue:"):
        queues.certify(view, solution, report)
        return
    if solution.policy in shares.NAMES:
        shared.certify(view, solution, report)
        return
    asked = Positions(view, view.solvent & view.must)
    if solution.policy == "waterfill":
        waterfill.certify(view, asked, solution, report)
    elif solution.policy in PRICED:
        risk.certify(view, asked, solution, one_factor(model) if solution.policy == "factor" else model, report)
        if solution.level is not None:
            factor.certify(view, asked, solution, model, report)


def _shapes(problem, solution, report):
    entries, demands = problem.account.shape, problem.demand_lots.shape
    relaxed, lots = solution.relaxed_lots, solution.reduction_lots
    report.check(relaxed is not None and relaxed.shape == entries, "relaxed_lots must have one value per entry")
    if report.ok:
        report.check(bool(np.isfinite(relaxed).all()), "relaxed_lots must be finite")
    if solution.options["lots"]:
        fits = lots is not None and lots.shape == entries and lots.dtype == np.int64
        report.check(fits, "reduction_lots must be whole lots, one per entry")
    for name in ("residual_lots", "insolvent_lots"):
        left = getattr(solution, name)
        report.check(left is not None and left.shape == demands, f"{name} must have one value per demand")
    priced, policy = solution.policy in PRICED, solution.policy
    columns = (
        ("level", demands, policy == "waterfill" or (policy == "factor" and not problem.haircut.any())),
        ("shadow_price", demands, priced),
        ("score", entries, policy.startswith("queue:")),
    )
    for name, shape, has in columns:
        given = getattr(solution, name)
        fits = given is not None and given.shape == shape and not np.isnan(given).any()
        wanted = f"numbers of shape {shape}" if has else "None"
        report.check(fits if has else given is None, f"{name} must be {wanted}")
    _numbers(solution, policy, priced, report)
    return report.ok


def _numbers(solution, policy, priced, report):
    residual, most = solution.kkt_residual, KKT_MAX.get(policy)
    fits = residual is None if most is None else residual is not None and 0 <= residual <= most
    report.check(fits, f"kkt_residual must be {'None' if most is None else f'0 to {most}'}, was {residual}")
    for name in ("objective_before", "objective_after"):
        given = getattr(solution, name)
        fits = given is not None and np.isfinite(given) if priced else given is None
        report.check(fits, f"{name} must be {'a number' if priced else 'None'}, was {given}")
