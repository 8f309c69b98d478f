"""A worker that kills itself, or is disturbed: `python -m tests.kafka.killed POINT COUNT --settings FILE`.

The points are places in the real code that a subclass or a wrapper can reach; nothing in the worker knows of them.
"""

import argparse
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from worker import reader
from worker.cli.common import read_settings
from worker.cli.run import run_pool
from worker.edge.kafka_sink import Again, KafkaSink
from worker.edge.kafka_source import KafkaSource
from worker.rebuild import Rebuild

POINTS = (
    "transaction is open",
    "between two outputs",
    "offsets are sent",
    "commit is sent",
    "commit is answered",
    "ends are asked",
    "before the decision",
    "while rebuilding",
)

UNCERTAIN = ("request is lost", "answer is lost", "answer is late")  # these it survives


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
            super()._write(output, log_time_ms)
            fuse.passed("between two outputs")

        def _send_offsets(self, places):
            super()._send_offsets(places)
            fuse.passed("offsets are sent")

        def _end(self):
            if fuse.point == "commit is sent" and fuse.left == 1:
                threading.Timer(random.uniform(0, 0.004), die).start()
            mine = fuse.point in UNCERTAIN
            fuse.left -= mine
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("point")
    parser.add_argument("count", type=float)
    parser.add_argument("--settings", type=Path)
    given = parser.parse_args()
    fuse = Fuse(given.point, int(given.count))
    reader.POLL_RECORDS = 5  # small steps, so that a short log has many commits
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
        cut = engine.cut

        def counted(point, published=None):
            if published is None:
                fuse.passed("before the decision")
            return cut(point, published)

        engine.cut = counted
        if given.point == "after seconds":
            threading.Thread(target=lambda: (time.sleep(given.count), die()), daemon=True).start()

    stop = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    return run_pool(
        read_settings(given.settings, []), lambda: bool(stop), sink_class=sink_of(fuse), on_engine=on_engine
    )


if __name__ == "__main__":
    sys.exit(main())
