"""What was published before, read back cut by cut while the inputs are replayed; it is applied, not decided again.

Rule: what was committed, what was published and what is derived must agree, and end at the same record, or the pool
does not go on.
"""

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

import msgspec

from schemas import AdlDecision, Cut, ForcedTrade, MarginReduction, first_link, link
from worker.cut import RecordedCut, recorded_cut
from worker.engine import Engine, Published
from worker.output import CHAINED, CUTS, DECISIONS, REDUCTIONS, TRADES, read
from worker.record import NotKeptError, Partition, RecentOutputs, Record, Sink

Written = TypeVar("Written", bound=Cut | AdlDecision | ForcedTrade | MarginReduction)


class StateLostError(Exception):
    """The log and what was committed about it do not agree; the sentence says how."""


class Mark(msgspec.Struct):
    """The worker's own words in a commit."""

    cut: int
    log_time_ms: int
    digest: str
    heads: dict[str, tuple[int, str]]
    kept: str = ""  # the digest of what no setting can change; commits of older code say none
    solvent: str = ""  # that of last solvent marks, where they were noted
    forecasts_since_ms: int = 0  # the oldest that what is said next may depend on

    @classmethod
    def of(cls, engine: Engine, log_time_ms: int) -> "Mark":
        """As the state stands behind a cut."""
        return cls(
            engine.cut_number, log_time_ms, engine.digest(), dict(engine.outputs.heads), engine.kept_digest(),
            engine.solvent_digest(), engine.states.forecasts_since_ms,
        )  # fmt: skip

    def differs(self, engine: Engine) -> bool:
        """Whether the state is another one; settings may have changed, which is no other state."""
        if not self.kept:
            return engine.digest() != self.digest
        noted = engine.solvent_digest()
        return engine.kept_digest() != self.kept or (bool(noted and self.solvent) and noted != self.solvent)


class OwnLog(Generic[Written]):
    """The pool's records of one output topic, one by one; a gap, a repeat or a broken chain raises StateLostError."""

    def __init__(self, sink: Sink, topic: str, kind: type[Written], pool: str, saved: Mark | None = None) -> None:
        self.topic, self._kind, self._pool = topic, kind, pool
        self.empty = 0, first_link(pool, topic)
        self.head = self.empty if saved is None else saved.heads.get(topic, self.empty)  # as a commit names it
        if saved is not None and isinstance(sink, RecentOutputs):
            self._records: Iterator[Record] = sink.outputs_behind(topic, self.head[0], saved.log_time_ms)
        else:
            self._records = sink.outputs(topic)
        self._first = self.head[0]  # what it holds, and what is before it, is in the state already

    def __iter__(self) -> Iterator[Written]:
        return self

    def __next__(self) -> Written:
        for record in self._records:
            message = read(record.value, self._kind)
            if message.pool != self._pool or message.sequence <= self._first:
                continue
            sequence, chain = self.head
            if (message.sequence, message.chain) != (sequence + 1, chain):
                raise StateLostError(f"{self.topic}: record {message.sequence} does not follow record {sequence}")
            self.head = message.sequence, link(record.value or b"")
            return message
        raise StopIteration


Logs = tuple[OwnLog[Cut], OwnLog[AdlDecision], OwnLog[ForcedTrade], OwnLog[MarginReduction]]


