"""Replay as proof: everything is decided again from the inputs, and compared with what was published."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from schemas import Cut, fields_of
from worker.cut import RecordedCut, recorded_cut
from worker.engine import Engine, Start
from worker.loop import run
from worker.memory import MemorySink
from worker.output import CHAINED, CUTS, DECISIONS, link, read
from worker.record import Record, Sink, Source
from worker.settings import Settings

DIFFERENCES_MAX = 20


@dataclass
class VerifyReport:
    """What was compared; `ok` when every published record was derived again, byte for byte."""

    compared: int = 0
    decisions: int = 0
    ok: bool = True
    other_code: bool = False  # decided by another version of the code: compared on meaning
    differences: list[str] = field(default_factory=list)

    def differs(self, sentence: str) -> None:
        self.ok = False
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(sentence)


def verify_replay(
    source: Source,
    published: Sink,
    settings: Settings,
    *,
    code_digest: str = "",
    start: Start | None = None,
    beyond: bool = True,
    progress: Callable[[int], None] | None = None,
    on_engine: Callable[[Engine], None] | None = None,
) -> VerifyReport:
    """Decides again from the beginning of the source and compares each output topic, record by record.

    Decisions are taken at the cuts that were published: on a live topic a record may have come late, and counts where
    it came. Beyond them the rule says where cuts stand; a log that still grows is not read `beyond`.
    """
    again = MemorySink()
    run(
        source, again, settings, code_digest=code_digest, start=start, recorded=recorded_cuts(published),
        beyond=beyond, progress=progress, on_engine=on_engine,
    )  # fmt: skip
    report = VerifyReport()
    for topic in CHAINED:
        ours, theirs = list(again.outputs(topic)), list(published.outputs(topic))
        if topic == DECISIONS:
            report.decisions = len(theirs)
            digests = {_fields(record).get("code_digest") for record in theirs}
            report.other_code = bool(digests - {code_digest, None})
        if len(ours) != len(theirs):
            report.differs(f"{topic}: {len(theirs)} records were published, {len(ours)} were derived")
        head = f"{settings.pool.name}/{topic}".encode()
        for our, their in zip(ours, theirs, strict=False):
            report.compared += 1
            # The chain that was published must hold in itself, also where it cannot be ours.
            linked = _fields(their).get("chain") == link(head) if report.other_code else True
            head = their.value or b""
            if linked and _same(our, their, meaning=report.other_code):
                continue
            report.differs(f"{topic} record {their.offset} differs: {_difference(our, their)}")
    return report


def recorded_cuts(published: Sink) -> Iterator[RecordedCut]:
    """The published cuts as far as they can be read and are numbered without a gap."""
    for number, record in enumerate(published.outputs(CUTS), start=1):
        try:
            cut = read(record.value, Cut)
            made = recorded_cut(cut)
        except (msgspec.MsgspecError, ValueError, TypeError):
            return
        if cut.number != number:
            return
        yield made


_VERSIONED = ("chain", "code_digest")  # other code has other digests, hence another chain


def _fields(record: Record, *, meaning: bool = False) -> dict[str, object]:
    """The record by field; what cannot be read is one field, so that it differs and does not stop the proof."""
    try:
        fields = fields_of(record.value or b"{}")
    except (msgspec.MsgspecError, ValueError):
        return {"bytes": record.value}
    return {name: value for name, value in fields.items() if not (meaning and name in _VERSIONED)}


def _same(our: Record, their: Record, *, meaning: bool) -> bool:
    if our.value == their.value and our.key == their.key:
        return True
    return meaning and _fields(our, meaning=True) == _fields(their, meaning=True)


def _difference(our: Record, their: Record) -> str:
    mine, published = _fields(our), _fields(their)
    for name in sorted(mine.keys() | published.keys()):
        if mine.get(name) != published.get(name):
            return f"{name} was published as {str(published.get(name))[:120]}, derived as {str(mine.get(name))[:120]}"
    return "keys or bytes differ"
