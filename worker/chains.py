"""Outputs in the order in which they were said, and the proof that none was lost, doubled or torn.

Rule 1: judged as any reader of raw bytes can: sequences without a gap, and in each record the hash of the one before.
Rule 2: the partitions of a topic may be read in any interleaving; a record waits here for those before it.
"""

from collections.abc import Iterator

import msgspec

from schemas import AdlDecision, Cut, DeadLetter, ForcedTrade, MarginReduction, OutputMessage, first_link, link
from worker.output import CHAINED
from worker.record import Record

Chained = AdlDecision | ForcedTrade | Cut | MarginReduction | DeadLetter
_TYPES = (ForcedTrade, AdlDecision, Cut, MarginReduction, DeadLetter)  # as CHAINED names their topics


class Said(msgspec.Struct, frozen=True):
    """An output in its turn."""

    record: Record
    message: Chained


class Break(msgspec.Struct, frozen=True):
    """What is wrong between two outputs, in a sentence."""

    sentence: str


class Chains:
    """Sequence and chain of every pool and topic that is seen."""

    def __init__(self) -> None:
        self._chains: dict[tuple[str, str], _Chain] = {}

    def see(self, record: Record, message: OutputMessage) -> Iterator[Said | Break]:
        """Takes a record and gives those whose turn has come; advice is not chained and gives nothing."""
        if isinstance(message, Chained):
            topic = CHAINED[_TYPES.index(type(message))]
            name = message.pool, topic
            if name not in self._chains:
                self._chains[name] = _Chain(topic, first_link(message.pool, topic))
            yield from self._chains[name].see(Said(record, message))

    def missing(self) -> list[tuple[str, int]]:
        """Topic and sequence of each record that others wait for."""
        return [(chain.topic, chain.sequence + 1) for chain in self._chains.values() if chain.early]

    def settle(self) -> Iterator[Said | Break]:
        """What has not come will not come: gives the rest, with what is missing."""
        for chain in self._chains.values():
            yield from chain.settle()


class _Chain:
    def __init__(self, topic: str, head: str) -> None:
        self.topic, self.sequence = topic, 0
        self._link: str | None = head  # None behind a gap
        self._newest: dict[int, int] = {}  # partition -> largest sequence in it
        self.early: dict[int, Said] = {}

    def see(self, said: Said) -> Iterator[Said | Break]:
        sequence, number = said.message.sequence, said.record.partition
        if sequence <= self.sequence or sequence in self.early:
            yield Break(f"{self.topic}: record {sequence} comes again, {_place(said.record)}")
            return
        if sequence < self._newest.get(number, 0):
            yield Break(f"{self.topic}: record {sequence} stands behind later ones, {_place(said.record)}")
        self._newest[number] = max(sequence, self._newest.get(number, 0))
        self.early[sequence] = said
        yield from self._ready()

    def settle(self) -> Iterator[Said | Break]:
        while self.early:
            first = min(self.early)
            several = first > self.sequence + 2
            missing = f"records {self.sequence + 1} to {first - 1} are" if several else f"record {first - 1} is"
            yield Break(f"{self.topic}: {missing} missing before {_place(self.early[first].record)}")
            self.sequence, self._link = first - 1, None
            yield from self._ready()

    def _ready(self) -> Iterator[Said | Break]:
        while (said := self.early.pop(self.sequence + 1, None)) is not None:
            self.sequence += 1
            if self._link is not None and said.message.chain != self._link:
                yield Break(
                    f"{self.topic}: record {self.sequence} does not carry the hash of the one before, "
                    f"{_place(said.record)}"
                )
            self._link = link(said.record.value or b"")
            yield said


def _place(record: Record) -> str:
    return f"{record.topic}:{record.partition}@{record.offset}"
