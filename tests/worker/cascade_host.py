"""What feeds one engine record by record and keeps the tape, and what the small exchange of the cascades keeps."""

from dataclasses import dataclass, field

from schemas import (
    AdlDecision,
    Cut,
    DeadLetter,
    ForcedTrade,
    decode_output,
)
from tests.worker.tape import Tape, settings_of
from worker.cut import KIND, CutPoint, Event
from worker.engine import Engine
from worker.settings import KINDS


def minor(text):
    """Minor units of an amount with at most two decimals."""
    whole, _, rest = text.lstrip("-").partition(".")
    return int(whole + rest.ljust(2, "0")) * (-1 if text.startswith("-") else 1)


@dataclass
class Held:
    lots: int
    entry: int = 0  # what the lots cost, in minor units, signed as the lots
    margin: int | None = None
    adl_seq: int = 0


@dataclass
class Client:
    cash: int = 0
    seq: int = 0
    adl_seq: int = 0
    book: dict = field(default_factory=dict)  # (symbol, position side) -> Held
    touched: set = field(default_factory=set)  # keys that the worker has not been told about


class Host:
    """Feeds one engine record by record, keeps the tape for the auditor."""

    def __init__(self, *flags):
        self.engine, self.tape = Engine(settings_of(*flags)), Tape()
        self.decisions, self.trades, self.cuts = [], [], []

    def event(self, message):
        record = self.tape.say(message).records[-1]
        return Event(record, [message], KIND[type(message)], None, record.log_time_ms)

    def say(self, *messages):
        for message in messages:
            self.engine.apply(self.event(message))

    def cut(self, messages, joint):
        """A joint decision stands at its last bankruptcy; results of one log time stand at their cut together.

        Without a message it is a watch cut.
        """
        if joint:
            self.say(*messages[:-1])
            messages = messages[-1:]
        basis = {(kind, 0): self.tape._next.get((kind, 0), 0) for kind in KINDS}
        outputs = self.engine.cut(CutPoint(self.tape.now_ms, basis, [self.event(message) for message in messages]))
        said = [decode_output(output.value) for output in outputs if output.topic != "adl-state"]
        assert not any(isinstance(message, DeadLetter) for message in said)
        trades = [message for message in said if isinstance(message, ForcedTrade)]
        decisions = [message for message in said if isinstance(message, AdlDecision)]
        self.trades += trades
        self.decisions += decisions
        self.cuts += [message for message in said if isinstance(message, Cut)]
        return decisions, trades
