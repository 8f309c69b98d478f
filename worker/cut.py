"""One order for all inputs, and the places in it at which something may be decided.

The pool's inputs are one sequence: the merge of the partitions by their head records, smallest (log time, kind, topic,
partition) first. It depends on the logs alone, not on which partition was fetched first. A cut stands before each
control, before a run of results of one log time, before the last bankruptcy of a joint group, and after all records up
to each multiple of `watch_ms` at which there is something new. On a live topic a late record counts where it arrives,
so what stands between two cuts is said only together with the second, and cuts that were recorded are taken as they
were written, also where a record below them is no longer in the log: the rule goes on beyond their end. Where too much
waits for the next multiple, one more cut stands at the newest record.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, cast

import msgspec

from schemas import (
    Account,
    AccountUpdate,
    Bankruptcy,
    Control,
    Cut,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarkPrice,
    PositionBatch,
    RiskModel,
)
from worker.batch import KIND_MASK, ORDER_BITS, Batch, Plain, events_of
from worker.event import Event as Event
from worker.merge import Merge
from worker.record import END, Partition

KIND = {
    Instrument: 0,
    RiskModel: 1,
    Account: 2,
    Control: 3,
    InsuranceFund: 4,
    MarkPrice: 5,
    AccountUpdate: 6,
    PositionBatch: 6,
    ForcedTradeResult: 7,
    Bankruptcy: 8,
}
CONTROL, RESULT, BANKRUPTCY = KIND[Control], KIND[ForcedTradeResult], KIND[Bankruptcy]
CUTTING = frozenset((CONTROL, RESULT, BANKRUPTCY))
# Live. So many wait behind a record with a clock far ahead that was cut, or for the watch cut of a long `watch_ms`.
WAITING_MAX: Final = 200_000
CompleteUntil = Callable[[Partition], int]


@dataclass(slots=True)
class CutPoint:
    """Exactly the records of `basis` have been applied; `cutting` stands behind the cut and counts as applied at it."""

    log_time_ms: int
    basis: dict[Partition, int]
    cutting: list[Event] = field(default_factory=list)


Step = Event | Batch | CutPoint


@dataclass(frozen=True, slots=True)
class RecordedCut:
    """Where a cut stood: the offsets before what stands at it, and behind that."""

    log_time_ms: int
    basis: dict[Partition, int]
    after: dict[Partition, int]


class Standing(msgspec.Struct, frozen=True):
    """Where the sequence stands behind a cut: what the merge must know of records that are not read again."""

    offsets: dict[Partition, int]
    newest: dict[Partition, tuple[int, int]]  # log time and kind, of those with a record
    last_ms: int | None
    cut_ms: int
    watched_ms: int


class Sequencer:
    """Merges partitions into one sequence with its cuts; holds back what a missing record could still change.

    `live`: partitions can still grow behind their present end, so events wait for their cut and `settle` ends a round.
    """

    def __init__(
        self,
        partitions: Iterable[Partition],
        watch_ms: int,
        joint_window_ms: int,
        *,
        live: bool = False,
        recorded: Iterable[RecordedCut] = (),
        beyond: bool = True,
    ) -> None:
        self.watch_ms = watch_ms
        self.joint_window_ms = joint_window_ms
        self.merge: Merge[Event] = Merge(partitions, CUTTING)
        self.offsets: dict[Partition, int] = dict.fromkeys(self.merge.partitions, 0)  # next to read, of emitted events
        self._live = live
        self._recorded = iter(recorded)
        self._beyond = beyond  # False: cuts that were recorded and no others
        self._next_recorded = next(self._recorded, None)
        self._group: list[Event] = []  # from the first bankruptcy of a joint group on
        # Between the first event of a joint group and its last cut: who began here would open another group.
        self.in_group = False
        self._run: list[Event] = []  # results of one log time, one behind the other
        self._held: list[Event | Batch] = []  # live: taken from the merge, said with the next cut
        self._last_ms: int | None = None  # of the newest emitted event that no watch cut has covered
        self._cut_ms = -END  # of the last cut; never decreases
        self._watched_ms = -END  # of the last watch cut
        self._newest: dict[Partition, int] = {}  # order of the newest of each partition's emitted events
        # At the last cut: what `settle` goes back to.
        self._committed: tuple[dict[Partition, int], int | None, dict[Partition, int]] = dict(self.offsets), None, {}

    def push(self, event: Event) -> None:
        """Takes the next record of its partition."""
        self.merge.push(event)

    def push_plain(self, partition: Partition, plain: Plain, begin: int, end: int) -> None:
        """Takes the next records of a partition as columns."""
        self.merge.push_plain(partition, plain, begin, end)

    def reach(self, offsets: Mapping[Partition, int]) -> None:
        """Nothing below these offsets is still to come: what is missing there is a gap in the log."""
        self.merge.reach(offsets)

    def standing(self) -> Standing:
        """Where it stood at the last cut, which has been said and nothing behind it; not `in_group`."""
        offsets, last_ms, newest = self._committed
        times = {where: (order >> ORDER_BITS, order & KIND_MASK) for where, order in newest.items()}
        return Standing(dict(offsets), times, last_ms, self._cut_ms, self._watched_ms)

    def stand(self, standing: Standing) -> None:
        """Takes up where another stood; the records behind are to be pushed, those before are not."""
        self.offsets.update(standing.offsets)
        self._newest = {
            where: log_time_ms << ORDER_BITS | kind for where, (log_time_ms, kind) in standing.newest.items()
        }
        self._last_ms, self._cut_ms, self._watched_ms = standing.last_ms, standing.cut_ms, standing.watched_ms
        self._committed = dict(self.offsets), self._last_ms, dict(self._newest)
        self.merge.stand(standing.offsets, self._newest)

    @property
    def replaying(self) -> bool:
        """Recorded cuts are still to be passed."""
        return self._next_recorded is not None

    def due(self) -> bool:
        """Live, between rounds: something waits that cuts, or a multiple of `watch_ms` has passed."""
        if self.merge.cutting:
            return True
        oldest_ms = min(self.merge.oldest_ms(), END if self._last_ms is None else self._last_ms)
        return max(oldest_ms, self._cut_ms, self._watched_ms + 1) <= self._watch_until_ms()

    def crowded(self) -> bool:
        """Live: so much waits that the log must be cut before its next multiple, or memory fills."""
        held = sum(len(item) if isinstance(item, Batch) else 1 for item in self._held)
        return self.merge.waiting() + held + len(self._run) + len(self._group) > WAITING_MAX

    def pending(self) -> bool:
        """Something was read that no cut, or no watch cut, has covered."""
        return self._last_ms is not None or self.merge.oldest_ms() < END

    def steps(self, complete_until_ms: CompleteUntil) -> Iterator[Step]:
        """Every event and cut that no record still to come can change.

        `complete_until_ms(partition)`: all its records with a smaller log time have been pushed.
        """
        yield from self._replay(complete_until_ms)
        if self.replaying or not self._beyond:
            return
        yield from self._by_rule(complete_until_ms)
        horizon = self.merge.horizon_ms
        if self._group and horizon > self._group[0].log_time_ms + self.joint_window_ms:
            yield from self._release_group()
        if not self._group:
            yield from self._advance(horizon)

    def settle(self, *, idle: bool = False) -> Iterator[Step]:
        """Live: every cut of what was pushed, which is all there was when the ends were asked; the rest stays.

        `idle`: nothing came for so long, or so much did, that nothing may stay.
        """
        crowded = idle and self.crowded()
        yield from self._replay(lambda _: END)
        if self.replaying or not self._beyond:
            return
        now_ms = END if idle else self.merge.newest_ms
        # Behind the last place that can cut, records would be taken only to be put back.
        until_ms = END if idle else self._watch_until_ms()
        yield from self._by_rule(lambda _: END, until_ms)
        if self._group and now_ms >= self._group[0].log_time_ms + self.joint_window_ms:
            yield from self._release_group()
        if not self._group:
            yield from self._advance(-END if crowded else now_ms, close_run=True)
            if crowded and self._last_ms is not None:
                # Not at the next multiple: log time would move by `watch_ms` each time, and leave the clock behind.
                yield from self._watch_cut(max([self._cut_ms, *(event.log_time_ms for event in self._held)]))
        self.merge.put_back([*self._held, *self._run, *self._group])
        self._held, self._run, self._group = [], [], []
        offsets, self._last_ms, newest = self._committed
        self.offsets, self._newest = dict(offsets), dict(newest)

    def _by_rule(self, complete_until_ms: Callable[[Partition], int], until_ms: int = END) -> Iterator[Step]:
        for event in self.merge.take(complete_until_ms, until_ms=until_ms):
            if isinstance(event, Batch):
                yield from self._pass(event)
                continue
            if self._group and event.log_time_ms > self._group[0].log_time_ms + self.joint_window_ms:
                yield from self._release_group()
            if self._group or event.kind == BANKRUPTCY:
                self._group.append(event)
            elif event.log_time_ms == self._last_ms and event.kind not in CUTTING and not self._run and not self._live:
                # No cut stands before it. `_emit` says the same, but its two generators cost 0.7 us a record.
                self._passed(event)
                yield event
            else:
                yield from self._emit(event)

    def _pass(self, batch: Batch) -> Iterator[Step]:
        """A batch between the cuts that stand in it."""
        rest: Batch | None = batch
        while rest is not None:
            if self._group:
                joint, rest = rest.until(self._group[0].log_time_ms + self.joint_window_ms)
                self._group += joint.events() if joint else ()
                if rest is not None:
                    yield from self._release_group()
                continue
            first_ms = rest.first_ms
            yield from self._advance(first_ms, close_run=True)
            first, rest = rest.until(self._multiple(max(first_ms, self._cut_ms, self._watched_ms + 1)))
            part = cast(Batch, first)  # its first record is not newer than that
            self._passed(part)
            if self._live:
                self._held.append(part)
            else:
                yield part

    def _replay(self, complete_until_ms: CompleteUntil) -> Iterator[Step]:
        """The events of each recorded cut, and the cut itself once all that stands at it is there."""
        while (cut := self._next_recorded) is not None:
            for item in self.merge.take(complete_until_ms, cut.basis):
                self._passed(item)
                yield item
            if not self.merge.reaches(cut.basis) or not self.merge.reaches(cut.after):
                return
            # The newest record below it may have left the log since: the cut stands where it stood all the same.
            self.offsets.update({p: max(n, self.offsets[p]) for p, n in cut.basis.items() if p in self.offsets})
            cutting = [event for item in self.merge.take(lambda _: END, cut.after) for event in events_of(item)]
            if cutting:
                yield from self._cut(cutting[-1].log_time_ms, cutting)
            else:
                yield from self._watch_cut(cut.log_time_ms)
            self._next_recorded = next(self._recorded, None)

    def _release_group(self) -> Iterator[Step]:
        group, self._group = self._group, []
        last = max(i for i, event in enumerate(group) if event.kind == BANKRUPTCY)
        self.in_group = True
        for i, event in enumerate(group):
            if i == last:
                yield from self._advance(event.log_time_ms, close_run=True)
                self.in_group = False
                yield from self._cut(event.log_time_ms, [event])
            else:
                yield from self._emit(event)

    def _emit(self, event: Event) -> Iterator[Step]:
        if not (event.kind == RESULT and self._run and self._run[0].log_time_ms == event.log_time_ms):
            yield from self._advance(event.log_time_ms, close_run=True)
        if event.kind == RESULT:
            self._run.append(event)
        elif event.kind == CONTROL:
            yield from self._cut(event.log_time_ms, [event])
        else:
            self._passed(event)
            if self._live:
                self._held.append(event)
            else:
                yield event

    def _advance(self, next_ms: int, close_run: bool = False) -> Iterator[Step]:
        """Takes the cuts that stand before `next_ms`, the log time of whatever comes next."""
        if self._run and (close_run or self._run[0].log_time_ms < next_ms):
            run, self._run = self._run, []
            yield from self._cut(run[0].log_time_ms, run)
        if self._last_ms is not None and not self._run and self._multiple(self._last_ms) < next_ms:
            yield from self._watch_cut(self._multiple(self._last_ms))

    def _watch_cut(self, log_time_ms: int) -> Iterator[Step]:
        self._watched_ms = log_time_ms
        self._last_ms = None
        yield from self._said(CutPoint(self._watched_ms, dict(self.offsets)))

    def _cut(self, log_time_ms: int, cutting: list[Event]) -> Iterator[Step]:
        cut = CutPoint(max(log_time_ms, self._cut_ms), dict(self.offsets), cutting)
        for event in cutting:
            self._passed(event)
        yield from self._said(cut)

    def _said(self, cut: CutPoint) -> Iterator[Step]:
        held, self._held = self._held, []
        self._cut_ms = cut.log_time_ms
        self._committed = dict(self.offsets), self._last_ms, dict(self._newest)
        yield from held
        yield cut

    def _passed(self, item: Event | Batch) -> None:
        if isinstance(item, Batch):
            for run in item.runs:
                self.offsets[run.partition] = run.next_offset
                self._newest[run.partition] = int(run.orders[-1])
        else:
            where = item.record.topic, item.record.partition
            self.offsets[where] = item.record.offset + 1
            self._newest[where] = max(item.log_time_ms << ORDER_BITS | item.kind, self._newest.get(where, -END))
        # A record that is older than the last cut came late and counts where it came.
        self._last_ms = max(item.log_time_ms, self._cut_ms, self._watched_ms + 1)

    def _multiple(self, log_time_ms: int) -> int:
        return -(-log_time_ms // self.watch_ms) * self.watch_ms

    def _watch_until_ms(self) -> int:
        """The largest multiple of `watch_ms` that the newest record has passed."""
        return (self.merge.newest_ms - 1) // self.watch_ms * self.watch_ms


def recorded_cut(cut: Cut) -> RecordedCut:
    """A cut as it was written."""
    basis = {place(name): offset for name, offset in cut.basis.items()}
    return RecordedCut(cut.log_time_ms, basis, basis | {place(name): offset for name, offset in cut.after.items()})


def place(name: str) -> Partition:
    """The partition that is written as "topic:partition"; raises ValueError."""
    topic, _, number = name.rpartition(":")
    return topic, int(number)
