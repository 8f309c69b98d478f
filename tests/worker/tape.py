"""Short logs by hand: a tape of messages, and what the worker makes of it."""

import msgspec

from schemas import (
    Account,
    AccountUpdate,
    AdlPoolState,
    AdlState,
    Balance,
    Bankruptcy,
    BankruptcyLine,
    Control,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Position,
    RiskModel,
    decode_output,
    encode,
)
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.record import Record
from worker.settings import KINDS, load

TOPIC = {
    Instrument: "instruments",
    RiskModel: "risk-model",
    Account: "accounts",
    AccountUpdate: "positions",
    MarkPrice: "mark-prices",
    Bankruptcy: "bankruptcies",
    InsuranceFund: "insurance-fund",
    ForcedTradeResult: "forced-trade-results",
    Control: "controls",
}


def settings_of(*flags):
    """Live settings of a pool in whole dollars and cents, `waterfill`, with `section.key=value` on top.

    Whom that policy takes can be worked out by hand; nothing is warned of.
    """
    ours = ("worker.mode=live", "pool.currency=USD", "pool.currency_decimals=2", "decision.policy=waterfill")
    ours += ("state.forecast_ms=null", "state.warning_fall=null")
    return load(flags=[*ours, *flags])


class Tape:
    """Records in the order in which they were said; `at` sets the log time, `say` writes one record."""

    def __init__(self):
        self.records = []
        self.now_ms = 1000
        self._next = {}
        self._seq = {}

    def at(self, ms):
        self.now_ms = ms
        return self

    def raw(self, topic, value, key=None, partition=0):
        offset = self._next.get((topic, partition), 0)
        self._next[topic, partition] = offset + 1
        self.records.append(Record(topic, partition, offset, self.now_ms, key, value))
        return self

    def say(self, message, partition=0):
        key = next(getattr(message, name) for name in message.__struct_fields__).encode()
        return self.raw(TOPIC[type(message)], encode(message), key, partition)

    # --- the words used most ---

    def instrument(self, symbol="BTC", tick="1", lot="1", mmf="0.1", **more):
        return self.say(
            Instrument(
                symbol=symbol, tick_size=tick, lot_size=lot, settlement_currency="USD",
                maintenance_margin_fraction=mmf, price_decimals=2, **more,
            )
        )  # fmt: skip

    def mark(self, symbol="BTC", price="100"):
        return self.say(MarkPrice(symbol=symbol, mark_price=price, event_time_ms=self.now_ms))

    def account(self, name, cash, *positions, full=True, adl_seq=0, partition=0, epoch=1):
        """An account with cash and (symbol, quantity, entry price) positions."""
        seq = self._seq[name] = self._seq.get(name, 0) + 1
        held = [
            position if isinstance(position, Position)
            else Position(symbol=position[0], quantity=position[1], entry_price=position[2], adl_seq=adl_seq)
            for position in positions
        ]  # fmt: skip
        return self.say(
            AccountUpdate(
                account=name, epoch=epoch, seq=seq, adl_seq=adl_seq, full=full,
                balances=[Balance(currency="USD", amount=cash)], positions=held,
            ),
            partition,
        )  # fmt: skip

    def fund(self, balance, fund_id="default", decision_sequence=0):
        return self.say(InsuranceFund(fund_id=fund_id, balance=balance, decision_sequence=decision_sequence))

    def bankrupt(self, account, *lines, name=None, **more):
        """A bankruptcy; lines are (symbol, quantity) or (symbol, quantity, price)."""
        said = [
            line if isinstance(line, BankruptcyLine)
            else BankruptcyLine(symbol=line[0], quantity=line[1], price=line[2] if len(line) > 2 else None)
            for line in lines
        ]  # fmt: skip
        event_time_ms = more.pop("event_time_ms", self.now_ms)
        return self.say(
            Bankruptcy(id=name or f"b-{account}", account=account, event_time_ms=event_time_ms, lines=said, **more)
        )

    def result(self, trade, filled, reason=None):
        return self.say(
            ForcedTradeResult(trade_id=trade.trade_id, account=trade.account, filled_quantity=filled, reason=reason)
        )

    def control(self, action, **more):
        return self.say(Control(id=f"c{len(self.records)}", action=action, operator="ann", reason="test", **more))

    def run(self, *flags, **source):
        """Everything the worker says about the tape."""
        return Said(run_tape(self.records, settings_of(*flags), **source))


def run_tape(records, settings, sink=None, start=None, **source):
    sink = MemorySink() if sink is None else sink
    partitions = [(kind, 0) for kind in KINDS]
    report = run(RecordingSource(records, partitions=partitions, **source), sink, settings, start=start)
    sink.report = report
    return sink


class Said:
    """Outputs by kind, decoded."""

    def __init__(self, sink):
        self.sink = sink
        self.report = sink.report
        self.decisions = [decode_output(r.value) for r in sink.outputs("adl-decisions")]
        self.trades = [decode_output(r.value) for r in sink.outputs("forced-trades")]
        self.cuts = [decode_output(r.value) for r in sink.outputs("adl-cuts")]
        self.letters = [decode_output(r.value) for r in sink.outputs("dead-letters")]
        advice = [decode_output(output.value) for output in sink.advice]
        self.states = [said for said in advice if isinstance(said, AdlState)]
        self.pool_states = [said for said in advice if isinstance(said, AdlPoolState)]
        self.bytes = [(r.topic, r.offset, r.log_time_ms, r.key, r.value) for r in sink.records]

    def legs(self, role="COUNTERPARTY"):
        """(account, symbol, side, quantity, quote) of each leg of a role."""
        return [(t.account, t.symbol, t.side, t.quantity, t.quote_amount) for t in self.trades if t.role == role]


def plain(message):
    return msgspec.to_builtins(message)
