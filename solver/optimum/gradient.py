"""The slope of the dual function at given levels, sum x - z, its second derivative, and whether that is solved.

Rule: parts are added up in their order; what accounts gave at the last levels is where they start at the next.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from solver.loss.elementary import power as to_power
from solver.loss.table import NU
from solver.optimum.response import Sums, respond
from solver.optimum.threads import bounds

CLEARING, VIOLATION = 2e-11, 1e-9
ULP, GRAIN = 4e-16, 5e-10
# Where accounts hold far more than is asked, the last bits of their exposures are more than CLEARING: what a few more
# steps leave is what there is.
RESTING, RESTS = 9e-10, 3
ROUGH_CLEARING, ROUGH_VIOLATION = 2e-2, 1e-4  # of levels that are only a start: parts of `size`, of a marginal
POWER_MOST = 50.0
# In the root of the largest marginal of a demand: residuals of marginals are not resolved beyond the first, or of thin
# tails, whose levels lie further below, beyond the second.
DUST, THIN_DUST, THIN = 0.01, 1e-6, 10.0


class Response(NamedTuple):
    """`Sums` of all parts; K demands."""

    slope: np.ndarray  # float[K, K]
    taken: np.ndarray
    left: np.ndarray
    missing: np.ndarray
    worst: np.ndarray
    peak: np.ndarray
    below: np.ndarray
    above: np.ndarray


@njit(cache=True, error_model="numpy")
def _added(sums):
    """The parts added up in their order."""
    parts, K = sums.taken.shape
    slope, rows = np.zeros((K, K)), np.zeros((7, K))
    rows[5] = -np.inf
    rows[6] = np.inf
    for part in range(parts):
        for k in range(K):
            rows[0, k] += sums.taken[part, k]
            rows[1, k] += sums.left[part, k]
            rows[2, k] += sums.missing[part, k]
            rows[3, k] = max(rows[3, k], sums.worst[part, k])
            rows[4, k] = max(rows[4, k], sums.peak[part, k])
            rows[5, k] = max(rows[5, k], sums.below[part, k])
            rows[6, k] = min(rows[6, k], sums.above[part, k])
            for j in range(k + 1):
                slope[k, j] += sums.slope[part, k, j]
    for k in range(K):
        for j in range(k):
            slope[j, k] = slope[k, j]
    return Response(slope, rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6])


def root_power(tail):
    """The power of the level's root in which what is kept is nearly straight: of a Student tail, its degrees less 1."""
    return min(tail[NU] - 1.0, POWER_MOST)


class Gradient:
    """What accounts give, moved from one choice of levels to the next."""

    def __init__(self, candidates, demands, model, u, w, threads, outside):
        """u, w float[I] are moved; outside float[K]: of each total, what is no candidate's and stays untouched."""
        self.candidates, self.demands, self.tail, self.u, self.w, self.threads = (
            candidates, demands, model.tail, u, w, threads,
        )  # fmt: skip
        self.power = root_power(model.tail)
        self.dust = to_power(DUST if self.power < THIN else THIN_DUST, self.power)
        self.rest = demands.total - demands.asked - outside
        self.size = np.minimum(demands.asked, self.rest)  # the smaller of what is asked and what stays
        self.kept = self.rest / demands.total
        self.limits, self.steps, self.rests, self.peak = bounds(candidates.account.size), 0, 0, None
        self._stand, self._sizes = np.full(u.size, np.nan), np.zeros(candidates.account.size)

    def at(self, level, tolerance):
        """Return the Response at levels float[K], with accounts solved to a tolerance; the attributes are then of it.

        level, peak float[K]; violation, error: the largest of the certificate, and the largest part of a demand that
        is not met; surplus float[K]: sum x - z, with what one more step of each account would add to it; off float[K]:
        its part of `size`; hidden: is that more than all that is asked somewhere; converged, rough: bool.
        """
        demands, parts, K = self.demands, self.limits.size - 1, level.size
        sums = Sums(
            np.zeros((parts, K, K)), *np.zeros((5, parts, K)), np.full((parts, K), -np.inf),
            np.full((parts, K), np.inf),
        )  # fmt: skip
        peak = np.abs(level) if self.peak is None else self.peak
        scale = np.maximum(np.abs(level), self.dust * peak + 1e-300)
        self.threads.run(
            respond, parts, self.limits, self.candidates, demands.loading, demands.idiosyncratic, demands.haircut,
            self.tail, level, scale, tolerance, self.u, self.w, self._stand, self._sizes, sums,
        )  # fmt: skip
        response = _added(sums)
        self.steps += 1
        self.level, self.peak = level.copy(), response.peak
        small = demands.asked <= 0.5 * demands.total
        surplus = np.where(small, response.taken - demands.asked, self.rest - response.left)
        size = np.abs(surplus)
        self.error = (size / demands.asked).max()
        self.violation = (response.worst / np.maximum(np.abs(level), np.maximum(self.peak, 1e-300))).max()
        # What the last bits of a level move cannot be asked for.
        grain = np.minimum(ULP * np.abs(level) * np.diag(response.slope), GRAIN * demands.asked)
        sound = self.violation <= VIOLATION
        self.rests = self.rests + 1 if sound and self.error <= RESTING else 0
        cleared = (size <= CLEARING * demands.asked + grain).all()
        self.converged = bool(sound and (cleared or self.rests > RESTS))
        self.rough = self.violation <= ROUGH_VIOLATION and (size <= ROUGH_CLEARING * self.size).all()
        self.surplus = surplus + np.clip(response.missing, -0.5 * size, 0.5 * size)
        self.off = np.abs(self.surplus) / self.size
        self.hidden = ((np.abs(response.missing) > 0.5 * size) & (self.off > 0.1 * self.off.max())).any()
        return response
