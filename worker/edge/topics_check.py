"""What a pool's topics are against what they must be: one rule for `adl topics check` and for the worker's start.

Rule 1: nothing here asks a broker; facts come in, findings go out, each with what to do.
Rule 2: what stops is what the worker's start refuses.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from worker.edge.topics import FOREVER, Wanted, replicas_wanted, settings_wanted

AHEAD_MS_MAX: Final = 3_600_000  # of a record's time before the broker's clock; Kafka's own default from 4.0 on
DECISION_BYTES: Final = 600_000  # the largest decision with its envelope


class TopicFacts(msgspec.Struct, frozen=True):
    """What a cluster says of a topic; no settings where it does not let us see them."""

    partitions: int
    replicas: int
    settings: dict[str, str] | None


class Level(StrEnum):
    """How much a finding matters."""

    STOPS = "STOPS"  # the worker does not start
    WRONG = "WRONG"  # it starts, and something will go wrong
    ODD = "ODD"


class TopicOdd(StrEnum):
    """The closed list."""

    MISSING = "MISSING"
    UNKNOWN = "UNKNOWN"
    COMPACTED = "COMPACTED"
    COMPACTION_LAG = "COMPACTION_LAG"
    NOT_COMPACTED = "NOT_COMPACTED"
    RETENTION = "RETENTION"
    TIMESTAMPS = "TIMESTAMPS"
    PAST_REFUSED = "PAST_REFUSED"
    FUTURE_REFUSED = "FUTURE_REFUSED"
    FUTURE_TAKEN = "FUTURE_TAKEN"
    TOO_SMALL = "TOO_SMALL"
    IN_SYNC = "IN_SYNC"
    REPLICAS = "REPLICAS"
    PARTITIONS = "PARTITIONS"


LEVELS: Final[dict[TopicOdd, Level]] = {
    TopicOdd.MISSING: Level.STOPS, TopicOdd.UNKNOWN: Level.STOPS, TopicOdd.COMPACTED: Level.STOPS,
    TopicOdd.COMPACTION_LAG: Level.STOPS, TopicOdd.NOT_COMPACTED: Level.ODD, TopicOdd.RETENTION: Level.WRONG,
    TopicOdd.TIMESTAMPS: Level.WRONG, TopicOdd.PAST_REFUSED: Level.WRONG, TopicOdd.FUTURE_REFUSED: Level.WRONG,
    TopicOdd.FUTURE_TAKEN: Level.WRONG, TopicOdd.TOO_SMALL: Level.WRONG, TopicOdd.IN_SYNC: Level.WRONG,
    TopicOdd.REPLICAS: Level.ODD, TopicOdd.PARTITIONS: Level.ODD,
}  # fmt: skip


class TopicFinding(msgspec.Struct, frozen=True):
    """One thing about one topic: what is so, and what to do."""

    level: Level
    kind: TopicOdd
    topic: str
    sentence: str


def judge(
    wanted: Mapping[str, Wanted], facts: Mapping[str, TopicFacts], *, brokers: int = 1, filled: bool = False
) -> list[TopicFinding]:
    """What does not hold, topic by topic, in the order of the closed list.

    `filled`: the inputs' records are of the past and bring their times.
    """
    findings = []
    for want in wanted.values():
        fact = facts.get(want.topic)
        if fact is None:
            found = {TopicOdd.MISSING: "it must exist: adl topics create makes it"}
        elif fact.settings is None or "cleanup.policy" not in fact.settings:
            found = {TopicOdd.UNKNOWN: "its settings are not shown to us: allow DescribeConfigs (adl topics acls)"}
        else:
            found = _cleaning(want, fact.settings) | _times(want, fact.settings, filled) | _size(want, fact, brokers)
        findings += [TopicFinding(LEVELS[kind], kind, want.topic, found[kind]) for kind in TopicOdd if kind in found]
    return findings


def _cleaning(want: Wanted, settings: Mapping[str, str]) -> dict[TopicOdd, str]:
    policy = settings["cleanup.policy"]
    compact = "compact" in policy
    if want.advisory:
        never = "only the newest record of a key is of use: set cleanup.policy=compact"
        return {} if compact else {TopicOdd.NOT_COMPACTED: never}
    found = {}
    if compact and want.history:
        found[TopicOdd.COMPACTED] = f"cleanup.policy must be delete, not compact, of {want.topic}"
    elif compact and int(settings.get("min.compaction.lag.ms", 0)) < int(FOREVER):
        found[TopicOdd.COMPACTION_LAG] = (
            "a record that goes because a newer one is there is missing when the state is rebuilt from the beginning "
            f"of the logs, and a restart can be refused: set cleanup.policy=delete or min.compaction.lag.ms={FOREVER}"
        )
    limits = [name for name in ("retention.ms", "retention.bytes") if settings.get(name, "-1") != "-1"]
    if limits and "delete" in policy:
        so, must = (" and ".join(f"{name}={value}" for name, value in values.items()) for values in (
            {name: settings[name] for name in limits}, dict.fromkeys(limits, "-1"),
        ))  # fmt: skip
        found[TopicOdd.RETENTION] = f"with {so} its oldest records go, and the state is rebuilt from them: set {must}"
    return found


def _times(want: Wanted, settings: Mapping[str, str], filled: bool) -> dict[TopicOdd, str]:
    must, found = settings_wanted(want, filled=filled)["message.timestamp.type"], {}
    if settings.get("message.timestamp.type", must) != must:
        why = "the order of inputs is that in which the broker takes them"
        if must == "CreateTime":
            why = "records bring their times" if want.is_input else "records carry the log time of their cut"
        found[TopicOdd.TIMESTAMPS] = f"{why}: set message.timestamp.type={must}"
    if must == "CreateTime" and settings.get("message.timestamp.before.max.ms", FOREVER) != FOREVER:
        found[TopicOdd.PAST_REFUSED] = f"records of the past are refused: set message.timestamp.before.max.ms={FOREVER}"
    if not want.is_input and settings.get("message.timestamp.after.max.ms", FOREVER) != FOREVER:
        found[TopicOdd.FUTURE_REFUSED] = (
            "a cut behind a record whose clock is ahead would be refused, after every restart: "
            f"set message.timestamp.after.max.ms={FOREVER}"
        )
    brought = want.is_input and settings.get("message.timestamp.type", must) == "CreateTime"
    if brought and int(settings.get("message.timestamp.after.max.ms", AHEAD_MS_MAX)) > AHEAD_MS_MAX:
        found[TopicOdd.FUTURE_TAKEN] = (
            "one record whose clock is far ahead holds back what stands behind it and the cuts until then: "
            f"set message.timestamp.after.max.ms={AHEAD_MS_MAX}"
        )
    return found


def _size(want: Wanted, fact: TopicFacts, brokers: int) -> dict[TopicOdd, str]:
    settings, found = fact.settings or {}, {}
    replicas, in_sync = replicas_wanted(brokers)
    has_in_sync = int(settings.get("min.insync.replicas", 1))
    if not want.is_input and int(settings.get("max.message.bytes", DECISION_BYTES)) < DECISION_BYTES:
        found[TopicOdd.TOO_SMALL] = f"a large decision does not fit: set max.message.bytes={DECISION_BYTES} or more"
    if has_in_sync > fact.replicas:
        found[TopicOdd.IN_SYNC] = (
            f"nothing can be written with min.insync.replicas={has_in_sync} and {fact.replicas} replicas: "
            f"set min.insync.replicas={max(1, fact.replicas - 1)}"
        )
    if fact.replicas < replicas:
        found[TopicOdd.REPLICAS] = f"{fact.replicas} of {replicas} replicas, a lost broker can take records: add some"
    elif has_in_sync < in_sync:
        found[TopicOdd.REPLICAS] = (
            f"a record counts once {has_in_sync} of {fact.replicas} replicas have it: set min.insync.replicas={in_sync}"
        )
    if not want.is_input and not want.advisory and fact.partitions != 1:
        found[TopicOdd.PARTITIONS] = (
            f"in {fact.partitions} partitions its order is that of `sequence`, not of offsets: readers want one"
        )
    return found
