"""Staged reductions: margins that fall through tiers of their ratio are told to close positions before they are gone.

Rule 1: a tier counts once, until the ratio has risen above it by the hysteresis, and never within the cool-down.
Rule 2: at most ASKED_MAX margins are asked at a cut, the thinnest first, of two alike the smaller name; the others
at the next one.
Rule 3: what is kept follows from the book and from what was published alone, whatever is set now; so it is the same
when a log is replayed by other settings or other code.
"""

from collections.abc import Callable, Collection, Iterator
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import MarginReduction, PositionSide, text_of
from solver import RiskModel
from worker.book.book import Book
from worker.book.margins import CROSS, PARTS, ROOM, IsKnown, Margin, Thin
from worker.book.names import joined
from worker.ids import digest_of
from worker.settings import ReductionSettings
from worker.shed import Plan, Ratio, plan
from worker.tiers import Tier, plain, tiers_of

RATIO_DECIMALS = 6
Cells = NDArray[np.int64]
Floats = NDArray[np.float64]
Name = tuple[str, str, PositionSide]  # account, and of an isolated position its symbol and side, else NO_SYMBOL and NET
NO_SYMBOL = ""
ASKED_MAX: Final = 2_000  # 40 us each: a burst that comes right then waits for them


class Used(NamedTuple):
    """What counts no more for a margin, for now."""

    again_above: dict[str, str]  # tier -> the ratio above which it counts again, deepest tier last
    not_before_ms: int
    counting: list[Tier]  # deeper than every one that is used up
    lowest: float  # smallest ratio above which a tier counts again
    reach: float  # no ratio above it is at a tier that counts


class Due(NamedTuple):
    """A margin that is at a tier."""

    name: Name
    tier: Tier
    again_above: dict[str, str]
    plan: Plan


