"""One joint decision: estates, fund, prices, crossings, rounds, legs. Computes; changes neither book nor ledger.

The engine applies what comes out, and the same routine applies what was published when a log is replayed.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

import numpy as np

from schemas import Certificate, Crossing, DecidedBankruptcy, DecidedDemand, limits, text_of
from worker.book.book import Book
from worker.book.state import SIDES
from worker.legs import (
    Orders,
    QuoteRangeError,
    Taken,
    cross,
    in_columns,
    joined,
    no_orders,
    orders_of_round,
    price_of,
)
from worker.rounds import Excluded, Key, NotCertifiedError, Round, run_rounds
from worker.settings import DecisionSettings
from worker.takeover import Claim, Estate, Line, estates_of
from worker.waterfall import pay_from_funds, price_lines


@dataclass(slots=True)
class Replacement:
    """Refused legs that need new counterparties: their lots, their cash, and who must not be asked again."""

    lines: dict[Key, Line]
    refused_by: set[str]
    unsettled: dict[Key, int] = field(default_factory=dict)  # lots that the bankrupt accounts could not give


@dataclass(slots=True)
class Case:
    """A joint decision that waits for its cut, or for what holds it."""

    claims: list[Claim]
    decision_id: str
    attempt: int
    replacement: Replacement | None = None
    released: bool = False
    held_reason: str | None = None


@dataclass(slots=True)
class Decided:
    status: str
    orders: Orders = field(default_factory=no_orders)
    bankruptcies: list[DecidedBankruptcy] = field(default_factory=list)
    demands: list[DecidedDemand] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    certificates: list[Certificate] = field(default_factory=list)
    fund_draws: dict[str, int] = field(default_factory=dict)
    fund_minor: int = 0
    haircut_minor: int = 0
    bad_debt_minor: int = 0
    accounts_without_mark: int = 0
    accounts_insolvent: int = 0
    reason: str | None = None


def symbols_of(book: Book, case: Case) -> set[str]:
    """Symbols that are taken over: their marks must be fresh."""
    if case.replacement is not None:
        return {symbol for symbol, _ in case.replacement.lines.keys() | case.replacement.unsettled.keys()}
    listed = {line.symbol for claim in case.claims for line in claim.lines}
    whole = [claim.message.account for claim in case.claims if not claim.lines]
    return listed | {
        view.symbol for name in whole for view in book.positions(name) if not view.isolated and view.effective_lots
    }


def decide(book: Book, case: Case, settings: DecisionSettings, policy: str, available_minor: dict[str, int]) -> Decided:
    """The whole decision on the book as it stands; every quantity in lots, every amount in minor units."""
    if case.replacement is not None:
        return _replace(book, case, case.replacement, settings, policy)
    estates = estates_of(book, case.claims)
    decided = Decided("DECIDED")
    decided.fund_draws = pay_from_funds(estates, available_minor)
    collar = None if settings.collar is None else Fraction(settings.collar)
    price_lines(estates, settings.settlement, collar)
    names = {estate.account for estate in estates}
    crossed = cross(estates, {name: book.beneficial_owner(name) for name in names})
    decided.orders = in_columns(book, crossed)
    for order in crossed:
        if order.sign > 0:
            scale = book.scale(order.symbol)
            mark = scale.price_text(book.market(order.symbol).mark)
            quantity = scale.quantity_text(order.lots)
            decided.crossings.append(Crossing(symbol=order.symbol, quantity=quantity, mark_price=mark))
    demands: dict[Key, list[Line]] = {}
    owner: dict[int, Estate] = {}
    for estate in sorted(estates, key=lambda item: item.account):
        for line in estate.lines:
            owner[id(line)] = estate
            if line.left:
                demands.setdefault((line.symbol, -line.sign), []).append(line)
    _take(book, decided, demands, owner, _outside(book, case, set()), settings, policy, replaced=False)
    if not any(estate.lines for estate in estates):
        decided.status = "NOTHING_TO_TAKE"
    if decided.status != "REFUSED":
        _waterfall(book, decided, case, estates)
    return decided


def _outside(book: Book, case: Case, refused_by: set[str]) -> Excluded:
    """Liquidated accounts with all of their owners' accounts; of those that refused, only the account itself."""
    liquidated = {claim.message.account for claim in case.claims}
    owners = {book.beneficial_owner(name) for name in liquidated}
    return Excluded(liquidated | refused_by, {owner for owner in owners if owner is not None})


