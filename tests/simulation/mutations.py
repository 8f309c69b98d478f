"""The worker broken in one place, as it might have been written: the simulation must find each within few seeds."""

import itertools
from contextlib import contextmanager

from confluent_kafka import TopicPartition

from tests.simulation.life import patched
from worker.cli import run
from worker.edge import kafka_producer, kafka_sink, kafka_source, kafka_words
from worker.rebuild import Rebuild
from worker.record import END


def offsets_before_outputs():
    """Offsets are committed in a transaction of their own, and then the outputs."""
    whole = kafka_sink.KafkaSink._transaction

    def two(self, outputs, offsets, words, log_time_ms):
        whole(self, [], offsets, words, log_time_ms)
        if outputs:
            whole(self, outputs, offsets, words, log_time_ms)

    return patched(kafka_sink.KafkaSink, "_transaction", two)


def outputs_before_offsets():
    """Outputs are committed in a transaction of their own, and then the offsets."""
    whole = kafka_sink.KafkaSink._transaction

    def two(self, outputs, offsets, words, log_time_ms):
        if outputs:
            old_offsets, old_words = self._last
            whole(self, outputs, old_offsets, old_words, log_time_ms)
        whole(self, [], offsets, words, log_time_ms)

    return patched(kafka_sink.KafkaSink, "_transaction", two)


@contextmanager
def held_legs_are_forgotten():
    """A rebuild applies what was decided without its trades, and does not compare the state with the committed one."""
    published = Rebuild.published

    def without(self, cut_number):
        return [(decision, []) for decision, _ in published(self, cut_number)]

    def passed(self, engine, _offsets):
        if self._mark is not None and engine.cut_number >= self._mark.cut:
            engine.outputs.heads |= self._mark.heads
            self.open = False

    with patched(Rebuild, "published", without), patched(Rebuild, "passed", passed):
        yield


@contextmanager
def producer_is_kept_after_doubt():
    """A commit that took long, or lost a request, is taken for certain, and the producer is used again."""

    def emit(self, record):
        self.warning = record.getMessage()

    with patched(kafka_sink, "CERTAIN_SECONDS", END), patched(kafka_words.ClientWords, "emit", emit):
        yield


def doubt_is_taken_for_failure():
    """After an uncertain commit the same is sent again without asking what is committed."""
    read = kafka_sink.KafkaSink._read_committed

    def forgetful(self):
        return self._last if self._last[0] else read(self)

    return patched(kafka_sink.KafkaSink, "_read_committed", forgetful)


def doubt_is_taken_for_success():
    """After an uncertain commit nothing is sent again."""
    doubt = kafka_sink.KafkaSink._doubt

    def certain(self, *args):
        if doubt(self, *args):
            self._producer.renew()
        return ""

    return patched(kafka_sink.KafkaSink, "_doubt", certain)


def each_process_has_its_own_identity():
    """A new transactional id with each start: nobody is fenced."""
    made, numbers = kafka_producer.PoolProducer.__init__, itertools.count()

    def another(self, config, identity, stop):
        made(self, config, f"{identity}-{next(numbers)}", stop)

    return patched(kafka_producer.PoolProducer, "__init__", another)


def inputs_are_read_uncommitted():
    """Records of open and aborted transactions are read."""
    return patched(kafka_source, "CONSUMER", kafka_source.CONSUMER | {"isolation.level": "read_uncommitted"})


def nobody_waits_for_a_partition_that_lags():
    """Catching up, what was fetched first is taken first."""
    return patched(kafka_source.KafkaSource, "complete_until_ms", lambda _self, _partition: END)


def ends_are_committed_and_not_offsets():
    """The offsets at which the logs end now, instead of those that the outputs rest on."""
    send = kafka_sink.KafkaSink._send_offsets

    def ahead(self, places):
        ends = self._cluster.ends([(place.topic, place.partition) for place in places])
        send(self, [TopicPartition(p.topic, p.partition, ends[p.topic, p.partition], p.metadata or "") for p in places])

    return patched(kafka_sink.KafkaSink, "_send_offsets", ahead)


def lost_state_is_believed():
    """Who finds outputs that are new to him does not ask whether another process has opened the pool."""
    return patched(run, "_cause", lambda error, _pool: error)


MUTATIONS = {
    made.__name__.replace("_", " "): made
    for made in (
        offsets_before_outputs,
        outputs_before_offsets,
        held_legs_are_forgotten,
        producer_is_kept_after_doubt,
        doubt_is_taken_for_failure,
        doubt_is_taken_for_success,
        each_process_has_its_own_identity,
        inputs_are_read_uncommitted,
        nobody_waits_for_a_partition_that_lags,
        ends_are_committed_and_not_offsets,
        lost_state_is_believed,
    )
}
