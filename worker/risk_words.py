"""What a risk model says, in numbers that a risk committee knows: volatilities, correlations, large moves of a factor.

The covariance of returns is tail / (tail - 2) times the scale matrix; up to two degrees of freedom there is none.
"""

from math import inf, sqrt
from typing import Final

import msgspec

from schemas import RiskModel
from solver.loss.model import curves, tail_of
from worker.risk import Risk

YEAR_SECONDS: Final = 365 * 86_400
CORRELATIONS_MAX: Final = 10  # symbols in the table
MOVES_MAX: Final = 4  # symbols of a scenario
MOVE: Final = 4.0  # scales of a factor


class SymbolWords(msgspec.Struct, frozen=True, kw_only=True):
    symbol: str
    scale: float  # of the return over the horizon
    volatility: float | None  # standard deviation; None where the tail has none
    volatility_year: float | None
    common: float  # share of the variance that the factors explain


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    factor: str  # "1 up" and the like
    moves: dict[str, float]  # the symbols that move furthest


class RiskWords(msgspec.Struct, frozen=True, kw_only=True):
    """A model as it is shown."""

    id: str
    digest: str  # as decisions name it
    tail: float | None
    horizon_seconds: int
    factors: int
    symbols: list[SymbolWords]
    correlations: dict[str, list[float]]  # row by row, of those that vary most
    move: float
    chance: float  # of a factor's move beyond MOVE scales, one way
    scenarios: list[Scenario]


def words_of(model: RiskModel) -> RiskWords:
    """The words of a model that the codec has accepted."""
    risk = Risk()
    risk.set(model)
    nu = inf if model.tail is None else model.tail
    stretch = sqrt(1.0 if nu == inf else nu / (nu - 2.0)) if nu > 2.0 else None
    scale = {row.symbol: sqrt(row.idiosyncratic + sum(b * b for b in row.loadings)) for row in model.symbols}
    year = sqrt(YEAR_SECONDS / model.horizon_seconds)
    symbols = [
        SymbolWords(
            symbol=row.symbol, scale=scale[row.symbol],
            volatility=None if stretch is None else scale[row.symbol] * stretch,
            volatility_year=None if stretch is None else scale[row.symbol] * stretch * year,
            common=1.0 - row.idiosyncratic / scale[row.symbol] ** 2,
        )
        for row in sorted(model.symbols, key=lambda row: row.symbol)
    ]  # fmt: skip
    loadings = {row.symbol: row.loadings for row in model.symbols}
    widest = sorted(scale, key=lambda symbol: (-scale[symbol], symbol))[:CORRELATIONS_MAX]
    factors = len(model.symbols[0].loadings) if model.symbols else 0
    return RiskWords(
        id=model.id, digest=risk.model_digest or "", tail=model.tail, horizon_seconds=model.horizon_seconds,
        factors=factors, symbols=symbols,
        correlations={
            one: [
                1.0 if one == other
                else sum(a * b for a, b in zip(loadings[one], loadings[other], strict=True))
                / (scale[one] * scale[other])
                for other in widest
            ]
            for one in widest
        },
        move=MOVE, chance=float(curves(1.0, MOVE, tail_of(nu))[2]), scenarios=_scenarios(loadings, factors),
    )  # fmt: skip


def _scenarios(loadings: dict[str, list[float]], factors: int) -> list[Scenario]:
    found = []
    for factor in range(factors):
        furthest = sorted(loadings, key=lambda symbol: (-abs(loadings[symbol][factor]), symbol))[:MOVES_MAX]
        for way, sign in (("up", MOVE), ("down", -MOVE)):
            moves = {symbol: sign * loadings[symbol][factor] for symbol in furthest}
            found.append(Scenario(factor=f"{factor + 1} {way}", moves=moves))
    return found