def _replace(book: Book, case: Case, replacement: Replacement, settings: DecisionSettings, policy: str) -> Decided:
    decided = Decided("DECIDED", reason="REFUSED_LEGS")
    for line in replacement.lines.values():
        line.left, line.replaced = line.lots, 0
        line.mark = book.market(line.symbol).mark
    demands = {key: [line] for key, line in replacement.lines.items()}
    if case.attempt - 1 > settings.attempts_max:  # the first attempt is no repetition
        decided.status, decided.reason = "RESIDUAL", "ATTEMPTS_EXHAUSTED"
        for (symbol, side), line in sorted(replacement.lines.items()):
            decided.demands.append(_unmet(symbol, side, line, line.lots, "ATTEMPTS_EXHAUSTED"))
    else:
        outside = _outside(book, case, replacement.refused_by)
        _take(book, decided, demands, {}, outside, settings, policy, replaced=True)
        if decided.status != "REFUSED":
            decided.bad_debt_minor = sum(_unpaid(book, decided.orders, line) for line in replacement.lines.values())
    for (symbol, side), lots in sorted(replacement.unsettled.items()):
        market = book.market(symbol)
        line = Line(symbol, "NET", side, lots, market.scale, market.mark, True)
        decided.demands.append(_unmet(symbol, side, line, lots, "LIQUIDATED_LEG_REFUSED"))
        decided.status = "RESIDUAL" if decided.status == "DECIDED" else decided.status
        decided.reason = "LIQUIDATED_LEG_REFUSED"
    decided.haircut_minor = sum(decided.orders.haircut_minor.tolist())
    return decided


def _unpaid(book: Book, orders: Orders, line: Line) -> int:
    """What a refused leg's liquidated side was given and new counterparties at the mark do not pay."""
    due = floor(line.sign * line.price_minor * (line.lots - line.left))
    mine = (orders.key >> 2 == book.market(line.symbol).row) & (orders.sign == -line.sign)
    paid: int = sum(orders.quote_minor[mine].tolist())
    return max(0, due + paid)


def _unmet(symbol: str, side: int, line: Line, lots: int, reason: str) -> DecidedDemand:
    quantity = line.scale.quantity_text(lots)
    mark = line.scale.price_text(line.mark)
    return DecidedDemand(
        symbol=symbol, side="LONG" if side > 0 else "SHORT", quantity=quantity, taken="0", price=mark, mark_price=mark,
        round=0, accounts=0, residual=quantity, residual_reason=reason,
    )  # fmt: skip


def _take(
    book: Book,
    decided: Decided,
    demands: dict[Key, list[Line]],
    owner: dict[int, Estate],
    excluded: Excluded,
    settings: DecisionSettings,
    policy: str,
    *,
    replaced: bool,
) -> None:
    """Runs the rounds and writes orders and demands into `decided`."""
    if not demands:
        return
    try:
        outcome = run_rounds(
            book, demands, excluded, policy, settings.protect_principal, residual_at_mark=settings.residual == "mark"
        )
    except NotCertifiedError as error:
        decided.certificates.append(error.certificate)
        _refuse(decided, "CERTIFICATE")
        return
    decided.accounts_without_mark = outcome.accounts_without_mark
    decided.accounts_insolvent = outcome.accounts_insolvent
    decided.certificates += [result.certificate for result in outcome.rounds]
    reported: set[Key] = set()
    blocks = [decided.orders]
    for result in outcome.rounds:
        try:
            orders, taken = orders_of_round(book, result, demands, owner, replaced)
        except QuoteRangeError:
            _refuse(decided, "QUOTE_RANGE")
            return
        blocks += orders
        for index, key in enumerate(result.demands):
            reported.add(key)
            final = not any(key in later.demands for later in outcome.rounds if later.number > result.number)
            residual = outcome.left[key] if final else 0
            reason = outcome.reasons.get(key) if final else None
            decided.demands.append(_report(result, index, demands[key], taken[index], residual, reason))
    decided.orders = joined(blocks)
    for key in sorted(outcome.left):
        if key not in reported and outcome.left[key]:
            decided.demands.append(_unmet(*key, demands[key][0], outcome.left[key], outcome.reasons[key]))
    if not _bookable(book, decided.orders):
        _refuse(decided, "QUOTE_RANGE")
    elif any(outcome.left.values()):
        decided.status = "RESIDUAL"
        decided.reason = ", ".join(sorted(set(outcome.reasons.values())))


