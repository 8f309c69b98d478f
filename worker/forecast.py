"""What would happen if prices moved: bankrupt accounts, their deficits against the funds, volume to be deleveraged.

Every symbol is moved alone, and all together along the first factor of the risk model. Rule 1: books as they stand, at
once; nobody trades, is liquidated or deposits meanwhile. Rule 2: exact integers, so order and threads change nothing.
Rule 3: who cannot be counted is counted as left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas import Shock, scaled, text_of
from worker.book.book import Book
from worker.book.census import REASONS, Units
from worker.book.market import Market
from worker.book.shocks import MOVE_PPM_MAX, PPM, SUM_MAX, lacking, shock_all, shock_symbols
from worker.risk import Risk

Ints = NDArray[np.int64]

PPM_DECIMALS = 6


def shocks_ppm(text: str) -> list[int]:
    """The moves of a setting, down and up, in rising order."""
    sizes = {scaled(part, PPM_DECIMALS) for part in text.split(",")}
    return sorted(sizes | {-size for size in sizes})


@dataclass(frozen=True, slots=True)
class Struck:
    """One shock: who is bankrupt then, in minor units."""

    ppm: int
    accounts: int  # margin units
    deficit: int
    shortfall: int
    volume: int
    volume_elsewhere: int = 0

    def message(self, decimals: int) -> Shock:
        amounts = (self.deficit, self.shortfall, self.volume, self.volume_elsewhere)
        return Shock(text_of(self.ppm, PPM_DECIMALS), self.accounts, *(text_of(minor, decimals) for minor in amounts))


@dataclass(frozen=True, slots=True)
class Forecast:
    """Shocks that bankrupt anybody, smallest first; symbols where none does are absent."""

    symbols: dict[str, list[Struck]]
    factor: list[Struck]
    factor_volumes: dict[str, dict[int, int]]  # symbol -> parts per million of the factor's shock -> minor units
    insolvent: dict[int, int]  # account row -> deficit at the marks as they are
    left_out: dict[str, int]


def distance_ppm(struck: Iterable[Struck]) -> int | None:
    """The smallest shock that the funds would not cover, if any."""
    return next((shock.ppm for shock in struck if shock.shortfall), None)


def value_ppm(move_ppm: int, market: Market) -> int:
    """How far the value of a booked lot moves with its price: an inverse contract's is the reciprocal of the price.

    No price falls below zero, and no value rises to more than ninefold.
    """
    move = max(move_ppm, -PPM)
    if market.scale.sign < 0:
        move = -move * PPM // (PPM + move) if move > -PPM else MOVE_PPM_MAX
    return min(move, MOVE_PPM_MAX)


def alone_ppm(markets: Sequence[Market], ppm: list[int]) -> Ints:
    """How far each symbol's values move in shocks of its price alone, int64[symbols, shocks]."""
    rows = [[value_ppm(size, market) for size in ppm] for market in markets]
    return np.array(rows, np.int64).reshape(len(markets), len(ppm))


def factor_ppm(risk: Risk, markets: Sequence[Market], ppm: list[int]) -> Ints:
    """The same in shocks of the factor."""
    moves = risk.factor_moves(market.symbol for market in markets)
    rows = [
        [value_ppm(round(move * size), market) for size in ppm] for market, move in zip(markets, moves, strict=True)
    ]
    return np.array(rows, np.int64).reshape(len(markets), len(ppm))


def forecast(book: Book, risk: Risk, available_minor: Mapping[str, int], ppm: list[int]) -> Forecast:
    """The forecast of a book as it stands, for shocks of so many parts per million, in rising order.

    A unit's deficit falls to the fund of its first symbol by name, as that of a bankruptcy that names no fund.
    """
    symbols, markets = [market.symbol for market in book.markets], book.markets
    crash = _Crash(book, available_minor, alone_ppm(markets, ppm), factor_ppm(risk, markets, [*ppm, 0]))
    left_out = np.zeros(len(REASONS), np.int64)
    insolvent: dict[int, int] = {}
    for units in book.units(left_out):
        crash.strike(units)
        gone = units.equity <= 0
        for account, equity in zip(units.account[gone].tolist(), units.equity[gone].tolist(), strict=True):
            insolvent[account] = insolvent.get(account, 0) - equity
    return Forecast(
        symbols=crash.symbols(symbols, ppm),
        factor=crash.factor(ppm),
        factor_volumes=crash.factor_volumes(symbols, ppm),
        insolvent=insolvent,
        left_out={reason: count for reason, count in zip(REASONS, left_out.tolist(), strict=True) if count},
    )


