"""A policy for the demo exchange alone: greedy, at the mark, knowing nothing of solvers."""

from collections import defaultdict

import numpy as np

from schemas import decode, encode
from schemas.messages import (
    AdlDecision,
    Bankruptcy,
    DecidedBankruptcy,
    ForcedTrade,
    ForcedTradeResult,
    InsuranceFund,
)
from worker.demo.exchange import Exchange
from worker.demo.population import FIRST_TRADER
from worker.demo.prices import minor_of, money
from worker.demo.run import DemoSource, deliver
from worker.record import Output, Record


class NaivePolicy:
    """Takes from the first holders of the other side, at the mark, and draws the fund for every deficit it can."""

    def __init__(self, exchange: Exchange) -> None:
        self.ledger = exchange.ledger
        self.funds: dict[str, int] = {}
        self.seq: dict[int, int] = defaultdict(int)
        self.held: dict[int, int] = defaultdict(int)
        self.decided_at: dict[str, int] = {}
        self.bankruptcies: list[tuple[Record, Bankruptcy]] = []
        self.results: list[tuple[Record, ForcedTradeResult]] = []
        self.orders: dict[str, tuple[int, int]] = {}
        self.decisions = 0

    def step(self, records: list[Record]) -> list[Output]:
        """One decision per bankruptcy."""
        outputs: list[Output] = []
        for record in records:
            for message in decode(record.value or b""):
                if isinstance(message, InsuranceFund) and message.decision_sequence == self.decisions:
                    self.funds[message.fund_id] = minor_of(message.balance)
                elif isinstance(message, ForcedTradeResult):
                    self.results.append((record, message))
                    slot, lots = self.orders.pop(message.trade_id)
                    self.held[slot] -= lots
                elif isinstance(message, Bankruptcy):
                    self.bankruptcies.append((record, message))
                    outputs += self.decide(record, message)
        return outputs

    def decide(self, record: Record, event: Bankruptcy) -> list[Output]:
        ledger, trades = self.ledger, []
        row = ledger.account_of[event.account]
        wanted = [(ledger.symbol_of[line.symbol], line.position_side) for line in event.lines]
        slots = [s for s in ledger.slots[row] if not ledger.isolated[s]]
        if wanted:
            sides = ("NET", "LONG", "SHORT")
            slots = [ledger.slot_of[row, symbol, sides.index(side)] for symbol, side in wanted]
        self.decisions += 1
        for slot in slots:
            left = self.free(slot)
            symbol, sign = int(ledger.symbol[slot]), 1 if left > 0 else -1
            others = np.flatnonzero((ledger.symbol == symbol) & (ledger.lots * sign < 0)).tolist()
            for other in others:
                lots = min(abs(left), abs(self.free(other)))
                # MAKER-1 and the house stand outside; that leaves the thin symbol short of counterparties.
                if lots and FIRST_TRADER <= ledger.account[other] != row:
                    trades += [self.leg(slot, -sign * lots, event), self.leg(other, sign * lots, event)]
                    left -= sign * lots
                if not left:
                    break
        for trade in trades:
            self.decided_at[trade.trade_id] = record.log_time_ms
        decision = self.decision(record, event)
        return [Output("adl-decisions", b"main", encode(decision))] + [
            Output("forced-trades", trade.account.encode(), encode(trade)) for trade in trades
        ]

    def free(self, slot: int) -> int:
        return int(self.ledger.lots[slot]) + self.held[slot]

    def leg(self, slot: int, lots: int, event: Bankruptcy) -> ForcedTrade:
        ledger = self.ledger
        row, symbol = int(ledger.account[slot]), int(ledger.symbol[slot])
        self.seq[row] += 1
        self.held[slot] += lots
        trade_id = f"{event.id}-{ledger.names[row]}-{self.seq[row]}"
        self.orders[trade_id] = (slot, lots)
        size = ledger.value(symbol, abs(lots), int(ledger.marks[symbol]))
        return ForcedTrade(
            pool="main",
            sequence=0,
            chain="",
            trade_id=trade_id,
            decision_id=event.id,
            adl_seq=self.seq[row],
            role="LIQUIDATED" if ledger.names[row] == event.account else "COUNTERPARTY",
            account=ledger.names[row],
            symbol=ledger.specs[symbol].symbol,
            position_side=("NET", "LONG", "SHORT")[int(ledger.side[slot])],
            side="BUY" if lots > 0 else "SELL",
            quantity=ledger.specs[symbol].quantity(abs(lots)),
            quote_amount=money(-size if lots > 0 else size),
            price="0",
            clearing_account="CLEARING",
            round=1,
        )

    def decision(self, record: Record, event: Bankruptcy) -> AdlDecision:
        fund = event.fund_id or self.ledger.specs[self.ledger.symbol_of[event.lines[0].symbol]].fund
        drawn = 0 if event.insurance is not None else min(1_000_000_000, self.funds[fund])
        self.funds[fund] -= drawn
        paid = DecidedBankruptcy(
            id=event.id,
            account=event.account,
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            equity="0",
            deficit="0",
            fund=event.insurance or money(drawn),
            haircut="0",
            bad_debt="0",
            fund_id=fund,
        )
        return AdlDecision(
            pool="main",
            sequence=self.decisions,
            chain="",
            decision_id=event.id,
            attempt=1,
            status="DECIDED",
            mode="live",
            cut_number=self.decisions,
            cut_time_ms=record.log_time_ms,
            basis={},
            settings_digest="",
            state_digest="",
            code_digest="",
            bankruptcies=[paid],
        )


def run_demo(engine_step, exchange, on_record):
    """Runs an exchange to its end against any answer to a tick's records, without the loop."""
    source = DemoSource(exchange, on_record)
    while not source.at_end():
        deliver(exchange, engine_step(source.poll(1 << 30)))
