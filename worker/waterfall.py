"""Who pays for a takeover, and at which prices: the fund first, then the forced trades. All amounts are exact."""

from collections.abc import Callable
from fractions import Fraction

from solver.settlement import bankruptcy_factor, clamp, fund_payment, last_solvent_factor, last_solvent_share
from worker.settings import Settlement
from worker.takeover import Estate, Line, Unit


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


def price_lines(
    estates: list[Estate], rule: Settlement, collar: Fraction | None, last_mark: Callable[[Unit, str], int]
) -> None:
    """Freezes the price of every line that the event did not price, and notes the rule in its estate.

    `last_mark`: the mark of a symbol when a unit was last solvent, 0 where there is none. An estate without any is
    priced by the rule `bankruptcy`.
    """
    for estate in estates:
        lines = [line for line in estate.lines if not line.priced]
        estate.settlement = rule
        if rule == "last_solvent_mark":
            _look_back(estate, lines, last_mark)
        for line in lines:
            line.price_minor = line.mark_minor * _factor(estate, line, collar)


def _look_back(estate: Estate, lines: list[Line], last_mark: Callable[[Unit, str], int]) -> None:
    """Finds the last solvent marks, and which part of the losses since then the deficit needs."""
    for line in lines:
        line.last_solvent = last_mark(estate.unit, line.symbol)
    if any(line.last_solvent for line in lines):
        losses = sum((line.lots * line.loss_minor for line in lines), Fraction(0))
        estate.loss_share = last_solvent_share(-estate.left_minor, losses)
    else:
        estate.settlement = "bankruptcy"


def _factor(estate: Estate, line: Line, collar: Fraction | None) -> Fraction:
    """Price over the mark by the estate's rule."""
    factor = Fraction(1)
    if estate.settlement == "bankruptcy":
        factor = bankruptcy_factor(line.sign, line.mmf, estate.left_minor, estate.requirement_minor)
    elif estate.settlement == "last_solvent_mark":
        factor = last_solvent_factor(line.sign, line.mark_minor, line.loss_minor, estate.loss_share)
    return within_collar(factor, line.scale.sign, collar)


def within_collar(factor: Fraction, sign: int, collar: Fraction | None) -> Fraction:
    """A booked price over the booked mark, so that the price on the wire is no further than `collar` from its mark.

    `sign`: -1 for an inverse contract, whose booked price is the reciprocal.
    """
    if sign > 0 or collar is None:
        return Fraction(clamp(factor, collar))
    return 1 / Fraction(clamp(1 / factor, collar)) if factor else 1 / (1 + collar)
