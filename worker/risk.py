"""What the worker knows of risk: the model in force, and the documented default for symbols that it does not name.

Rule 1: a model is replaced as a whole. Rule 2: the arrays of a decision are made in the order of names, with nothing
but + * / and sqrt one after the other, so their bits depend on the model and the margin fractions alone.
"""

from collections.abc import Iterable, Sequence
from math import sqrt
from typing import Final

import numpy as np

from schemas import RiskModel
from solver import RiskModel as Returns
from worker.book.market import Market
from worker.ids import digest_of

NEEDED_BY: Final = ("risk", "factor")  # policies that ask for a model
DEFAULT: Final = "default"  # the name of what holds without a model
DEFAULT_TAIL: Final = 4.0
COMMON_SHARE: Final = 0.7  # of a default symbol's variance that it shares with all others
OWN_SHARE: Final = 0.3
SCALE_OF_MARGIN: Final = 0.5  # a default symbol's scale is this part of its maintenance margin fraction


class Risk:
    """The model of a pool, and what it means for any symbols."""

    def __init__(self) -> None:
        self.name = DEFAULT
        self.model_digest: str | None = None
        self.digest = 0
        self._tail = DEFAULT_TAIL
        self._rows: dict[str, tuple[list[float], float]] = {}  # symbol -> loadings and variance
        self._common = [1.0]  # unit vector of the factors, along which symbols without a row move

    def set(self, model: RiskModel) -> None:
        """Takes a model that the codec has accepted."""
        self.name = model.id
        self._tail = np.inf if model.tail is None else model.tail
        # Adding 0.0 turns -0.0, which means the same, into 0.0.
        self._rows = {
            row.symbol: ([loading + 0.0 for loading in row.loadings], row.idiosyncratic + 0.0)
            for row in sorted(model.symbols, key=lambda row: row.symbol)
        }
        self._common = _common_direction(self._rows.values())
        self.digest = digest_of("risk-model", model.id, model.horizon_seconds, self._tail, list(self._rows.items()))
        self.model_digest = f"{self.digest:032x}"

    def unnamed(self, symbols: Iterable[str]) -> list[str]:
        """Those of the symbols that a model is there for and does not name, sorted."""
        return sorted(set(symbols) - self._rows.keys()) if self.model_digest is not None else []

    def returns(self, markets: Sequence[Market]) -> Returns:
        """The solver's model of these symbols' returns, in their order."""
        rows = [self._rows.get(market.symbol) or self._default(market) for market in markets]
        loadings = np.array([row[0] for row in rows], np.float64).reshape(len(rows), len(self._common))
        return Returns(loadings, np.array([row[1] for row in rows], np.float64), self._tail)

    def _default(self, market: Market) -> tuple[list[float], float]:
        """Scale half of the maintenance margin fraction; its common part along the mean direction of the model."""
        scale = SCALE_OF_MARGIN * float(market.scale.mmf)
        variance = scale * scale
        if not self._common:
            return [], variance
        loading = sqrt(COMMON_SHARE) * scale
        return [loading * part for part in self._common], OWN_SHARE * variance


def _common_direction(rows: Iterable[tuple[list[float], float]]) -> list[float]:
    """The direction in which the model's symbols move together: the mean of their loadings per unit of scale.

    Not simply the first factor: its sign is arbitrary, and a symbol that is thought to move against all others would
    count as their hedge. The mean turns with the factors, so two ways to write one model give one default. Where
    loadings cancel there is no common move, and the first factor is as good as any.
    """
    sums: list[float] = []
    count = 0
    for loadings, idiosyncratic in rows:
        sums = sums or [0.0] * len(loadings)
        scale = sqrt(idiosyncratic + sum(loading * loading for loading in loadings))
        sums = [part + loading / scale for part, loading in zip(sums, loadings, strict=True)]
        count += 1
    if not count:
        return [1.0]
    length = sqrt(sum(part * part for part in sums))
    if length < 1e-9 * count:
        return [1.0, *[0.0] * (len(sums) - 1)] if sums else []
    return [part / length for part in sums]
