"""Replay as proof: everything is decided again from the inputs, and compared with what was published."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from schemas import Cut, fields_of, link
from worker.cut import RecordedCut, recorded_cut
from worker.engine import Engine, Start
from worker.loop import run
from worker.memory import MemorySink
from worker.output import CHAINED, CUTS, DECISIONS, read
from worker.record import Outputs, Record, Source
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
    published: Outputs,
    settings: Settings,
    *,
    code_digest: str = "",
    start: Start | None = None,
    beyond: bool = True,
    since: Callable[[Cut], bool] = lambda _: True,
    progress: Callable[[int], None] | None = None,
    on_engine: Callable[[Engine], None] | None = None,
) -> VerifyReport:
    """Decides again from the beginning of the source and compares each output topic, record by record.

    Decisions are taken at the cuts that were published: on a live topic a record may have come late, and counts where
    it came. Beyond them the rule says where cuts stand; outputs that still grow are not compared `beyond`.
    Compared is from the first cut on that `since` accepts.
    """
    again = MemorySink()
    run(
        source, again, settings, code_digest=code_digest, start=start, recorded=recorded_cuts(published),
        beyond=beyond, progress=progress, on_engine=on_engine,
    )  # fmt: skip
    said = {topic: list(published.outputs(topic)) for topic in CHAINED}
    report = VerifyReport()
    report.other_code = bool({_fields(record).get("code_digest") for record in said[DECISIONS]} - {code_digest, None})
    skipped = _before(again, since)
    for topic in CHAINED:
        ours, theirs = list(again.outputs(topic)), said[topic]
        if not beyond:
            theirs = theirs[: len(ours)]
        if len(ours) != len(theirs):
            report.differs(f"{topic}: {len(theirs)} records were published, {len(ours)} were derived")
        head = f"{settings.pool.name}/{topic}".encode()
        for number, (our, their) in enumerate(zip(ours, theirs, strict=False)):
            # The chain that was published must hold in itself, also where it cannot be ours.
            linked = _fields(their).get("chain") == link(head) if report.other_code else True
            head = their.value or b""
            if number < skipped[topic]:
                continue
            report.compared += 1
            report.decisions += topic == DECISIONS
            if not (linked and _same(our, their, meaning=report.other_code)):
                report.differs(f"{topic} record {their.offset} differs: {_difference(our, their)}")
    return report


def _before(derived: MemorySink, since: Callable[[Cut], bool]) -> dict[str, int]:
    """How many records of each topic stand before those of the first cut that `since` accepts."""
    counts, of_cut = dict.fromkeys(CHAINED, 0), dict.fromkeys(CHAINED, 0)
    for record in derived.records:
        of_cut[record.topic] += 1
        if record.topic == CUTS:  # the last word of its cut
            if since(read(record.value, Cut)):
                break
            counts = dict(of_cut)
    return counts


def recorded_cuts(published: Outputs) -> Iterator[RecordedCut]:
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
