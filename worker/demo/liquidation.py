"""The demo's liquidation engine: closes weak accounts in the market while it can, and declares the rest bankrupt.

An account below its maintenance margin is sold to makers, a few each tick and almost none while prices jump; one whose
equity is gone is frozen and declared. What comes back unfilled is declared again, once.
"""

from dataclasses import dataclass

import numpy as np

from schemas.messages import Bankruptcy, BankruptcyLine
from worker.demo.ledger import SIDES, Health, Ledger
from worker.demo.population import FIRST_TRADER, LIQUIDATION, MAKERS
from worker.demo.prices import money

FEE_PPM = 4_000  # of a liquidation's notional, to the fund
AGAIN_AFTER_TICKS, TIMES_MAX = 30, 2
MAIN_FUND = "default"


@dataclass(frozen=True, slots=True)
class Case:
    """A book to be declared; `slot` None stands for the cross book. `priced`: its line names a price."""

    account: int
    slot: int | None
    equity: int
    fund: str
    choice: int  # decides what the event says beyond the necessary
    priced: bool
    deficit: int


class Liquidation:
    """What is frozen, and since when; `slot` None stands for an account's cross book."""

    def __init__(self, ledger: Ledger, rng: np.random.Generator) -> None:
        self.ledger, self.rng = ledger, rng
        self.frozen: dict[tuple[int, int | None], tuple[int, int]] = {}  # (account, slot) -> (tick, times)
        self.fund_start = dict(ledger.funds)
        self.declared = 0
        self.closed_in_market = 0
        self.books: dict[str, tuple[int, int | None]] = {}  # bankruptcy id -> who is credited by the fund

    def is_frozen(self, slot: int) -> bool:
        """Whether ordinary trading of a position is stopped."""
        account = int(self.ledger.account[slot])
        return (account, slot if self.ledger.isolated[slot] else None) in self.frozen

    def _open_slots(self, account: int, slot: int | None) -> list[int]:
        slots = [slot] if slot is not None else [s for s in self.ledger.slots[account] if not self.ledger.isolated[s]]
        return [s for s in slots if self.ledger.lots[s]]

    def thaw(self, waiting: set[int]) -> None:
        """Books that are empty again go free; what they still owe is the house's loss."""
        for account, slot in list(self.frozen):
            if account in waiting or self._open_slots(account, slot):
                continue
            del self.frozen[account, slot]
            if slot is None and self.ledger.balance[account] < 0:
                self.ledger.write_off(account, -int(self.ledger.balance[account]))

    def sell(self, health: Health, places: int) -> None:
        """Closes up to `places` accounts or isolated positions below maintenance margin against makers."""
        ledger = self.ledger
        weak = np.flatnonzero((health.equity > 0) & (health.equity < health.need))
        books: list[tuple[int, int | None]] = [(int(row), None) for row in weak if row >= FIRST_TRADER]
        thin = ledger.isolated & (ledger.lots != 0) & (health.slot_equity > 0) & (health.slot_equity < health.slot_need)
        books += [(int(ledger.account[slot]), int(slot)) for slot in np.flatnonzero(thin)]
        for account, slot in [book for book in books if book not in self.frozen][:places]:
            taker = (LIQUIDATION, *MAKERS)[self.closed_in_market % (1 + len(MAKERS))]
            equity = int(health.equity[account] if slot is None else health.slot_equity[slot])
            for held in self._open_slots(account, slot):
                self._close(held, taker, equity)
            self.closed_in_market += 1

    def _close(self, slot: int, taker: str, equity: int) -> None:
        ledger, symbol, lots = self.ledger, int(self.ledger.symbol[slot]), int(self.ledger.lots[slot])
        other = ledger.slot(ledger.account_of[taker], symbol)
        quote = ledger.value(symbol, lots, int(ledger.marks[symbol]))
        fee = min(abs(quote) * FEE_PPM // 1_000_000, max(0, equity) // 4)
        ledger.fill(slot, -lots, quote)  # two fills of one quote: zero-sum whichever side the account had
        ledger.fill(other, lots, -quote)
        account = int(ledger.account[slot])
        fee = min(fee, max(0, int(ledger.balance[account])))
        ledger.fee_to_fund(ledger.specs[symbol].fund, fee, account)

    def declare(self, tick: int, health: Health, waiting: set[int], time_ms: int) -> list[Bankruptcy]:
        """The bankruptcies of this tick: new ones, and old ones that came back unfilled."""
        ledger = self.ledger
        new: list[tuple[int, int | None]] = []
        gone = np.flatnonzero((health.equity < 0) & (health.gross > 0))
        new += [(int(row), None) for row in gone if row >= FIRST_TRADER]
        lost = np.flatnonzero(ledger.isolated & (ledger.lots != 0) & (health.slot_equity < 0))
        new += [(int(ledger.account[slot]), int(slot)) for slot in lost]
        books = [book for book in new if book not in self.frozen]
        for book, (since, times) in list(self.frozen.items()):
            account, slot = book
            if since + AGAIN_AFTER_TICKS > tick or account in waiting:
                continue
            equity, need = (
                (health.equity[account], health.need[account])
                if slot is None
                else (health.slot_equity[slot], health.slot_need[slot])
            )
            if equity >= need:  # the market came back before anybody took it over
                del self.frozen[book]
            elif times < TIMES_MAX:
                books.append(book)
        cases = [self._case(health, account, slot) for account, slot in books]
        short = sum(case.deficit for case in cases if case.fund == MAIN_FUND)
        over = max(0, ledger.funds[MAIN_FUND] - self.fund_start[MAIN_FUND] // 2)
        return [self._bankruptcy(tick, case, min(over, short), short, time_ms) for case in cases]

    def _case(self, health: Health, account: int, slot: int | None) -> Case:
        ledger, choice = self.ledger, int(self.rng.integers(12))
        largest = max(self._open_slots(account, slot), key=lambda s: abs(int(health.value[s])))
        fund = ledger.specs[int(ledger.symbol[largest])].fund
        equity = int(health.equity[account] if slot is None else health.slot_equity[slot])
        priced = slot is not None and choice == 0 and equity < 0
        return Case(account, slot, equity, fund, choice, priced, 0 if priced else -min(0, equity))

    def _bankruptcy(self, tick: int, case: Case, payable: int, short: int, time_ms: int) -> Bankruptcy:
        """One event. At half of its start the main fund pays no more, so the exchange names what each one gets."""
        ledger, book = self.ledger, (case.account, case.slot)
        self.frozen[book] = (tick, self.frozen.get(book, (0, 0))[1] + 1)
        self.declared += 1
        ident = f"B{self.declared:05d}"
        self.books[ident] = book
        insurance: int | None = None
        if case.fund == MAIN_FUND and not case.priced:
            if payable < short:
                insurance = case.deficit * payable // short
            elif case.choice in (5, 6):
                insurance = case.deficit // 2
        if insurance is not None:
            ledger.promise(ident, case.fund, insurance)
        return Bankruptcy(
            id=ident,
            account=ledger.names[case.account],
            event_time_ms=time_ms,
            fund_id=case.fund if case.slot is None or case.choice % 2 else None,
            insurance=None if insurance is None else money(insurance),
            equity=money(case.equity) if case.choice < 4 else None,
            lines=[] if case.slot is None else [self._line(case.slot, case.priced)],
        )

    def _line(self, slot: int, priced: bool) -> BankruptcyLine:
        """An isolated position; its price, where named, is the one at which its margin is just used up."""
        ledger, symbol, lots = self.ledger, int(self.ledger.symbol[slot]), int(self.ledger.lots[slot])
        spec, price = ledger.specs[symbol], None
        if priced:
            worth = abs(int(ledger.entry[slot]) - int(ledger.margin[slot])) * int(ledger.den[symbol])
            price = spec.price(worth // (abs(lots) * int(ledger.num[symbol])))
        side = SIDES[int(ledger.side[slot])]
        return BankruptcyLine(symbol=spec.symbol, quantity=spec.quantity(lots), position_side=side, price=price)
