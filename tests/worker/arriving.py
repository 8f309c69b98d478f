"""A log that grows while it is read: the live rule without a broker."""

import random
from collections import defaultdict

from worker.record import END


class ArrivingSource:
    """Records in the order in which they arrive; each poll lets more of them arrive.

    `beforehand`: how many are there when the worker starts. `finite`: at its end it stops, as a bounded replay does.
    `ends`: where logs end at least, whose last records may be gone.
    """

    def __init__(self, records, partitions, seed, *, beforehand=0, batch_max=50, finite=True, ends=None):
        self._rng = random.Random(seed)
        self._records, self.arrived = list(records), 0
        self._partitions = sorted(partitions)
        self._logs = defaultdict(list)
        self._given = dict.fromkeys(self._partitions, 0)
        self._asked = dict.fromkeys(self._partitions, 0)
        self._batch_max, self._finite, self._ends = batch_max, finite, ends or {}
        self.asked_count = 0
        self._arrive(beforehand)

    def _arrive(self, count):
        for record in self._records[self.arrived : self.arrived + count]:
            self._logs[record.topic, record.partition].append(record)
        self.arrived = min(self.arrived + count, len(self._records))

    def partitions(self):
        return self._partitions

    def seek(self, offsets):
        for where, offset in offsets.items():
            self._given[where] = sum(record.offset < offset for record in self._logs[where])
            assert self._given[where] >= offset or not offset, "what was committed had arrived"

    def ends(self):
        self.asked_count += 1
        self._asked = {where: len(self._logs[where]) for where in self._partitions}
        logs = {where: self._logs[where][-1:] for where in self._partitions}
        self._arrive(self._rng.randint(0, 3))  # the world goes on while an answer travels
        return {where: max([self._ends.get(where, 0), *(r.offset + 1 for r in log)]) for where, log in logs.items()}

    def complete_until_ms(self, partition):
        if self._given[partition] >= self._asked[partition]:
            return END
        given = self._given[partition]
        return self._logs[partition][given - 1].log_time_ms if given else -END

    def poll(self, max_records):
        self._arrive(self._rng.randint(0, self._batch_max))
        in_round = any(self._given[where] < self._asked[where] for where in self._partitions)
        bounds = {where: self._asked[where] if in_round else len(self._logs[where]) for where in self._partitions}
        left, records = min(max_records, self._batch_max), []
        for where in self._rng.sample(self._partitions, len(self._partitions)):
            begin = self._given[where]
            count = min(bounds[where] - begin, self._rng.randint(0, left) if in_round else left)
            if count > 0:
                records += self._logs[where][begin : begin + count]
                self._given[where] += count
                left -= count
        return records

    def hold(self, partitions):
        pass

    def _exhausted(self):
        return self.arrived == len(self._records) and all(
            self._given[where] == len(self._logs[where]) for where in self._partitions
        )

    def quiet_ms(self):
        return END if self._exhausted() else 0

    def at_end(self):
        return self._finite and self._exhausted()
