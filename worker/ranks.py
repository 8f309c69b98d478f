"""The feed `adl-ranks`: where every position stands in its line under the policy in force, told as far as it changed.

Rule 1: looked at in watch cuts, in log time; what is due and what was said are a function of those cuts alone.
Rule 2: what the rate leaves unsaid stays due. A record is there for every position that a decision could ask, as the
book stands: whoever closed it, was parked or exempted gets a tombstone.
Rule 3: a silent replay ranks nothing. Before its first ranking a new process is told what is kept of the topic, says
everything anew and removes what has no place any more; so the feed is complete again, whatever was lost.
"""

from collections.abc import Iterable, Iterator
from math import inf, isfinite
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import AdlRank, decode_output
from solver.places import places, radix_order
from solver.standing import TIERS, Held, figures, tiers
from worker.book import said
from worker.book.book import Book
from worker.book.said import ACCOUNT, GONE, KEY, NEVER, NOW, OUTDATED, PLACE, POPULATION, QUANTILE, SAID_QUANTILE, SHORT
from worker.book.state import SIDES
from worker.book.views import Gathered
from worker.record import Record
from worker.risk import NEEDED_BY, Risk
from worker.settings import Settings

VERSION: Final = 1  # of the scores; grows when a number means something else
SEPARATOR: Final = "\t"  # of a key's parts; names are printable, so none holds it
LINES: Final[tuple[Literal["LONG", "SHORT"], ...]] = ("LONG", "SHORT")
_SECOND_MS: Final = 1000

Said = tuple[str, AdlRank | None]  # key and message, None: a tombstone


def key_of(account: str, symbol: str, position_side: str) -> str:
    """The record's key: the same for no other position."""
    return SEPARATOR.join((account, symbol, position_side))


class Ranked(NamedTuple):
    """Every position that has a place, in the order in which the book gathers them."""

    cells: said.Cells
    scores: said.Scores


