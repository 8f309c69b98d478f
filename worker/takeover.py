"""What must be taken over from bankrupt accounts, and at which prices: the waterfall's first two steps.

An estate is one margin unit of a bankrupt account: its cross book, or one isolated position. The fund pays first; what
it does not pay, TAV = min(0, equity + paid), is left for the forced trades. All amounts are exact.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from schemas import Bankruptcy, PositionSide, Reason, Refused, Scale, amount_minor
from solver.settlement import bankruptcy_factor, fund_payment, takeover_value
from worker.book.book import Book


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


@dataclass(slots=True)
class Estate:
    """One margin unit and what its waterfall paid."""

    claim: Claim
    account: str
    lines: list[Line]
    equity_minor: int
    requirement_minor: Fraction
    fund_id: str
    paid_minor: int = 0
    haircut_minor: int = 0
    disagreements: list[str] = field(default_factory=list)

    @property
    def deficit_minor(self) -> int:
        return max(0, -self.equity_minor)

    @property
    def claimed_minor(self) -> int:
        """What fund and forced trades are asked for; an estate whose lines all carry prices asks nobody."""
        return 0 if all(line.priced for line in self.lines) else self.deficit_minor

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
        lines.append(ClaimLine(line.symbol, line.position_side, lots, price))
    decimals = book.currency_decimals
    insurance = None if message.insurance is None else amount_minor(message.insurance, decimals, "insurance")
    if insurance is not None and insurance < 0:
        raise Refused(Reason.RANGE, f"insurance must not be negative, was {message.insurance}")
    equity = None if message.equity is None else amount_minor(message.equity, decimals, "equity")
    return Claim(message, topic, partition, offset, lines, insurance, equity)


def estates_of(book: Book, claim: Claim) -> list[Estate]:
    """The margin units that a claim takes over: the cross book or the listed lines, each isolated position alone."""
    name = claim.message.account
    held = {(view.symbol, view.side): view for view in book.positions(name)}
    if not claim.lines:
        lines = [
            _line(book, view.symbol, view.side, view.effective_lots, None)
            for view in held.values()
            if not view.isolated and view.effective_lots
        ]
        requirement = book.maintenance_requirement(name)
        return [_estate(book, claim, lines, book.equity_minor(name), requirement)] if lines else []
    disagreements = []
    cross: list[Line] = []
    estates: list[Estate] = []
    for wanted in sorted(claim.lines, key=lambda item: (item.symbol, item.position_side)):
        line = _line(book, wanted.symbol, wanted.position_side, wanted.lots, wanted.price)
        ours = held.get((wanted.symbol, wanted.position_side))
        if held and (ours is None or ours.effective_lots != wanted.lots):
            lots = 0 if ours is None else ours.effective_lots
            event, book_says = line.scale.quantity_text(wanted.lots), line.scale.quantity_text(lots)
            disagreements.append(f"{wanted.symbol} {wanted.position_side}: event {event}, book {book_says}")
        if ours is not None and ours.isolated:
            equity = book.isolated_equity_minor(name, wanted.symbol, wanted.position_side)
            whole = max(abs(ours.effective_lots), line.lots)
            estates.append(_estate(book, claim, [line], equity, line.mark_minor * whole * line.scale.mmf))
        else:
            cross.append(line)
    if cross:
        known = any(not view.isolated for view in held.values())
        listed = sum((line.mark_minor * line.lots * line.scale.mmf for line in cross), Fraction(0))
        equity = book.equity_minor(name) if known else claim.equity_minor or 0
        requirement = max(listed, book.maintenance_requirement(name)) if known else listed
        if known and claim.equity_minor is not None and claim.equity_minor != equity:
            disagreements.append(f"equity: event {claim.equity_minor} minor units, book {equity}")
        estates.append(_estate(book, claim, cross, equity, requirement))
    estates[0].disagreements = disagreements
    return estates


def _line(book: Book, symbol: str, side: PositionSide, lots: int, price: int | None) -> Line:
    market = book.market(symbol)
    scale = market.scale
    line = Line(symbol, side, 1 if lots > 0 else -1, abs(lots), scale, market.mark, price is not None, left=abs(lots))
    if price is not None:
        line.price_minor = Fraction(price * scale.value_num, scale.value_den)
    return line


def _estate(book: Book, claim: Claim, lines: list[Line], equity: int, requirement: Fraction) -> Estate:
    fund_id = claim.message.fund_id or book.market(lines[0].symbol).instrument.fund_id
    return Estate(claim, claim.message.account, lines, equity, requirement, fund_id)


def pay_from_funds(estates: list[Estate], available_minor: dict[str, int]) -> dict[str, int]:
    """Writes what the fund pays into each estate; returns the draws per fund.

    An event's own `insurance` wins and is not drawn: the exchange that names it has booked it.
    """
    draws: dict[str, int] = {}
    by_event: dict[tuple[str, int, int, str], list[Estate]] = {}  # a record may hold several events
    by_fund: dict[str, list[Estate]] = {}
    for estate in estates:
        claim = estate.claim
        if claim.insurance_minor is not None:
            by_event.setdefault((claim.topic, claim.partition, claim.offset, claim.message.id), []).append(estate)
        elif estate.claimed_minor:
            by_fund.setdefault(estate.fund_id, []).append(estate)
    for group in by_event.values():
        _share(group, group[0].claim.insurance_minor or 0)
    for fund_id, group in sorted(by_fund.items()):
        paid = _share(group, max(0, available_minor.get(fund_id, 0)))
        if paid:
            draws[fund_id] = paid
    return draws


def _share(group: list[Estate], available: int) -> int:
    payments = fund_payment([estate.claimed_minor for estate in group], available)
    for estate, paid in zip(group, payments, strict=True):
        estate.paid_minor = int(paid)
    return sum(estate.paid_minor for estate in group)


def price_lines(estates: list[Estate], rule: Literal["mark", "bankruptcy"], collar: Fraction | None) -> None:
    """Freezes the price of every line that the event did not price."""
    for estate in estates:
        for line in estate.lines:
            if not line.priced:
                factor = Fraction(1)
                if rule == "bankruptcy":
                    factor = bankruptcy_factor(
                        line.sign, line.scale.mmf, estate.left_minor, estate.requirement_minor, collar
                    )
                line.price_minor = line.mark_minor * factor
