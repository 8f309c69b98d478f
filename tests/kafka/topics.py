"""Topics for a test: made, filled by a plain producer, and read back by a plain consumer of what is committed."""

import contextlib
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from schemas import fields_of
from worker import cli
from worker.edge.code import code_digest
from worker.edge.kafka_cluster import Cluster
from worker.edge.recording import RecordingSource
from worker.edge.topics import FOREVER
from worker.loop import run
from worker.memory import MemorySink
from worker.output import ADVISORY, CHAINED, CUTS
from worker.record import Record
from worker.settings import KINDS, load, to_toml

ROOT = Path(__file__).parents[2]


class Topics:
    """One test's topics, all with a name of their own."""

    def __init__(self, broker, partitions, output_partitions=1, **inputs):
        """`partitions`: of the inputs, as (topic, number); topics get the test's prefix."""
        self.broker = broker
        self.prefix = broker.unique("t")
        counts = dict.fromkeys((self.named(kind) for kind in KINDS), 1)
        for topic, number in partitions:
            counts[self.named(topic)] = max(counts[self.named(topic)], number + 1)
        self.inputs = counts
        broker.create_topics(counts, retention_ms=-1, **inputs)
        ahead = {"message_timestamp_after_max_ms": FOREVER}
        broker.create_topics({self.named(topic): output_partitions for topic in CHAINED}, retention_ms=-1, **ahead)
        broker.create_topics(dict.fromkeys(map(self.named, ADVISORY), 1), cleanup_policy="compact", **ahead)

    def named(self, topic):
        return f"{self.prefix}.{topic}"

    def settings(self, *flags):
        """Settings of a pool on these topics, live and from the beginning."""
        return load(
            flags=[
                *(f"input.topics.{kind}={self.named(kind)}" for kind in KINDS),
                *(f"output.{topic.replace('-', '_')}={self.named(topic)}" for topic in (*CHAINED, *ADVISORY)),
                f"pool.environment={self.prefix}",
                f"kafka.bootstrap={self.broker.bootstrap}",
                "worker.mode=live",
                "worker.start_at=beginning",
                *flags,
            ]
        )

    def placed(self, records):
        """The records as they stand in these topics: the same, under the topics' names."""
        return [msgspec.structs.replace(record, topic=self.named(record.topic)) for record in records]

    def partitions(self):
        return sorted((topic, number) for topic, count in self.inputs.items() for number in range(count))

    def producer(self, **config):
        """A plain producer."""
        return Producer({"bootstrap.servers": self.broker.bootstrap, "linger.ms": 5, "acks": "all", **config})

    def publish(self, records, producer=None, **config):
        """Writes records with a plain producer, in their order, and waits until they are there."""
        producer = producer or self.producer(**config)
        failed = []
        for record in records:
            while True:
                try:
                    producer.produce(
                        self.named(record.topic), record.value, record.key, partition=record.partition,
                        timestamp=record.log_time_ms, on_delivery=lambda error, _: error and failed.append(error),
                    )  # fmt: skip
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(60) == 0
        assert failed == []

    def outputs(self, *topics):
        """Committed records of the outputs as (topic, key, value, timestamp), each topic in its order."""
        found = {}
        for topic in topics or CHAINED:
            found[topic] = [
                (record.key, record.value, record.log_time_ms) for record in committed(self.broker, self.named(topic))
            ]
        return found

    def outputs_of(self, pool):
        """The same of one pool among others, over all partitions, in the order of its sequence."""
        found = {}
        for topic in CHAINED:
            records = [(fields_of(record.value), record) for record in committed(self.broker, self.named(topic))]
            mine = sorted((fields["sequence"], record) for fields, record in records if fields["pool"] == pool)
            assert [sequence for sequence, _ in mine] == list(range(1, len(mine) + 1))
            found[topic] = [(record.key, record.value, record.log_time_ms) for _, record in mine]
        return found

    def last_cut(self):
        """The newest committed cut, None before the first."""
        cuts = committed(self.broker, self.named(CUTS))
        return json.loads(cuts[-1].value) if cuts else None

    def wait_until_read(self, seconds=60, alive=lambda: True):
        """Returns when a committed cut rests on everything that the inputs hold."""
        self.wait_until_committed(self.ends(), seconds, alive)

    def wait_until_committed(self, ends, seconds=60, alive=lambda: True):
        """Returns when a committed cut rests on these offsets."""
        until = time.monotonic() + seconds
        while True:
            cut = self.last_cut() or {"basis": {}}
            reached = cut["basis"] | cut.get("after", {})
            if all(reached.get(name, 0) >= end for name, end in ends.items()):
                return
            assert alive(), last_words(alive)
            assert time.monotonic() < until, f"the last cut is {cut}, the inputs end at {ends}"
            time.sleep(0.1)

    def ends(self):
        """Where the inputs end, by the names that a cut has for them."""
        cluster = Cluster({"bootstrap.servers": self.broker.bootstrap})
        return {f"{topic}:{number}": end for (topic, number), end in cluster.ends(self.partitions()).items()}

    def wait_for(self, count, topic=CUTS, seconds=60, alive=lambda: True):
        """Returns when a topic holds so many committed records."""
        until = time.monotonic() + seconds
        while len(found := list(committed(self.broker, self.named(topic)))) < count:
            assert alive(), last_words(alive)
            assert time.monotonic() < until, f"{len(found)} of {count} records of {topic} after {seconds} s"
            time.sleep(0.1)


