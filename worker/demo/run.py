"""The demo exchange as Source and behind a Sink, so that the real loop closes on it.

The loop must commit all that is decidable before it polls again: `poll` moves the exchange to the next tick only when
the last tick's records have all been given, and answers to trades committed by then carry later log times. Every record
given also goes to `on_record`; replaying that recording gives the same outputs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from schemas import AdlDecision, ForcedTrade, MarginReduction, decode_output
from worker.demo.exchange import Exchange
from worker.output import DECISIONS, REDUCTIONS, TRADES
from worker.record import END, Committed, Output, Partition, Record, Sink

EXECUTED: Final = (TRADES, DECISIONS, REDUCTIONS)


def deliver(exchange: Exchange, outputs: Sequence[Output]) -> None:
    """Hands committed forced trades, the fund draws of their decisions, and staged reductions to the exchange."""
    said = [decode_output(output.value or b"") for output in outputs if output.topic in EXECUTED]
    exchange.execute(
        [message for message in said if isinstance(message, ForcedTrade)],
        [message for message in said if isinstance(message, AdlDecision)],
        [message for message in said if isinstance(message, MarginReduction)],
    )


def _nowhere(_: Record) -> None:
    """Keeps no recording."""


class DemoSource:
    """The exchange's records, tick by tick."""

    def __init__(self, exchange: Exchange, on_record: Callable[[Record], None] = _nowhere) -> None:
        self._exchange = exchange
        self._on_record = on_record
        self._waiting: list[Record] = []  # records of the present tick not yet given, newest first
        self._closed = False  # set by a poll, when all that was decidable has been committed: only then it is final

    def partitions(self) -> list[Partition]:
        """Every input partition, also those that stay empty."""
        return sorted(self._exchange.offsets)

    def ends(self) -> dict[Partition, int]:
        """The offset after each partition's last record so far."""
        return dict(self._exchange.offsets)

    def complete_until(self) -> int:
        """A log time: every record below it has been polled; END when none is left."""
        if self._waiting:
            return self._waiting[-1].log_time_ms
        return END if self._closed else self._exchange.next_time_ms

    def complete_until_ms(self, partition: Partition) -> int:  # noqa: ARG002  one answer for all partitions
        """`complete_until`, as the loop asks it."""
        return self.complete_until()

    def poll(self, max_records: int) -> list[Record]:
        """Up to `max_records` of the present tick; when all were given, those of the next."""
        exchange = self._exchange
        self._closed = self.at_end()
        if not self._waiting and not self._closed:
            self._waiting = (exchange.step() if exchange.started else exchange.start())[::-1]
        taken = self._waiting[: -max_records - 1 : -1]
        del self._waiting[len(self._waiting) - len(taken) :]
        for record in taken:
            self._on_record(record)
        return taken

    def at_end(self) -> bool:
        """True when the exchange has closed and every record was given."""
        return not self._waiting and self._exchange.done


class DemoSink:
    """A sink that also hands what it committed to the exchange."""

    def __init__(self, inner: Sink, exchange: Exchange) -> None:
        self._inner = inner
        self._exchange = exchange

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], metadata: str, log_time_ms: int
    ) -> None:
        """Commits; only then the exchange hears of it."""
        self._inner.commit(outputs, offsets, metadata, log_time_ms)
        deliver(self._exchange, outputs)

    def committed(self) -> Committed | None:
        return self._inner.committed()

    def outputs(self, topic: str) -> Iterator[Record]:
        return self._inner.outputs(topic)

    def advise(self, outputs: Sequence[Output], log_time_ms: int = 0) -> None:
        self._inner.advise(outputs, log_time_ms)

    def advised(self, topic: str) -> Iterator[Record]:
        return self._inner.advised(topic)