class Ranks:
    """What was said of each position's place, and what is still to be said."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.ranks
        self._pool = settings.pool.name
        self._outside = {settings.pool.clearing_account}  # as in every decision
        # What a watch cut may say at most: the rate of the log time that it stands for.
        self._credit_max = self._settings.records_per_second * max(_SECOND_MS, settings.cut.watch_ms)
        self._credit = 0  # thousandths of a record
        self._watched_ms: int | None = None
        self._ranked_ms: int | None = None
        self._formula = ""
        self._cells, self._scores = said.nothing_said()
        self._due: NDArray[np.int64] = np.zeros(0, np.int64)  # rows, the most urgent first
        self._kept: list[str] = []  # keys in the topic that are not in the cells yet
        self._strangers: list[str] = []  # of them those whose account or symbol the book does not know

    @property
    def on(self) -> bool:
        return self._settings.records_per_second > 0

    def resume(self, records: Iterable[Record]) -> None:
        """Takes what is kept of the topic, before the first ranking of this process."""
        kept: dict[bytes, bool] = {}
        for record in records:
            if record.key is not None and (record.value is None or decode_output(record.value).pool == self._pool):
                kept[record.key] = record.value is not None
        self._kept = sorted(key.decode() for key, there in kept.items() if there)

    def watch(self, book: Book, policy: str, risk: Risk, log_time_ms: int) -> Iterator[Said]:
        """What a watch cut says, in its order; nothing at all while the feed is off."""
        if not self.on:
            return
        formula = f"{policy}/{VERSION}"
        since_ms = _SECOND_MS if self._watched_ms is None else log_time_ms - self._watched_ms
        self._watched_ms = log_time_ms
        self._credit = min(self._credit + self._settings.records_per_second * since_ms, self._credit_max)
        due = self._ranked_ms is None or log_time_ms - self._ranked_ms >= self._settings.interval_ms
        if due or formula != self._formula:
            self._rank(book, policy, risk, formula)
            self._ranked_ms = log_time_ms
        yield from self._say(book)

    # --- ranking ------------------------------------------------------------------------------------------------------

    def _rank(self, book: Book, policy: str, risk: Risk, formula: str) -> None:
        self._take_kept(book)
        if formula != self._formula:  # what the numbers meant is of the past
            self._cells[SAID_QUANTILE][self._cells[SAID_QUANTILE] >= 0] = OUTDATED
            self._formula = formula
        new = ranked(book, policy, risk, self._outside)
        ids = _ids(book, new.cells)
        order = np.argsort(ids, kind="stable")  # cross and isolated positions of an account stand apart; all else does
        size = len(ids) + self._cells.shape[1]
        cells, scores = np.empty((said.FIELDS, size), np.int32), np.empty((2, size))
        new_cells, new_scores = np.ascontiguousarray(new.cells[:, order]), np.ascontiguousarray(new.scores[:, order])
        size = said.merge(
            self._cells, self._scores, _ids(book, self._cells), new_cells, new_scores, ids[order], cells, scores
        )
        self._cells, self._scores = np.ascontiguousarray(cells[:, :size]), np.ascontiguousarray(scores[:, :size])
        change = self._settings.score_change
        due, urgency = np.empty(size, np.int64), np.empty(size, np.uint64)
        count = said.list_due(self._cells, self._scores, inf if change is None else float(change), due, urgency)
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
            self._cells, self._scores = said.nothing_said(len(known))
            self._cells[[ACCOUNT, KEY]] = np.array(known, np.int32).T
            self._cells[SAID_QUANTILE] = OUTDATED
            self._cells = np.ascontiguousarray(self._cells[:, np.argsort(_ids(book, self._cells))])
        self._kept = []

    # --- saying -------------------------------------------------------------------------------------------------------

    def _say(self, book: Book) -> Iterator[Said]:
        count = self._credit // _SECOND_MS
        strangers, self._strangers = self._strangers[:count], self._strangers[count:]
        yield from ((key, None) for key in strangers)
        rows, self._due = np.split(self._due, [count - len(strangers)])
        self._credit -= (len(strangers) + len(rows)) * _SECOND_MS
        cells, scores = self._cells[:, rows], self._scores[NOW, rows]
        self._cells[SAID_QUANTILE, rows] = np.where(cells[QUANTILE] == GONE, NEVER, cells[QUANTILE])
        self._scores[said.SAID, rows] = scores
        for row, score in zip(cells.T.tolist(), scores.tolist(), strict=True):
            account, key, short, place, population, quantile, _ = row
            name, symbol, side = book.accounts.name(account), book.markets[key >> 2].symbol, SIDES[key & 3]
            if quantile == GONE:
                yield key_of(name, symbol, side), None
                continue
            yield key_of(name, symbol, side), AdlRank(
                pool=self._pool, account=name, symbol=symbol, position_side=side,
                side=LINES[short], score=score if isfinite(score) else None, rank=place, population=population,
                percentile=(population - place + 1) / population, quantile=quantile,
                formula=self._formula, cut_time_ms=self._ranked_ms or 0,
            )  # fmt: skip


def ranked(book: Book, policy: str, risk: Risk, outside: Iterable[str]) -> Ranked:
    """Every position that a decision could ask now, with score and place; accounts of `outside` are never asked."""
    gathered = book.gather([(market.row, side) for market in book.markets for side in (1, -1)], outside)
    held = _held(book, gathered)
    line = 2 * gathered.asset + (gathered.quantity_lots < 0)
    bucket = TIERS * line + tiers(held, gathered.adl_class == 1)
    markets = [book.markets[row] for row in gathered.assets.tolist()]
    model = risk.returns(markets, policy) if policy in NEEDED_BY and markets else None
    if not markets:
        return Ranked(*said.nothing_said())
    score = figures(held, policy, model, bucket)
    may = np.flatnonzero(gathered.eligible)  # of a symbol that is not parked
    score, line = score[may], line[may]
    place, population = places(score, bucket[may], 2 * len(markets), TIERS)
    cells, scores = said.nothing_said(len(may))
    account, key = book.accounts_and_keys(gathered.slot[may])
    population = population[line]
    cells[ACCOUNT], cells[KEY], cells[SHORT] = account, key, line & 1
    cells[PLACE], cells[POPULATION] = place, population
    cells[QUANTILE] = said.quantiles(place, population)
    # How far an account is under water is no score of the policy.
    scores[NOW] = np.where(held.equity[gathered.account[may]] > 0, score, inf)
    return Ranked(cells, scores)


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
