"""Bankruptcies as they were announced, in whole lots and minor units, and which of one moment are decided together.

Rule 1: an event with a number that does not fit is refused as a whole. Rule 2: a joint decision is one record, so what
it says is bounded; and it never holds two events that list one NET position the opposite way round.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas import Bankruptcy, PositionSide, Reason, Refused, amount_minor, limits
from worker.book.book import Book


@dataclass(slots=True)
class ClaimLine:
    """A line of an event in whole lots; `price` is scaled, None where the settlement rule decides."""

    symbol: str
    position_side: PositionSide
    lots: int  # booked lots (schemas/units.py), signed as the bankrupt account holds them
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


def claim_of(book: Book, message: Bankruptcy, topic: str, partition: int, offset: int) -> Claim:
    """The event in lots and minor units; Refused where a line names an unknown symbol or a number does not fit."""
    lines: list[ClaimLine] = []
    seen: set[tuple[str, str]] = set()
    for line in message.lines:
        scale = book.market(line.symbol).scale
        quantity_lots = scale.lots(line.quantity)
        side = {"LONG": 1, "SHORT": -1}.get(line.position_side, 0)
        if quantity_lots == 0 or quantity_lots * side < 0:
            was = f"{line.quantity} {line.position_side}"
            raise Refused(Reason.SIDE, f"quantity of a line must be signed as its position side, was {was}")
        if (line.symbol, line.position_side) in seen:
            raise Refused(Reason.DUPLICATE, f"a position must be named by one line, was twice: {line.symbol}")
        seen.add((line.symbol, line.position_side))
        price = None if line.price is None else scale.price(line.price)
        lots = scale.sign * quantity_lots
        values = (scale.value_minor(lots, at) for at in (price or 0, book.market(line.symbol).mark))
        if max(map(abs, values)) > limits.POSITION_VALUE_MINOR_MAX:
            was = f"{line.quantity} at {line.price or 'the mark'}"
            raise Refused(Reason.RANGE, f"a line's value must be at most 2**51 minor units, was {was}")
        lines.append(ClaimLine(line.symbol, line.position_side, lots, price))
    decimals = book.currency_decimals
    insurance = None if message.insurance is None else amount_minor(message.insurance, decimals, "insurance")
    if insurance is not None and insurance < 0:
        raise Refused(Reason.RANGE, f"insurance must not be negative, was {message.insurance}")
    equity = None if message.equity is None else amount_minor(message.equity, decimals, "equity")
    return Claim(message, topic, partition, offset, lines, insurance, equity)


# Bytes of a decision's parts at their largest, names aside: a bankruptcy, its line that is crossed and differs from our
# book, and what is said of a symbol and side, which nearly always is in at most 4 rounds.
_CLAIM_BYTES, _LINE_BYTES, _ROW_BYTES, ROUNDS_FEW = 400, 220, 400, 4


def groups_of(book: Book, claims: list[Claim]) -> Iterator[list[Claim]]:
    """The claims of one moment as joint decisions, in their order; nearly always one."""
    group: list[Claim] = []
    size, keys, signs = 0, set[tuple[str, int]](), dict[tuple[str, str], int]()
    for claim in claims:
        name = claim.message.account
        lots = [(line.symbol, line.position_side, line.lots) for line in claim.lines]
        if not lots:
            lots = [(view.symbol, view.side, view.lots) for view in book.positions(name) if not view.isolated]
        new = {(symbol, count > 0) for symbol, _, count in lots}
        listed = {(name, line.symbol): line.lots > 0 for line in claim.lines if line.position_side == "NET"}
        texts = (claim.message.id, name, claim.message.fund_id or "", claim.topic)
        adds = _CLAIM_BYTES + sum(2 * len(text.encode()) for text in texts)
        adds += sum(_LINE_BYTES + 4 * len(symbol.encode()) for symbol, _, _ in lots)
        rows = _row_bytes(new - keys)
        opposite = any(signs.get(key, sign) != sign for key, sign in listed.items())
        if group and (opposite or size + adds + rows > limits.DECISION_BYTES_MAX * 9 // 10):
            yield group
            group, size, keys, signs = [], 0, set(), {}
            rows = _row_bytes(new)
        group.append(claim)
        size += adds + rows
        keys |= new
        signs |= listed
    if group:
        yield group


def _row_bytes(keys: set[tuple[str, bool]]) -> int:
    """What is said of symbols and sides: their rows, and once more the name where the risk model does not name it."""
    return sum(
        ROUNDS_FEW * (_ROW_BYTES + 2 * len(symbol.encode())) + 2 * len(symbol.encode()) + 3 for symbol, _ in keys
    )
