"""The twin's digest, in Python integers: what `Book.digest` must be, cell by cell."""

from fractions import Fraction
from hashlib import blake2b
from typing import Any

from tests.worker.book.twin import SIDES, Book1, Twin

MASK = 2**64 - 1
ROLES = ["TRADER", "LIQUIDATION", "INSURANCE", "CLEARING"]
CLASSES = ["NORMAL", "LAST", "EXEMPT"]


def digest(twin: Twin) -> int:
    """The book's digest, from the cells that it is a sum over."""
    total = 0
    for symbol, instrument in twin.instruments.items():
        tiers = instrument.margin_tiers or []
        before = [Fraction(tier.maintenance_margin_fraction) for tier in tiers]
        steps = [
            f"{int(Fraction(tier.notional_max) * twin.unit)}: {after - fraction}"
            for tier, fraction, after in zip(tiers, before, before[1:], strict=False)
            if after != fraction
        ]
        price = twin.marks.get(symbol, (Fraction(0), 0, 0, 0))
        fractions = [instrument.tick_size, instrument.lot_size, instrument.multiplier]
        fractions.append(instrument.maintenance_margin_fraction)
        total += rare("symbol", symbol, *(str(Fraction(text)) for text in fractions), twin.price_scale(symbol),
                      instrument.fund_id, instrument.status,
                      *(["inverse"] if instrument.contract_type == "inverse" else []), *steps, *price[1:])  # fmt: skip
    for key, reason in twin.parked.items():
        total += rare("parked", *key, reason)
    for name, account in twin.accounts.items():
        flags = ROLES.index(account.role) + 4 * CLASSES.index(account.adl)
        if flags or account.beneficial_owner is not None:
            owner = name_words(account.beneficial_owner, b"owner") if account.beneficial_owner is not None else ()
            total += numbers(name, 3, flags, *owner)
    for name in {*twin.books, *(name for name, quote in twin.loose.items() if quote)}:
        book = twin.books.get(name) or Book1(-1, -1, 0, 0)
        required = -1 if book.required is None else book.required
        total += numbers(name, 2, book.epoch, book.seq, book.balance, twin.loose.get(name, 0), book.adl_seq,
                         book.full_adl_seq, required)  # fmt: skip
        for (symbol, side), held in book.positions.items():
            margin = -1 if held.margin is None else held.margin
            total += numbers(name, 1, *name_words(symbol, b"symbol"), SIDES.index(side), held.lots, held.entry,
                             margin, held.adl_seq, held.quote, held.sell, held.buy)  # fmt: skip
        for symbol, lots in book.collateral.items():
            total += numbers(name, 1, *name_words(symbol, b"symbol"), 3, lots, 0, -1, book.full_adl_seq, 0, 0, 0)
        for (symbol, side), seq in book.closed.items():
            total += rare("closed", name, symbol, SIDES.index(side), seq)
    return total % 2**128


def rare(*parts: Any) -> int:
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=16, person=b"cell").digest(), "big")


def name_words(name: str, kind: bytes) -> tuple[int, int]:
    text = name.encode()
    words = [int.from_bytes(text[begin : begin + 8], "little") for begin in range(0, len(text), 8)]
    return absorbed((0, 0), int.from_bytes(kind, "little"), *words)


def mixed(x: int) -> int:
    x &= MASK
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def numbers(account: str, *words: int) -> int:
    hi, lo = absorbed(name_words(account, b"account"), *words)
    return (hi << 64) + lo


def absorbed(lanes: tuple[int, int], *words: int) -> tuple[int, int]:
    hi, lo = lanes
    for word in words:
        word &= MASK
        hi = mixed((hi ^ word) + 0x9E3779B97F4A7C15)
        lo = mixed((lo + (word ^ 0x14057B7EF767814F) & MASK) ^ 0x5851F42D4C957F2D)
    return hi, lo
