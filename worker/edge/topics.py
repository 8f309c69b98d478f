"""What must hold of a pool's topics, as tables: what `adl topics create` makes, what `check` and the start judge by.

Rule 1: nothing here asks a broker; facts come in, findings go out.
Rule 2: the state is rebuilt from the beginning of the logs, so no log that it rests on may lose a record, ever.
"""

from typing import Final

import msgspec

from worker.settings import Settings, to_values

READER_GROUP: Final = "adl-reader"  # named by whoever only reads; nobody joins it or commits for it
REPLICAS: Final = 3  # where there are so many brokers
# What these say replaces what was said before of the same key; of the others history is part of the state.
COMPACTED_KINDS: Final = ("instruments", "accounts", "insurance-fund")
ADVISORY: Final = ("adl-state", "adl-ranks")
FOREVER: Final = str(2**63 - 1)


class Wanted(msgspec.Struct, frozen=True):
    """One topic of a pool: what it carries, by kind of input or name of output."""

    topic: str
    is_input: bool
    carries: tuple[str, ...]

    @property
    def advisory(self) -> bool:
        """Written outside the transaction; the newest record of a key is enough."""
        return set(self.carries) <= set(ADVISORY)

    @property
    def history(self) -> bool:
        """Every record is part of the state, or of what was said."""
        return not (self.advisory or set(self.carries) <= set(COMPACTED_KINDS))


def identity(settings: Settings) -> str:
    """Transactional id and name of the offsets; one for each pool and environment, for ever."""
    return f"adl-{settings.pool.environment}-{settings.pool.name}"


def output_topics(settings: Settings) -> dict[str, str]:
    """Logical name -> configured topic."""
    return {name.replace("_", "-"): topic for name, topic in to_values(settings)["output"].items()}


def input_topics(settings: Settings) -> list[str]:
    """Every topic that is read."""
    return sorted({topic for topics in settings.input.topics.values() for topic in topics})


def deciding_topics(settings: Settings) -> set[str]:
    """Input topics whose end at the first start says what is past; an operator's TRIGGER is a bankruptcy too.

    Staged reductions follow from marks, which go on whether or not anybody goes bankrupt.
    """
    topics = settings.input.topics
    marks = topics["mark-prices"] if settings.reductions.tiers is not None else []
    return {*topics["bankruptcies"], *topics["controls"], *marks}


def wanted_topics(settings: Settings) -> dict[str, Wanted]:
    """Every topic of the pool: inputs, then outputs, each by name."""
    kinds = settings.input.topics
    names = {topic: name for name, topic in output_topics(settings).items()}
    found = {
        topic: Wanted(topic, True, tuple(kind for kind, topics in kinds.items() if topic in topics))
        for topic in input_topics(settings)
    }
    return found | {topic: Wanted(topic, False, (names[topic],)) for topic in sorted(names)}


def settings_wanted(want: Wanted, *, filled: bool) -> dict[str, str]:
    """How a new topic is set up; `filled`: its records are of the past and bring their times."""
    # What the worker writes carries the log time of its cut, so that the same inputs give the same bytes.
    times = {"message.timestamp.type": "LogAppendTime" if want.is_input and not filled else "CreateTime"}
    if not want.is_input:
        # A watch cut stands up to `watch_ms` behind its newest record, which may be as far ahead as its broker takes.
        times["message.timestamp.after.max.ms"] = FOREVER
    if want.advisory:
        return {"cleanup.policy": "compact", **times}
    return {"cleanup.policy": "delete", **times, "retention.bytes": "-1", "retention.ms": "-1"}


def replicas_wanted(brokers: int) -> tuple[int, int]:
    """How many copies, and how many of them must have a record before it counts."""
    replicas = min(REPLICAS, brokers)
    return replicas, max(1, replicas - 1)
