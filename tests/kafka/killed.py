"""Workers that kill themselves, or are disturbed: `python -m tests.kafka.killed --settings FILE POINT=COUNT ...`.

One life after the other, each in a process of its own (forked before any client exists), each to its point.
The points are places in the real code that a subclass or a wrapper can reach; nothing in the worker knows of them.
"""

import argparse
import math
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from worker import reader
from worker.cli.common import read_settings
from worker.cli.run import _stop_by_signals, run_pool
from worker.cut import CutPoint
from worker.edge import kafka_producer, kafka_sink, kafka_words
from worker.edge.kafka_producer import Again
from worker.edge.kafka_sink import KafkaSink
from worker.edge.kafka_source import KafkaSource
from worker.rebuild import Rebuild
from worker.warm import warm

POINTS = (
    "transaction is open",
    "between two outputs",
    "offsets are sent",
    "commit is due",
    "commit is sent",
    "commit is answered",
    "ends are asked",
    "before the decision",
    "while rebuilding",
)

UNCERTAIN = ("request is lost", "answer is lost", "answer is late", "call hangs")  # these it survives

STOP = "asked to stop after seconds"  # and dies when it has not ended in time
STOP_SECONDS = 10

# These are not what the worker does, so that a test finds what would come of it, or has not long to wait.
LATE_COMMITS_TRUSTED = "late commits are trusted"
TRANSACTIONS_LAST = "transactions last"  # seconds
DECISION_TAKES = "a decision takes"  # seconds, once; longer than the transaction may, which is two
CUTS_TAKE = "cuts take"  # seconds, each
TRANSACTION_SECONDS = 2


class Fuse:
    """Dies the `count`-th time its point is passed."""

    def __init__(self, point, count):
        self.point, self.left = point, count

    def passed(self, point):
        if point == self.point:
            self.left -= 1
            if self.left <= 0:
                die()


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def sink_of(fuse):
    class Mortal(KafkaSink):
        def _write(self, output, log_time_ms):
            fuse.passed("transaction is open")
            failed = super()._write(output, log_time_ms)
            fuse.passed("between two outputs")
            return failed

        def _send_offsets(self, places):
            super()._send_offsets(places)
            fuse.passed("offsets are sent")

        def _end(self):
            fuse.passed("commit is due")
            if fuse.point == "commit is sent" and fuse.left == 1:
                threading.Timer(random.uniform(0, 0.004), die).start()
            mine = fuse.point in UNCERTAIN
            fuse.left -= mine
            if mine and fuse.left == 0 and fuse.point == "call hangs":
                self._producer.call("commit_transaction", time.sleep, 60)
            if mine and fuse.left == 0 and fuse.point == "request is lost":
                raise Again("the request was lost")
            super()._end()
            if mine and fuse.left == 0 and fuse.point == "answer is lost":
                raise Again("the answer was lost")
            if mine and fuse.left == 0:
                time.sleep(1.1)
            fuse.passed("commit is sent")
            fuse.passed("commit is answered")

    return Mortal


def cut_by_cut(steps):
    """One commit for each cut, so that a short log has many, whatever was fetched first."""

    def one_by_one(self, stop):
        for some in steps(self, stop):
            part = []
            for step in some:
                part.append(step)
                if isinstance(step, CutPoint):
                    yield part
                    part = []
            yield part

    return one_by_one


def change(point, count):
    """Has the worker do what it does not."""
    if point == LATE_COMMITS_TRUSTED:
        kafka_sink.CERTAIN_SECONDS, kafka_words.UNCERTAIN = math.inf, ()
    if point in (TRANSACTIONS_LAST, DECISION_TAKES):
        ms = 1000 * (TRANSACTION_SECONDS if point == DECISION_TAKES else int(count))
        kafka_producer.PRODUCER |= {"transaction.timeout.ms": ms, "socket.timeout.ms": min(ms, 5000)}


def asked_to_stop(seconds):
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    die()


def life(point, count, settings):
    """Runs the pool until it dies, or is asked to stop; the exit code."""
    fuse = Fuse(point, int(count))
    change(point, count)
    reader.Reader.steps = cut_by_cut(reader.Reader.steps)
    ends, published = KafkaSource.ends, Rebuild.published

    def asked(source):
        found = ends(source)
        fuse.passed("ends are asked")
        return found

    def read_back(rebuild, cut_number):
        fuse.passed("while rebuilding")
        return published(rebuild, cut_number)

    KafkaSource.ends, Rebuild.published = asked, read_back

    def on_engine(engine):
        cut, waits = engine.cut, [count] if point in (DECISION_TAKES, CUTS_TAKE) else []

        def counted(place, published=None, reduced=()):
            if published is None:
                fuse.passed("before the decision")
                if waits:
                    time.sleep(waits[0] if point == CUTS_TAKE else waits.pop())
            return cut(place, published, reduced)

        engine.cut = counted
        if point == "after seconds":
            threading.Thread(target=lambda: (time.sleep(count), die()), daemon=True).start()

    stop = _stop_by_signals()
    if point == STOP:
        threading.Thread(target=asked_to_stop, args=(count,), daemon=True).start()
    return run_pool(settings, stop, sink_class=sink_of(fuse), on_engine=on_engine)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("lives", nargs="+")
    parser.add_argument("--settings", type=Path)
    given = parser.parse_args()
    settings = read_settings(given.settings, [])
    warm()  # what each life needs is loaded once
    for pair in given.lives:
        point, _, count = pair.partition("=")
        if len(given.lives) == 1:
            return life(point, float(count), settings)
        child = os.fork()
        if child == 0:
            os._exit(life(point, float(count), settings))
        print(f"life: {point}: {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
