"""Who reads topics in the ingest bench, each in a process of its own: `python -m tests.kafka.readers NAME TASK`.

Prints one line of JSON: seconds and processor time from the first record on, and what was read. What a reader needs is
imported inside it: quixstreams lives in an environment of its own, for it asks for an older client than the worker.
"""

import gc
import json
import sys
import time


class Clock:
    """Runs from the first record on, so that connecting is in nobody's time."""

    def __init__(self):
        self.seconds = None

    def start(self):
        self.seconds, self.cpu_seconds = -time.perf_counter(), -time.process_time()

    def stop(self):
        self.seconds += time.perf_counter()
        self.cpu_seconds += time.process_time()


def bare(task, clock):
    """The client and the decoder, nothing else."""
    import msgspec
    from confluent_kafka import Consumer, KafkaError, TopicPartition

    from schemas import AccountUpdate, Instrument, MarkPrice
    from worker.edge.kafka_source import CONSUMER

    decode = msgspec.json.Decoder(AccountUpdate | MarkPrice | Instrument).decode
    consumer = Consumer({"bootstrap.servers": task["bootstrap"], **CONSUMER, "group.id": "bare"})
    consumer.assign([TopicPartition(*place, 0) for place in task["partitions"]])
    ends, records = 0, 0
    while ends < len(task["partitions"]):
        messages = consumer.consume(1000, 0.1)
        if messages and clock.seconds is None:
            clock.start()
        for message in messages:
            if message.error() is None:
                decode(message.value())
                records += 1
            else:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                ends += 1
    clock.stop()
    consumer.close()
    return {"records": records, "digest": ""}


def in_order(task, clock):
    """The worker's reading alone: every record consumed, decoded and put in the one order, with the cuts in it."""
    from worker.cut import CutPoint, Event
    from worker.reader import Reader

    settings, source = source_of(task, clock)
    reader, cuts = Reader(source, settings, batches=True), 0
    for steps in reader.steps():
        for step in steps:
            if isinstance(step, Event):
                step.read()
            elif isinstance(step, CutPoint):
                cuts += 1
    clock.stop()
    source.close()
    return {"records": reader.records, "cuts": cuts, "digest": ""}


def worker(task, clock):
    """The worker's own loop from topics to book; outputs stay in memory."""
    from worker.edge.code import code_digest
    from worker.loop import run
    from worker.memory import MemorySink
    from worker.warm import warm

    warm()
    settings, source = source_of(task, clock)
    report = run(source, MemorySink(), settings, code_digest=code_digest(settings))
    clock.stop()
    source.close()
    assert report.dead_letters == 0
    return {"records": report.records, "cuts": report.cuts, "digest": report.state_digest}


def source_of(task, clock):
    """The task's settings, and its topics as the worker reads them; the clock starts with the first records."""
    from pathlib import Path

    from worker.edge.kafka import PublishedTopics
    from worker.settings import load

    gc.set_threshold(1_000_000, 50, 100)  # as the command line does
    settings = load(Path(task["settings"]).read_text())
    source = PublishedTopics(settings, {"bootstrap.servers": settings.kafka.bootstrap}).source()
    fetch = source.fetch

    def timed(max_records):
        fetched = fetch(max_records)
        if len(fetched) and clock.seconds is None:
            clock.start()
        return fetched

    source.fetch = timed
    return settings, source


class Counting:
    """What others do with a message: a dictionary has the newest of each account and symbol."""

    def __init__(self, task, clock):
        self.wanted, self.clock, self.records, self.newest = task["records"], clock, 0, {}

    def take(self, message):
        if not self.records:
            self.clock.start()
        self.records += 1
        self.newest[message.get("account") or message["symbol"]] = message
        if self.records == self.wanted:
            self.clock.stop()

    def found(self):
        return {"records": self.records, "digest": ""}


def quixstreams(task, clock):
    """Its smallest application that decodes every message and hands it to a function, which keeps it."""
    import tempfile

    from quixstreams import Application

    counting = Counting(task, clock)
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=task["bootstrap"], consumer_group=task["group"], auto_offset_reset="earliest",
            loglevel="ERROR", state_dir=folder,
        )  # fmt: skip
        for topic in sorted({topic for topic, _ in task["partitions"]}):
            app.dataframe(app.topic(topic, value_deserializer="json")).update(counting.take)
        app.run(count=task["records"], timeout=60, collect=False)
    return counting.found()


def faust(task, clock):
    """The same with faust-streaming: one agent over all topics."""
    import os
    import tempfile

    from faust import App, Worker

    counting = Counting(task, clock)
    with tempfile.TemporaryDirectory() as folder:
        app = App(
            task["group"], broker=f"kafka://{task['bootstrap']}", store="memory://", datadir=folder, web_enabled=False,
            topic_disable_leader=True, topic_allow_declare=False, consumer_auto_offset_reset="earliest",
            key_serializer="raw", value_serializer="json", stream_wait_empty=False,
        )  # fmt: skip
        topic = app.topic(*sorted({topic for topic, _ in task["partitions"]}))

        @app.agent(topic)
        async def take(stream):
            async for message in stream:
                counting.take(message)
                if counting.records == counting.wanted:
                    print("\n" + json.dumps(result(counting.found(), clock)), flush=True)
                    os._exit(0)  # leaving the group in good order takes seconds that nobody wants to know

        Worker(app, loglevel="ERROR", redirect_stdouts=False).execute_from_commandline()
    return counting.found()


READERS = {reader.__name__: reader for reader in (bare, in_order, worker, quixstreams, faust)}


def main(name, task):
    clock = Clock()
    found = READERS[name](json.loads(task), clock)
    print(json.dumps(result(found, clock)))


def result(found, clock):
    return found | {"seconds": clock.seconds, "cpu_seconds": clock.cpu_seconds}


if __name__ == "__main__":
    main(*sys.argv[1:])
