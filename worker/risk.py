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
from solver.risk import default_risk_model
from worker.book.market import Market
from worker.ids import digest_of

NEEDED_BY: Final = ("risk", "factor")  # policies that ask for a model
DEFAULT: Final = "default"  # the name of what holds without a model: `solver.risk.default_risk_model`


class Risk:
    """The model of a pool, and what it means for any symbols."""

    def __init__(self) -> None:
        self.name = DEFAULT
        self.model_digest: str | None = None
        self.digest = 0
        self._tail = np.inf
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

    def returns(self, markets: Sequence[Market], policy: str = "risk") -> Returns:
        """The solver's model of these symbols' returns, in their order; `factor` knows their common move alone.

        A symbol without a row has the default's scale, and the part that is common lies along the mean direction.
        Of booked lots: a long of an inverse contract loses where its price falls, and is a short here.
        """
        model = self._returns(markets)
        loadings = model.loadings
        if policy == "factor" and loadings.shape[1] != 1:
            common = np.zeros(len(markets))
            for place, part in enumerate(self._common):
                common += loadings[:, place] * part
            if not self._common:  # a model without factors: every symbol's scale as if all moved as one
                common = np.sqrt(model.idiosyncratic)
            loadings = common[:, None]
        # An inverse contract is booked by its reciprocal, whose return is minus the price's, at first order. 0.0: -0.0
        # means the same.
        signs = np.array([market.scale.sign for market in markets], np.float64).reshape(-1, 1)
        return Returns(loadings * signs + 0.0, model.idiosyncratic, model.tail)

    def factor_moves(self, symbols: Iterable[str]) -> list[float]:
        """How far each symbol moves where the model's first factor moves its symbols by 1 in the mean.

        A symbol that no model names moves by 1. Where loadings cancel, the mean is that of their magnitudes.
        """
        firsts = {symbol: loadings[0] for symbol, (loadings, _) in self._rows.items() if loadings}
        total = sum(firsts.values())
        magnitudes = sum(map(abs, firsts.values()))
        if not magnitudes:
            return [1.0 for _ in symbols]
        mean = (total if abs(total) > 1e-9 * magnitudes else magnitudes) / len(firsts)
        return [firsts[symbol] / mean if symbol in firsts else 1.0 for symbol in symbols]

    def _returns(self, markets: Sequence[Market]) -> Returns:
        default: Returns = default_risk_model([float(market.scale.mmf) for market in markets])
        if self.model_digest is None:
            return default
        loadings = default.loadings * np.array([self._common])
        idiosyncratic = default.idiosyncratic
        if not self._common:
            idiosyncratic = default.loadings[:, 0] ** 2 + idiosyncratic
        for place, market in enumerate(markets):
            if market.symbol in self._rows:
                loadings[place], idiosyncratic[place] = self._rows[market.symbol]
        return Returns(loadings, idiosyncratic, self._tail)


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
