"""The client library's producer, transactional or plain, as the worker calls it.

Rule: what was produced is in the client's queue until a call sends it, partition by partition in its order.
"""

import logging
from collections import defaultdict

from confluent_kafka import KafkaError, KafkaException

from tests.simulation.broker import BrokerError
from tests.simulation.network import DROPPED, FATES, TIMED_OUT, timed_out

FENCING = (KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.PRODUCER_FENCED)
FLUSH_FATES = ("undelivered", "partly")
IDEMPOTENT = ("lost", "unanswered", "slow", "hangs")  # of `init_transactions`: it comes once, or not at all


class HangError(Exception):
    """The call does not come back; only the simulated caller may see it."""


class Producer:
    """One client of a life; when the life ends, a part of its queue may still have been sent."""

    def __init__(self, life, config, logger=None):
        self._life, self._network, self._broker = life, life.network, life.network.broker
        self._logger = logger or logging.getLogger("simulated")
        self._identity = config.get("transactional.id")
        self._epoch = None
        self._in_transaction = False
        self._added = set()
        self._queue = defaultdict(list)  # (topic, partition) -> records
        self._said = []  # lines of the client's log, until it is polled
        self._error = None  # fatal, or until the producer is thrown away
        life.clients.append(self)

    def __len__(self):
        return sum(map(len, self._queue.values()))

    # --- what the worker calls ----------------------------------------------------------------------------------------

    def init_transactions(self, _timeout):
        def act():
            self._epoch = self._broker.init(self._identity)

        self._request("init_transactions", act, IDEMPOTENT)

    def begin_transaction(self):
        self._enter("begin_transaction")
        if self._in_transaction or self._epoch is None:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._in_transaction = True
        self._life.leave("begin_transaction")

    def produce(self, topic, value=None, key=None, partition=-1, timestamp=0):
        self._life.enter("produce")
        if self._identity is None:
            return self._advise(topic, value, key, timestamp)
        if self._error is not None or not self._in_transaction:
            raise KafkaException(KafkaError(KafkaError._STATE))
        if len(self) >= self._life.queue_max:
            raise BufferError
        number = self._broker.partition_of(topic, key) if partition < 0 else partition
        self._queue[topic, number].append((timestamp, key, value))
        if self._network.happens("sent early"):
            self._send_some()
        self._life.leave("produce")
        return None

    def poll(self, _timeout=0):
        self._life.enter("poll_producer")
        if len(self) >= self._life.queue_max:
            self._send_some()
        said, self._said = self._said, []
        for words in said:
            self._logger.log(logging.WARNING, words)
        return 0

    def flush(self, timeout=0):
        self._life.enter("flush")
        if self._identity is None or self._error is not None:
            return 0
        fate = self._network.fate(FLUSH_FATES)
        if fate == "undelivered":
            self._network.clock.sleep(timeout)
        elif fate == "partly":
            self._send_some()
        else:
            self._send_all()
        self._life.leave("flush")
        return 0 if self._error is not None else len(self)

    def send_offsets_to_transaction(self, places, group, _timeout):
        epoch = self._epoch
        offsets = {(place.topic, place.partition): (place.offset, place.metadata or "") for place in places}

        def act():
            self._broker.add_offsets(self._identity, epoch, group, offsets)

        self._send_some()
        self._request("send_offsets_to_transaction", act, FATES)

    def commit_transaction(self, _timeout):
        epoch = self._epoch

        def act():
            self._broker.end(self._identity, epoch, committed=True)

        if self._error is None:
            self._send_all()
        self._request("commit_transaction", act, FATES)
        self._in_transaction = False
        self._added = set()

    def purge(self):
        self._queue.clear()

    # --- what happens below -------------------------------------------------------------------------------------------

    def died(self, rng):
        """The process is gone: what was on its way may have arrived in part."""
        if self._identity is not None and self._error is None and rng.random() < 0.5:
            self._send_some()
        self._queue.clear()

    def _advise(self, topic, value, key, timestamp):
        if not self._network.happens("advice is lost"):
            number = self._broker.partition_of(topic, key)
            self._broker.log(topic, number).append(timestamp, key, value)

    def _enter(self, call):
        self._life.enter(call)
        if self._error is not None:
            raise KafkaException(self._error)

    def _request(self, call, act, fates):
        """Makes a call that changes something, and gives the answer that its fate has for it."""
        self._enter(call)
        network = self._network
        fate = network.fate(fates)
        if fate == "aborts":
            raise KafkaException(self._failed(KafkaError(KafkaError.ILLEGAL_GENERATION, txn_requires_abort=True)))
        sent = fate not in ("lost", "late") and not (fate == "hangs" and network.rng.random() < 0.5)
        if sent:
            self._tried(act)
        if fate in ("late", "resent") or (fate == "hangs" and network.rng.random() < 0.5 and "late" in fates):
            network.later(lambda: _ignored(act))
        network.answers_lost += sent and fate in ("unanswered", "resent", "hangs")
        self._shown(call, fate)
        self._life.leave(call)
        if fate == "hangs":
            raise HangError
        if fate in ("lost", "late", "unanswered"):
            raise KafkaException(timed_out())

    def _shown(self, call, fate):
        """How the client lets its user know that a request may still be under way: by its log, or by its time."""
        network = self._network
        if fate == "slow":
            network.clock.sleep(1.2)
        elif fate in ("lost", "late", "unanswered", "resent"):
            by_time = call == "commit_transaction" and network.rng.random() < 0.5
            if by_time:
                network.clock.sleep(network.rng.uniform(1.0, 4.9))
            else:
                self._said.append(network.rng.choice((TIMED_OUT, DROPPED)))

    def _tried(self, act):
        try:
            act()
        except BrokerError as refused:
            code = KafkaError._FENCED if refused.code in FENCING else refused.code
            raise KafkaException(self._failed(KafkaError(code, str(refused), fatal=True))) from None

    def _failed(self, error):
        self._error = error
        self._queue.clear()
        return error

    def _send_some(self):
        for place in list(self._queue):
            self._send(place, self._network.rng.randint(0, len(self._queue[place])))

    def _send_all(self):
        for place in list(self._queue):
            self._send(place, len(self._queue[place]))

    def _send(self, place, count):
        """What the broker says to a record is heard at the next call."""
        if count == 0 or self._error is not None:
            return
        records, self._queue[place] = self._queue[place][:count], self._queue[place][count:]
        try:
            if place not in self._added:
                self._broker.add(self._identity, self._epoch, *place)
                self._added.add(place)
            self._broker.produce(self._identity, self._epoch, *place, records)
        except BrokerError as refused:
            if refused.code in FENCING:
                self._failed(KafkaError(KafkaError._FENCED, str(refused), fatal=True))
            else:
                self._failed(KafkaError(refused.code, str(refused), txn_requires_abort=True))


def _ignored(act):
    try:
        act()
    except BrokerError:
        return
