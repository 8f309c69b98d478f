"""Ranks by the plainest way there is: exact fractions, one account after the other, sorted lists."""

from dataclasses import dataclass
from fractions import Fraction
from math import isclose

from worker.book.state import SIDES


@dataclass
class Unit:
    """What is solvent or not by itself: the cross positions of an account, or one isolated position."""

    account: str
    isolated: bool
    views: list
    equity: Fraction
    balance: Fraction
    maintenance: Fraction


def units(book, outside):
    """Everybody who could be asked."""
    for name in sorted(map(book.accounts.name, book.accounts.order()[0].tolist()), key=str.encode):
        parked = any((source, name) in book.parked for source in ("AccountUpdate", "Account"))
        if name in outside or parked or book.role(name) != "TRADER" or book.adl_class(name) == "EXEMPT":
            continue
        views = [view for view in book.positions(name) if view.effective_lots]
        cross = [view for view in views if not view.isolated]
        if cross and not book.unmarked(name):
            stated = book.maintenance_margin(name)
            yield Unit(
                name, False, cross, Fraction(book.equity_minor(name)),
                Fraction(book.balance_minor(name) + book.loose_quote_minor(name)),
                book.maintenance_requirement(name) if stated is None else Fraction(stated),
            )  # fmt: skip
        for view in views:
            if view.isolated and view.mark:
                mmf = book.markets[view.symbol_row].scale.mmf
                equity = book.isolated_equity_minor(name, view.symbol, view.side)
                margin = Fraction(view.margin_minor)
                yield Unit(name, True, [view], Fraction(equity), margin, abs(view.value_minor) * mmf)


def value(book, view):
    """Of the position at the mark, exactly."""
    market = book.markets[view.symbol_row]
    return Fraction(view.effective_lots * market.mark_num, market.den)


def score(book, policy, unit, view):
    """The formulas of solver/policies/queues.py and waterfill, as they are printed."""
    gross, mark = sum(abs(value(book, other)) for other in unit.views), value(book, view)
    leverage, entry = gross / unit.equity, Fraction(view.entry_minor, view.lots) * view.effective_lots
    gain = mark - entry
    percent = gain / abs(entry)
    if policy in ("queue:effective_leverage", "waterfill"):
        return leverage
    if policy == "queue:pnl_leverage":
        return percent * leverage if gain > 0 else percent / leverage
    if policy == "queue:okx":
        return percent * leverage
    if policy == "queue:hyperliquid":
        return (mark / entry if mark > 0 else entry / mark) * abs(mark) / unit.equity
    cent = 10**book.currency_decimals
    if gain <= 0 or unit.balance + gain <= 0:
        return Fraction(0)
    return gain / max(cent, unit.balance) * (unit.maintenance / (unit.balance + gain))


def risk_score(book, unit, view, factor_of):
    """Risk removed per unit of notional by the default model, in floats, by the formulas of solver.md."""
    net = {}
    for other in unit.views:
        net[other.symbol_row] = net.get(other.symbol_row, 0.0) + float(value(book, other))
    scale = {row: 0.5 * float(book.markets[row].scale.mmf) for row in net}
    common = sum(0.7**0.5 * scale[row] * amount for row, amount in net.items())
    variance = common**2 + sum(factor_of * (scale[row] * amount) ** 2 for row, amount in net.items())
    root = (4 * variance + float(unit.equity) ** 2) ** 0.5
    own = 0.7**0.5 * scale[view.symbol_row] * common
    own += factor_of * scale[view.symbol_row] ** 2 * net[view.symbol_row]
    return (1 if view.effective_lots > 0 else -1) * 4 * variance / root**3 * own if variance else 0.0


def share_score(book, policy, view, line):
    """Of everything that is taken from those it is asked together with, its part."""

    def weight(other):
        if policy == "pro_rata:contracts":
            return Fraction(abs(other.effective_lots))
        entry = Fraction(other.entry_minor, other.lots) * other.effective_lots
        return max(Fraction(0), value(book, other) - entry)

    total = sum(weight(other) for _, other in line)
    return weight(view) / total if total else Fraction(0)


def twin_ranks(book, policy, outside, said):
    """(account, symbol, position side) -> (rank, of how many, score or None).

    `said`: scores by the same key. Where one is the exact figure to 1e-12 it stands for it: what is equal in fractions
    is seldom so in floats, and a decision, too, goes by those.
    """
    lines = {}
    for unit in units(book, outside):
        for view in unit.views:
            if not book.markets[view.symbol_row].parked:
                lines.setdefault((view.symbol, view.effective_lots < 0), []).append((unit, view))
    places = {}
    for line in lines.values():
        found = []
        for unit, view in line:
            last, solvent = book.adl_class(unit.account) == "LAST", unit.equity > 0
            peers = [
                item for item in line
                if (book.adl_class(item[0].account) == "LAST", item[0].equity > 0) == (last, solvent)
            ]  # fmt: skip
            if not solvent:
                figure = -unit.equity / sum(abs(value(book, other)) for other in unit.views)
            elif policy in ("risk", "factor"):
                figure = risk_score(book, unit, view, 0.3 if policy == "risk" else 0.0)
            elif policy.startswith(("pro_rata", "min_max")):
                figure = share_score(book, policy, view, peers)
            else:
                figure = score(book, policy, unit, view)
            key = unit.account, view.symbol, view.side
            if solvent and isclose(said[key], figure, rel_tol=1e-12):
                figure = said[key]
            found.append(
                ((last, solvent, -figure, unit.account.encode(), unit.isolated), view, figure if solvent else None)
            )
        for rank, (order, view, figure) in enumerate(sorted(found, key=lambda item: item[0]), 1):
            assert view.side in SIDES
            places[order[3].decode(), view.symbol, view.side] = rank, len(found), figure
    return places