def _bookable(book: Book, orders: Orders) -> bool:
    """Whether the book can hold what the legs of each position add up to, those of earlier decisions included."""
    sums: dict[tuple[int, int], int] = {}
    # Smaller ones cannot reach the limit in numbers.
    for leg in np.flatnonzero(np.abs(orders.quote_minor) > limits.HELD_QUOTE_MINOR_MAX >> 12).tolist():
        account, key = int(orders.account[leg]), int(orders.key[leg])
        if (account, key) not in sums:
            view = book.position(book.accounts.name(account), book.markets[key >> 2].symbol, SIDES[key & 3])
            sums[account, key] = 0 if view is None else view.held_quote_minor
        sums[account, key] += int(orders.quote_minor[leg])
    return all(abs(total) <= limits.HELD_QUOTE_MINOR_MAX for total in sums.values())


def _refuse(decided: Decided, reason: str) -> None:
    """Nothing of it may be published: it fails its certificate, or the book could not hold its legs."""
    decided.status, decided.reason = "REFUSED", reason
    decided.orders, decided.crossings, decided.demands, decided.fund_draws = no_orders(), [], [], {}


def _report(
    result: Round, index: int, lines: list[Line], got: Taken, residual: int, reason: str | None
) -> DecidedDemand:
    symbol, side = result.demands[index]
    scale = lines[0].scale
    taken = result.taken[index]
    price = round(price_of(got.cash_minor, taken, lines[0])) if taken else lines[0].mark
    return DecidedDemand(
        symbol=symbol,
        side="LONG" if side > 0 else "SHORT",
        quantity=scale.quantity_text(result.wanted[index]),
        taken=scale.quantity_text(taken),
        price=scale.price_text(price),
        mark_price=scale.price_text(lines[0].mark),
        round=result.number,
        accounts=got.accounts,
        leverage_before_max=result.leverage_before_max[index],
        leverage_after_max=result.leverage_after_max[index],
        level=result.level[index],
        shadow_price=result.shadow_price[index],
        residual=scale.quantity_text(residual),
        residual_reason=reason,
    )


def _waterfall(book: Book, decided: Decided, case: Case, estates: list[Estate]) -> None:
    """Who paid, per bankruptcy: deficit = fund + haircut + bad debt, to the rounding in the account's favour."""
    decimals = book.currency_decimals
    for claim in case.claims:
        mine = [estate for estate in estates if estate.claim is claim]
        deficit = sum(estate.deficit_minor for estate in mine)
        fund = sum(estate.paid_minor for estate in mine)
        haircut = sum(estate.haircut_minor for estate in mine)
        bad_debt = max(0, deficit - fund - haircut)
        decided.fund_minor += fund
        decided.haircut_minor += haircut
        decided.bad_debt_minor += bad_debt
        fund_ids = sorted({estate.fund_id for estate in mine})
        decided.bankruptcies.append(
            DecidedBankruptcy(
                id=claim.message.id,
                account=claim.message.account,
                topic=claim.topic,
                partition=claim.partition,
                offset=claim.offset,
                equity=text_of(sum(estate.equity_minor for estate in mine), decimals),
                deficit=text_of(deficit, decimals),
                fund=text_of(fund, decimals),
                haircut=text_of(haircut, decimals),
                bad_debt=text_of(bad_debt, decimals),
                fund_id=",".join(fund_ids) or None,
                disagreements=[text for estate in mine for text in estate.disagreements][:20],
            )
        )