class Rebuild:
    """Cuts and decisions up to the last commit; `open` until the committed cut has been passed."""

    def __init__(self, sink: Sink, pool: str) -> None:
        committed = sink.committed()
        self._offsets = {} if committed is None else committed.offsets
        self._mark = None if committed is None else msgspec.json.decode(committed.metadata, type=Mark)
        self.open = self._mark is not None
        self.last_cut = self._mark.cut if self._mark is not None else 0
        self.last_ms = self._mark.log_time_ms if self._mark is not None else 0
        self.forecasts_since_ms = self._mark.forecasts_since_ms if self._mark is not None else 0
        self._sink, self._pool = sink, pool
        self._open_logs(None)
        if self._mark is None:
            self._check_ends({log.topic: log.head for log in self._logs()})

    def _open_logs(self, saved: Mark | None) -> None:
        sink, pool = self._sink, self._pool
        self._first_cut = 1 if saved is None else saved.cut + 1
        self._cuts = OwnLog(sink, CUTS, Cut, pool, saved)
        self._decisions = OwnLog(sink, DECISIONS, AdlDecision, pool, saved)
        self._trades = OwnLog(sink, TRADES, ForcedTrade, pool, saved)
        self._reductions = OwnLog(sink, REDUCTIONS, MarginReduction, pool, saved)
        self._next_cut: Cut | None = None
        self._next: AdlDecision | None = None
        self._next_reduction: MarginReduction | None = None

    def begin_at(self, engine: Engine, saved: Mark, offsets: dict[Partition, int]) -> None:
        """Begins behind a cut at which the state was saved; NotKeptError where the pool's cuts are others."""
        self._open_logs(saved)
        try:
            if saved.cut < self.last_cut:
                self._next_cut = next(self._cuts, None)  # its chain holds all cuts before
                if self._next_cut is None or self._next_cut.number != saved.cut + 1:
                    raise StateLostError(f"{CUTS} does not show cut {saved.cut + 1} behind it")
            else:
                self.passed(engine, offsets)
        except StateLostError as error:
            self._open_logs(None)
            raise NotKeptError(f"it is not of this history: {error}") from None

    def cuts(self) -> Iterator[RecordedCut]:
        """The committed cuts that are still to be passed, oldest first."""
        for number in range(self._first_cut, self.last_cut + 1):
            cut, self._next_cut = self._next_cut or next(self._cuts, None), None
            if cut is None or cut.number != number:
                raise StateLostError(f"{CUTS} must hold cut {number}, because cut {self.last_cut} was committed")
            yield recorded_cut(cut)

    def published(self, cut_number: int) -> Published:
        """The decisions of a cut with their trades; asked for one cut after the other."""
        found: Published = []
        while True:
            decision = self._next or next(self._decisions, None)
            self._next = decision
            if decision is None or decision.cut_number > cut_number:
                return found
            self._next = None
            trades: list[ForcedTrade] = []
            for _ in range(decision.trades if decision.mode == "live" else 0):
                trade = next(self._trades, None)
                if trade is None or trade.decision_id != decision.decision_id:
                    raise StateLostError(f"{TRADES} must hold the {decision.trades} of decision {decision.decision_id}")
                trades.append(trade)
            found.append((decision, trades))

    def reduced(self, cut_number: int) -> list[MarginReduction]:
        """The staged reductions of a cut; asked for one cut after the other."""
        found: list[MarginReduction] = []
        while True:
            reduction = self._next_reduction or next(self._reductions, None)
            self._next_reduction = reduction
            if reduction is None or reduction.cut_number > cut_number:
                return found
            self._next_reduction = None
            found.append(reduction)

    def passed(self, engine: Engine, offsets: dict[Partition, int]) -> None:
        """Closes at the committed cut, after checking that the state is the one that was committed."""
        mark = self._mark
        if mark is None or engine.cut_number < mark.cut:
            return
        if offsets != {partition: self._offsets.get(partition, 0) for partition in offsets}:
            raise StateLostError(f"cut {mark.cut} rests on other offsets than were committed; are the inputs complete?")
        self._check_ends(mark.heads)
        if mark.differs(engine):
            raise StateLostError(
                f"state digest at cut {mark.cut} is {engine.digest()}, committed was {mark.digest}; what was committed "
                "rests on another [pool], other inputs or other code"
            )
        # A commit that is older than a topic names no end of it, and nothing was said on it.
        engine.outputs.heads |= {topic: mark.heads[topic] for topic in CHAINED if topic in mark.heads}
        self.open = False

    def _logs(self) -> Logs:
        return self._cuts, self._decisions, self._trades, self._reductions

    def _check_ends(self, heads: Mapping[str, tuple[int, str]]) -> None:
        """What was said must end where the commit says: a delayed end of a transaction can show a part of one."""
        for log in self._logs():
            committed = heads.get(log.topic, log.empty)
            if log.head[0] <= committed[0]:
                next(log, None)
            if log.head[0] > committed[0]:
                raise StateLostError(
                    f"{log.topic} holds record {log.head[0]}, but committed was record {committed[0]} as its last: a "
                    "part of a transaction that never took effect can be read, and readers may have acted on it"
                )
            if log.head != tuple(committed):
                raise StateLostError(f"{log.topic} ends with record {log.head[0]}, committed was {committed[0]}")
