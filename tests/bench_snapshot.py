"""What a snapshot costs the loop, and how soon a worker goes on from one: python -m tests.bench_snapshot [--small].

1.5 M accounts with 5 M positions in 1,000 symbols. The loop stands still while the process is copied (fork), and pays
once for each page that it writes while the copy lives; copying all columns into memory that is there would stop it for
as long as that takes. A restart is a process of its own: imports, kernels from their cache, file, digest from every
cell. Times are by the clock on the wall and by the processor's, system included; the digest says that what was loaded
is what was saved.
"""

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

REPEATS = 5
FACTS = {"pool": "bench", "code_digest": "c", "layout_digest": "l", "settings_digest": "s"}


def clocks():
    """Milliseconds of the wall's clock and of this process."""
    return 1e3 * np.array([time.perf_counter(), time.process_time()])


def taken(work):
    """Milliseconds by both clocks."""
    begun = clocks()
    work()
    return clocks() - begun


class Bench:
    """An engine of a size, and a folder of snapshots."""

    def __init__(self, accounts, symbols, folder):
        from tests.bench_size import Bench as Filled
        from tests.bench_size import Pauses
        from worker.edge.snapshots import Snapshots
        from worker.engine import Engine

        self.lines, self.filled = [], Filled(0, symbols)
        self.filled.open(accounts, Pauses())
        self.engine = Engine(settings())
        self.engine._book = self.filled.book
        self.engine._book.prepare()
        self.positions = self.filled.book._slots.positions
        self.keeper, self.cut, self.price = Snapshots(folder, **FACTS, interval_ms=0, keep=3), 0, 100

    def line(self, name, values, **more):
        (ms, cpu_ms), most_ms = np.median(values, axis=0).tolist(), float(np.max(values, axis=0)[0])
        self.lines.append({"name": name, "size": self.positions, "ms": ms, "cpu_ms": cpu_ms, "most_ms": most_ms} | more)
        facts = "".join(f"  {key} {value}" for key, value in more.items())
        print(
            f"{name:50} {self.positions:10,} {ms:9.1f} ms, most {most_ms:8.1f}, processor {cpu_ms:8.1f}{facts}",
            flush=True,
        )

    def marks(self):
        """A mark of every symbol: writes to every position and every account."""
        from schemas import MarkPrice

        self.price += 1
        for name in self.filled.names:
            message = MarkPrice(symbol=name, mark_price=str(self.price), event_time_ms=self.price)
            self.engine._book.set_mark(message, self.price)
        self.engine._book.prepare()

    def keep(self):
        from worker.cut import Standing
        from worker.rebuild import Mark
        from worker.record import Place
        from worker.saved import columns, words

        self.cut += 1
        engine = self.engine
        engine.cut_number = self.cut
        self.digest = engine.digest()
        mark = Mark(self.cut, self.price, self.digest, dict(engine.outputs.heads))
        standing = Standing({("positions", 0): self.cut}, {}, None, self.price, self.price)
        place = Place(mark.cut, mark.log_time_ms, mark.digest, standing.offsets, mark.heads)
        self.keeper.keep(place, lambda: (words(engine, standing, mark), list(columns(engine))))

    def pauses(self):
        """The loop's two costs, and how long the copy writes."""
        self.marks()
        quiet = [taken(self.marks) for _ in range(REPEATS)]
        pauses, marks, writing = [], [], []
        for _ in range(REPEATS):
            begun = clocks()
            pauses.append(taken(self.keep))
            marks.append(taken(self.marks))
            self.keeper.wait()
            writing.append(clocks() - begun)
        self.line("the loop stands still (fork)", pauses)
        self.line("a mark of every symbol, no copy there", quiet)
        self.line("the same right behind a copy, pages are copied", marks)
        self.line("the file is there after", writing)

    def copies(self):
        """The other way: all columns into a buffer, that is new or there."""
        from worker.saved import columns

        arrays = [column for _, column in columns(self.engine)]
        rooms = []
        first = taken(lambda: rooms.extend(np.ascontiguousarray(array).copy() for array in arrays))

        def copy():
            for room, array in zip(rooms, arrays, strict=True):
                np.copyto(room, array)

        self.line("instead: columns copied into new memory", [first])
        size = f"{sum(room.nbytes for room in rooms) / 1e6:,.0f} MB"
        self.line(
            "instead: columns copied into memory that is there", [taken(copy) for _ in range(REPEATS)], columns=size
        )

    def restarts(self):
        """In a process of its own."""
        from worker.edge.snapshots import snapshots_in

        path = snapshots_in(self.keeper._folder)[-1]
        loads, whole = [], []
        for _ in range(REPEATS):
            begun = clocks()
            answer = subprocess.run(
                [sys.executable, "-m", "tests.bench_snapshot", "--load", str(path)], check=True, capture_output=True
            )
            loaded = json.loads(answer.stdout.splitlines()[-1])
            assert loaded["digest"] == self.digest
            loads.append(loaded["ms"])
            whole.append([(clocks() - begun)[0], loaded["process_ms"]])
        size = f"{path.stat().st_size / 1e6:,.0f} MB"
        self.line("loaded and digested", loads, file=size, digest=self.digest[:12])
        self.line("a process: imports, kernels warmed, load, end", whole)


def settings():
    from worker.settings import load

    return load(flags=["worker.mode=live", "pool.currency=USDT", "pool.currency_decimals=6"])


def load_file(path):
    """Milliseconds from the file to a state that is known to be right, and its digest."""
    from worker.edge.snapshot_file import SnapshotFile
    from worker.engine import Engine
    from worker.saved import load
    from worker.warm import warm

    warm(lambda: None)
    begun = clocks()
    found, engine = SnapshotFile(path), Engine(settings())
    load(engine, found.words(), found.fill)
    ms = (clocks() - begun).tolist()
    print(json.dumps({"ms": ms, "process_ms": clocks()[1], "digest": engine.digest()}))


def bench_all(accounts, symbols):
    """Prints and returns the lines."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(accounts, symbols, Path(folder))
        bench.pauses()
        bench.copies()
        bench.restarts()
    return bench.lines


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--small", action="store_true")
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--load", type=Path)
    options = arguments.parse_args()
    gc.set_threshold(1_000_000, 50, 100)  # as the command line does
    if options.load:
        load_file(options.load)
        return
    lines = bench_all(*((3000, 50) if options.small else (1_490_000, 1000)))
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
