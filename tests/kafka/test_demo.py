"""`adl demo --kafka`: exchange and worker as two processes that share nothing but topics."""

import json
import os
import signal
import subprocess
import sys

from tests.kafka.topics import ROOT, adl
from worker.edge.exits import Exit


def demo(broker, folder, *more):
    """The command of a small exchange, quick."""
    return [
        "demo", "--kafka", broker.bootstrap, "--accounts", "600", "--symbols", "4", "--speed", "40",
        "--out", str(folder), "--json", *more,
    ]  # fmt: skip


def started(broker, folder):
    """The demo as a process."""
    return subprocess.Popen(
        [sys.executable, "-m", "worker.cli", *demo(broker, folder)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def worker_of(process):
    """The process id of a demo's worker, once that has opened its pool."""
    for line in process.stderr:
        if '"adl.opened"' in line:
            break
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    (worker,) = (int(line.split()[0]) for line in listed.splitlines() if line.split()[1] == str(process.pid))
    return worker


def test_every_trade_of_a_live_demo_is_answered_and_the_books_agree(broker, tmp_path):
    """Longs equal shorts and cash sums to zero at the exchange; what was decided is derived again from the topics."""
    code, words = adl(*demo(broker, tmp_path))
    assert code == 0, words
    said = json.loads(words)
    checks, books = said["summary"]["checks"], said["facts"]["Exchange's own books"]
    assert [check["promise"] for check in checks if check["failures"]] == []
    assert said["summary"]["trades"] > 50
    assert sum(books[f"forced_{end}"] for end in ("filled", "partial", "refused")) == said["summary"]["trades"]
    assert (len(said["summary"]["liquidated"]), said["summary"]["dead_letters"]) == (books["bankruptcies"], {})
    settings = tmp_path / "settings.toml"
    code, words = adl("replay", "--from-offsets", "beginning", "--verify", "--settings", settings)
    assert (code, "the same bytes" in words) == (0, True), words


def test_a_worker_that_is_killed_ends_the_demo_with_a_sentence(broker, tmp_path):
    """Exit code 1, and not a wait for what will not come."""
    with started(broker, tmp_path) as process:
        os.kill(worker_of(process), signal.SIGKILL)
        words = process.stderr.read()
        assert process.wait(30) == Exit.DIFFERENCE
    assert "adl: the worker was killed by SIGKILL before the exchange had closed" in words


def test_a_demo_that_is_stopped_leaves_no_worker_behind(broker, tmp_path):
    """SIGTERM to the demo alone."""
    with started(broker, tmp_path) as process:
        worker = worker_of(process)
        process.terminate()
        process.stderr.read()
        assert process.wait(30) != 0
    assert not alive(worker)


def alive(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
