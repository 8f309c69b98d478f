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

from schemas import MarginReduction, PositionSide, text_of
from solver import RiskModel
from worker.book.book import Book
from worker.book.margins import CROSS, PARTS, ROOM, IsKnown, Margin, Thin
from worker.ids import digest_of
from worker.settings import ReductionSettings
from worker.shed import Plan, Ratio, plan
from worker.tiers import Tier, plain, tiers_of

RATIO_DECIMALS = 6
Name = tuple[str, str, PositionSide]  # account, and of an isolated position its symbol and side, else NO_SYMBOL and NET
NO_SYMBOL = ""
ASKED_MAX: Final = 2_000  # 40 us each: a burst that comes right then waits for them


class Used(NamedTuple):
    """What counts no more for a margin, for now."""

    again_above: dict[str, str]  # tier -> the ratio above which it counts again, deepest tier last
    not_before_ms: int
    counting: list[Tier]  # deeper than every one that is used up
    lowest: float  # smallest ratio above which a tier counts again


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
        self._known: dict[
            tuple[tuple[str, str], ...], tuple[list[Tier], float]
        ] = {}  # few: what margins have in common
        self._used: dict[Name, Used] = {}
        self.digest = 0

    @property
    def idle(self) -> bool:
        """Nothing is asked of anybody, and nothing was that still counts."""
        return not (self.tiers or self._used)

    def recover(self, book: Book, log_time_ms: int, is_known: IsKnown) -> None:
        """Gives margins that have recovered their tiers back; what cannot be known stays as it is."""
        if not self._used:
            return
        places = {name: (book.accounts.row(name[0]), _slot(book, name)) for name in self._used}
        rows = np.unique(np.array([row for row, _ in places.values() if row >= 0], np.int64))
        thin = book.thin(np.inf, is_known, rows)
        found = zip(thin.account.tolist(), thin.slot.tolist(), strict=True)
        ratios = dict(zip(found, thin.ratio.tolist(), strict=True))
        for name, used in list(self._used.items()):
            low = used.again_above and ratios.get(places[name], np.inf) <= used.lowest * (1.0 - ROOM)
            margin = None if low else book.margin(name[0], places[name][1], is_known)
            again_above = used.again_above
            if margin is not None:
                again_above = {t: again for t, again in again_above.items() if not _above(margin, Fraction(again))}
            if len(again_above) < len(used.again_above) or not again_above:
                over = not again_above and log_time_ms >= used.not_before_ms
                self._put(name, None if over else self._use(again_above, used.not_before_ms))

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
            self._known[words] = counting, min(map(float, again_above.values()), default=0.0)
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


def _name(book: Book, row: int, slot: int) -> Name:
    account = book.accounts.name(row)
    return (account, *book.symbol_side(slot)) if slot >= 0 else (account, NO_SYMBOL, "NET")


def _slot(book: Book, name: Name) -> int:
    return CROSS if name[1] == NO_SYMBOL else book.isolated_slot(*name)


def rounded_down(ratio: Ratio) -> str:
    """A margin ratio as it is written."""
    return text_of(ratio.num * 10**RATIO_DECIMALS // ratio.den, RATIO_DECIMALS)