def is_insolvent(book: Book, account: str) -> bool:
    """Whether the account's cross book or an isolated position of it is at or below zero equity."""
    held = [view for view in book.positions(account) if view.effective_lots]
    return (any(not view.isolated for view in held) and book.equity_minor(account) <= 0) or any(
        view.isolated and book.isolated_equity_minor(account, view.symbol, view.side) <= 0 for view in held
    )


class _Crash:
    """The sums of one forecast; the last of the factor's shocks is none, which says what is lacking already."""

    def __init__(self, book: Book, available_minor: Mapping[str, int], ppm: Ints, factor: Ints) -> None:
        names = sorted(available_minor.keys() | {market.instrument.fund_id for market in book.markets})
        place = {name: row for row, name in enumerate(names)}
        count, shocks, funds = len(book.markets), ppm.shape[1], len(names)
        self.available = np.array([min(available_minor.get(name, 0), SUM_MAX) for name in names], np.int64)
        self.fund = np.array([place[market.instrument.fund_id] for market in book.markets], np.int64)
        self.rank = np.empty(count, np.int64)
        order = sorted(range(count), key=lambda row: book.markets[row].symbol.encode())
        self.rank[np.array(order, np.int64)] = np.arange(count)
        self.ppm, self.factor_ppm = ppm, factor
        self.bankrupt = np.zeros((count, shocks), np.int64)
        self.deficit = np.zeros((count, shocks + 1, funds), np.int64)
        self.volume = np.zeros((count, 3, shocks), np.int64)
        self.factor_bankrupt = np.zeros(shocks + 1, np.int64)
        self.factor_deficit = np.zeros((shocks + 1, funds), np.int64)
        self.factor_volume = np.zeros((count, 2, shocks + 1), np.int64)

    def strike(self, units: Units) -> None:
        """Adds the units of one block."""
        columns = units.equity, units.first, units.symbol, units.longs, units.shorts, units.collateral
        funds = self.rank, self.fund
        shock_symbols(*columns, self.ppm, *funds, self.bankrupt, self.deficit, self.volume)
        shock_all(*columns, self.factor_ppm, *funds, self.factor_bankrupt, self.factor_deficit, self.factor_volume)

    def symbols(self, names: list[str], ppm: list[int]) -> dict[str, list[Struck]]:
        found = {}
        for row in np.flatnonzero(self.bankrupt.any(axis=1)).tolist():
            sums = self._sums(self.deficit[row, :-1], self.deficit[row, -1])
            longs, shorts, elsewhere = self.volume[row]
            columns = self.bankrupt[row].tolist(), *sums, abs(longs - shorts).tolist(), elsewhere.tolist()
            found[names[row]] = _struck(zip(ppm, *columns, strict=True))
        return found

    def factor(self, ppm: list[int]) -> list[Struck]:
        sums = self._sums(self.factor_deficit[:-1], self.factor_deficit[-1])
        volumes = map(sum, self._net().T.tolist())
        return _struck(zip(ppm, self.factor_bankrupt[:-1].tolist(), *sums, volumes, strict=True))

    def factor_volumes(self, names: list[str], ppm: list[int]) -> dict[str, dict[int, int]]:
        found: dict[str, dict[int, int]] = {}
        near_first = sorted(enumerate(ppm), key=lambda item: _near_first(item[1]))
        for name, row in zip(names, self._net().tolist(), strict=True):
            volumes = {size: row[at] for at, size in near_first if row[at]}
            if volumes:
                found[name] = volumes
        return found

    def _sums(self, deficit: Ints, before: Ints) -> list[list[int]]:
        """Deficits and shortfalls over all funds."""
        sums = np.zeros((2, len(deficit)), np.int64)
        lacking(np.ascontiguousarray(deficit), before, self.factor_deficit[-1], self.available, sums)
        found: list[list[int]] = sums.tolist()
        return found

    def _net(self) -> Ints:
        """Per symbol and shock what longs and shorts that are taken over together do not take of each other."""
        net: Ints = abs(self.factor_volume[:, 0, :-1] - self.factor_volume[:, 1, :-1])
        return net


def _struck(rows: Iterable[tuple[int, ...]]) -> list[Struck]:
    """The shocks that bankrupt anybody, smallest first, of two of a size the fall."""
    return sorted((Struck(*row) for row in rows if row[1]), key=lambda struck: _near_first(struck.ppm))


def _near_first(ppm: int) -> tuple[int, int]:
    return abs(ppm), ppm
