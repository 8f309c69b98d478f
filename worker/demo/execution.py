"""How the demo exchange answers forced trades: later, in the order of an account's legs, sometimes by a refusal.

It fills min(quantity, position on that side) against the clearing account and reports the rest. Delays, refusals and
partial fills come from a hash of the trade's id, so they do not depend on what else happens.
"""

import zlib
from collections.abc import Sequence

from schemas.messages import AdlDecision, ForcedTrade, ForcedTradeResult
from worker.demo.ledger import SIDES, Ledger
from worker.demo.liquidation import Liquidation
from worker.demo.population import CLEARING
from worker.demo.prices import minor_of

REFUSED_OF, PARTIAL_OF, SLOW_OF, LAGGING_OF, LATE_OF = 151, 127, 29, 11, 31  # one trade of so many


class Execution:
    """Forced trades on their way, and the results not yet published."""

    def __init__(self, ledger: Ledger, liquidation: Liquidation, seed: int, seq: list[int]) -> None:
        self.ledger, self.liquidation, self.seed, self.seq = ledger, liquidation, seed, seq
        self.clearing = ledger.account_of[CLEARING]
        self.pending: list[tuple[int, ForcedTrade]] = []  # (due tick, trade)
        self.results: list[tuple[int, ForcedTradeResult]] = []
        self.lag: dict[int, int] = {}  # account -> tick before which its update is not published
        self.decision_sequence = 0
        self.counts = {"filled": 0, "partial": 0, "refused": 0}
        self._due: dict[str, int] = {}
        self._seen: set[str] = set()
        self._decisions: list[AdlDecision] = []

    @property
    def idle(self) -> bool:
        return not (self.pending or self.results or self._decisions or self.lag)

    def waiting(self) -> set[int]:
        """Accounts that still have forced trades to come."""
        rows = self.ledger.account_of
        return {rows[trade.account] for _, trade in self.pending if trade.account in rows}

    def accept(self, tick: int, trades: Sequence[ForcedTrade], decisions: Sequence[AdlDecision]) -> None:
        """Queues what the worker committed; what was seen before is ignored."""
        for decision in decisions:
            if decision.mode == "live" and decision.decision_id not in self._seen:
                self._seen.add(decision.decision_id)
                self._decisions.append(decision)
        for trade in trades:
            if trade.trade_id in self._seen:
                continue
            self._seen.add(trade.trade_id)
            delay = 3 + self._draw(trade, "delay") % 3 if self._one_of(trade, "slow", SLOW_OF) else 1
            # An account's legs are executed in their order: `adl_seq` says "the newest leg contained".
            due = max(tick + delay, self._due.get(trade.account, 0))
            self._due[trade.account] = due
            self.pending.append((due, trade))

    def pay(self) -> None:
        """The funds pay what decisions drew, before their trades are executed."""
        for decision in self._decisions:
            for paid in decision.bankruptcies:
                account, slot = self.liquidation.books.get(paid.id, (-1, None))
                amount = minor_of(paid.fund)
                if account >= 0 and (amount or paid.id in self.ledger.promised):
                    fund = paid.fund_id or next(iter(self.ledger.funds))
                    self.ledger.pay_insurance(paid.id, fund, amount, account, slot)
            self.decision_sequence = max(self.decision_sequence, decision.sequence)
        self._decisions.clear()

    def run(self, tick: int) -> None:
        """Executes the trades that are due."""
        due = [trade for when, trade in self.pending if when <= tick]
        self.pending = [item for item in self.pending if item[0] > tick]
        for trade in due:
            filled, text, reason = self._execute(trade)
            row = self.ledger.account_of.get(trade.account)
            seq = self.seq[row] + 1 if filled and row is not None else None  # of the account's next update
            result = ForcedTradeResult(
                trade_id=trade.trade_id, account=trade.account, filled_quantity=text, reason=reason, seq=seq
            )
            self.counts["filled" if reason is None else "partial" if filled else "refused"] += 1
            self.results.append((tick + int(self._one_of(trade, "late", LATE_OF)), result))
            if filled and row is not None and self._one_of(trade, "lagging", LAGGING_OF):
                self.lag[row] = tick + 1

    def due_results(self, tick: int) -> list[ForcedTradeResult]:
        due = [result for when, result in self.results if when <= tick]
        self.results = [item for item in self.results if item[0] > tick]
        return due

    def _execute(self, trade: ForcedTrade) -> tuple[int, str, str | None]:
        """Lots filled, the same as text, and why the rest was refused."""
        ledger = self.ledger
        row, symbol = ledger.account_of.get(trade.account), ledger.symbol_of.get(trade.symbol)
        if row is None or symbol is None:
            return 0, "0", "UNKNOWN"
        quantity = ledger.specs[symbol].lots(trade.quantity)
        slot = ledger.slot_of.get((row, symbol, SIDES.index(trade.position_side)))
        if slot is None:
            return 0, "0", "NO_POSITION"
        ledger.account_leg[row] = max(int(ledger.account_leg[row]), trade.adl_seq)
        ledger.leg[slot] = max(int(ledger.leg[slot]), trade.adl_seq)
        sign = -1 if trade.side == "SELL" else 1
        most, reason = max(0, -sign * int(ledger.lots[slot])), "POSITION_TOO_SMALL"
        if trade.account_seq is not None and trade.account_seq != self.seq[row]:
            most, reason = 0, "ACCOUNT_MOVED"
        elif trade.role == "COUNTERPARTY" and self._one_of(trade, "refused", REFUSED_OF):
            most, reason = 0, "ACCOUNT_LOCKED"
        elif trade.role == "COUNTERPARTY" and quantity > 1 and self._one_of(trade, "partial", PARTIAL_OF):
            most, reason = min(most, quantity // 2), "PARTLY_LOCKED"
        filled = min(quantity, most)
        if filled:
            quote = minor_of(trade.quote_amount) * filled // quantity
            ledger.fill(slot, sign * filled, quote)
            ledger.fill(ledger.slot(self.clearing, symbol), -sign * filled, -quote)
        return filled, ledger.specs[symbol].quantity(filled), None if filled == quantity else reason

    def _draw(self, trade: ForcedTrade, what: str) -> int:
        return zlib.crc32(f"{self.seed}:{what}:{trade.trade_id}".encode())

    def _one_of(self, trade: ForcedTrade, what: str, of: int) -> bool:
        return self._draw(trade, what) % of == 0
