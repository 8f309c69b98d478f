"""A reader of the worker's outputs, as the exchange has one: committed records, in order, whole, and said once.

Rule: sequence and chain are computed from the raw bytes alone; nothing of the worker is used.
"""

import hashlib
import json


class BrokenError(AssertionError):
    """What was published is not one unbroken chain."""


class OutputReader:
    """Follows the pool's outputs; `take` gives what has come since, and checks that it follows what came before."""

    def __init__(self, broker, pool, topics):
        self._broker = broker
        self._next = {(topic, log.number): 0 for topic in topics for log in broker.topics[topic]}
        self._head = {topic: (0, _link(f"{pool}/{topic}".encode())) for topic in topics}
        self._early = {topic: {} for topic in topics}  # of partitions that are ahead
        self.said = {topic: [] for topic in topics}  # in the order of their sequence

    def take(self):
        """New records, topic by topic."""
        found = []
        for (topic, number), position in self._next.items():
            entries, self._next[topic, number] = self._broker.log(topic, number).read(position, 1 << 30)
            for entry in entries:
                sequence = json.loads(entry.value())["sequence"]
                if sequence <= self._head[topic][0] or sequence in self._early[topic]:
                    raise BrokenError(f"{topic}: record {sequence} was said twice")
                self._early[topic][sequence] = entry
        for topic, early in self._early.items():
            while (entry := early.pop(self._head[topic][0] + 1, None)) is not None:
                sequence, chain = self._head[topic]
                if json.loads(entry.value())["chain"] != chain:
                    raise BrokenError(f"{topic}: record {sequence + 1} does not carry the chain of record {sequence}")
                self._head[topic] = sequence + 1, _link(entry.value())
                self.said[topic].append(entry)
                found.append(entry)
        return found

    def finish(self):
        """Nothing may be left that does not follow."""
        self.take()
        for topic, early in self._early.items():
            if early:
                raise BrokenError(f"{topic}: record {self._head[topic][0] + 1} is missing, {sorted(early)} are there")


def _link(value):
    return hashlib.sha256(value).hexdigest()[:32]
