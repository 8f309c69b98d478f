"""A risk model from mark prices: scales, common factors and tail of all symbols' returns.

1. Returns are those between marks one step apart, each symbol's on the same grid; a step without a mark gives none.
2. Tail and scales: worker/student.py. They are carried to the horizon by its square root in steps; the tail stays.
3. Correlations, of the steps that two symbols share, are shrunk to their mean by what Ledoit and Wolf found best
   ("Honey, I Shrunk the Sample Covariance Matrix", 2004), then split into factors and what is each symbol's own:
   principal axes, iterated until the own parts stand.
Rule: a symbol of which too little is known is left out with the reason; it gets the default.
"""

from collections.abc import Mapping
from hashlib import blake2b
from math import inf, sqrt
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import RiskModel, RiskSymbol, encode, limits
from solver.risk import SHARED
from worker.student import TAIL_MIN, scale_of, tail_of

Floats = NDArray[np.float64]
Marks = Mapping[str, tuple[list[int], list[float]]]  # symbol -> log times in milliseconds, not decreasing, and prices

RETURNS_MIN: Final = 100  # of a symbol, and of two symbols together
STEPS_MAX: Final = 5_000_000
OWN_SHARE_MIN: Final = 0.02  # of a symbol's variance: no two symbols are perfect hedges for ever
AXES_STEPS_MAX: Final = 100
DIGITS: Final = 9  # of what is written: what differs between machines is behind them


class FitError(ValueError):
    """Nothing can be fitted; the message says why."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is asked to be."""

    step_seconds: int = 60
    horizon_seconds: int = 3600
    factors: int = 3
    tail: float | None = None  # None: fitted; infinite: Gaussian
    name: str | None = None  # None: made of what comes out


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """The model and what it rests on."""

    model: RiskModel
    steps: int  # of the grid
    returns: dict[str, int]  # symbol -> how many there were
    left_out: dict[str, str]  # symbol -> why
    shrinkage: float  # 0: correlations as they were found, 1: all equal
    remarks: list[str] = []


def fit(marks: Marks, wanted: Wanted) -> Fit:
    """The model of these marks; raises FitError."""
    found, steps = returns_on_grid(marks, wanted.step_seconds * 1000)
    left_out = {symbol: reason for symbol, column in found.items() if (reason := _unfit(column))}
    symbols = [symbol for symbol in found if symbol not in left_out]
    if not symbols:
        raise FitError(f"no symbol has what a fit needs: {_grouped(left_out)}")
    if len(symbols) > limits.RISK_SYMBOLS_MAX:
        raise FitError(f"a model must name at most {limits.RISK_SYMBOLS_MAX} symbols, would be {len(symbols)}")
    known = [found[symbol][~np.isnan(found[symbol])] for symbol in symbols]
    tail = tail_of(known) if wanted.tail is None else wanted.tail
    stretch = sqrt(wanted.horizon_seconds / wanted.step_seconds)
    scales = np.array([scale_of(column, tail) * stretch for column in known])
    returns = np.column_stack([found[symbol] for symbol in symbols])
    remarks = []
    if wanted.tail is None and tail <= TAIL_MIN:
        remarks.append(
            f"the tail is the fattest looked for, {TAIL_MIN}: calm and storm together look so; fit them apart"
        )
    if len(symbols) == 1:
        shares, shrinkage = np.array([[sqrt(SHARED)]]), 0.0
        remarks.append("one symbol alone has no correlations: seven tenths of its variance count as common, as default")
    else:
        correlation, shrinkage = shrunk_correlation(returns)
        count = min(wanted.factors, len(symbols) - 1)
        if count < wanted.factors:
            remarks.append(f"{len(symbols)} symbols bear at most {count} factors, {wanted.factors} were asked for")
        shares = principal_factors(correlation, count)
    rows = [_row(*row) for row in zip(symbols, shares, scales.tolist(), strict=True)]
    model = RiskModel(
        id=wanted.name or "fit", horizon_seconds=wanted.horizon_seconds, tail=None if tail == inf else tail,
        symbols=rows,
    )  # fmt: skip
    if wanted.name is None:
        model = msgspec.structs.replace(model, id="fit-" + blake2b(encode(model), digest_size=6).hexdigest())
    counts = {symbol: int(np.count_nonzero(~np.isnan(column))) for symbol, column in found.items()}
    return Fit(
        model=model, steps=steps, returns=counts, left_out=left_out, shrinkage=round(shrinkage, 6), remarks=remarks
    )  # fmt: skip


