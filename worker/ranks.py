"""The feed `adl-ranks`: where every position stands in its line under the policy in force, told as far as it changed.

Rule 1: looked at in watch cuts, in log time; what is due and what was said are a function of those cuts alone.
Rule 2: what the rate leaves unsaid stays due. A record is there for every position that a decision could ask, as the
book stands: whoever closed it, was parked or exempted gets a tombstone.
Rule 3: a silent replay ranks nothing. Before its first ranking a new process is told what is kept of the topic, says
everything anew and removes what has no place any more; so the feed is complete again, whatever was lost. While the
feed is off it removes all that is kept.
"""

from collections.abc import Iterable, Iterator
from math import inf, isfinite
from typing import Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import AdlRank, decode_output
from solver.places import places, radix_order
from solver.standing import TIERS, Held, figures, tiers
from worker.book import said
from worker.book.book import Book
from worker.book.said import (
    ACCOUNT,
    GONE,
    KEY,
    NEVER,
    NOW,
    OUTDATED,
    PLACE,
    POPULATION,
    QUANTILE,
    SAID,
    SAID_QUANTILE,
    SHORT,
)
from worker.book.state import SIDES
from worker.book.views import Gathered
from worker.record import Record
from worker.risk import NEEDED_BY, Risk
from worker.settings import Settings

VERSION: Final = 1  # of the scores; grows when a number means something else
SEPARATOR: Final = "\t"  # of a key's parts; names are printable, so none holds it
LINES: Final[tuple[Literal["LONG", "SHORT"], ...]] = ("LONG", "SHORT")
REMOVED_PER_SECOND: Final = 10_000  # of log time, once the feed is off
_SECOND_MS: Final = 1000

Said = tuple[str, AdlRank | None]  # key and message, None: a tombstone


def key_of(account: str, symbol: str, position_side: str) -> str:
    """The record's key: the same for no other position."""
    return SEPARATOR.join((account, symbol, position_side))


def _is_ours(value: bytes, key: bytes, pool: str) -> bool:
    try:
        rank = decode_output(value)
    except (msgspec.MsgspecError, ValueError):
        return False
    if not isinstance(rank, AdlRank) or rank.pool != pool:
        return False
    ours = key_of(rank.account, rank.symbol, rank.position_side)
    return key == ours.encode() and ours.count(SEPARATOR) == 2


class Ranks:
    """What was said of each position's place, and what is still to be said."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.ranks
        self._pool = settings.pool.name
        self._outside = {settings.pool.clearing_account}  # as in every decision
        # What a watch cut may say at most: the rate of the log time that it stands for.
        self._rate = self._settings.records_per_second or REMOVED_PER_SECOND
        self._credit_max = self._rate * max(_SECOND_MS, settings.cut.watch_ms)
        self._credit = 0  # thousandths of a record
        self._watched_ms: int | None = None
        self._ranked_ms: int | None = None
        self.said = 0  # records since this process began
        self._formula = ""
        self._places = said.nothing_said()
        self._due: NDArray[np.int64] = np.zeros(0, np.int64)  # rows, the most urgent first
        self._kept: list[str] = []  # keys in the topic that are not in the cells yet
        self._strangers: list[str] = []  # of them those whose account or symbol the book does not know

    @property
    def on(self) -> bool:
        return self._settings.records_per_second > 0

    def resume(self, records: Iterable[Record]) -> None:
        """Takes what is kept of the topic, before the first ranking of this process; passes over what is not ours."""
        kept: set[bytes] = set()
        for record in records:
            key = record.key or b""
            if record.value is None:
                kept.discard(key)
            elif _is_ours(record.value, key, self._pool):
                kept.add(key)
        self._kept = sorted(key.decode() for key in kept)

    def watch(self, book: Book, policy: str, risk: Risk, log_time_ms: int) -> Iterator[Said]:
        """What a watch cut says, in its order; while the feed is off, only what removes the records of another time."""
        if not (self.on or self._kept):
            return
        since_ms = _SECOND_MS if self._watched_ms is None else log_time_ms - self._watched_ms
        self._watched_ms = log_time_ms
        self._credit = min(self._credit + self._rate * since_ms, self._credit_max)
        if not self.on:
            yield from self._remove_kept()
            return
        self._forget(book)
        formula = f"{policy}/{VERSION}"
        due = self._ranked_ms is None or log_time_ms - self._ranked_ms >= self._settings.interval_ms
        if due or formula != self._formula:
            self._rank(book, policy, risk, formula)
            self._ranked_ms = log_time_ms
        yield from self._say(book)

    def _forget(self, book: Book) -> None:
        """Positions of accounts whose row may be another's by now have no place, and go by the name that was ranked."""
        names, cells = book.accounts, self._places.cells
        gone = dict(reversed(names.given_up or []))  # of several names of a row the first
        names.given_up = []
        if gone:
            rows = np.flatnonzero(np.isin(cells[ACCOUNT], list(gone)))
            for account, key, *_, quantile in self._places.of(rows).cells.T.tolist():
                if quantile != NEVER:
                    self._strangers.append(key_of(gone[account], book.markets[key >> 2].symbol, SIDES[key & 3]))
            cells[QUANTILE, rows], cells[SAID_QUANTILE, rows] = GONE, NEVER
            self._due = self._due[~np.isin(self._due, rows)]

    # --- ranking ------------------------------------------------------------------------------------------------------

    def _rank(self, book: Book, policy: str, risk: Risk, formula: str) -> None:
        self._take_kept(book)
        old = self._places.of(np.flatnonzero(self._places.cells[SAID_QUANTILE] != NEVER))
        if formula != self._formula:  # what the numbers meant is of the past
            old.cells[SAID_QUANTILE] = OUTDATED
            self._formula = formula
        new = ranked(book, policy, risk, self._outside)
        ids = _ids(book, new.cells)
        order = np.argsort(ids, kind="stable")  # cross and isolated positions of an account stand apart
        new = new.of(order)
        self._places = said.Places(*said.merge(*old, _ids(book, old.cells), *new, ids[order]))
        change, size = self._settings.score_change, self._places.cells.shape[1]
        due, urgency = np.empty(size, np.int64), np.empty(size, np.uint64)
        count = said.list_due(*self._places, inf if change is None else float(change), due, urgency)
        self._due = due[radix_order(urgency[:count])]

    def _take_kept(self, book: Book) -> None:
        """Puts the keys of the topic into the cells, as said once and outdated."""
        known: list[tuple[int, int]] = []
        for key in self._kept:
            account, symbol, side = key.split(SEPARATOR)
            account_row, symbol_row = book.accounts.row(account), book.symbols.row(symbol)
            if account_row < 0 or symbol_row < 0:
                self._strangers.append(key)
            else:
                known.append((account_row, 4 * symbol_row + SIDES.index(side)))
        if known:  # nothing was ranked before
            places = said.nothing_said(len(known))
            places.cells[[ACCOUNT, KEY]] = np.array(known, np.int32).T
            places.cells[SAID_QUANTILE] = OUTDATED
            self._places = places.of(np.argsort(_ids(book, places.cells)))
        self._kept = []

    def _remove_kept(self) -> Iterator[Said]:
        count = self._credit // _SECOND_MS
        gone, self._kept = self._kept[:count], self._kept[count:]
        self._credit -= len(gone) * _SECOND_MS
        self.said += len(gone)
        yield from ((key, None) for key in gone)

    # --- saying -------------------------------------------------------------------------------------------------------

    def _say(self, book: Book) -> Iterator[Said]:
        count = self._credit // _SECOND_MS
        strangers, self._strangers = self._strangers[:count], self._strangers[count:]
        yield from ((key, None) for key in strangers)
        rows, self._due = np.split(self._due, [count - len(strangers)])
        self._credit -= (len(strangers) + len(rows)) * _SECOND_MS
        self.said += len(strangers) + len(rows)
        cells, scores = self._places.of(rows)
        self._places.cells[SAID_QUANTILE, rows] = np.where(cells[QUANTILE] == GONE, NEVER, cells[QUANTILE])
        self._places.scores[SAID, rows] = scores[NOW]
        for row, score in zip(cells.T.tolist(), scores[NOW].tolist(), strict=True):
            account, key, short, place, population, quantile, _ = row
            name, market, side = book.accounts.name(account), book.markets[key >> 2], SIDES[key & 3]
            symbol = market.symbol
            if quantile == GONE:
                yield key_of(name, symbol, side), None
                continue
            line = LINES[short if market.scale.sign > 0 else 1 - short]  # lots of an inverse contract are turned
            yield key_of(name, symbol, side), AdlRank(
                pool=self._pool, account=name, symbol=symbol, position_side=side,
                side=line, score=score if isfinite(score) else None, rank=place, population=population,
                percentile=(population - place + 1) / population, quantile=quantile,
                formula=self._formula, cut_time_ms=self._ranked_ms or 0,
            )  # fmt: skip


