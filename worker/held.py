"""Legs that were ordered and are not yet seen in the account: a join of our trades and the exchange's updates.

A leg holds lots until its position's `adl_seq` contains it and cash until the account's `adl_seq` does. Nothing is
released by the passing of time.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from schemas import PositionSide, limits
from worker.book.book import Book
from worker.book.hold import (
    ACCOUNT_LEG_FIELDS,
    FIRST_LEG,
    LEG_ACCOUNT,
    LEG_ADL_SEQ,
    LEG_FIELDS,
    LEG_KEY,
    LEG_LOTS,
    LEG_NEXT,
    LEG_QUOTE,
    LEG_STATE,
    NEWEST,
    fits,
    link,
)
from worker.book.leg_rows import LegRows
from worker.book.state import SIDES
from worker.book.table import Table

Ints = NDArray[np.int64]

_LIQUIDATED, _ANSWERED, _OPEN = 1, 2, 4  # bits of a leg's state; open: it holds something


class Legs(NamedTuple):
    """A decision's legs in columns, whether just decided or read back; `lots` below 0 where a leg buys."""

    trade_id: NDArray[np.bytes_]  # 32 hex digits
    account: Ints  # row in the book
    key: Ints  # 4 * symbol row + side
    liquidated: NDArray[np.bool_]
    lots: Ints
    quote_minor: Ints
    adl_seq: Ints


class Leg(NamedTuple):
    """One leg as it stands."""

    row: int
    trade_id: str
    decision_id: str
    liquidated: bool
    answered: bool
    account: str
    symbol: str
    position_side: PositionSide
    sign: int  # +1 a long is reduced
    lots: int  # ordered less refused, unsigned
    quote_minor: int


