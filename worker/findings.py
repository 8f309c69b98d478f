"""What can be missing or odd in an input stream: a closed list, one sentence each, and the report that holds them.

Rule: findings of one kind about one subject are counted as one, with the first place at which it was found.
"""

from enum import StrEnum
from typing import Final

import msgspec


class Odd(StrEnum):
    """The closed list."""

    TOPIC = "TOPIC"
    BEGIN_GONE = "BEGIN_GONE"
    NO_INSTRUMENTS = "NO_INSTRUMENTS"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    REFUSED = "REFUSED"
    NULL = "NULL"
    KEY = "KEY"
    TWO_PARTITIONS = "TWO_PARTITIONS"
    TIME_BACK = "TIME_BACK"
    SEQ_REPEATED = "SEQ_REPEATED"
    SEQ_GAP = "SEQ_GAP"
    DELTA_COMPACTED = "DELTA_COMPACTED"
    NO_UPDATE = "NO_UPDATE"
    NO_MARK = "NO_MARK"
    MARK_AGE = "MARK_AGE"
    LONGS_SHORTS = "LONGS_SHORTS"


SENTENCES: Final[dict[Odd, str]] = {
    Odd.TOPIC: "A topic will lose records that the state rests on; `adl topics check` says all about topics.",
    Odd.BEGIN_GONE: "A log does not begin at 0; the state is without what stood before, if it was not said again.",
    Odd.NO_INSTRUMENTS: "Nothing can be read without the instruments, and there is not one.",
    Odd.UNKNOWN_SYMBOL: "A symbol is spoken of before, or without, its instrument; such records are refused.",
    Odd.REFUSED: "Records are refused; each would become a dead letter and park its account or symbol.",
    Odd.NULL: "A value is null on a topic on which that means nothing.",
    Odd.KEY: "The key is not the account, symbol or fund that the record is about; compaction and partitions go by it.",
    Odd.TWO_PARTITIONS: "An account, symbol or fund comes in two partitions of a topic, whose order is not its order.",
    Odd.TIME_BACK: "The log time goes back inside a partition; the record counts at the time before it.",
    Odd.SEQ_REPEATED: "An account update is not newer than the one before; it is ignored.",
    Odd.SEQ_GAP: "A change of an account is missing: `seq` skips, and the update is not a full one.",
    Odd.DELTA_COMPACTED: "An update that is not full is on a compacted topic, where the one before it may be gone.",
    Odd.NO_UPDATE: "A trader, or a bankrupt account, never had an account update.",
    Odd.NO_MARK: "A symbol that is held never had a mark; its holders cannot be ranked.",
    Odd.MARK_AGE: "A symbol was without a new mark for longer than decision.mark_age_ms_max; decisions would be held.",
    Odd.LONGS_SHORTS: "Longs and shorts of a symbol differ at the end; an account is missing, or a fill is half told.",
}


# The worker copes with these by design; a person may still want to know.
HARMLESS: Final = frozenset({Odd.BEGIN_GONE, Odd.SEQ_REPEATED, Odd.TIME_BACK, Odd.NO_UPDATE, Odd.MARK_AGE})


class Finding(msgspec.Struct, kw_only=True):
    """One kind of thing about one topic, symbol or reason: how often, the first place, and what was seen there."""

    wrong: bool  # else odd: the worker copes with it
    kind: Odd
    subject: str
    count: int
    first: str  # "topic:partition@offset", an account or a symbol
    seen: str


class SymbolFacts(msgspec.Struct, kw_only=True, frozen=True):
    """What the stream says about one symbol."""

    symbol: str
    holders: int
    longs_minus_shorts: str
    marks: int
    mark_gap_ms_max: int | None


class CheckReport(msgspec.Struct, kw_only=True, frozen=True):
    """What was read, and what is odd in it; `ok` when nothing is wrong."""

    ok: bool
    records: int
    begin_ms: int | None
    end_ms: int | None
    partitions: dict[str, int]  # "topic:partition" -> records
    silent_topics: list[str]  # configured, without a record
    messages: dict[str, int]  # type -> how many
    accounts: int
    removals: int  # null values that remove an account
    seq_counts_by_one: bool  # else gaps cannot be seen
    symbols: list[SymbolFacts]
    findings: list[Finding]


class Findings:
    """Collects them; first come, first place."""

    def __init__(self) -> None:
        self._found: dict[tuple[Odd, str], Finding] = {}

    def add(self, kind: Odd, subject: str, first: str, seen: str) -> None:
        finding = self._found.get((kind, subject))
        if finding is None:
            wrong = kind not in HARMLESS
            self._found[kind, subject] = Finding(
                wrong=wrong, kind=kind, subject=subject, count=1, first=first, seen=seen
            )
        else:
            finding.count += 1

    def without(self, *kinds: Odd) -> list[Finding]:
        """All but some kinds, in the order of the closed list, then by subject."""
        order = list(Odd)
        found = [finding for finding in self._found.values() if finding.kind not in kinds]
        return sorted(found, key=lambda finding: (order.index(finding.kind), finding.subject))
