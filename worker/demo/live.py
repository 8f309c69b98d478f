"""The demo exchange on one side of a broker: it publishes its ticks, and executes what the worker commits.

Rule 1: records of a later time, or of the same and a later kind, are sent when those before are acknowledged.
Rule 2: a decision is executed when it and all its trades are there, which is in the order of their sequences.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from schemas import AdlDecision, Cut, ForcedTrade, MarginReduction, decode_output
from worker.chains import Break, Chains
from worker.demo.exchange import RANK, TICK_MS, Exchange
from worker.edge.exits import EdgeError, Exit
from worker.edge.kafka_cluster import Cluster
from worker.edge.kafka_publish import Publisher
from worker.edge.kafka_source import KafkaSource
from worker.edge.topics import READER_GROUP
from worker.output import CHAINED
from worker.record import END, Record
from worker.summary import DONE

POLL_RECORDS: Final = 1000
PATIENCE_SECONDS: Final = 400.0  # for a cut that rests on all that was published; a first start compiles for minutes


class UnansweredError(EdgeError):
    """The worker runs, but what it has committed is not what an exchange could act upon."""

    exit = Exit.DIFFERENCE


class LiveExchange:
    """`run()` once: the exchange from its opening to its end, at a pace."""

    def __init__(
        self,
        exchange: Exchange,
        prefix: str,
        config: Mapping[str, Any],
        cluster: Cluster,
        check_worker: Callable[[], None],
    ) -> None:
        """`prefix`: of every topic; behind it stands the exchange's own name of an input, or that of an output.

        `check_worker`: asked again and again; raises where there is nobody to wait for.
        """
        self.exchange, self._prefix, self._cluster, self._check_worker = exchange, prefix, cluster, check_worker
        self._publisher = Publisher(config, linger_ms=0)
        begins = cluster.begins(cluster.partitions(map(self._named, CHAINED)))
        self._said = KafkaSource(config, cluster, begins, group=READER_GROUP)
        self._chains = Chains()
        self._decisions: dict[str, AdlDecision] = {}  # whose trades are not all there
        self._trades: dict[str, list[ForcedTrade]] = {}  # of these, and of decisions that are not there
        self._reached: dict[str, int] = {}  # what the newest cut rests on

    def run(self, speed: float, show: Callable[[int], None]) -> None:
        """Ticks at `speed` times their own pace until everything is answered; raises an EdgeError."""
        try:
            self._run(speed, show)
        finally:
            self._said.close()

    def _run(self, speed: float, show: Callable[[int], None]) -> None:
        exchange = self.exchange
        self._publisher.ready()
        self._said.ends()
        self._publish(exchange.start())
        self._until_answered()
        while not self._closed():
            due = time.monotonic() + TICK_MS / 1000 / speed
            self._publish(exchange.step())
            show(min(exchange.tick, exchange.ticks))
            self._hear()
            while time.monotonic() < due:
                self._hear()

    def _closed(self) -> bool:
        """The exchange has nothing left to answer, and the worker has no more to say."""
        if self.exchange.done:
            self._until_answered()
        return self.exchange.done

    def _publish(self, records: list[Record]) -> None:
        for _, group in itertools.groupby(records, lambda record: (record.log_time_ms, RANK[record.topic])):
            for record in group:
                self._publisher.put(msgspec.structs.replace(record, topic=self._named(record.topic)), timed=False)
            self._publisher.flush()

    def _until_answered(self) -> None:
        """Returns when a cut rests on everything published, and all that was written with it has been heard."""
        ends = {f"{self._named(topic)}:{number}": end for (topic, number), end in self.exchange.offsets.items()}
        until = time.monotonic() + PATIENCE_SECONDS
        while not (all(self._reached.get(name, 0) >= end for name, end in ends.items()) and self._heard_all()):
            self._hear()
            if time.monotonic() > until:
                missing = "".join(f"; {step.sentence}" for step in self._chains.settle() if isinstance(step, Break))
                raise UnansweredError(f"no whole answer to what was published {PATIENCE_SECONDS:.0f} s ago{missing}")

    def _heard_all(self) -> bool:
        """Nothing is missing of what had been written when this was called."""
        # A commit shows in one partition after the other: a cut can be there before the trades that came with it.
        written, ends = self._cluster.ends(self._said.partitions(), committed=False), self._said.ends()
        while any(self._said.complete_until_ms(where) != END for where in ends):
            self._hear()
        return not (self._decisions or self._trades) and all(ends[where] >= end for where, end in written.items())

    def _hear(self) -> None:
        """Takes what was committed since; waits a moment where nothing was."""
        self._check_worker()
        for record in self._said.poll(POLL_RECORDS):
            for step in self._chains.see(record, decode_output(record.value or b"")):
                if isinstance(step, Break):
                    raise UnansweredError(f"what the worker committed is not whole: {step.sentence}")
                message = step.message
                if isinstance(message, Cut):
                    self._reached = {**message.basis, **message.after}
                elif isinstance(message, ForcedTrade):
                    self._trades.setdefault(message.decision_id, []).append(message)
                    self._execute(message.decision_id)
                elif isinstance(message, AdlDecision):
                    self._decisions[message.decision_id] = message
                    self._execute(message.decision_id)
                elif isinstance(message, MarginReduction):
                    self.exchange.execute((), (), [message])

    def _execute(self, name: str) -> None:
        decision, trades = self._decisions.get(name), self._trades.get(name, [])
        # Of what was held or refused no trade comes.
        if decision is not None and len(trades) == (decision.trades if decision.status in DONE else 0):
            self.exchange.execute(trades, [decision])
            del self._decisions[name]
            self._trades.pop(name, None)

    def _named(self, topic: str) -> str:
        return f"{self._prefix}.{topic}"
