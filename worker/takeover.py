"""What must be taken over from bankrupt accounts, and whose part of a deficit goes with it.

An estate is what one claim takes of a margin unit: an account's cross book, or one isolated position. A unit's deficit
is counted once; each line carries its part by maintenance requirement. The part of lines that the event priced asks
nobody. Of the rest the fund pays first; what it does not pay, TAV, is left for the forced trades. Amounts are exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from schemas import PositionSide, Scale, text_of
from solver.settlement import loss_since, split_by_largest_remainder, takeover_value
from worker.book.book import Book
from worker.claims import Claim, ClaimLine

ZERO = Fraction(0)


@dataclass(slots=True)
class Line:
    """Lots of one position that must be taken over; `price_minor` per lot is exact and frozen when decided."""

    symbol: str
    position_side: PositionSide
    sign: int  # +1 the bankrupt account is long, as booked (schemas/units.py)
    lots: int
    scale: Scale
    mark: int
    priced: bool  # by the event
    mmf: Fraction = ZERO  # what its position requires at the mark, over the position's value there
    price_minor: Fraction = Fraction(0)
    left: int = 0  # lots that no round has taken yet
    replaced: int = 0  # lots of a refused leg that have a new counterparty
    last_solvent: int = 0  # mark when the account was last solvent, where the price rests on it; 0: there is none

    @property
    def mark_minor(self) -> Fraction:
        return self.minor(self.mark)

    @property
    def loss_minor(self) -> Fraction:
        """What a lot lost since the account was last solvent; 0 where it gained, or nothing is known of that time."""
        return Fraction(loss_since(self.sign, self.mark_minor, self.minor(self.last_solvent or self.mark)))

    def minor(self, price: int) -> Fraction:
        """What a lot is worth at a scaled price."""
        return self.scale.per_lot(price)


class Unit(NamedTuple):
    """A margin unit: a cross book, an isolated position, or what one claim says of a book that we do not hold."""

    account: str
    isolated: tuple[str, PositionSide] | None = None
    stranger: int = -1  # place of the claim in its decision


@dataclass(slots=True)
class Estate:
    """What one claim takes of one margin unit, and what its waterfall paid."""

    claim: Claim
    unit: Unit
    lines: list[Line]
    fund_id: str
    equity_minor: int = 0  # of the whole unit
    deficit_minor: int = 0  # the part that this estate carries
    claimed_minor: int = 0  # of it, what fund and forced trades are asked for: the part of unpriced lines
    requirement_minor: Fraction = Fraction(0)  # the part of the unit's that goes with `claimed_minor`
    paid_minor: int = 0
    haircut_minor: int = 0
    settlement: str = ""  # the rule by which its lines were priced
    loss_share: Fraction = ZERO  # of its losses since it was last solvent, what its prices undo

    @property
    def account(self) -> str:
        return self.unit.account

    @property
    def left_minor(self) -> int:
        """TAV: below zero what the forced trades must carry; an account back above zero pays no bonus."""
        return int(takeover_value(-self.claimed_minor, self.paid_minor))


class _Listed:
    """What the events of one decision list, by (account, symbol, side)."""

    def __init__(self, book: Book, claims: list[Claim]) -> None:
        self.lots: dict[tuple[str, str, PositionSide], int] = {}  # signed, of all events together
        for claim in claims:
            for line in claim.lines:
                key = claim.message.account, line.symbol, line.position_side
                self.lots[key] = self.lots.get(key, 0) + line.lots
        # Events that name all of a position and have not seen what we took of it: lots that are still there.
        self.raced: dict[tuple[str, str, PositionSide], int] = {}
        for key, lots in self.lots.items():
            ours = book.position(*key)
            if ours is not None and ours.lots == lots != ours.effective_lots:
                self.raced[key] = ours.effective_lots

    def take(self, name: str, wanted: ClaimLine) -> int:
        """The lots that a line takes over: what it says, or of a raced position what is still there."""
        key = name, wanted.symbol, wanted.position_side
        if key not in self.raced:
            return wanted.lots
        lots = min(wanted.lots, self.raced[key], key=abs)
        self.raced[key] -= lots
        return lots


def estates_of(book: Book, claims: list[Claim]) -> tuple[list[Estate], list[list[str]]]:
    """What the claims of one decision take over, in their order, and of each claim where our book differs from it.

    A whole book is taken once, by the first claim that asks for it, less what other claims of the decision list.
    """
    estates: list[Estate] = []
    units: dict[Unit, list[Estate]] = {}
    whole: set[str] = set()
    listed = _Listed(book, claims)
    disagreements = []
    for place, claim in enumerate(claims):
        name = claim.message.account
        if claim.lines:
            found = _listed(book, claim, place, listed)
        elif name not in whole:
            whole.add(name)
            found = _whole(book, claim, listed)
        else:
            found = []
        for estate in found:
            estates.append(estate)
            units.setdefault(estate.unit, []).append(estate)
        disagreements.append(_disagreements(book, claim, listed) + _equity_differs(book, claim, found))
    for unit, group in units.items():
        _share_deficit(book, unit, group)
    return estates, disagreements


def _whole(book: Book, claim: Claim, listed: _Listed) -> list[Estate]:
    """The cross book, less lots that other claims list; a position that they list the other way round is theirs."""
    name = claim.message.account
    lines = []
    for view in book.positions(name):
        lots = view.effective_lots
        others = listed.lots.get((name, view.symbol, view.side), 0)
        lots -= min(others, lots, key=abs) if others * lots > 0 else lots * (others != 0)
        if lots and not view.isolated:
            lines.append(_line(book, (name, view.symbol, view.side), lots, None, listed))
    return [_estate(book, claim, Unit(name), lines)] if lines else []


def _listed(book: Book, claim: Claim, place: int, listed: _Listed) -> list[Estate]:
    """The listed lines: each isolated position alone, the others together."""
    name = claim.message.account
    isolated = {(view.symbol, view.side): view.isolated for view in book.positions(name)}
    cross: list[Line] = []
    found: list[Estate] = []
    for wanted in sorted(claim.lines, key=lambda item: (item.symbol, item.position_side)):
        lots = listed.take(name, wanted)
        if not lots:
            continue
        line = _line(book, (name, wanted.symbol, wanted.position_side), lots, wanted.price, listed)
        if isolated.get((wanted.symbol, wanted.position_side)):
            found.append(_estate(book, claim, Unit(name, (wanted.symbol, wanted.position_side)), [line]))
        else:
            cross.append(line)
    if cross:
        known = not all(isolated.values())
        found.append(_estate(book, claim, Unit(name, stranger=-1 if known else place), cross))
    return found


def _disagreements(book: Book, claim: Claim, listed: _Listed) -> list[str]:
    """Positions of a book that we hold which the events of the decision list otherwise."""
    name = claim.message.account
    held = {(view.symbol, view.side): view.effective_lots for view in book.positions(name)}
    texts = []
    for wanted in sorted(claim.lines, key=lambda item: (item.symbol, item.position_side)) if held else ():
        said, ours = (
            listed.lots[name, wanted.symbol, wanted.position_side],
            held.get((wanted.symbol, wanted.position_side), 0),
        )
        if said != ours:
            scale = book.scale(wanted.symbol)
            event, held_text = (scale.quantity_text(scale.sign * lots) for lots in (said, ours))
            event = f"event {event}" if said == wanted.lots else f"events {event}"
            texts.append(f"{wanted.symbol} {wanted.position_side}: {event}, book {held_text}")
    return texts


def _equity_differs(book: Book, claim: Claim, found: list[Estate]) -> list[str]:
    """An event's equity against that of the cross book, or where it takes none of it, of its isolated positions."""
    units = [estate.unit for estate in found]
    if claim.equity_minor is None or not units or units[-1].stranger >= 0:
        return []
    if units[-1].isolated is None:
        ours = book.equity_minor(claim.message.account)
    else:
        ours = sum(book.isolated_equity_minor(unit.account, *unit.isolated) for unit in units if unit.isolated)
    if ours == claim.equity_minor:
        return []
    return [f"equity: event {claim.message.equity}, book {text_of(ours, book.currency_decimals)}"]


