"""`verify`: a second opinion on a solution, in plain numpy and by other formulas than the solver's."""

from solver.verify.certificate import verify
from solver.verify.report import Report

__all__ = ["Report", "verify"]
