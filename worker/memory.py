"""A sink that keeps everything in memory: what `replay --verify` compares with, and what tests read."""

from collections.abc import Iterator, Mapping, Sequence

from worker.record import Committed, Output, Partition, Record


class MemorySink:
    """All or nothing, because a commit is one append."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.advice: list[Output] = []
        self._next: dict[str, int] = {}
        self._committed: Committed | None = None

    def commit(
        self, outputs: Sequence[Output], offsets: Mapping[Partition, int], metadata: str, log_time_ms: int
    ) -> None:
        for output in outputs:
            offset = self._next.get(output.topic, 0)
            self._next[output.topic] = offset + 1
            at_ms = log_time_ms if output.log_time_ms is None else output.log_time_ms
            self.records.append(Record(output.topic, 0, offset, at_ms, output.key, output.value))
        self._committed = Committed(dict(offsets), metadata)

    def committed(self) -> Committed | None:
        return self._committed

    def outputs(self, topic: str) -> Iterator[Record]:
        return (record for record in self.records if record.topic == topic)

    def advise(self, outputs: Sequence[Output], log_time_ms: int = 0) -> None:  # noqa: ARG002  the protocol's
        self.advice += outputs

    def advised(self, topic: str) -> Iterator[Record]:
        said = [output for output in self.advice if output.topic == topic]
        return (Record(topic, 0, at, out.log_time_ms or 0, out.key, out.value) for at, out in enumerate(said))