def ranked(book: Book, policy: str, risk: Risk, outside: Iterable[str]) -> said.Places:
    """Every position that a decision could ask now, in the order in which the book gathers them.

    Accounts of `outside` are never asked.
    """
    gathered = book.gather(
        [(market.row, side) for market in book.markets for side in (1, -1)],
        outside,
        with_collateral=policy in NEEDED_BY,
    )
    held = _held(book, gathered)
    line = 2 * gathered.asset + (gathered.quantity_lots < 0)
    bucket = TIERS * line + tiers(held, gathered.adl_class == 1)
    markets = [book.markets[row] for row in gathered.assets.tolist()]
    model = risk.returns(markets, policy) if policy in NEEDED_BY and markets else None
    if not markets:
        return said.nothing_said()
    score = figures(held, policy, model, bucket)
    may = np.flatnonzero(gathered.eligible)  # of a symbol that is not parked
    score, line = score[may], line[may]
    place, population = places(score, bucket[may], 2 * len(markets), TIERS)
    now = said.nothing_said(len(may))
    cells = now.cells
    account, key = book.accounts_and_keys(gathered.slot[may])
    population = population[line]
    cells[ACCOUNT], cells[KEY], cells[SHORT] = account, key, line & 1
    cells[PLACE], cells[POPULATION] = place, population
    cells[QUANTILE] = said.quantiles(place, population)
    # How far an account is under water is no score of the policy.
    now.scores[NOW] = np.where(held.equity[gathered.account[may]] > 0, score, inf)
    return now


def _held(book: Book, gathered: Gathered) -> Held:
    markets = [book.markets[row] for row in gathered.assets.tolist()]
    lot_price = np.array([market.scale.price_float(market.mark) for market in markets], np.float64)
    return Held(
        gathered.account, gathered.asset, gathered.quantity_lots, lot_price, lot_price, np.ones(len(markets)),
        gathered.entry_price, gathered.equity, gathered.balance, gathered.maintenance_margin,
    )  # fmt: skip


def _ids(book: Book, cells: said.Cells) -> said.Ids:
    """Numbers in the order of (account, symbol, side), by names."""
    account_rank, symbol_rank = book.accounts.order()[1], book.symbols.order()[1]
    key = cells[KEY]
    place = 4 * symbol_rank[key >> 2].astype(np.int64) + (key & 3)
    ids: said.Ids = account_rank[cells[ACCOUNT]] * (4 * np.int64(len(symbol_rank) + 1)) + place
    return ids
