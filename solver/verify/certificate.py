"""`verify`: which checks a solution of each policy must pass.

Shares no kernel with the solver. Every check that fails leaves one sentence; no failure, no doubt.
"""

import numpy as np

from solver.risk import RiskModel
from solver.solve import PRICED, misfit
from solver.verify import factor, queues, risk, shares, waterfill
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
    if not _says_what_it_is(solution, report):
        return report
    reason = misfit(problem, solution.policy, solution.options["protect_principal"], risk)
    if solution.status == "INVALID":
        report.check(bool(reason), "status must not be INVALID, the arguments fit")
        report.check(bool(solution.reason) and solution.reason == reason, f"an INVALID solution must say why: {reason}")
        return report
    report.check(not reason, reason)
    report.check(solution.reason == "", f"only an INVALID solution has a reason, this one says {solution.reason!r}")
    if not report.ok or not _shapes(problem, solution, report):
        return report
    status = "RESIDUAL" if solution.residual_lots.any() else "OPTIMAL"
    report.check(solution.status == status, f"status must be {status}, was {solution.status}")
    view = View(problem, solution)
    # Wrong numbers may overflow on their way to a sentence.
    with np.errstate(over="ignore", invalid="ignore"):
        for check in (box, clearing, insolvent, nobody_harmed):
            check(view, solution, report)
            if not report.ok:  # the next one may rely on it
                return report
        _policy(view, solution, risk, report)
    return report


def _policy(view, solution, model, report):
    if solution.policy.startswith("queue:"):
        queues.certify(view, solution, report)
        return
    if solution.policy in shares.NAMES:
        shares.certify(view, solution, report)
        return
    asked = Positions(view, view.solvent & view.must)
    if solution.policy == "waterfill":
        waterfill.certify(view, asked, solution, report)
        return
    if solution.policy == "factor":
        # One distribution being as good as another at the mark, it is one of Student 4.
        alone = RiskModel(model.loadings, np.zeros(model.loadings.shape[0]), 4.0)
        risk.certify(view, asked, solution, alone, report)
    else:
        risk.certify(view, asked, solution, model, report)
    if solution.level is not None:
        factor.certify(view, asked, solution, model, report)


def _says_what_it_is(solution, report):
    named = all(isinstance(text, str) for text in (solution.status, solution.policy, solution.reason))
    report.check(named, "status, policy and reason must be text")
    said = isinstance(solution.options, dict) and all(
        isinstance(solution.options.get(name), bool) for name in ("protect_principal", "lots")
    )
    report.check(said, "options must say whether protect_principal and lots were asked for")
    return report.ok


def _shapes(problem, solution, report):
    entries, demands = problem.account.shape, problem.demand_lots.shape
    priced, policy = solution.policy in PRICED, solution.policy
    leveled = policy == "waterfill" or (policy == "factor" and not problem.haircut.any())
    for name, shape, dtype, has in (
        ("relaxed_lots", entries, np.float64, True),
        ("reduction_lots", entries, np.int64, solution.options["lots"]),
        ("residual_lots", demands, np.int64, True),
        ("insolvent_lots", demands, np.int64, True),
        ("level", demands, np.float64, leveled),
        ("shadow_price", demands, np.float64, priced),
        ("score", entries, np.float64, policy.startswith("queue:")),
    ):
        given = getattr(solution, name)
        fits = isinstance(given, np.ndarray) and given.shape == shape and given.dtype == dtype
        endless = name in ("level", "score")  # may be infinite
        fits = fits and not np.isnan(given).any() and (endless or bool(np.isfinite(given).all()))
        kind = "whole lots" if dtype == np.int64 else "numbers" if endless else "finite numbers"
        report.check(fits if has else given is None, f"{name} must be {f'{kind} of shape {shape}' if has else 'None'}")
    _numbers(solution, policy, priced, report)
    return report.ok


def _numbers(solution, policy, priced, report):
    residual, most = solution.kkt_residual, KKT_MAX.get(policy)
    fits = residual is None if most is None else _number(residual) and 0 <= residual <= most
    report.check(fits, f"kkt_residual must be {'None' if most is None else f'0 to {most}'}, was {residual}")
    cleared = solution.clearing_residual_lots
    report.check(_number(cleared) and cleared >= 0, f"clearing_residual_lots must be a number from 0 on, was {cleared}")
    fits = callable(solution.objective) if priced else solution.objective is None
    report.check(fits, f"objective must be {'callable' if priced else 'None'}")
    for name in ("objective_before", "objective_after") if priced and fits else ():
        given = getattr(solution, name)
        report.check(_number(given), f"{name} must be a number, was {given}")


def _number(value):
    return isinstance(value, float | int) and bool(np.isfinite(value))
