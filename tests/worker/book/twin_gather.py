"""The twin's counterparties of a decision: what `Book.gather` must give, row by row."""

from fractions import Fraction
from typing import Any

from schemas.messages import Account
from tests.worker.book.twin import Held, Twin

CLASSES = ["NORMAL", "LAST", "EXEMPT"]


def gather(
    twin: Twin, sides: list[tuple[str, int]], excluded: list[str], excluded_owners: list[str], with_collateral: bool
) -> tuple[list[dict[str, Any]], int]:
    """Rows in the order promised, each with its entries; and the accounts left out for want of a mark."""
    owners = set(excluded_owners)
    rows: list[dict[str, Any]] = []
    unmarked_accounts = 0
    for name in twin.names():
        role = twin.accounts.get(name) or Account(account=name)
        if name in excluded or role.role != "TRADER" or role.adl == "EXEMPT" or role.beneficial_owner in owners:
            continue
        if twin.is_parked(name, "AccountUpdate", "Account"):
            continue
        positions = twin.sorted_positions(name)
        asked = [(s, side) for s, side, held in positions if (s, (held.effective > 0) - (held.effective < 0)) in sides]
        cross = [item for item in positions if item[2].margin is None]
        groups: list[tuple[list[tuple[str, str, Held]], bool]] = []
        if any((s, side) in asked for s, side, _ in cross):
            groups.append((cross, False))
        groups += [([item], True) for item in positions if item[2].margin is not None and item[:2] in asked]
        lacking = False
        for items, isolated in groups:
            foreign = [] if isolated else twin.collateral(name)
            if any(symbol not in twin.marks for symbol, *_ in (*items, *foreign)):
                lacking = True
                continue
            rows.append(row(twin, name, role, items, isolated))
            if foreign and with_collateral:  # behind the positions in the same symbol
                rows[-1]["entries"] += [(symbol, lots, False, 0.0) for symbol, lots in foreign]
                rows[-1]["entries"].sort(key=lambda entry: entry[0].encode())
        unmarked_accounts += lacking
    return rows, unmarked_accounts


def in_floats(twin: Twin, symbol: str, value: int) -> float:
    """The first tier's fraction of all, and what each later tier adds to its part, in this order."""
    tiers = twin.instruments[symbol].margin_tiers or []
    fractions = [Fraction(tier.maintenance_margin_fraction) for tier in tiers]
    required = float(value) * float(Fraction(twin.instruments[symbol].maintenance_margin_fraction))
    for tier, fraction, after in zip(tiers, fractions, fractions[1:], strict=False):
        begin = int(Fraction(tier.notional_max) * twin.unit)
        if value > begin and after != fraction:
            required += float(value - begin) * float(after - fraction)
    return required


def row(twin: Twin, name: str, role: Account, items: list[tuple[str, str, Held]], isolated: bool) -> dict[str, Any]:
    unit, required = float(twin.unit), 0.0
    for symbol, _, held in items:
        required += in_floats(twin, symbol, abs(twin.value(symbol, held.effective)))
    if isolated:
        ((symbol, side, held),) = items
        equity, balance = twin.isolated_equity(name, symbol, side), held.margin
    else:
        book = twin.books[name]
        equity, balance = twin.equity(name), book.balance + twin.loose.get(name, 0)
        required = required if book.required is None else float(book.required)
    return {
        "account": name,
        "isolated": isolated,
        "equity": float(equity) / unit,
        "balance": float(balance or 0) / unit,
        "maintenance_margin": required / unit,
        "adl_class": CLASSES.index(role.adl),
        "entries": [
            (symbol, held.effective, not twin.is_parked(symbol, "MarkPrice", "Instrument"),
             float(held.entry) / float(held.lots) / unit)
            for symbol, _, held in items if held.effective
        ],
    }  # fmt: skip
