"""What must be taken over from bankrupt accounts, and whose part of a deficit goes with it.

An estate is what one claim takes of a margin unit: an account's cross book, or one isolated position. A unit's deficit
is counted once; each line carries its part by maintenance requirement. The part of lines that the event priced asks
nobody. Of the rest the fund pays first; what it does not pay, TAV, is left for the forced trades. Amounts are exact.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import lcm
from typing import NamedTuple

from schemas import Bankruptcy, PositionSide, Reason, Refused, Scale, amount_minor, limits, text_of
from solver.settlement import split_by_largest_remainder, takeover_value
from worker.book.book import Book

ZERO = Fraction(0)


@dataclass(slots=True)
class ClaimLine:
    """A line of an event in whole lots; `price` is scaled, None where the settlement rule decides."""

    symbol: str
    position_side: PositionSide
    lots: int  # signed as the bankrupt account holds them
    price: int | None


@dataclass(slots=True)
class Claim:
    """A bankruptcy as it was announced, with its place in the log and its amounts in minor units."""

    message: Bankruptcy
    topic: str
    partition: int
    offset: int
    lines: list[ClaimLine]
    insurance_minor: int | None
    equity_minor: int | None


@dataclass(slots=True)
class Line:
    """Lots of one position that must be taken over; `price_minor` per lot is exact and frozen when decided."""

    symbol: str
    position_side: PositionSide
    sign: int  # +1 the bankrupt account is long
    lots: int
    scale: Scale
    mark: int
    priced: bool  # by the event
    price_minor: Fraction = Fraction(0)
    left: int = 0  # lots that no round has taken yet
    replaced: int = 0  # lots of a refused leg that have a new counterparty

    @property
    def mark_minor(self) -> Fraction:
        return Fraction(self.mark * self.scale.value_num, self.scale.value_den)


class Unit(NamedTuple):
    """A margin unit: a cross book, an isolated position, or what one claim says of a book that we do not hold."""

    account: str
    isolated: tuple[str, PositionSide] | None = None
    stranger: int = -1  # place of the claim in its decision


@dataclass(slots=True)
class Estate:
    """What one claim takes of one margin unit, and what its waterfall paid."""

    claim: Claim
    account: str
    lines: list[Line]
    fund_id: str
    equity_minor: int = 0  # of the whole unit
    deficit_minor: int = 0  # the part that this estate carries
    claimed_minor: int = 0  # of it, what fund and forced trades are asked for: the part of unpriced lines
    requirement_minor: Fraction = Fraction(0)  # the part of the unit's that goes with `claimed_minor`
    paid_minor: int = 0
    haircut_minor: int = 0
    disagreements: list[str] = field(default_factory=list)

    @property
    def left_minor(self) -> int:
        """TAV: below zero what the forced trades must carry; an account back above zero pays no bonus."""
        return int(takeover_value(-self.claimed_minor, self.paid_minor))


def claim_of(book: Book, message: Bankruptcy, topic: str, partition: int, offset: int) -> Claim:
    """The event in lots and minor units; Refused where a line names an unknown symbol or a number does not fit."""
    lines: list[ClaimLine] = []
    seen: set[tuple[str, str]] = set()
    for line in message.lines:
        scale = book.market(line.symbol).scale
        lots = scale.lots(line.quantity)
        if lots == 0 or (line.position_side == "LONG" and lots < 0) or (line.position_side == "SHORT" and lots > 0):
            was = f"{line.quantity} {line.position_side}"
            raise Refused(Reason.SIDE, f"quantity of a line must be signed as its position side, was {was}")
        if (line.symbol, line.position_side) in seen:
            raise Refused(Reason.DUPLICATE, f"a position must be named by one line, was twice: {line.symbol}")
        seen.add((line.symbol, line.position_side))
        price = None if line.price is None else scale.price(line.price)
        if (
            abs(scale.value_minor(lots, max(price or 0, book.market(line.symbol).mark)))
            > limits.POSITION_VALUE_MINOR_MAX
        ):
            was = f"{line.quantity} at {line.price or 'the mark'}"
            raise Refused(Reason.RANGE, f"a line's value must be at most 2**51 minor units, was {was}")
        lines.append(ClaimLine(line.symbol, line.position_side, lots, price))
    decimals = book.currency_decimals
    insurance = None if message.insurance is None else amount_minor(message.insurance, decimals, "insurance")
    if insurance is not None and insurance < 0:
        raise Refused(Reason.RANGE, f"insurance must not be negative, was {message.insurance}")
    equity = None if message.equity is None else amount_minor(message.equity, decimals, "equity")
    return Claim(message, topic, partition, offset, lines, insurance, equity)


def estates_of(book: Book, claims: list[Claim]) -> list[Estate]:
    """What the claims of one decision take over, in their order: the cross book or the listed lines.

    A whole book is taken once, by the first claim that asks for it, less what other claims of the decision list.
    """
    estates: list[Estate] = []
    units: dict[Unit, list[Estate]] = {}
    whole: set[str] = set()
    listed: dict[tuple[str, str, str], int] = {}
    for claim in claims:
        for wanted in claim.lines:
            key = claim.message.account, wanted.symbol, wanted.position_side
            listed[key] = listed.get(key, 0) + wanted.lots
    for place, claim in enumerate(claims):
        name = claim.message.account
        if claim.lines:
            found = _listed(book, claim, place)
        elif name not in whole:
            whole.add(name)
            found = _whole(book, claim, listed)
        else:
            found = []
        for unit, estate in found:
            estates.append(estate)
            units.setdefault(unit, []).append(estate)
    for unit, group in units.items():
        _share_deficit(book, unit, group)
    return estates


def _whole(book: Book, claim: Claim, listed: dict[tuple[str, str, str], int]) -> list[tuple[Unit, Estate]]:
    """The cross book, less lots that other claims list."""
    name = claim.message.account
    lines = []
    for view in book.positions(name):
        lots = view.effective_lots
        others = listed.get((name, view.symbol, view.side), 0)
        if others * lots > 0:
            lots -= min(others, lots, key=abs)
        if lots and not view.isolated:
            lines.append(_line(book, view.symbol, view.side, lots, None))
    return [(Unit(name), _estate(book, claim, lines))] if lines else []


def _listed(book: Book, claim: Claim, place: int) -> list[tuple[Unit, Estate]]:
    """The listed lines: each isolated position alone, the others together; says where our book differs."""
    name = claim.message.account
    held = {(view.symbol, view.side): view for view in book.positions(name)}
    disagreements = []
    cross: list[Line] = []
    found: list[tuple[Unit, Estate]] = []
    for wanted in sorted(claim.lines, key=lambda item: (item.symbol, item.position_side)):
        line = _line(book, wanted.symbol, wanted.position_side, wanted.lots, wanted.price)
        ours = held.get((wanted.symbol, wanted.position_side))
        if held and (ours is None or ours.effective_lots != wanted.lots):
            lots = 0 if ours is None else ours.effective_lots
            event, book_says = line.scale.quantity_text(wanted.lots), line.scale.quantity_text(lots)
            disagreements.append(f"{wanted.symbol} {wanted.position_side}: event {event}, book {book_says}")
        if ours is not None and ours.isolated:
            found.append((Unit(name, (wanted.symbol, wanted.position_side)), _estate(book, claim, [line])))
        else:
            cross.append(line)
    if cross:
        known = any(not view.isolated for view in held.values())
        found.append((Unit(name, stranger=-1 if known else place), _estate(book, claim, cross)))
        if known and claim.equity_minor is not None and claim.equity_minor != book.equity_minor(name):
            ours_text = text_of(book.equity_minor(name), book.currency_decimals)
            disagreements.append(f"equity: event {claim.message.equity}, book {ours_text}")
    found[0][1].disagreements = disagreements
    return found


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
    return book.isolated_equity_minor(unit.account, *unit.isolated), line.mark_minor * lots * line.scale.mmf


def _required(lines: Iterable[Line]) -> Fraction:
    """Maintenance requirement of lines at the mark."""
    return sum((line.mark_minor * line.lots * line.scale.mmf for line in lines), ZERO)


def _shares(total: int, weights: list[Fraction]) -> list[int]:
    """A total in proportion to exact weights, which nearly always is all of it to one."""
    if sum(map(bool, weights)) == 1:
        return [total if weight else 0 for weight in weights]
    common = lcm(*(weight.denominator for weight in weights))
    return [int(part) for part in split_by_largest_remainder(total, [int(weight * common) for weight in weights])]


def _line(book: Book, symbol: str, side: PositionSide, lots: int, price: int | None) -> Line:
    market = book.market(symbol)
    scale = market.scale
    line = Line(symbol, side, 1 if lots > 0 else -1, abs(lots), scale, market.mark, price is not None, left=abs(lots))
    if price is not None:
        line.price_minor = Fraction(price * scale.value_num, scale.value_den)
    return line


def _estate(book: Book, claim: Claim, lines: list[Line]) -> Estate:
    fund_id = claim.message.fund_id or book.market(lines[0].symbol).instrument.fund_id
    return Estate(claim, claim.message.account, lines, fund_id)
