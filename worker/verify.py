"""Replay as proof: everything is decided again from the inputs, and compared with what was published.

Rule 1: what this version of the code decided must be the same bytes.
Rule 2: what another version decided must mean the same. What is no meaning (BESIDE) is counted where it differs, and
the chain that was published must hold in itself, for it cannot be ours.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

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
_CHAIN: Final = frozenset({"chain"})
# What another version may say otherwise of the same decision: digests, how an answer was found, and in which words.
BESIDE: Final = _CHAIN | {
    "code_digest", "settings_digest", "state_digest", "risk_model_digest",
    "certificates", "leverage", "score", "score_after", "score_alone", "leverage_before_max", "leverage_after_max",
    "level", "shadow_price", "loss_share",
    "sentence",
}  # fmt: skip


@dataclass
class VerifyReport:
    """What was compared; `ok` when every published record was derived again: the same bytes, or the same meaning."""

    code_digest: str = ""  # of the version that decided again
    compared: int = 0
    decisions: int = 0
    ok: bool = True
    other_code: dict[str, int] = field(default_factory=dict)  # digest of another version -> decisions it made
    beside: dict[str, int] = field(default_factory=dict)  # fields of those -> records in which only BESIDE differs
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
    report, others = VerifyReport(code_digest), set()
    for record in said[DECISIONS]:
        decided = _fields(record)
        if (other := decided.get("code_digest", code_digest)) != code_digest:
            report.other_code[str(other)] = report.other_code.get(str(other), 0) + 1
            others.add(str(decided.get("decision_id")))
    skipped = _before(again, since)
    for topic in CHAINED:
        ours, theirs = list(again.outputs(topic)), said[topic]
        if not beyond:
            theirs = theirs[: len(ours)]
        if len(ours) != len(theirs):
            report.differs(f"{topic}: {len(theirs)} records were published, {len(ours)} were derived")
        head = f"{settings.pool.name}/{topic}".encode()
        for number, (our, their) in enumerate(zip(ours, theirs, strict=False)):
            linked = _fields(their).get("chain") == link(head) if others else True
            head = their.value or b""
            if number < skipped[topic]:
                continue
            report.compared += 1
            report.decisions += topic == DECISIONS
            if not linked:
                report.differs(f"{topic} record {their.offset} differs: its chain is not that of the record before it")
            elif (difference := _difference(our, their, others, report.beside)) is not None:
                report.differs(f"{topic} record {their.offset} differs: {difference}")
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


def _fields(record: Record) -> dict[str, Any]:
    """The record by field; what cannot be read is one field, so that it differs and does not stop the proof."""
    try:
        return fields_of(record.value or b"{}")
    except (msgspec.MsgspecError, ValueError):
        return {"bytes": record.value}


def _difference(our: Record, their: Record, others: set[str], beside: dict[str, int]) -> str | None:
    """What differs, None where nothing does; others: decisions of other code, beside: counts what is no meaning."""
    if our.value == their.value and our.key == their.key:
        return None
    mine, published = _fields(our), _fields(their)
    but: frozenset[str] = frozenset()
    if others:
        # A cut or a dead letter names no decision, so either version may have written it.
        but = BESIDE if str(published.get("decision_id")) in {"None", *others} else _CHAIN
    differing = [name for name in sorted(mine.keys() | published.keys()) if mine.get(name) != published.get(name)]
    for name in differing:
        if name not in but and _meant(mine.get(name), but) != _meant(published.get(name), but):
            return f"{name} was published as {_shown(published, name)}, derived as {_shown(mine, name)}"
    if not but or our.key != their.key:
        return "keys or bytes differ"
    for name in differing:
        if name not in ("chain", "code_digest"):  # those differ in every record
            beside[name] = beside.get(name, 0) + 1
    return None


def _meant(said: Any, but: frozenset[str]) -> Any:
    """A field without what is left out of its rows; dictionaries by names of an exchange's choice stay whole."""
    if not isinstance(said, list):
        return said
    return [
        {name: _meant(item, but) for name, item in row.items() if name not in but} if isinstance(row, dict) else row
        for row in said
    ]


def _shown(fields: dict[str, Any], name: str) -> str:
    return str(fields.get(name))[:120]
