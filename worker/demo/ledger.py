"""The demo exchange's books: every lot and every minor unit, in integers, double entry.

Two rules: the lots of a symbol sum to zero, and so does all cash (accounts, funds and the house together);
`check()` raises when either is broken. It shares no code with `worker.book`, so the two are each other's audit.
Cash of an account = balance + isolated margins - entry values; a fill moves cash by its quote and by nothing else.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from worker.demo.prices import PPM, Spec

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
NET, LONG, SHORT = 0, 1, 2
SIDES: tuple[Literal["NET"], Literal["LONG"], Literal["SHORT"]] = ("NET", "LONG", "SHORT")
SUM_MAX = 2**62


class BrokenInvariantError(AssertionError):
    """The demo's ledger contradicts itself: a bug of ours."""


class Ledger:
    """Accounts, positions (slots), insurance funds and the house; deposits are the house's debt."""

    def __init__(self, names: list[str], symbols: tuple[Spec, ...], marks: list[int]) -> None:
        self.names, self.specs = names, symbols
        self.account_of = {name: row for row, name in enumerate(names)}
        self.symbol_of = {spec.symbol: row for row, spec in enumerate(symbols)}
        self.num = np.array([spec.unit.numerator for spec in symbols], np.int64)
        self.den = np.array([spec.unit.denominator for spec in symbols], np.int64)
        self.margin_ppm = np.array([spec.margin_ppm for spec in symbols], np.int64)
        self.marks = np.array(marks, np.int64)
        self.balance = np.zeros(len(names), np.int64)
        self.funds: dict[str, int] = {}
        self.promised: dict[str, tuple[str, int]] = {}  # bankruptcy id -> (fund, insurance set aside for it)
        self.house = 0
        self.fund_shortfall = 0  # draws that a fund could not pay; the house did
        self.bad_debt = 0
        self.count = 0
        self.slot_of: dict[tuple[int, int, int], int] = {}
        self.slots: list[list[int]] = [[] for _ in names]
        self.touched: dict[int, set[int]] = {}  # account -> slots changed since it was last published
        self.account_leg = np.zeros(len(names), np.int64)  # newest forced leg of the account that was processed
        self._account, self._symbol, self._side, self._lots, self._entry, self._margin = np.zeros((6, 1024), np.int64)
        self._leg = np.zeros(1024, np.int64)  # newest forced leg of the position that was processed
        self._isolated = np.zeros(1024, np.bool_)

    # Views of the columns up to `count`; cut anew on each use because columns grow.
    @property
    def account(self) -> Ints:
        return self._account[: self.count]

    @property
    def symbol(self) -> Ints:
        return self._symbol[: self.count]

    @property
    def side(self) -> Ints:
        return self._side[: self.count]

    @property
    def lots(self) -> Ints:
        return self._lots[: self.count]

    @property
    def entry(self) -> Ints:
        return self._entry[: self.count]

    @property
    def margin(self) -> Ints:
        return self._margin[: self.count]

    @property
    def leg(self) -> Ints:
        return self._leg[: self.count]

    @property
    def isolated(self) -> Flags:
        return self._isolated[: self.count]

    def slot(self, account: int, symbol: int, side: int = NET, isolated: bool = False) -> int:
        """The slot of a position, made empty where there is none yet."""
        key = (account, symbol, side)
        if key not in self.slot_of:
            if self.count == len(self._lots):
                for name in ("account", "symbol", "side", "lots", "entry", "margin", "leg", "isolated"):
                    column = getattr(self, f"_{name}")
                    setattr(self, f"_{name}", np.concatenate((column, np.zeros_like(column))))
            self._account[self.count], self._symbol[self.count], self._side[self.count] = key
            self._isolated[self.count] = isolated
            self.slot_of[key] = self.count
            self.slots[account].append(self.count)
            self.count += 1
        return self.slot_of[key]

    def value(self, symbol: int, lots: int, price: int) -> int:
        """Minor units of signed lots at a scaled price, rounded down."""
        return lots * price * int(self.num[symbol]) // int(self.den[symbol])

    def values(self) -> Ints:
        """Signed mark value of every slot, rounded down."""
        self._check_range()
        scaled = (self.marks * self.num)[self.symbol]
        result: Ints = self.lots * scaled // self.den[self.symbol]
        return result

    def fill(self, slot: int, lots: int, quote: int) -> None:
        """Trade signed lots on one slot; `quote` is the cash received (+) or paid (-)."""
        held, entry, account = int(self.lots[slot]), int(self.entry[slot]), int(self.account[slot])
        closing = min(abs(lots), abs(held)) if held * lots < 0 else 0
        closing_quote = quote * closing // abs(lots)
        # Rounding a share of the entry value moves a unit between realised and unrealised profit, never cash.
        released = entry * closing // abs(held) if closing else 0
        self.lots[slot] = held + lots
        self.entry[slot] = entry - released - (quote - closing_quote)
        self._credit(slot, closing_quote - released)
        if held + lots == 0 and self.isolated[slot]:
            rest, self.margin[slot] = int(self.margin[slot]), 0
            self.balance[account] += rest
            if rest < 0:  # what an isolated position loses beyond its margin is the house's
                self.write_off(account, -rest)
        self.touch(account, slot)

    def trade(self, buyer: int, seller: int, lots: int, quote: int) -> None:
        """`buyer` slot buys lots from `seller` slot and pays quote; zero-sum by construction."""
        self.fill(buyer, lots, -quote)
        self.fill(seller, -lots, quote)

    def touch(self, account: int, slot: int | None = None) -> None:
        changed = self.touched.setdefault(account, set())
        if slot is not None:
            changed.add(slot)

    def deposit(self, account: int, amount: int) -> None:
        self.balance[account] += amount
        self.house -= amount

    def deposit_margin(self, slot: int, amount: int) -> None:
        self.margin[slot] += amount
        self.house -= amount

    def endow(self, fund: str, amount: int) -> None:
        self.funds[fund] = self.funds.get(fund, 0) + amount
        self.house -= amount

    def write_off(self, account: int, amount: int) -> None:
        """The house pays a loss that nobody else will."""
        self.balance[account] += amount
        self.house -= amount
        self.bad_debt += amount
        self.touch(account)

    def fee_to_fund(self, fund: str, amount: int, account: int) -> None:
        self.funds[fund] += amount
        self.balance[account] -= amount
        self.touch(account)

    def promise(self, bankruptcy: str, fund: str, amount: int) -> None:
        """Sets insurance aside: what an event names is no longer the fund's."""
        self.funds[fund] -= amount
        self.promised[bankruptcy] = (fund, amount)

    def pay_insurance(self, bankruptcy: str, fund: str, amount: int, account: int, slot: int | None) -> None:
        """Credits a bankrupt account, or its isolated position, from what was set aside or else from the fund."""
        if bankruptcy in self.promised:
            fund, aside = self.promised.pop(bankruptcy)
            self.funds[fund] += aside
        paid = min(amount, self.funds[fund])
        self.funds[fund] -= paid
        self.fund_shortfall += amount - paid
        self.house -= amount - paid
        if slot is not None and self.lots[slot]:
            self._credit(slot, amount)
        else:
            self.balance[account] += amount
        self.touch(account, slot)

    def _credit(self, slot: int, amount: int) -> None:
        if self.isolated[slot]:
            self.margin[slot] += amount
        else:
            self.balance[self.account[slot]] += amount

    def _check_range(self) -> None:
        largest = np.zeros(len(self.specs), np.int64)
        np.maximum.at(largest, self.symbol, np.abs(self.lots))
        for spec, lots, mark, num in zip(self.specs, largest, self.marks, self.num, strict=True):
            if int(lots) * int(mark) * int(num) >= SUM_MAX:
                raise BrokenInvariantError(f"{spec.symbol}: lots times price leave int64")

    def check(self) -> None:
        """Raise BrokenInvariantError unless longs equal shorts and cash sums to zero, exactly."""
        net = np.zeros(len(self.specs), np.int64)
        np.add.at(net, self.symbol, self.lots)
        if net.any():
            wrong = int(np.flatnonzero(net)[0])
            raise BrokenInvariantError(f"{self.specs[wrong].symbol}: longs less shorts must be 0, was {net[wrong]}")
        for column in (self.balance, self.margin, self.entry, self.lots):
            if len(column) and max(int(column.max()), -int(column.min())) * len(column) >= 2**63:
                raise BrokenInvariantError("a sum could leave int64")
        cash = int(self.balance.sum()) + int(self.margin.sum()) - int(self.entry.sum())
        cash += sum(self.funds.values()) + sum(amount for _, amount in self.promised.values()) + self.house
        if cash:
            raise BrokenInvariantError(f"all cash must sum to 0, was {cash}")
        if (self.entry[self.lots == 0] != 0).any() or (self.margin[(self.lots == 0) | ~self.isolated] != 0).any():
            raise BrokenInvariantError("an empty position must have neither entry value nor margin")
        if (self.lots[self.side == LONG] < 0).any() or (self.lots[self.side == SHORT] > 0).any():
            raise BrokenInvariantError("a hedge leg changed its side")
        if min(self.funds.values(), default=0) < 0:
            raise BrokenInvariantError("a fund paid more than it had")


class Health:
    """Equity and maintenance margin of every account and every isolated position at the present marks."""

    def __init__(self, ledger: Ledger) -> None:
        self.value = ledger.values()
        gain = self.value - ledger.entry
        need = np.abs(self.value) * ledger.margin_ppm[ledger.symbol] // PPM
        cross = ~ledger.isolated
        self.equity, self.need, self.gross = ledger.balance.copy(), *np.zeros((2, len(ledger.balance)), np.int64)
        np.add.at(self.equity, ledger.account[cross], gain[cross])
        np.add.at(self.need, ledger.account[cross], need[cross])
        np.add.at(self.gross, ledger.account[cross], np.abs(self.value[cross]))
        self.slot_equity = ledger.margin + gain  # of isolated slots
        self.slot_need = need