class Reductions:
    """Which tiers are used up, by margin, and who is due."""

    def __init__(self, settings: ReductionSettings) -> None:
        self.tiers = tiers_of(settings.tiers)
        self.cool_down_ms = settings.cool_down_ms
        again_above = {tier.text: plain(Decimal(tier.text) + settings.hysteresis) for tier in self.tiers}
        self._passed = [dict(list(again_above.items())[: place + 1]) for place in range(len(self.tiers))]
        # Few: what margins have in common.
        self._known: dict[tuple[tuple[str, str], ...], tuple[list[Tier], float, float]] = {}
        self._used: dict[Name, Used] = {}
        self._cross: tuple[list[Name], Cells] = [], np.zeros(0, np.int64)  # cross margins and their accounts' rows
        self.digest = 0

    @property
    def idle(self) -> bool:
        """Nothing is asked of anybody, and nothing was that still counts."""
        return not (self.tiers or self._used)

    def recover(self, book: Book, log_time_ms: int, is_known: IsKnown) -> None:
        """Gives margins that have recovered their tiers back; what cannot be known stays as it is."""
        if not self._used:
            return
        # Nearly all are where they were, and are passed over as columns: one by one took four times as long.
        names, used = list(self._used), list(self._used.values())
        rows, slots = self._places(book, names)
        self._cross = [name for name in names if name[1] == NO_SYMBOL], rows[slots == CROSS]
        thin = book.thin(np.inf, is_known, np.unique(rows[rows >= 0]))
        ratios = _ratios(thin, rows, slots, book.accounts.used)
        lowest = np.array([one.lowest if one.again_above else -np.inf for one in used])
        for at in np.flatnonzero(ratios > lowest * (1.0 - ROOM)).tolist():
            self._look_again(names[at], used[at], book.margin(names[at][0], int(slots[at]), is_known), log_time_ms)

    def _look_again(self, name: Name, used: Used, margin: Margin | None, log_time_ms: int) -> None:
        again_above = used.again_above
        if margin is not None:
            again_above = {t: again for t, again in again_above.items() if not _above(margin, Fraction(again))}
        if len(again_above) < len(used.again_above) or not again_above:
            over = not again_above and log_time_ms >= used.not_before_ms
            self._put(name, None if over else self._use(again_above, used.not_before_ms))

    def _places(self, book: Book, names: list[Name]) -> tuple[Cells, Cells]:
        """Account row, -1 where it is gone, and slot of each margin."""
        rows = book.accounts.rows_of(*joined(name[0] for name in names))
        return rows, np.array([CROSS if name[1] == NO_SYMBOL else _slot(book, name) for name in names], np.int64)

    def _reach(self, book: Book, log_time_ms: int) -> Floats:
        """Of each account row the ratio above which its cross margin is at no tier that counts now, after `recover`."""
        reach = np.full(book.accounts.used, np.inf)
        names, rows = self._cross
        used = [self._used.get(name) for name in names]
        now = [np.inf if one is None else one.reach if log_time_ms >= one.not_before_ms else -np.inf for one in used]
        there = rows >= 0
        reach[rows[there]] = np.array(now, np.float64)[there]
        return reach

    def due(
        self, book: Book, log_time_ms: int, is_known: IsKnown, excluded: Collection[str], risk: Callable[[], RiskModel]
    ) -> list[Due]:
        """Margins above their requirement that have reached a tier which counts, ASKED_MAX at most, in order of names.

        `excluded`: accounts left alone; `risk`: the model of all markets, asked for when somebody is due.
        """
        reached = self._reached(book, log_time_ms, is_known, excluded) if self.tiers else iter(())
        found = list(islice(reached, ASKED_MAX))
        if not found:
            return []
        model = risk()
        found.sort(key=lambda item: [part.encode() for part in item[0]])
        return [
            Due(name, tier, self._again_above(name, tier), plan(margin, tier.share, book.markets, model))
            for name, tier, margin in found
        ]

    def _reached(
        self, book: Book, log_time_ms: int, is_known: IsKnown, excluded: Collection[str]
    ) -> Iterator[tuple[Name, Tier, Margin]]:
        """The most urgent first: by the ratio as it is judged for that, then by names."""
        thin = book.thin(self.tiers[0].about, is_known)
        near = thin.ratio > 1.0 - ROOM
        if self._used:
            near &= (thin.slot != CROSS) | (thin.ratio <= self._reach(book, log_time_ms)[thin.account])
        thin = Thin(thin.account[near], thin.slot[near], thin.ratio[near], thin.urgency[near])
        order = book.margin_order(thin)
        columns = (column[order].tolist() for column in (thin.account, thin.slot, thin.ratio))
        for row, slot, ratio in zip(*columns, strict=True):
            name = _name(book, row, slot)
            used = self._used.get(name)
            counting = self.tiers if used is None else used.counting
            if (
                name[0] in excluded
                or (used is not None and log_time_ms < used.not_before_ms)
                or not counting
                or ratio > counting[0].about * (1.0 + ROOM)
            ):
                continue
            margin = book.margin(name[0], slot, is_known)
            if margin is None or not _above(margin, Fraction(1)):
                continue
            reached = [tier for tier in counting if not _above(margin, tier.ratio)]
            if reached:
                yield name, reached[-1], margin

    def apply(self, said: MarginReduction) -> None:
        """What was just asked for, or was published: its tiers are used up."""
        isolated = said.margin_mode == "isolated"
        name = (said.account, said.symbol, said.position_side) if isolated else (said.account, NO_SYMBOL, "NET")
        self._put(name, self._use(said.again_above, said.not_before_ms))

    def _use(self, again_above: dict[str, str], not_before_ms: int) -> Used:
        words = tuple(again_above.items())
        if words not in self._known:
            deepest = min(map(Fraction, again_above), default=None)
            counting = [tier for tier in self.tiers if deepest is None or tier.ratio < deepest]
            reach = counting[0].about * (1.0 + ROOM) if counting else -np.inf
            self._known[words] = counting, min(map(float, again_above.values()), default=0.0), reach
        return Used(again_above, not_before_ms, *self._known[words])

    def _again_above(self, name: Name, tier: Tier) -> dict[str, str]:
        """All that is used up once this tier is: it, and what it passed on its way."""
        used = self._used.get(name)
        return self._passed[self.tiers.index(tier)] | (used.again_above if used is not None else {})

    def _put(self, name: Name, used: Used | None) -> None:
        for sign, entry in ((-1, self._used.pop(name, None)), (1, used)):
            if entry is not None:
                words = sorted(entry.again_above.items())
                self.digest += sign * digest_of("reduced", *name, words, entry.not_before_ms)
        if used is not None:
            self._used[name] = used


def _above(margin: Margin, ratio: Fraction) -> bool:
    """Whether the margin ratio is above; a margin of which nothing is required is above every ratio."""
    return not margin.required or margin.equity_minor * PARTS * ratio.denominator > ratio.numerator * margin.required


def _ratios(thin: Thin, rows: Cells, slots: Cells, accounts: int) -> Floats:
    """The ratio of each margin, nearly; infinite where it is not known."""
    cross = thin.slot == CROSS
    of_row = np.full(accounts + 1, np.inf)  # the last is that of no account
    of_row[thin.account[cross]] = thin.ratio[cross]
    ratios = np.where(slots == CROSS, of_row[rows], np.inf)
    of_slot = dict(zip(thin.slot[~cross].tolist(), thin.ratio[~cross].tolist(), strict=True))
    for at in np.flatnonzero(slots != CROSS).tolist():
        ratios[at] = of_slot.get(int(slots[at]), np.inf)
    return ratios


def _name(book: Book, row: int, slot: int) -> Name:
    account = book.accounts.name(row)
    return (account, *book.symbol_side(slot)) if slot >= 0 else (account, NO_SYMBOL, "NET")


def _slot(book: Book, name: Name) -> int:
    return CROSS if name[1] == NO_SYMBOL else book.isolated_slot(*name)


def rounded_down(ratio: Ratio) -> str:
    """A margin ratio as it is written."""
    return text_of(ratio.num * 10**RATIO_DECIMALS // ratio.den, RATIO_DECIMALS)