def _share_deficit(book: Book, unit: Unit, group: list[Estate]) -> None:
    """Counts a unit's deficit once: shares it over its estates, and in each over unpriced and priced lines.

    In proportion to maintenance requirements, by largest remainder, ties in the order of the claims; so whatever is
    closed, TAV / MMR stays what it is for the whole unit.
    """
    equity, required = _equity_of(book, unit, group)
    deficit = max(0, -equity)
    for estate in group:
        estate.equity_minor = equity
    if len(group) == 1 and not any(line.priced for line in group[0].lines):  # nearly always; Fractions are slow
        group[0].deficit_minor = group[0].claimed_minor = deficit
        group[0].requirement_minor = required
        return
    listed = [_required(estate.lines) for estate in group]
    unpriced = [_required(line for line in estate.lines if not line.priced) for estate in group]
    for index, (estate, part) in enumerate(zip(group, _shares(deficit, listed), strict=True)):
        estate.deficit_minor = part
        estate.claimed_minor = _shares(part, [unpriced[index], listed[index] - unpriced[index]])[0]
        estate.requirement_minor = required * unpriced[index] / sum(listed, ZERO)


def _equity_of(book: Book, unit: Unit, group: list[Estate]) -> tuple[int, Fraction]:
    """Equity and maintenance requirement of a margin unit; of a book that we do not hold, as the event says."""
    if unit.stranger >= 0:
        return group[0].claim.equity_minor or 0, _required(group[0].lines)
    if unit.isolated is None:
        required = book.maintenance_requirement(unit.account)
        if any(estate.claim.lines for estate in group):
            required = max(required, _required(line for estate in group for line in estate.lines))
        return book.equity_minor(unit.account), required
    line = group[0].lines[0]
    ours = book.position(unit.account, *unit.isolated)
    lots = max(abs(ours.effective_lots) if ours else 0, sum(estate.lines[0].lots for estate in group))
    return book.isolated_equity_minor(unit.account, *unit.isolated), line.mark_minor * lots * line.mmf


