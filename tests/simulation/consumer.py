"""The client library's consumer as the worker calls it: assigned partitions, read with `read_committed`, in any turn.

Rule: inside a partition offset order holds; which partition comes next, how much of it, and when, is the seed's.
"""

from confluent_kafka import KafkaError, KafkaException, TopicPartition

from tests.simulation.broker import BrokerError
from tests.simulation.network import timed_out
from worker.edge.topics import READER_GROUP
from worker.record import END


class Event:
    """What is no record: the end of a partition, or an error."""

    __slots__ = ("_code", "_place")

    def __init__(self, code, place):
        self._code, self._place = code, place

    def topic(self):
        return self._place[0]

    def partition(self):
        return self._place[1]

    def offset(self):
        return self._place[2]

    def error(self):
        return KafkaError(self._code, "simulated")


class Consumer:
    """One client of a life."""

    def __init__(self, life, config, logger=None):  # noqa: ARG002  the library's
        self._life, self._network, self._broker = life, life.network, life.network.broker
        self._group = config["group.id"]
        self._committed = config["isolation.level"] == "read_committed"
        self._positions = {}
        self._told = {}  # partition -> offset of the end that was reported last
        self._paused = set()

    def assign(self, places):
        self._positions = {(place.topic, place.partition): place.offset for place in places}

    def pause(self, places):
        self._paused |= {(place.topic, place.partition) for place in places}

    def resume(self, places):
        self._paused -= {(place.topic, place.partition) for place in places}

    def poll(self, timeout):
        self._life.enter("poll")
        if self._network.happens("away"):
            self._network.clock.sleep(timeout)
            code = self._network.rng.choice((KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN))
            return Event(code, (None, -1, None))
        found = [] if self._network.happens("stalls") else self._some(1)
        if not found:
            self._network.clock.sleep(timeout)
            return None
        return found[0]

    def consume(self, count, _timeout):
        self._life.enter("consume")
        return self._some(min(count, self._life.batch_max))

    def committed(self, places, _timeout):
        self._life.enter("committed")
        if self._network.happens("away"):
            self._network.clock.sleep(_timeout)
            raise KafkaException(timed_out())
        try:
            found = self._broker.committed(self._group)
        except BrokerError as refused:
            raise KafkaException(KafkaError(refused.code, retriable=True)) from None
        self._life.leave("committed")
        asked = [(place.topic, place.partition) for place in places]
        return [TopicPartition(*place, *found.get(place, (-1001,))) for place in asked]

    def consumer_group_metadata(self):
        return self._group

    def close(self):
        pass

    def _some(self, count):
        """Runs of records of some partitions, at most so many in all; ends of those that are read."""
        found, rng = [], self._network.rng
        places = [place for place in self._positions if place not in self._paused]
        rng.shuffle(places)
        if self._life.timely:  # as where all partitions are read about as fast as they are written
            places.sort(key=self._next_ms)
        for place in places:
            left = count - len(found)
            if left <= 0:
                break
            log, position = self._broker.log(*place), self._positions[place]
            if position < len(log.entries):
                records, self._positions[place] = log.read(position, rng.randint(1, left), committed=self._committed)
                found += records
                left -= len(records)
                position = self._positions[place]
            if left > 0 and position == log.end(stable=self._committed) and self._told.get(place) != position:
                self._told[place] = position
                found.append(Event(KafkaError._PARTITION_EOF, (*place, position)))
        if found and self._group != READER_GROUP:
            self._life.came = self._life.reads = True
        return found

    def _next_ms(self, place):
        """The log time of what comes next of a partition."""
        entries, position = self._broker.log(*place).entries, self._positions[place]
        return entries[position].timestamp()[1] if position < len(entries) else END