class Held:
    """All legs that hold something or were not answered, in columns; writes what they hold into the book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._legs = Table(LEG_FIELDS)
        self._used = 0  # rows of legs ever taken
        self._free: list[int] = []
        self._decisions: list[str] = []  # the decision of each row
        self._rows = LegRows()  # by trade id
        self._accounts = Table(ACCOUNT_LEG_FIELDS, limits.ACCOUNTS_MAX)

    def number(self, account: Ints) -> Ints:
        """The adl_seq of each new leg: one more than any that its account was given or reports."""
        self._accounts.reserve(self._book.accounts.used)
        return self._book.number_legs(self._accounts.cells, account)

    def newest(self, account: str) -> int:
        """The adl_seq that an account was given last, 0 where none was."""
        row = self._book.accounts.row(account)
        return self._accounts.columns[NEWEST][row] if 0 <= row < self._accounts.capacity else 0

    def numbered(self, rows: Ints) -> NDArray[np.bool_]:
        """Which accounts were ever given a leg."""
        known: NDArray[np.bool_] = self._accounts.cells[NEWEST, np.minimum(rows, self._accounts.capacity - 1)] > 0
        known &= rows < self._accounts.capacity
        return known

    def fits(self, account: Ints, key: Ints, lots: Ints, quote_minor: Ints) -> bool:
        """Whether new legs can be booked beside the open ones, whatever the exchange says of either; lots unsigned."""
        self._accounts.reserve(self._book.accounts.used)
        if (
            np.abs(quote_minor).sum(dtype=np.float64) < limits.HELD_QUOTE_MINOR_MAX // 2
            and lots.sum(dtype=np.float64) < 2**53
        ):
            # All of them together fit into one position, so only those of accounts with open legs can fail: 6 ms less
            # of a decision with 40,000 legs.
            account_has = self._accounts.cells[FIRST_LEG, account] > 0
            account, key, lots, quote_minor = (column[account_has] for column in (account, key, lots, quote_minor))
        order = np.lexsort((key, account))
        return bool(
            fits(self._legs.cells, self._accounts.cells, account[order], key[order], lots[order], quote_minor[order])
        )

    def add(self, decision_id: str, legs: Legs) -> None:
        """Books the legs of a decision."""
        self._accounts.reserve(self._book.accounts.used)
        rows = self._take(len(legs.trade_id), decision_id)
        self._rows.add(legs.trade_id, rows)
        cells = self._legs.cells
        cells[LEG_ACCOUNT, rows] = legs.account
        cells[LEG_KEY, rows] = legs.key
        cells[LEG_LOTS, rows] = legs.lots
        cells[LEG_QUOTE, rows] = legs.quote_minor
        cells[LEG_ADL_SEQ, rows] = legs.adl_seq
        cells[LEG_STATE, rows] = legs.liquidated * _LIQUIDATED + _OPEN
        link(cells, self._accounts.cells, rows)
        for account in self._book.without_update(legs.account):
            self.sync(self._book.accounts.name(account))
        # In the order of the accounts' rows: legs come in the order of names, which in memory is none.
        self._book.add_held(cells, rows[np.argsort(legs.account, kind="stable")])

    def _take(self, count: int, decision_id: str) -> Ints:
        """Rows for `count` legs of a decision, first those that were given back."""
        reused = [self._free.pop() for _ in range(min(count, len(self._free)))]
        for row in reused:
            self._decisions[row] = decision_id
        begin = self._used
        self._used += count - len(reused)
        self._legs.reserve(self._used)
        self._decisions += [decision_id] * (self._used - begin)
        return np.array([*reused, *range(begin, self._used)], np.int64)

    def find(self, trade_id: str) -> Leg | None:
        """The leg, while it holds something or was not answered."""
        row = self._rows.row(trade_id)
        if row < 0:
            return None
        columns, book = self._legs.columns, self._book
        key, lots, state = columns[LEG_KEY][row], columns[LEG_LOTS][row], columns[LEG_STATE][row]
        return Leg(
            row, trade_id, self._decisions[row], state & _LIQUIDATED != 0, state & _ANSWERED != 0,
            book.accounts.name(columns[LEG_ACCOUNT][row]), book.markets[key >> 2].symbol, SIDES[key & 3],
            1 if lots > 0 else -1, abs(lots), columns[LEG_QUOTE][row],
        )  # fmt: skip

    def answer(self, leg: Leg, filled_lots: int) -> Leg:
        """Notes a leg's result: it keeps what was filled, and that share of the cash; returns the part refused."""
        columns = self._legs.columns
        quote = leg.quote_minor * filled_lots // leg.lots
        columns[LEG_LOTS][leg.row] = leg.sign * filled_lots
        columns[LEG_QUOTE][leg.row] = quote
        columns[LEG_STATE][leg.row] |= _ANSWERED
        # A whole fill releases nothing, so there is nothing to sum; without an update the account was not summed since.
        if filled_lots < leg.lots or not self._book.holds(leg.account):
            self.sync(leg.account)
        if self._rows.has(leg.row) and not columns[LEG_STATE][leg.row] & _OPEN:
            self._give_back(leg.row)  # the account has shown it before its result came
        return leg._replace(lots=leg.lots - filled_lots, quote_minor=leg.quote_minor - quote)

    def holds(self, account: str) -> bool:
        """Whether the account has legs that hold something."""
        row = self._book.accounts.row(account)
        return 0 <= row < self._accounts.capacity and self._accounts.columns[FIRST_LEG][row] > 0

    def among(self, rows: Ints) -> NDArray[np.bool_]:
        """Which of the account rows have legs that hold something; none of -1 has."""
        known = (rows >= 0) & (rows < self._accounts.capacity)
        found: NDArray[np.bool_] = known & (self._accounts.cells[FIRST_LEG, np.where(known, rows, 0)] > 0)
        return found

    def sync(self, account: str) -> None:
        """Brings the book's view of what the account's legs hold up to date, and forgets legs that hold nothing."""
        book, columns = self._book, self._legs.columns
        keys, quotes, following = columns[LEG_KEY], columns[LEG_QUOTE], columns[LEG_NEXT]
        first = self._accounts.columns[FIRST_LEG]
        account_row = book.accounts.row(account)
        if not first[account_row]:
            return
        cash_seq = book.account_adl_seq(account)
        sums: dict[int, list[int]] = {}  # by position: newest leg contained in it, sell, buy, quote
        row, last = first[account_row] - 1, -1
        first[account_row] = 0
        while row >= 0:
            key, adl_seq, following_row = keys[row], columns[LEG_ADL_SEQ][row], following[row] - 1
            held = sums.get(key)
            if held is None:
                symbol = book.markets[key >> 2].symbol
                held = sums[key] = [book.position_adl_seq(account, symbol, SIDES[key & 3]), 0, 0, 0]
            lots = columns[LEG_LOTS][row] if adl_seq > held[0] else 0
            held[1 if lots > 0 else 2] += abs(lots)
            if adl_seq > cash_seq:
                held[3] += quotes[row]
            if lots or adl_seq > cash_seq:
                following[row] = 0
                if last < 0:
                    first[account_row] = row + 1
                else:
                    following[last] = row + 1
                last = row
            else:
                columns[LEG_STATE][row] &= ~_OPEN
                if columns[LEG_STATE][row] & _ANSWERED:
                    self._give_back(row)
            row = following_row
        loose = 0
        for key, (_, sell, buy, quote) in sums.items():
            if not book.set_held(account, book.markets[key >> 2].symbol, SIDES[key & 3], sell, buy, quote):
                loose += quote
        book.set_loose_quote(account, loose)

    def _give_back(self, row: int) -> None:
        self._rows.drop(row)
        self._decisions[row] = ""
        self._free.append(row)
