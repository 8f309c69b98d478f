"""Who pays for a takeover, and at which prices: the fund first, then the forced trades. All amounts are exact."""

from fractions import Fraction
from typing import Literal

from solver.settlement import bankruptcy_factor, fund_payment
from worker.takeover import Estate


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
