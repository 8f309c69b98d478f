"""The demo's exchange does what staged reductions ask for: a tick later, at the mark, against makers.

Rule 1: at most the position on that side is closed; what was frozen or liquidated meanwhile is left alone.
Rule 2: what is asked twice is done once.
"""

from collections.abc import Sequence

from schemas.messages import MarginReduction
from worker.demo.ledger import SIDES, Ledger
from worker.demo.liquidation import Liquidation
from worker.demo.population import MAKERS


class Reducing:
    """What was asked for and is not done yet."""

    def __init__(self, ledger: Ledger, liquidation: Liquidation) -> None:
        self.ledger, self.liquidation = ledger, liquidation
        self.asked: list[MarginReduction] = []
        self.counts = {"filled": 0, "partial": 0, "left": 0}
        self._seen: set[str] = set()

    def accept(self, reductions: Sequence[MarginReduction]) -> None:
        """Queues what the worker committed."""
        for said in reductions:
            if said.reduction_id not in self._seen:
                self._seen.add(said.reduction_id)
                self.asked.append(said)

    def run(self) -> None:
        """Closes what is asked for."""
        asked, self.asked = self.asked, []
        for said in asked:
            wanted, filled = self._close(said)
            self.counts["filled" if filled == wanted else "partial" if filled else "left"] += 1

    def _close(self, said: MarginReduction) -> tuple[int, int]:
        """Lots asked for, and lots closed."""
        ledger, symbol = self.ledger, self.ledger.symbol_of[said.symbol]
        wanted = ledger.specs[symbol].lots(said.quantity)
        slot = ledger.slot_of.get((ledger.account_of[said.account], symbol, SIDES.index(said.position_side)))
        if slot is None or self.liquidation.is_frozen(slot):
            return wanted, 0
        sign = -1 if said.side == "SELL" else 1
        filled = min(wanted, max(0, -sign * int(ledger.lots[slot])))
        if filled:
            maker = MAKERS[sum(self.counts.values()) % len(MAKERS)]
            quote = ledger.value(symbol, -sign * filled, int(ledger.marks[symbol]))
            ledger.fill(slot, sign * filled, quote)
            ledger.fill(ledger.slot(ledger.account_of[maker], symbol), -sign * filled, -quote)
        return wanted, filled
