"""Legs that were ordered and are not yet seen in the account: a join of our trades and the exchange's updates.

A leg holds lots until its position's `adl_seq` contains it and cash until the account's `adl_seq` does. Nothing is
released by the passing of time.
"""

from dataclasses import dataclass

from schemas import PositionSide
from worker.book.book import Book


@dataclass(slots=True)
class Leg:
    trade_id: str
    decision_id: str
    role: str
    account: str
    symbol: str
    position_side: PositionSide
    sells: bool
    adl_seq: int
    lots: int  # ordered less refused
    quote_minor: int  # cash of `lots`, as if executed
    answered: bool = False


class Held:
    """All open legs by account and by trade; writes what they hold into the book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._by_account: dict[str, list[Leg]] = {}
        self.by_trade: dict[str, Leg] = {}
        self._assigned: dict[str, int] = {}

    def next_adl_seq(self, account: str) -> int:
        """The number of the account's next leg: one more than any it was given or reports."""
        return max(self._assigned.get(account, 0), self._book.account_adl_seq(account)) + 1

    def add(self, leg: Leg) -> None:
        self._assigned[leg.account] = max(leg.adl_seq, self._assigned.get(leg.account, 0))
        self._by_account.setdefault(leg.account, []).append(leg)
        self.by_trade[leg.trade_id] = leg

    def refuse(self, leg: Leg, filled_lots: int) -> int:
        """Lots that the exchange refused; the leg keeps what was filled, and its share of the cash."""
        refused = leg.lots - filled_lots
        leg.quote_minor = leg.quote_minor * filled_lots // leg.lots if leg.lots else 0
        leg.lots = filled_lots
        leg.answered = True
        self.sync(leg.account)
        if all(open_leg is not leg for open_leg in self._by_account.get(leg.account, ())):
            self.by_trade.pop(leg.trade_id, None)  # the account has shown it before its result came
        return refused

    def holds(self, account: str) -> bool:
        return account in self._by_account

    def sync(self, account: str) -> None:
        """Brings the book's view of what the account's legs hold up to date, and forgets legs that hold nothing."""
        legs = self._by_account.get(account)
        if not legs:
            return
        book = self._book
        cash_seq = book.account_adl_seq(account)
        sums: dict[tuple[str, PositionSide], list[int]] = {}  # newest leg in the position, sell, buy, quote
        kept: list[Leg] = []
        for leg in legs:
            key = (leg.symbol, leg.position_side)
            held = sums.get(key)
            if held is None:
                held = sums[key] = [book.position_adl_seq(account, *key), 0, 0, 0]
            lots = leg.lots if leg.adl_seq > held[0] else 0
            held[1 if leg.sells else 2] += lots
            if leg.adl_seq > cash_seq:
                held[3] += leg.quote_minor
            if lots or leg.adl_seq > cash_seq:
                kept.append(leg)
            elif leg.answered:
                self.by_trade.pop(leg.trade_id, None)
        loose = 0
        for (symbol, side), (_, sell, buy, quote) in sums.items():
            if not book.set_held(account, symbol, side, sell, buy, quote):
                loose += quote
        book.set_loose_quote(account, loose)
        if kept:
            self._by_account[account] = kept
        else:
            del self._by_account[account]
