"""Topics, transactions and offsets of groups as Kafka's brokers keep them; without chance, faults or time of its own.

As the newest protocol that the client library speaks has it: an end of a transaction names producer and epoch but not
which transaction, so one that comes late ends the next. A transaction's markers are written a while after its end is
decided, partition by partition; whoever asks for its producer again has them written first.
"""

import zlib

from confluent_kafka import KafkaError

from tests.simulation.log import Log, Transaction

TRANSACTION_SECONDS = 60.0


class BrokerError(Exception):
    """An answer that is an error code."""

    def __init__(self, code):
        super().__init__(KafkaError(code).name())
        self.code = code


class Producing:
    """What the coordinator keeps of a transactional id."""

    def __init__(self):
        self.epoch = -1
        self.transaction = None  # the one that is open
        self.last = None  # the one that ended last
        self.markers = []  # still to be written: (log, transaction)
        self.late_offsets = []  # transactions whose offsets wait for theirs


class Broker:
    """All topics, and what the coordinators know."""

    def __init__(self, clock):
        self._clock = clock
        self.topics = {}  # name -> partitions
        self.settings = {}  # name -> configuration
        self._producing = {}  # transactional id -> Producing
        self._groups = {}  # group -> {partition: (offset, words)}
        self.marker_delay = None  # () -> whether a marker is written later

    def create(self, topic, partitions, **settings):
        self.topics[topic] = [Log(topic, number) for number in range(partitions)]
        self.settings[topic] = {name.replace("_", "."): str(value) for name, value in settings.items()}

    def log(self, topic, number):
        return self.topics[topic][number]

    def partition_of(self, topic, key):
        return zlib.crc32(key or b"") % len(self.topics[topic])

    # --- transactions -------------------------------------------------------------------------------------------------

    def init(self, identity):
        """A new epoch: whatever is open is aborted, and every older producer is fenced."""
        producing = self._producing.setdefault(identity, Producing())
        self._write_markers(producing)
        if producing.transaction is not None:
            self._end(producing, committed=False)
            self._write_markers(producing)
        producing.epoch += 1
        producing.last = None
        return producing.epoch

    def add(self, identity, epoch, topic, number):
        """A partition joins the producer's transaction, which begins with its first."""
        log = self.log(topic, number)
        transaction = self._begun(identity, epoch)
        if log not in transaction.places:
            transaction.places.append(log)

    def produce(self, identity, epoch, topic, number, records):
        """Appends records (time, key, value) of a transaction."""
        producing, log = self._of(identity, epoch), self.log(topic, number)
        if producing.transaction is None or log not in producing.transaction.places:
            raise BrokerError(KafkaError.INVALID_TXN_STATE)
        for record in records:
            log.append(*record, producing.transaction)

    def add_offsets(self, identity, epoch, group, offsets):
        """Offsets that are committed with the transaction."""
        self._begun(identity, epoch).offsets.setdefault(group, {}).update(offsets)

    def end(self, identity, epoch, *, committed):
        """Ends whatever transaction the producer has open; that of before again is right, where it ended the same."""
        producing = self._of(identity, epoch)
        if producing.transaction is not None:
            self._end(producing, committed=committed)
        elif producing.last is not committed:
            raise BrokerError(KafkaError.INVALID_TXN_STATE)

    def tick(self):
        """Aborts transactions that have been open for too long, and fences their producers."""
        for producing in self._producing.values():
            open_one = producing.transaction
            if open_one is not None and self._clock.monotonic() - open_one.begun > TRANSACTION_SECONDS:
                self._end(producing, committed=False)
                self._write_markers(producing)
                producing.epoch += 1

    def write_markers(self):
        """Whatever marker is still to be written."""
        for producing in self._producing.values():
            self._write_markers(producing)

    def _of(self, identity, epoch):
        producing = self._producing[identity]
        if epoch != producing.epoch:
            raise BrokerError(KafkaError.INVALID_PRODUCER_EPOCH)
        return producing

    def _begun(self, identity, epoch):
        producing = self._of(identity, epoch)
        if producing.transaction is None:
            self._write_markers(producing)
            producing.transaction = Transaction(self._clock.monotonic())
        return producing.transaction

    def _end(self, producing, *, committed):
        transaction, producing.transaction = producing.transaction, None
        transaction.committed = producing.last = committed
        for log in transaction.places:
            if self.marker_delay is not None and self.marker_delay():
                producing.markers.append((log, transaction))
            else:
                log.mark(transaction)
        if self.marker_delay is not None and self.marker_delay():
            producing.late_offsets.append(transaction)
        else:
            self._offsets_of(transaction)

    def _write_markers(self, producing):
        while producing.markers:
            log, transaction = producing.markers.pop()
            log.mark(transaction)
        while producing.late_offsets:
            self._offsets_of(producing.late_offsets.pop(0))

    def _offsets_of(self, transaction):
        if transaction.committed:
            for group, offsets in transaction.offsets.items():
                self._groups.setdefault(group, {}).update(offsets)

    # --- offsets of groups --------------------------------------------------------------------------------------------

    def committed(self, group):
        """partition -> (offset, words); a transaction of the group that has not ended makes them unstable."""
        for producing in self._producing.values():
            waiting = [*producing.late_offsets, *([producing.transaction] if producing.transaction else [])]
            if any(group in transaction.offsets for transaction in waiting):
                raise BrokerError(KafkaError.UNSTABLE_OFFSET_COMMIT)
        return self._groups.get(group, {})
