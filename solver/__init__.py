"""The sums: plain arrays in, plain arrays out. Never sees a message, a name or a clock."""

import solver.cache  # noqa: F401  # first: kernels are compiled as they are imported
from solver.metrics import Metrics, metrics
from solver.problem import Problem
from solver.risk import RiskModel, Scenarios
from solver.solution import Solution, leverage
from solver.solve import solve
from solver.verify import verify

__all__ = ["Metrics", "Problem", "RiskModel", "Scenarios", "Solution", "leverage", "metrics", "solve", "verify"]
