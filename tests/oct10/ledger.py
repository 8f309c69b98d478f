"""A second, simpler book: cash and positions of a recording in dictionaries and arrays, moved by trades alone.

Rule 1: nothing of `worker/` that keeps or computes a state is used, so the worker's book is judged by another opinion.
Rule 2: everything is an exact integer (lots, scaled prices, minor units) until a leverage is formed.

Only what the Oct-10 recording holds is understood: net cross positions, one currency, one full update per account.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np

from schemas.codec import decode, decode_output
from schemas.messages import AccountUpdate, AdlDecision, Bankruptcy, ForcedTrade, Instrument, MarkPrice
from schemas.units import text_of
from tests.oct10.data import CURRENCY_DECIMALS
from worker.edge.jsonlines import read_records


def integer(text: str, decimals: int) -> int:
    """The scaled integer of a decimal text; fails where it is not one."""
    value = Decimal(text).scaleb(decimals)
    if value != int(value):
        raise ValueError(f"{text} must have at most {decimals} decimals")
    return int(value)


class Ledger:
    """Accounts (rows in order of appearance), one slot per position; `cash` is the balance less all entry values."""

    def __init__(self) -> None:
        self.symbols: list[str] = []
        self.symbol: dict[str, int] = {}
        self.names: list[str] = []
        self.name: dict[str, int] = {}
        self.slot: dict[tuple[int, int], int] = {}  # (account, symbol)
        self._cash: list[int] = []
        self._slots: list[tuple[int, int, int, int]] = []
        self._lot_decimals: list[int] = []
        self._price_decimals: list[int] = []

    def add_instrument(self, message: Instrument) -> None:
        """Lots and prices of this recording are powers of ten."""
        self.symbol[message.symbol] = len(self.symbols)
        self.symbols.append(message.symbol)
        self._lot_decimals.append(-Decimal(message.lot_size).normalize().as_tuple().exponent)
        self._price_decimals.append(message.price_decimals or 0)

    def add_update(self, message: AccountUpdate) -> None:
        """The account's only update."""
        if message.account in self.name or not message.full:
            raise ValueError(f"{message.account} must come once and whole")
        row = self.name[message.account] = len(self.names)
        self.names.append(message.account)
        cash = sum(integer(balance.amount, CURRENCY_DECIMALS) for balance in message.balances)
        for position in message.positions:
            asset = self.symbol[position.symbol]
            lots = integer(position.quantity, self._lot_decimals[asset])
            price = integer(position.entry_price or "", self._price_decimals[asset])
            self.slot[row, asset] = len(self._slots)
            entry = self._value(asset, lots, price)
            self._slots.append((row, asset, lots, entry))
            cash -= entry
        self._cash.append(cash)

    def freeze(self) -> None:
        """Makes arrays of what was added; from here on only marks, lots and cash change."""
        self.cash = np.array(self._cash, dtype=np.int64)
        columns = (np.array(column, dtype=np.int64) for column in zip(*self._slots, strict=True))
        self.account, self.asset, self.lots, self.entry = columns
        self.first_slot = np.searchsorted(self.account, np.arange(len(self.names) + 1))
        self.mark = np.zeros(len(self.symbols), dtype=np.int64)
        shift = np.array(self._lot_decimals) + np.array(self._price_decimals) - CURRENCY_DECIMALS
        self.num, self.den = 10 ** np.maximum(0, -shift), 10 ** np.maximum(0, shift)

    def set_mark(self, message: MarkPrice) -> None:
        """The newest price counts."""
        asset = self.symbol[message.symbol]
        self.mark[asset] = integer(message.mark_price, self._price_decimals[asset])

    def lots_of(self, asset: int, text: str) -> int:
        """Whole lots of a quantity; fails where it is not."""
        return integer(text, self._lot_decimals[asset])

    def price_of(self, asset: int, text: str) -> Fraction:
        """Minor units per lot at a price text, exact."""
        return Fraction(integer(text, self._price_decimals[asset]) * int(self.num[asset]), int(self.den[asset]))

    def lot_notional(self) -> np.ndarray:
        """Quote value of one lot per symbol, float."""
        return self.mark * self.num / self.den / 10.0**CURRENCY_DECIMALS

    def equity_minor(self) -> np.ndarray:
        """Per account: cash and every position at its mark, rounded down as the book does."""
        value = self.lots * self.mark[self.asset] * self.num[self.asset] // self.den[self.asset]
        equity = self.cash.copy()
        np.add.at(equity, self.account, value)
        return equity

    def gross(self) -> np.ndarray:
        """Per account: sum of |lots| x mark, float quote."""
        return np.bincount(self.account, np.abs(self.lots) * self.lot_notional()[self.asset], len(self.names))

    def leverage(self) -> np.ndarray:
        """Gross over equity per account; nan where equity is not positive."""
        equity = self.equity_minor() / 10.0**CURRENCY_DECIMALS
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(equity > 0, self.gross() / equity, np.nan)

    def take(self, slot: int, sign: int, lots: int, quote_minor: int) -> None:
        """Reduces a position of that sign; fails rather than letting it cross zero."""
        held = int(self.lots[slot])
        if lots <= 0 or held * sign < lots:
            name, symbol = self.names[self.account[slot]], self.symbols[self.asset[slot]]
            raise ValueError(f"{name} {symbol}: {lots} lots must not be taken from {held}")
        self.lots[slot] = held - sign * lots
        self.cash[self.account[slot]] += quote_minor
        self.entry[slot] = int(self.entry[slot]) * int(self.lots[slot]) // held  # equity does not depend on it

    def balance_minor(self, account: int) -> int:
        """What the exchange would show as the account's balance."""
        begin, end = self.first_slot[account], self.first_slot[account + 1]
        return int(self.cash[account] + self.entry[begin:end].sum())

    def quantity_text(self, slot: int) -> str:
        """A position as on the wire."""
        return text_of(int(self.lots[slot]), self._lot_decimals[self.asset[slot]])

    def _value(self, asset: int, lots: int, price: int) -> int:
        shift = self._lot_decimals[asset] + self._price_decimals[asset] - CURRENCY_DECIMALS
        return lots * price * 10 ** max(0, -shift) // 10 ** max(0, shift)


