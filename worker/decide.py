"""One joint decision: estates, fund, prices, crossings, rounds, legs. Computes; changes neither book nor ledger.

The engine applies what comes out, and the same routine applies what was published when a log is replayed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import NamedTuple

from schemas import Certificate, Crossing, DecidedBankruptcy, DecidedDemand, Refused, SolventMark, limits, text_of
from solver.settlement import INT64_SAFE
from worker.book.book import Book
from worker.claims import Claim
from worker.legs import Orders, QuoteRangeError, cross, in_columns, joined, no_orders, orders_of_round
from worker.refusals import Gone, Replacement
from worker.risk import Risk
from worker.rounds import Excluded, Key, Method, NotCertifiedError, Observe, run_rounds
from worker.rows import few, report, unmet
from worker.settings import DecisionSettings
from worker.takeover import Estate, Line, Unit, estates_of
from worker.waterfall import pay_from_funds, price_lines

DISAGREEMENTS_MAX = 20  # of one bankruptcy


class Rules(NamedTuple):
    """What holds for every decision of a pool."""

    settings: DecisionSettings
    policy: str
    risk: Risk
    clearing_account: str  # faces every leg, so it is never asked for one
    fits: Callable[[Orders], bool]  # whether the book can hold the legs beside those that are open
    last_mark: Callable[[Unit, str], int]  # of a symbol when a margin unit was last solvent; 0: not known
    observe: Observe | None = None  # sees each round, changes nothing


@dataclass(slots=True)
class Case:
    """A joint decision that waits for its cut, or for what holds it."""

    claims: list[Claim]
    decision_id: str
    attempt: int
    replacement: Replacement | None = None
    gone: Gone = field(default_factory=dict)  # shared by all attempts
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
    """Symbols that are taken over, whose marks must be fresh, and those without which an equity is unknown."""
    if case.replacement is not None:
        return {symbol for symbol, _ in case.replacement.parts.keys() | case.replacement.gone.keys()}
    symbols = set()
    for claim in case.claims:
        name = claim.message.account
        views = book.positions(name)
        listed = {(line.symbol, line.position_side) for line in claim.lines}
        symbols |= {symbol for symbol, _ in listed}
        # An isolated position stands for itself; whatever else is taken goes with the equity of the whole cross book.
        if not claim.lines or listed - {(view.symbol, view.side) for view in views if view.isolated}:
            cross = [view for view in views if not view.isolated and view.effective_lots]
            symbols |= {view.symbol for view in cross if not claim.lines or not view.mark}
            converting = [symbol for symbol, _ in book.collateral(name)]
            symbols |= {symbol for symbol in converting if not claim.lines or not book.market(symbol).mark}
    return symbols


def decide(book: Book, case: Case, rules: Rules, available_minor: dict[str, int]) -> Decided:
    """The whole decision on the book as it stands; every quantity in lots, every amount in minor units."""
    decided = Decided("DECIDED")
    if case.replacement is not None:
        _replace(book, decided, case, case.replacement, rules)
        return decided
    estates, disagreements = estates_of(book, case.claims)
    if not _in_range(estates):
        _refuse(decided, "QUOTE_RANGE")
        return decided
    settings = rules.settings
    decided.fund_draws = pay_from_funds(estates, available_minor)
    collar = None if settings.collar is None else Fraction(settings.collar)
    price_lines(estates, settings.settlement, collar, rules.last_mark)
    names = {estate.account for estate in estates}
    crossed = cross(estates, {name: book.beneficial_owner(name) for name in names})
    try:
        decided.orders = in_columns(book, crossed)
    except Refused:  # a liquidated account that the book has no room for
        _refuse(decided, "ACCOUNTS_MAX")
        return decided
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
    _take(book, decided, demands, owner, _outside(book, case, rules, set()), rules, replaced=False)
    if not estates:
        decided.status = "NOTHING_TO_TAKE"
    if decided.status != "REFUSED":
        _waterfall(book, decided, case, estates, disagreements, settings.settlement)
    return decided


def _in_range(estates: list[Estate]) -> bool:
    """Whether all that is taken over can be counted; a mark may have come, or moved, since the event was read."""
    lots: dict[Key, int] = {}
    value: dict[Key, int] = {}
    for estate in estates:
        for line in estate.lines:
            worth, key = line.scale.value_minor(line.lots, line.mark), (line.symbol, line.sign)
            if worth > limits.POSITION_VALUE_MINOR_MAX:
                return False
            lots[key] = lots.get(key, 0) + line.lots
            value[key] = value.get(key, 0) + worth
    return all(total < INT64_SAFE for total in (*lots.values(), *value.values()))


def _outside(book: Book, case: Case, rules: Rules, refused_by: set[str]) -> Excluded:
    """Liquidated accounts with all of their owners' accounts; of those that refused, only the account itself."""
    liquidated = {claim.message.account for claim in case.claims}
    owners = {book.beneficial_owner(name) for name in liquidated}
    return Excluded(
        liquidated | refused_by | {rules.clearing_account}, {owner for owner in owners if owner is not None}
    )


