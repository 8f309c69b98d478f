"""One partition's log as a broker keeps it: records, control records of transactions, and the last stable offset.

Rule: a reader of what is committed sees no record of an open or aborted transaction, and nothing behind an open one.
"""


class Transaction:
    """What one producer writes between begin and end; `committed` is None until its end is decided."""

    __slots__ = ("begun", "committed", "offsets", "places")

    def __init__(self, begun):
        self.begun = begun
        self.committed = None
        self.places = []  # logs that it has been added to
        self.offsets = {}  # group -> {partition: (offset, words)}


class Entry:
    """A record, in the shape of the client's own `Message`."""

    __slots__ = ("_key", "_offset", "_partition", "_time_ms", "_topic", "_value", "control", "transaction")

    def __init__(self, topic, partition, offset, time_ms, key, value, transaction, control=False):
        self._topic, self._partition, self._offset = topic, partition, offset
        self._time_ms, self._key, self._value = time_ms, key, value
        self.transaction, self.control = transaction, control

    def topic(self):
        return self._topic

    def partition(self):
        return self._partition

    def offset(self):
        return self._offset

    def timestamp(self):
        return 1, self._time_ms

    def key(self):
        return self._key

    def value(self):
        return self._value

    def error(self):
        return None

    def visible(self, committed):
        """To a reader, of what is `committed` or of everything, once it is stable."""
        return not self.control and (not committed or self.transaction is None or bool(self.transaction.committed))


class Log:
    """One partition; an entry's offset is its place."""

    def __init__(self, topic, number):
        self.topic, self.number = topic, number
        self.entries = []
        self.open = {}  # transaction -> its first offset here, until its marker is written

    def append(self, time_ms, key, value, transaction=None):
        """Writes a record."""
        if transaction is not None:
            self.open.setdefault(transaction, len(self.entries))
        self.entries.append(Entry(self.topic, self.number, len(self.entries), time_ms, key, value, transaction))

    def mark(self, transaction):
        """Writes the control record that ends a transaction here."""
        self.open.pop(transaction, None)
        self.entries.append(Entry(self.topic, self.number, len(self.entries), 0, None, None, transaction, control=True))

    def end(self, *, stable):
        """The offset behind the log, or that of the first record whose transaction has not ended."""
        return min(self.open.values(), default=len(self.entries)) if stable else len(self.entries)

    def read(self, position, count, *, committed=True):
        """Up to so many records from an offset on, and the offset behind them."""
        found, end = [], self.end(stable=committed)
        while position < end and (len(found) < count or not self.entries[position].visible(committed)):
            if self.entries[position].visible(committed):
                found.append(self.entries[position])
            position += 1
        return found, position

    def committed(self):
        """Every record that a reader of what is committed sees now."""
        return self.read(0, len(self.entries))[0]
