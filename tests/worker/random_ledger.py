"""The random exchange's own ledger: positions in whole lots and cents, and how a fill is booked."""

from dataclasses import dataclass, field
from decimal import Decimal

from schemas import (
    text_of,
)

# symbol: lot size, first mark in cents, place of the lot's decimal point
SYMBOLS = {"ADA": ("10", 45, 0), "BTC": ("0.1", 50_000, 1), "DOGE": ("100", 12, 0), "ETH": ("1", 3_000, 0)}


@dataclass
class Holding:
    """One position of the exchange's own ledger: whole lots, cents paid for all of them."""

    lots: int
    entry_cents: int
    isolated_cents: int | None = None


@dataclass
class Book:
    """One account as the exchange keeps it."""

    name: str
    partition: int
    cash_cents: int
    holdings: dict[tuple[str, str], Holding] = field(default_factory=dict)
    seq: int = 0
    adl_seq: int = 0
    gone: bool = False

    def holds(self, *, isolated):
        """True where there is a position, or an isolated one."""
        return any(h.lots and (not isolated or h.isolated_cents is not None) for h in self.holdings.values())


def fill(book, key, lots, cash_cents):
    """Books a signed fill: what is reduced gives back its share of the entry, the rest opens at what was paid."""
    holding = book.holdings.setdefault(key, Holding(0, 0))
    reduced = min(abs(lots), abs(holding.lots)) if holding.lots * lots < 0 else 0
    if reduced:
        sign = 1 if lots > 0 else -1
        entry = holding.entry_cents * reduced // abs(holding.lots)
        cash = cash_cents * reduced // abs(lots)
        holding.lots += sign * reduced
        holding.entry_cents -= entry
        if holding.isolated_cents is None:
            book.cash_cents += cash - entry
        else:
            holding.isolated_cents = max(0, holding.isolated_cents + cash - entry)
        lots, cash_cents = lots - sign * reduced, cash_cents - cash
    if lots:
        holding.lots += lots
        holding.entry_cents -= cash_cents
    if holding.entry_cents * holding.lots < 0:  # a rounded share may leave a cent on the wrong side
        holding.entry_cents = 0
    if not holding.lots:
        holding.entry_cents, holding.isolated_cents = 0, None


def cents_of(text):
    """An amount of money in cents."""
    return int(Decimal(text) * 100)


def quantity_of(symbol, lots):
    """Lots as the text of a quantity in contracts."""
    lot, _, decimals = SYMBOLS.get(symbol, ("1", 0, 0))
    return text_of(int(lots * Decimal(lot).scaleb(decimals)), decimals)


def lots_of(symbol, text):
    """The text of a quantity as lots."""
    return int(Decimal(text) / Decimal(SYMBOLS.get(symbol, ("1",))[0]))
