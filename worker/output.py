"""What leaves in the transaction: every record numbered without a gap and chained to the one before, per topic.

Record n carries chain = first 32 hex digits of the SHA-256 of the bytes of record n-1 (of "<pool>/<topic>" for the
first), so a reader in any language can prove from raw bytes that nothing was lost, doubled or torn.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

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
ADVISORY = (STATE, RANKS)  # outside the transaction: the newest record of a key is all that counts


def read(value: bytes | None, kind: type[Message]) -> Message:
    """One of our own records as the message it must be."""
    message = decode_output(value or b"")
    if not isinstance(message, kind):
        raise TypeError(f"a record must be {kind.__name__}, was {type(message).__name__}")
    return message


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

    def put_texts(self, topic: str, kind: str, keys: Iterable[str], texts: Iterable[str], log_time_ms: int) -> None:
        """Appends records of a chained topic that are given as the JSON text behind their chains."""
        sequence, chain = self.heads[topic]
        encoding = self.encodings.get(topic, "json")
        begin = f'{{"type":"{kind}","pool":{msgspec.json.encode(self._pool).decode()},"sequence":'
        for key, text in zip(keys, texts, strict=True):
            sequence += 1
            value = f'{begin}{sequence},"chain":"{chain}"{text}'.encode()
            if encoding != "json":
                value = encode(decode_output(value), encoding)
            chain = link(value)
            self._pending.append(Output(topic, key.encode(), value, log_time_ms))
        self.heads[topic] = (sequence, chain)

    def passed(self, topic: str, value: bytes) -> None:
        """Counts a record that was published before."""
        self.heads[topic] = (self.heads[topic][0] + 1, link(value))

    def take(self) -> list[Output]:
        pending, self._pending = self._pending, []
        return pending
