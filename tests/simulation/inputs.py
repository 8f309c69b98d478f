"""What comes into the topics: a log that is there beforehand, or an exchange that acts while the worker runs.

Other producers of the inputs write in transactions now and then: such records stay invisible for a while, or for ever.
"""

import heapq

from schemas import ForcedTrade, decode_output
from tests.simulation.log import Transaction
from tests.worker.random_exchange import Exchange
from tests.worker.random_tape import random_log, random_settings
from worker.record import Output, Record


class Foreign:
    """Another producer of the inputs, whose transactions stay open for some records of a partition."""

    def __init__(self, rng, broker, share, spared=()):
        self._rng, self._broker, self._share, self._spared = rng, broker, share, spared
        self._open = {}  # log -> [records left, transaction]

    def append(self, topic, partition, time_ms, key, value):
        """Writes a record; some stand in a transaction, beside others that will never be seen."""
        log = self._broker.log(topic, partition)
        if topic not in self._spared and log not in self._open and self._rng.random() < self._share:
            aborted = Transaction(0)
            log.append(time_ms, b"aborted", b"never to be seen", aborted)
            self._open[log] = [self._rng.randint(1, 5), aborted, Transaction(0)]
        if log in self._open:
            log.append(time_ms, key, value, self._open[log][2])
            self._open[log][0] -= 1
            if self._open[log][0] <= 0:
                self._end(log)
        else:
            log.append(time_ms, key, value)

    def end(self):
        """Ends whatever is open."""
        for log in list(self._open):
            self._end(log)

    def _end(self, log):
        _, aborted, mine = self._open.pop(log)
        aborted.committed, mine.committed = False, True
        log.mark(aborted)
        if mine in log.open:
            log.mark(mine)


class Beforehand:
    """A complete log; the exchange's answers are in it."""

    def __init__(self, rng, broker, swarm):
        # What is only advised has no part in the exchange's answers.
        settings = random_settings(*(flag for flag in swarm.flags if not flag.startswith("ranks.")))
        # Ids of trades, which answers name, come from the offsets of what was decided.
        foreign = Foreign(rng, broker, swarm.foreign, ("bankruptcies", "controls"))
        records = random_log(
            swarm.seed, accounts=swarm.accounts, end_ms=swarm.end_ms, poison=swarm.poison, settings=settings
        )
        for record in records:
            foreign.append(record.topic, record.partition, record.log_time_ms, record.key, record.value)
        foreign.end()

    def turn(self):
        """Nothing more comes."""

    def done(self):
        return True


class Answering(Exchange):
    """The random exchange, which reads what was published, and answers late, in part or never."""

    def __init__(self, rng, swarm, write):
        self._mood, self._swarm = rng, swarm
        super().__init__(swarm.seed, write, accounts=swarm.accounts, end_ms=swarm.end_ms, poison=swarm.poison)

    def heard(self, entries, now_ms):
        """Records of the outputs."""
        swarm, kept = self._swarm, []
        for entry in entries:
            ignored = isinstance(decode_output(entry.value()), ForcedTrade) and self._mood.random() < swarm.silence
            if not ignored:
                kept.append(Output(entry.topic(), entry.key(), entry.value()))
        self.answer(kept, now_ms + self._mood.randint(0, swarm.answer_ms))


class Arriving:
    """An exchange in log time, which passes with the clock; partitions lag, each by its own delay."""

    def __init__(self, rng, clock, broker, swarm, reader):
        self._rng, self._clock, self._swarm, self._reader = rng, clock, swarm, reader
        self._foreign = Foreign(rng, broker, swarm.foreign)
        self._arrivals = []  # heap of (when, number, record without offset)
        self._newest_ms = {}
        self._begin_ms = self._written = 0
        self._exchange = Answering(rng, swarm, self._write)
        self._begin_ms = self._exchange.due[0][0]

    def now_ms(self):
        """Log time that has passed; the exchange goes to sleep as fast as it acts."""
        return self._begin_ms + int(self._clock.now * 1000)

    def turn(self):
        """Lets everything happen that is due."""
        now_ms, due, arrivals = self.now_ms(), self._exchange.due, self._arrivals
        while due and due[0][0] <= now_ms:
            self._exchange.act()
        while arrivals and arrivals[0][0] <= now_ms:
            self._foreign.append(*heapq.heappop(arrivals)[2])
        if not due and not arrivals:
            self._foreign.end()
        if heard := self._reader.take():
            self._exchange.heard(heard, now_ms)

    def done(self):
        return not self._exchange.due and not self._arrivals

    def _write(self, topic, partition, stamp_ms, key, value):
        place = topic, partition
        newest_ms = self._newest_ms[place] = max(stamp_ms, self._newest_ms.get(place, 0))
        for _ in range(2 if self._rng.random() < self._swarm.repeats else 1):
            self._written += 1
            record = topic, partition, stamp_ms, key, value
            heapq.heappush(self._arrivals, (newest_ms + self._swarm.delays_ms.get(place, 0), self._written, record))


def records_in(broker, partitions):
    """What a reader of the inputs sees in the end, in an order in which it may have been written."""
    placed = []
    for place in partitions:
        newest_ms = 0
        for entry in broker.log(*place).committed():
            newest_ms = max(newest_ms, entry.timestamp()[1])
            placed.append((newest_ms, *place, entry.offset(), entry))
    return [
        Record(topic, number, offset, entry.timestamp()[1], entry.key(), entry.value())
        for _, topic, number, offset, entry in sorted(placed, key=lambda item: item[:4])
    ]
