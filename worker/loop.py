"""The loop: source -> codec -> sequence -> engine -> sink; one order of duties, on Kafka as on recordings.

Duties: open the pool (committed offsets, the newest state that was kept, silent replay that applies what was published,
digest check); then read, apply, and at every cut write what the engine says together with the offsets it rests on.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from schemas import AdlDecision, Refused
from worker.cut import CutPoint, RecordedCut, Standing
from worker.engine import Engine, Start
from worker.output import ADVISORY, CUTS, DECISIONS, RANKS, REDUCTIONS, TRADES, read
from worker.reader import Reader
from worker.rebuild import Mark, Rebuild, StateLostError
from worker.record import (
    END,
    Keeper,
    Kept,
    KeptWrongError,
    NotKeptError,
    Output,
    Partition,
    Place,
    SeekingSource,
    Sink,
    Source,
)
from worker.saved import Saved, columns, is_whole, load, words
from worker.settings import Settings

__all__ = ["RunReport", "StateLostError", "after", "run"]


@dataclass
class RunReport:
    """What a run did."""

    records: int = 0
    cuts: int = 0
    decisions: int = 0
    trades: int = 0
    reductions: int = 0
    dead_letters: int = 0
    state_digest: str = ""
    counts: dict[str, int] = field(default_factory=dict)


def run(
    source: Source,
    sink: Sink,
    settings: Settings,
    *,
    code_digest: str = "",
    start: Start | None = None,
    recorded: Iterable[RecordedCut] = (),
    beyond: bool = True,
    refused_per_minute_max: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[int], None] | None = None,
    on_decision: Callable[[AdlDecision], None] | None = None,
    on_engine: Callable[[Engine], None] | None = None,
    keeper: Keeper | None = None,
) -> RunReport:
    """Runs a source to its end, or until `stop()`; goes on from what the sink committed.

    Raises StateLostError, KeptWrongError, and PoisonedError once what led to it is committed.

    `recorded`: cuts to decide at, for a sink that committed nothing; `beyond` False ends the run with them.
    `keeper`: keeps the state now and then, and has what was kept; of no use for a source that cannot seek.
    """
    rebuild = Rebuild(sink, settings.pool.name)
    engine, begun = _begun(lambda: Engine(settings, code_digest, start), source, rebuild, keeper)
    report = RunReport()
    if on_engine is not None:
        on_engine(engine)
    engine.ranks.resume(sink.advised(RANKS))
    engine.states.replay_until(rebuild.last_ms, rebuild.forecasts_since_ms)
    engine.silent_until_ms = rebuild.last_ms
    reader = Reader(source, settings, rebuild.cuts() if rebuild.open else recorded, beyond=beyond, batches=True)
    if begun is not None:
        reader.sequencer.stand(begun.saved.standing)

    def commit(point: CutPoint, mark: Mark, outputs: list[Output]) -> None:
        chained = [output for output in outputs if output.topic not in ADVISORY]
        sink.commit(chained, after(point), msgspec.json.encode(mark).decode(), point.log_time_ms)
        sink.advise([output for output in outputs if output.topic in ADVISORY], point.log_time_ms)
        _count(report, chained, on_decision)

    with _blamed(begun, rebuild):
        for steps in reader.steps(stop):
            outputs: list[Output] = []
            last: tuple[CutPoint, Mark] | None = None
            taken = False
            for step in steps:
                taken = True
                if not isinstance(step, CutPoint):
                    engine.apply(step)
                elif rebuild.open:
                    _replay(step, engine, rebuild)
                    if engine.cut_number == rebuild.last_cut:
                        engine.poison.judge(refused_per_minute_max)
                else:
                    outputs += engine.cut(step)
                    # The digest of the cut, not of the batch: events behind its last cut are no part of the commit.
                    last = step, Mark.of(engine, step.log_time_ms)
                    if reader.sequencer.in_group:  # no commit: a life that begins here would decide in other groups
                        continue
                    if engine.poison.beyond(refused_per_minute_max):
                        break
                    if keeper is not None and keeper.due() and is_whole(engine):
                        commit(*last, outputs)
                        _keep(keeper, engine, reader.sequencer.standing(), last[1])
                        outputs, last = [], None
            if progress is not None:
                progress(reader.records)
            if last is not None:
                commit(*last, outputs)
                engine.poison.judge(refused_per_minute_max)
            # Not while catching up: names that came since are sorted once, not at each of the cuts behind them.
            if taken and not rebuild.open and all(source.complete_until_ms(p) == END for p in source.partitions()):
                engine.book.prepare()
            if not beyond and not reader.sequencer.replaying:
                break
        if rebuild.open and not stop():
            raise StateLostError(f"the inputs end before cut {rebuild.last_cut}, which was committed")
    report.records, report.cuts = reader.records, engine.cut_number
    report.state_digest, report.counts = engine.digest(), dict(sorted(engine.counts.items()))
    return report


class _Begun(NamedTuple):
    """The state that was kept, from which a run goes on."""

    saved: Saved
    kept: Kept


def _begun(
    new: Callable[[], Engine], source: Source, rebuild: Rebuild, keeper: Keeper | None
) -> tuple[Engine, _Begun | None]:
    """An engine with the newest state that can be used and what that was, or a new one."""
    if keeper is not None and rebuild.open and isinstance(source, SeekingSource):
        for kept in keeper.kept(rebuild.last_cut):
            engine = new()
            try:
                saved = load(engine, kept.words(), kept.fill)
                rebuild.begin_at(engine, saved.mark, saved.standing.offsets)
            except NotKeptError as error:
                kept.refuse(str(error))
                continue
            except (msgspec.MsgspecError, ValueError, LookupError, Refused) as error:  # other code wrote what was read
                kept.refuse(f"it cannot be loaded: {error!r}")
                continue
            source.seek(saved.standing.offsets)
            return engine, _Begun(saved, kept)
    return new(), None


@contextmanager
def _blamed(begun: _Begun | None, rebuild: Rebuild) -> Iterator[None]:
    """What does not agree in a replay that began at a state that was kept may be the fault of that state."""
    try:
        yield
    except StateLostError as error:
        if begun is None or not rebuild.open:
            raise
        begun.kept.refuse(str(error))
        raise KeptWrongError(f"a snapshot is set aside, a restart goes on without it: {error}") from None


def _replay(point: CutPoint, engine: Engine, rebuild: Rebuild) -> None:
    """Takes a cut that was committed."""
    number = engine.cut_number + 1
    engine.cut(point, rebuild.published(number), rebuild.reduced(number))
    rebuild.passed(engine, after(point))


def _keep(keeper: Keeper, engine: Engine, standing: Standing, mark: Mark) -> None:
    place = Place(mark.cut, mark.log_time_ms, mark.digest, standing.offsets, mark.heads)
    keeper.keep(place, lambda: (words(engine, standing, mark), list(columns(engine))))


def after(point: CutPoint) -> dict[Partition, int]:
    """The offsets once the records that stand at the cut are applied."""
    offsets = dict(point.basis)
    for event in point.cutting:
        offsets[event.record.topic, event.record.partition] = event.record.offset + 1
    return offsets


def _count(report: RunReport, outputs: list[Output], on_decision: Callable[[AdlDecision], None] | None) -> None:
    for output in outputs:
        if output.topic == DECISIONS:
            report.decisions += 1
            if on_decision is not None:
                on_decision(read(output.value, AdlDecision))
        elif output.topic == TRADES:
            report.trades += 1
        elif output.topic == REDUCTIONS:
            report.reductions += 1
        elif output.topic != CUTS:
            report.dead_letters += 1
