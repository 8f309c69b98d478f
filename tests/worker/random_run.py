"""Runs on the random log: sources that know more or less, and the bytes that come out."""

from tests.worker.random_tape import PARTITIONS
from worker.edge.recording import (
    OUTPUTS_FILE,
    RecordingSink,
    RecordingSource,
)
from worker.loop import run
from worker.record import END

SEED = 1


def source_of(records, **options):
    return RecordingSource(records, partitions=PARTITIONS, **options)


def outputs_of(records, settings, folder, source=source_of, **options):
    """The bytes of outputs.jsonl after an undisturbed run."""
    with RecordingSink(folder) as sink:
        run(source(records, **options), sink, settings)
    return (folder / OUTPUTS_FILE).read_bytes()


class Timely(RecordingSource):
    """Knows how far each partition has come, as a broker that is asked for its ends: a commit at nearly every cut.

    A recording alone knows it to a block.
    """

    def __init__(self, records, **options):
        super().__init__(records, partitions=PARTITIONS, **options)
        self._times = {where: [] for where in PARTITIONS}
        self._count_given = dict.fromkeys(PARTITIONS, 0)
        for record in records:
            times = self._times[record.topic, record.partition]
            times.append(max([record.log_time_ms, *times[-1:]]))

    def fetch(self, max_records):
        fetched = super().fetch(max_records)
        for where, begin, end in fetched.spans:
            self._count_given[where] += end - begin
        return fetched

    def complete_until_ms(self, partition):
        times, given = self._times[partition], self._count_given[partition]
        return times[given] if given < len(times) else END
