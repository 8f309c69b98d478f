"""What leaves in the transaction: every record numbered without a gap and chained to the one before, per topic.

Record n carries chain = first 32 hex digits of the SHA-256 of the bytes of record n-1 (of "<pool>/<topic>" for the
first), so a reader in any language can prove from raw bytes that nothing was lost, doubled or torn.
"""

from binascii import hexlify
from collections.abc import Mapping
from hashlib import sha256
from typing import NamedTuple, TypeVar

import msgspec

from schemas import Encoding, OutputMessage, decode_output, encode, first_link, link
from worker.record import Output

TRADES, DECISIONS, CUTS, REDUCTIONS, DEAD_LETTERS, STATE, RANKS = (
    "forced-trades",
    "adl-decisions",
    "adl-cuts",
    "margin-reductions",
    "dead-letters",
    "adl-state",
    "adl-ranks",
)
Message = TypeVar("Message", bound=OutputMessage)

CHAINED = (TRADES, DECISIONS, CUTS, REDUCTIONS, DEAD_LETTERS)
_CHAIN_BYTES = 16
ADVISORY = (STATE, RANKS)  # outside the transaction: the newest record of a key is all that counts


def read(value: bytes | None, kind: type[Message]) -> Message:
    """One of our own records as the message it must be."""
    message = decode_output(value or b"")
    if not isinstance(message, kind):
        raise TypeError(f"a record must be {kind.__name__}, was {type(message).__name__}")
    return message


class Texts(NamedTuple):
    """Records of one kind before they are numbered: keys, and the JSON text behind each one's chain."""

    keys: list[bytes]
    texts: list[bytes]


class OutputLog:
    """Sequence and chain of each topic, and the outputs since the last `take()`."""

    def __init__(self, pool: str, encodings: Mapping[str, Encoding] | None = None) -> None:
        self.encodings = dict(encodings or {})  # JSON where nothing is said
        self._pool = pool
        self.heads = {topic: (0, first_link(pool, topic)) for topic in CHAINED}
        self._pending: list[Output] = []

    def next(self, topic: str) -> tuple[int, str]:
        """Sequence and chain that the topic's next record must carry."""
        sequence, chain = self.heads[topic]
        return sequence + 1, chain

    def put(self, topic: str, key: str, message: OutputMessage | None, log_time_ms: int) -> None:
        """Appends a record; in a chained topic the message carries what `next` said, in others None removes the key."""
        value = None if message is None else encode(message, self.encodings.get(topic, "json"))
        if topic in self.heads:
            self.heads[topic] = (self.heads[topic][0] + 1, link(value or b""))
        self._pending.append(Output(topic, key.encode(), value, log_time_ms))

    def put_texts(self, topic: str, kind: str, texts: Texts, log_time_ms: int) -> None:
        """Appends records of a chained topic that are given as the JSON text behind their chains."""
        sequence, chain = self.heads[topic]
        encoding = self.encodings.get(topic, "json")
        begin = f'{{"type":"{kind}","pool":{msgspec.json.encode(self._pool).decode()},"sequence":'.encode()
        said, head = self._pending, chain.encode()
        for key, text in zip(*texts, strict=True):
            sequence += 1
            value = b'%b%d,"chain":"%b"%b' % (begin, sequence, head, text)
            if encoding != "json":
                value = encode(decode_output(value), encoding)
            head = hexlify(sha256(value).digest()[:_CHAIN_BYTES])
            said.append(Output(topic, key, value, log_time_ms))
        self.heads[topic] = (sequence, head.decode())

    def passed(self, topic: str, value: bytes) -> None:
        """Counts a record that was published before."""
        self.heads[topic] = (self.heads[topic][0] + 1, link(value))

    def take(self) -> list[Output]:
        pending, self._pending = self._pending, []
        return pending