@dataclass
class Burst:
    """One ADL time: its marks and takeovers."""

    t_ms: int
    marks: list[MarkPrice] = field(default_factory=list)
    takeovers: list[Bankruptcy] = field(default_factory=list)


def read_recording(path: Path) -> tuple[Ledger, list[Burst]]:
    """The state at the start (first marks applied) and the bursts in order of time."""
    ledger, first = Ledger(), []
    bursts: dict[int, Burst] = {}
    for block in read_records(path):
        for record in block:
            for message in decode(record.value or b""):
                if isinstance(message, Instrument):
                    ledger.add_instrument(message)
                elif isinstance(message, AccountUpdate):
                    ledger.add_update(message)
                elif isinstance(message, MarkPrice):
                    first.append((record.log_time_ms, message))
                elif isinstance(message, Bankruptcy):
                    bursts.setdefault(record.log_time_ms, Burst(record.log_time_ms)).takeovers.append(message)
    ledger.freeze()
    for t_ms, mark in first:
        if t_ms in bursts:
            bursts[t_ms].marks.append(mark)
        elif t_ms < min(bursts):
            ledger.set_mark(mark)
        else:
            raise ValueError(f"marks must come at the start or with a burst, not at {t_ms}")
    return ledger, [bursts[t_ms] for t_ms in sorted(bursts)]


@dataclass
class Run:
    """What the worker wrote: decisions in order, their trades by decision id."""

    decisions: list[AdlDecision]
    trades: dict[str, list[ForcedTrade]]


def read_run(outputs: Path) -> Run:
    """Decisions and trades of an `outputs.jsonl`."""
    run = Run([], defaultdict(list))
    for block in read_records(outputs):
        for record in block:
            if record.topic not in ("forced-trades", "adl-decisions"):
                continue
            message = decode_output(record.value or b"")
            if isinstance(message, ForcedTrade):
                run.trades[message.decision_id].append(message)
            elif isinstance(message, AdlDecision):
                run.decisions.append(message)
    return run


Step = tuple[Burst, AdlDecision | None, list[ForcedTrade]]


def replayed(ledger: Ledger, bursts: list[Burst], run: Run) -> Iterator[Step]:
    """Each burst with its marks applied and the decision that took it, if one did; the caller moves the trades."""
    by_takeover = {item.id: decision for decision in run.decisions for item in decision.bankruptcies}
    for burst in bursts:
        for mark in burst.marks:
            ledger.set_mark(mark)
        decision = by_takeover.get(burst.takeovers[0].id)
        yield burst, decision, run.trades[decision.decision_id] if decision else []
