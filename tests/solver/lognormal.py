"""Scenarios of the paper's bivariate lognormal returns: a grid of normal quantiles with their probabilities."""

import json
import math
from pathlib import Path

import numpy as np

from solver import Scenarios

PAPER = json.loads((Path(__file__).parents[1] / "golden/paper_example.json").read_text())
HORIZON_YEARS = 10 / 365  # PAPER["horizon_years"]
REACH = 6.0  # standard deviations
RAREST = 1e-9  # a grid point of less probability is left out


def paper_scenarios(points=61, kernel=0.0):
    """Scenarios of returns over the horizon, without drift; `kernel` a return's standard deviation (0.002: 20 bp)."""
    step = np.linspace(-REACH, REACH, points)
    density = np.exp(-0.5 * step * step)
    weights = np.outer(density, density).ravel()
    weights /= weights.sum()
    first, second = (grid.ravel() for grid in np.meshgrid(step, step, indexing="ij"))
    rho, scale = PAPER["rho"], np.array(PAPER["sigma"]) * math.sqrt(HORIZON_YEARS)
    normal = np.column_stack((first, rho * first + math.sqrt(1 - rho * rho) * second))
    kept = weights > RAREST
    returns = np.exp(scale * normal[kept] - 0.5 * scale * scale) - 1
    return Scenarios(returns, weights[kept] / weights[kept].sum(), np.full(2, kernel * kernel))