def returns_on_grid(marks: Marks, step_ms: int) -> tuple[dict[str, Floats], int]:
    """Each symbol's return in each step of the common grid, NaN where a mark is missing at either end; symbols sorted.

    The price of a step is its newest mark. Raises FitError where there is none, or the grid would be too long.
    """
    ends = [(times[0], times[-1]) for times, _ in marks.values() if times]
    if not ends:
        raise FitError("there are no mark prices")
    first = min(begin for begin, _ in ends) // step_ms
    steps = max(end for _, end in ends) // step_ms - first + 1
    if steps > STEPS_MAX:
        raise FitError(f"the marks last {steps:,} steps; more than {STEPS_MAX:,} is too fine: make the step longer")
    found = {}
    for symbol, (times, prices) in sorted(marks.items()):
        price = np.full(steps, np.nan)
        price[np.array(times, np.int64) // step_ms - first] = prices  # of several in a step the last one stays
        with np.errstate(over="ignore"):  # such a return is no risk that a model can say
            found[symbol] = price[1:] / price[:-1] - 1.0
    return found, steps - 1


def _unfit(returns: Floats) -> str:
    """Why nothing can be said of a symbol; empty where something can."""
    known = returns[~np.isnan(returns)]
    if len(known) < RETURNS_MIN:
        advice = "shorter step has more" if len(returns) < RETURNS_MIN else "longer step has more where marks are rare"
        return f"{len(known)} returns in {len(returns)} steps, {RETURNS_MIN} are needed; a {advice}"
    moved = int(np.count_nonzero(known))
    if moved * 2 < len(known):
        return f"its mark stood still in {len(known) - moved} of {len(known)} steps"
    if np.median(np.abs(known)) < limits.RISK_SCALE_MIN or np.abs(known).max() > limits.RISK_SCALE_MAX:
        return "its returns are no risk that a model can say"
    return ""


def _grouped(left_out: dict[str, str]) -> str:
    """Every reason once, with the first of its symbols."""
    symbols: dict[str, list[str]] = {}
    for symbol, reason in left_out.items():
        symbols.setdefault(reason, []).append(symbol)
    said = []
    for reason, names in symbols.items():
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        said.append(f"{', '.join(names[:3])}{more}: {reason}")
    return ". ".join(said[:5])


def shrunk_correlation(returns: Floats) -> tuple[Floats, float]:
    """Correlations of columns of returns (NaN: none), and how far they were moved to their mean, 0 to 1."""
    known = ~np.isnan(returns)
    x = np.where(known, returns, 0.0)
    x /= np.sqrt((x * x).sum(axis=0) / known.sum(axis=0))
    together = known.astype(np.float64).T @ known.astype(np.float64)
    pairs = np.maximum(together, 1.0)
    size = len(pairs)
    off = ~np.eye(size, dtype=bool)
    rare = off & (together < RETURNS_MIN)
    correlation = np.clip((x.T @ x) / pairs, -1.0, 1.0)
    np.fill_diagonal(correlation, 1.0)
    usual = off & ~rare
    mean = float(correlation[usual].mean()) if usual.any() else 0.0
    correlation[rare] = mean
    # Ledoit and Wolf: pi, the noise of each correlation; rho, that of the target along with it; gamma, their distance.
    squares = x * x
    noise = (squares.T @ squares) / pairs - correlation**2
    with_target = (squares * x).T @ x / pairs - correlation  # of the square in the row with the product
    distance = float(((correlation - mean)[usual] ** 2).sum())
    excess = (noise - 0.5 * mean * (with_target + with_target.T)) / pairs
    shrinkage = 1.0 if distance <= 0.0 else min(1.0, max(0.0, float(excess[usual].sum()) / distance))
    shrunk = np.where(off, shrinkage * mean + (1.0 - shrinkage) * correlation, 1.0)
    return shrunk, shrinkage


def principal_factors(correlation: Floats, count: int) -> Floats:
    """Loadings (symbols, count) whose products are the correlations as far as so few can; rows of length below 1.

    Each factor points where its loadings sum above 0.
    """
    size = len(correlation)
    common = np.abs(correlation - np.eye(size)).max(axis=1)
    loadings = np.zeros((size, count))
    for _ in range(AXES_STEPS_MAX):
        reduced = correlation.copy()
        np.fill_diagonal(reduced, common)
        values, vectors = np.linalg.eigh(reduced)
        loadings = vectors[:, ::-1][:, :count] * np.sqrt(np.maximum(values[::-1][:count], 0.0))
        before, common = common, np.minimum((loadings * loadings).sum(axis=1), 1.0 - OWN_SHARE_MIN)
        if np.abs(common - before).max() < 1e-9:
            break
    length = (loadings * loadings).sum(axis=1)
    loadings *= np.sqrt(np.minimum(1.0, (1.0 - OWN_SHARE_MIN) / np.maximum(length, 1e-30)))[:, None]
    return np.asarray(loadings * np.where(loadings.sum(axis=0) < 0.0, -1.0, 1.0))


def _row(symbol: str, shares: Floats, scale: float) -> RiskSymbol:
    """A symbol's row: the lengths of its factor parts and what is left, in returns over the horizon."""
    loadings = [_rounded(share * scale) for share in shares.tolist()]
    own = 1.0 - sum(share * share for share in shares.tolist())
    return RiskSymbol(symbol=symbol, loadings=loadings, idiosyncratic=_rounded(own * scale * scale))


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
