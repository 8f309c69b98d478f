"""Why an input is refused: a closed list of reasons, one sentence each, and the exception that carries one.

A reason is for counting and for the dead letter; the sentence of a refusal says what must be and what was.
"""

from collections.abc import Sequence
from enum import StrEnum


class Reason(StrEnum):
    """The closed list; names are on the wire, so they are only ever added."""

    DECODE = "DECODE"
    FIELD = "FIELD"
    NUMBER = "NUMBER"
    RANGE = "RANGE"
    LOT = "LOT"
    PRICE = "PRICE"
    SIDE = "SIDE"
    SCALE = "SCALE"
    EPOCH = "EPOCH"
    DUPLICATE = "DUPLICATE"
    UNSUPPORTED = "UNSUPPORTED"
    UNKNOWN_SYMBOL = "UNKNOWN_SYMBOL"
    UNKNOWN_TRADE = "UNKNOWN_TRADE"
    UNKNOWN_DECISION = "UNKNOWN_DECISION"


SENTENCES: dict[Reason, str] = {
    Reason.DECODE: "The bytes are not one of our input messages, or an array of them.",
    Reason.FIELD: "A field is missing, empty, not allowed here, or contradicts another field.",
    Reason.NUMBER: "A number must be plain decimal text, exactly on the scale it is read with.",
    Reason.RANGE: "A number is beyond the limits of schemas/limits.py.",
    Reason.LOT: "A quantity must be a whole number of lots.",
    Reason.PRICE: "A price must be positive and on the instrument's price scale.",
    Reason.SIDE: "A quantity's sign must fit its position side, and a side its account's position mode.",
    Reason.SCALE: "The scales of a symbol never change, and must be ones we can calculate with exactly.",
    Reason.EPOCH: "A newer epoch must come with a full update.",
    Reason.DUPLICATE: "One message names a position, a currency or a symbol at most once.",
    Reason.UNSUPPORTED: "The message is understood, but asks for something that is not supported yet.",
    Reason.UNKNOWN_SYMBOL: "A symbol must have an instrument before anything else speaks of it.",
    Reason.UNKNOWN_TRADE: "A result must name a forced trade that this pool has sent, to this account.",
    Reason.UNKNOWN_DECISION: "A release must name a decision that is held.",
}

SHOWN_CHARS_MAX = 60  # of a hostile text in a sentence


class Refused(Exception):  # noqa: N818 - an answer to the sender, not an error of ours
    """An input that is not accepted: `reason` from the closed list, `sentence` for the person who sent it.

    `accounts`: whom the batches of a record that cannot be decoded name; its key does not say that.
    """

    def __init__(self, reason: Reason | str, sentence: str) -> None:
        super().__init__(reason, sentence)
        self.reason = Reason(reason)  # a word outside the list is our bug and raises ValueError
        self.sentence = sentence
        self.accounts: Sequence[str] = ()

    def __str__(self) -> str:
        return f"{self.reason}: {self.sentence}"


def shown(text: str) -> str:
    """A text as a sentence may quote it: escaped, and cut at SHOWN_CHARS_MAX characters."""
    return ascii(text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "...")
