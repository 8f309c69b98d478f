"""One record with what it says: what is put in order, and applied one by one."""

from collections.abc import Callable, Sequence

import msgspec

from schemas import InputMessage, Refused
from worker.record import Record


class Event(msgspec.Struct):
    """One record with what it says, or with why it was refused."""

    record: Record
    messages: Sequence[InputMessage]
    kind: int
    refused: Refused | None = None
    log_time_ms: int = 0  # non-decreasing inside its partition
    unread: Callable[[bytes], Sequence[InputMessage]] | None = None  # says it, where the kind was known without

    def read(self) -> Sequence[InputMessage]:
        """What the record says; what waits is a third of the size unread, and what is applied is still in the cache."""
        if self.unread is not None:
            try:
                return self.unread(self.record.value or b"")
            except Refused as refused:
                self.refused, self.unread = refused, None
        return self.messages
