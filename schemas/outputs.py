"""A pool's outputs as the exchange must read them: each once, in order, and not one step beyond a gap.

Rule 1: what is read is bytes; sequence and chain are proven before a message is given, and whoever saves `head` with
what it did goes on there. Rule 2: after `BrokenError` nothing is given any more; a person must look.
"""

from hashlib import sha256
from typing import Final

import msgspec

from schemas.codec import decode_output, fields_of
from schemas.messages import OutputMessage

REPEATS_KNOWN: Final = 1024  # records whose repeats are compared byte for byte; older ones are dropped unseen
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError)


class BrokenError(Exception):
    """The outputs have a gap, an order or a chain that a pool never writes; the sentence says where."""


def link(value: bytes) -> str:
    """The chain that the record after `value` carries."""
    return sha256(value).hexdigest()[:32]


def first_link(pool: str, topic: str) -> str:
    """The chain that the first record of a topic carries; topic: its logical name, such as forced-trades."""
    return link(f"{pool}/{topic}".encode())


class OutputReader:
    """Gives the messages of one pool and topic in the order of their sequence, each once; raises BrokenError.

    What stands before a break is given first; the call that has nothing to give raises, and so does every later one.
    partitions: how many the topic has; records of each in offset order, partitions in any interleaving.
    head: sequence and chain where an earlier reader of the same topic stood.
    """

    def __init__(self, pool: str, topic: str, partitions: int = 1, head: tuple[int, str] | None = None) -> None:
        self.pool, self.topic = pool, topic
        self._sequence, self._chain = head or (0, first_link(pool, topic))
        self._newest = [0] * partitions  # the largest sequence of each partition
        self._waiting: dict[int, tuple[str, bytes]] = {}  # sequence -> chain, value
        self._links = {self._sequence: self._chain}  # of the newest given
        self._broken = ""

    @property
    def head(self) -> tuple[int, str]:
        """Sequence of the last message given, and the chain that the next must carry: to be saved with its effects."""
        return self._sequence, self._chain

    @property
    def waiting(self) -> int:
        """Records that came before their turn; where a partition is read far ahead, whoever reads should stop it."""
        return len(self._waiting)

    def read(self, value: bytes, partition: int = 0) -> list[OutputMessage]:
        """Takes the next record of a partition and gives those whose turn has come; a repeat gives none."""
        if self._broken:
            self._break(self._broken)
        try:
            fields = fields_of(value)
        except _UNREADABLE:
            return self._break("a record is neither JSON nor MessagePack")
        pool, sequence, chain = fields.get("pool"), fields.get("sequence"), fields.get("chain")
        if not isinstance(pool, str) or not isinstance(sequence, int) or not isinstance(chain, str) or sequence < 1:
            return self._break("a record has no pool, sequence and chain")
        if pool != self.pool:
            return []
        if sequence <= self._sequence or sequence in self._waiting:
            self._repeat(sequence, value)
            return []
        if sequence < self._newest[partition]:
            self._break(f"record {sequence} stands behind record {self._newest[partition]} in partition {partition}")
        self._newest[partition] = sequence
        self._waiting[sequence] = chain, value
        given: list[OutputMessage] = []
        while (following := self._waiting.pop(self._sequence + 1, None)) is not None:
            if following[0] != self._chain:
                sentence = f"record {self._sequence + 1} does not carry the hash of the one before"
                return self._break(sentence, given)
            try:
                message = decode_output(following[1])
            except _UNREADABLE as error:
                return self._break(f"record {self._sequence + 1} is none that this version knows: {error}", given)
            self._pass(following[1])
            given.append(message)
        if self._waiting and min(self._newest) > self._sequence:
            return self._break(self._missing(), given)
        return given

    def end(self) -> None:
        """Says that all partitions were read to one common end; raises BrokenError where one before it is missing."""
        if self._waiting or self._broken:
            self._break(self._broken or self._missing())

    def _pass(self, value: bytes) -> None:
        self._sequence, self._chain = self._sequence + 1, link(value)
        self._links[self._sequence] = self._chain
        self._links.pop(self._sequence - REPEATS_KNOWN, None)

    def _repeat(self, sequence: int, value: bytes) -> None:
        waits = self._waiting.get(sequence)
        known = link(waits[1]) if waits is not None else self._links.get(sequence)
        if known is not None and known != link(value):
            self._break(f"record {sequence} comes again with other bytes")

    def _missing(self) -> str:
        return f"record {self._sequence + 1} is missing before record {min(self._waiting)}"

    def _break(self, sentence: str, given: list[OutputMessage] | None = None) -> list[OutputMessage]:
        self._broken = sentence
        if given:
            return given
        raise BrokenError(f"{self.topic} of pool {self.pool}: {sentence}")