def _required(lines: Iterable[Line]) -> Fraction:
    """Maintenance requirement of lines at the mark."""
    return sum((line.mark_minor * line.lots * line.mmf for line in lines), ZERO)


def _shares(total: int, weights: list[Fraction]) -> list[int]:
    """A total in proportion to exact weights, which nearly always is all of it to one."""
    if sum(map(bool, weights)) == 1:
        return [total if weight else 0 for weight in weights]
    common = lcm(*(weight.denominator for weight in weights))
    return [int(part) for part in split_by_largest_remainder(total, [int(weight * common) for weight in weights])]


def _line(book: Book, position: tuple[str, str, PositionSide], lots: int, price: int | None, listed: _Listed) -> Line:
    _, symbol, side = position
    market = book.market(symbol)
    scale, mmf = market.scale, market.scale.mmf
    if scale.tiers and market.mark:  # by the whole position, whatever part of it is taken, so that parts add up to it
        ours = book.position(*position)
        whole = max(abs(lots), abs(ours.effective_lots) if ours else 0, abs(listed.lots.get(position, 0)))
        value = whole * scale.per_lot(market.mark)
        mmf = scale.requirement(value) / value
    sign = 1 if lots > 0 else -1
    line = Line(symbol, side, sign, abs(lots), scale, market.mark, price is not None, mmf, left=abs(lots))
    if price is not None:
        line.price_minor = line.minor(price)
    return line


def _estate(book: Book, claim: Claim, unit: Unit, lines: list[Line]) -> Estate:
    fund_id = claim.message.fund_id or book.market(lines[0].symbol).instrument.fund_id
    return Estate(claim, unit, lines, fund_id)