def committed(broker, topic):
    """The committed records of a topic's partitions, in order, by a consumer that knows nothing of the worker."""
    consumer = Consumer(
        {
            "bootstrap.servers": broker.bootstrap, "group.id": "plain", "enable.auto.commit": False,
            "isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        }
    )  # fmt: skip
    numbers = sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, number, 0) for number in numbers])
    left = set(numbers)
    records = []
    while left:
        for message in consumer.consume(1000, 0.02):  # it waits so long for a thousand
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                left.discard(message.partition())
                continue
            records.append(
                Record(
                    topic, message.partition(), message.offset(), message.timestamp()[1], message.key(), message.value()
                )
            )
    consumer.close()
    return records


def expected(topics, records, settings):
    """What a run on the recording says, in the shape of `Topics.outputs`."""
    sink = MemorySink()
    source = RecordingSource(topics.placed(records), partitions=topics.partitions())
    run(source, sink, settings, code_digest=code_digest(settings))
    return of_memory(sink)


def of_memory(sink):
    """What a sink in memory was given, in the shape of `Topics.outputs`."""
    return {
        topic: [(record.key, record.value, record.log_time_ms) for record in sink.outputs(topic)] for topic in CHAINED
    }


def adl(*arguments):
    """Exit code, and standard output or the error, of `adl ARGUMENTS` in this process: starting one takes a second."""
    said, failed = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(failed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["adl", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
    return code, said.getvalue() or failed.getvalue()


_numbers = itertools.count()


def last_words(alive):
    """What a worker said before it ended; `alive` may be its method."""
    worker = getattr(alive, "__self__", None)
    return "the worker ended" if worker is None else f"ended with {worker.process.poll()}: {worker.words()[-2000:]}"


class Worker:
    """`adl run` as a process of its own; with `lives`, as tests/kafka/killed.py has them."""

    def __init__(self, settings, folder, *lives):
        number = next(_numbers)
        self.path = folder / f"settings-{number}.toml"
        self.path.write_text(to_toml(settings))
        self.log = folder / f"worker-{number}.log"
        program = ["-m", "tests.kafka.killed", *lives] if lives else ["-m", "worker.cli", "run"]
        self._file = self.log.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, *program, "--settings", str(self.path)],
            cwd=ROOT, stdout=self._file, stderr=self._file, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip

    def alive(self):
        return self.process.poll() is None

    def wait(self, seconds=60):
        """The exit code."""
        try:
            return self.process.wait(seconds)
        finally:
            self._file.close()

    def stop(self, number=signal.SIGTERM, seconds=10):
        """Asks it to end; the exit code, within ten seconds."""
        self.process.send_signal(number)
        return self.wait(seconds)

    def words(self):
        """What it has logged."""
        return self.log.read_text()

    def sentence(self):
        """Our last line; the client may add words of its own behind it."""
        lines = self.words().splitlines()
        return ([line for line in lines if line.startswith("adl: ")] or lines)[-1]

    def events(self):
        """The events of its log."""
        return [json.loads(line)["event"] for line in self.words().splitlines() if line.startswith("{")]

    def replayed(self, *arguments):
        """`adl replay` with the same settings: exit code and what it printed."""
        return adl("replay", *arguments, "--settings", self.path)

    def wait_until(self, event, seconds=60):
        """Returns when it has logged an event."""
        until = time.monotonic() + seconds
        while event not in self.events():
            assert self.alive(), f"the worker ended: {self.words()}"
            assert time.monotonic() < until, f"no {event} after {seconds} s: {self.words()}"
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.alive():
            self.process.kill()
        self.wait()