def _replace(book: Book, decided: Decided, case: Case, replacement: Replacement, rules: Rules) -> None:
    decided.reason = "REFUSED_LEGS"
    lines: dict[Key, Line] = {}
    for (symbol, side), part in sorted(replacement.parts.items()):
        market, price = book.market(symbol), Fraction(side * part.cash_minor, part.lots)
        lines[symbol, side] = Line(
            symbol, "NET", -side, part.lots, market.scale, market.mark, True, price_minor=price, left=part.lots
        )  # fmt: skip
    if case.attempt - 1 > rules.settings.attempts_max:  # the first attempt is no repetition
        for (symbol, side), line in lines.items():
            decided.status, decided.reason = "RESIDUAL", "ATTEMPTS_EXHAUSTED"
            decided.demands.append(unmet(symbol, side, line, line.lots, "ATTEMPTS_EXHAUSTED"))
    else:
        demands = {key: [line] for key, line in lines.items()}
        _take(book, decided, demands, {}, _outside(book, case, rules, replacement.refused_by), rules, replaced=True)
    if decided.status != "REFUSED":
        decided.bad_debt_minor = replacement.lost_minor + _unpaid(book, decided.orders, lines.values())
    for (symbol, side), lots in sorted(replacement.gone.items()):
        market = book.market(symbol)
        line = Line(symbol, "NET", side, lots, market.scale, market.mark, True)
        decided.demands.append(unmet(symbol, side, line, lots, "LIQUIDATED_LEG_REFUSED"))
        if lots:
            decided.status = "RESIDUAL" if decided.status == "DECIDED" else decided.status
            decided.reason = "LIQUIDATED_LEG_REFUSED"
    decided.haircut_minor = sum(decided.orders.haircut_minor.tolist())


def _unpaid(book: Book, orders: Orders, lines: Iterable[Line]) -> int:
    """What the liquidated side of refused legs was given and new counterparties at the mark do not pay."""
    unpaid = 0
    for line in lines:
        due = floor(line.sign * line.price_minor * (line.lots - line.left))
        mine = (orders.key >> 2 == book.market(line.symbol).row) & (orders.sign == -line.sign)
        unpaid += max(0, due + sum(orders.quote_minor[mine].tolist()))
    return unpaid


def _take(
    book: Book,
    decided: Decided,
    demands: dict[Key, list[Line]],
    owner: dict[int, Estate],
    excluded: Excluded,
    rules: Rules,
    *,
    replaced: bool,
) -> None:
    """Runs the rounds, writes orders and demands into `decided`; refuses what cannot be booked."""
    settings = rules.settings
    method = Method(rules.policy, settings.protect_principal, settings.residual == "mark", rules.risk, rules.observe)
    try:
        outcome = run_rounds(book, demands, excluded, method)
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
            decided.demands.append(report(result, index, demands[key], taken[index], residual, reason))
    decided.orders = joined(blocks)
    decided.demands = few(book, decided.demands, decided.orders, demands)
    for key in sorted(outcome.left):
        if key not in reported and outcome.left[key]:
            decided.demands.append(unmet(*key, demands[key][0], outcome.left[key], outcome.reasons[key]))
    if not rules.fits(decided.orders):
        _refuse(decided, "QUOTE_RANGE")
    elif any(outcome.left.values()):
        decided.status = "RESIDUAL"
        decided.reason = ", ".join(sorted(set(outcome.reasons.values())))


def _refuse(decided: Decided, reason: str) -> None:
    """Nothing of it may be published: it fails its certificate, or the book could not hold its legs."""
    decided.status, decided.reason = "REFUSED", reason
    decided.orders, decided.crossings, decided.demands, decided.fund_draws = no_orders(), [], [], {}


def _waterfall(
    book: Book, decided: Decided, case: Case, estates: list[Estate], disagreements: list[list[str]], rule: str
) -> None:
    """Who paid, per bankruptcy: deficit = fund + haircut + bad debt, to the rounding in the account's favour."""
    decimals = book.currency_decimals
    for claim, differs in zip(case.claims, disagreements, strict=True):
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
                disagreements=differs[:DISAGREEMENTS_MAX],
                settlement=min({estate.settlement for estate in mine if estate.left_minor} - {rule}, default=None),
                solvent_marks=[mark for estate in mine for mark in _solvent_marks(estate)],
            )
        )


def _solvent_marks(estate: Estate) -> list[SolventMark]:
    """The marks towards which an estate's prices were moved: of positions that lost since then."""
    return [
        SolventMark(
            symbol=line.symbol, position_side=line.position_side, mark_price=line.scale.price_text(line.last_solvent),
            loss_share=float(estate.loss_share),
        )
        for line in estate.lines
        if line.last_solvent and line.loss_minor * estate.loss_share
    ]  # fmt: skip
