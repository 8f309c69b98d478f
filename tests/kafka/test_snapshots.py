"""Snapshots of a pool on Kafka: what is said after a restart from one is what an undisturbed run says."""

import os
import random

import pytest

from tests.kafka.killed import POINTS
from tests.kafka.test_run import FLAGS, killed
from tests.kafka.topics import Topics, Worker, expected
from tests.worker.random_tape import PARTITIONS, random_log
from worker.edge.snapshot_file import SnapshotFile
from worker.edge.snapshots import snapshots_in
from worker.output import CUTS


@pytest.fixture(scope="module")
def records():
    return random_log(5, accounts=60, end_ms=60_000)


def kept_settings(topics, folder):
    return topics.settings(*FLAGS, f"snapshot.folder={folder}", "snapshot.interval_ms=100")


def lines_of(worker, event):
    return [line for line in worker.words().splitlines() if event in line]


def test_a_restart_goes_on_from_the_newest_snapshot(broker, records, tmp_path):
    """Where outputs are spread over partitions, too; with all files torn the whole log is read, in one line each."""
    topics, folder = Topics(broker, PARTITIONS, output_partitions=3), tmp_path / "snapshots"
    settings = kept_settings(topics, folder)
    topics.publish(records)
    wanted = expected(topics, records, settings)
    assert killed(settings, tmp_path, ["commit is answered=60", "commit is answered=40"]) == []
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        assert len(lines_of(worker, "adl.snapshot_read")) == 1, worker.words()
    assert topics.outputs_of(settings.pool.name) == wanted
    kept = snapshots_in(folder)
    for path in kept:
        os.truncate(path, path.stat().st_size // 2)
    with Worker(settings, tmp_path) as worker:
        worker.wait_until("adl.ready")
        assert worker.stop() == 0, worker.words()
        assert len(lines_of(worker, "adl.snapshot_refused")) == len(kept) > 0
        assert len(lines_of(worker, "adl.whole_log")) == 1
    assert topics.outputs_of(settings.pool.name) == wanted


def test_killed_at_every_point_with_snapshots_the_outputs_are_the_same(broker, records, tmp_path):
    """One life after the other goes on from what the one before has kept; the last file is whole."""
    topics, folder, chance = Topics(broker, PARTITIONS), tmp_path / "snapshots", random.Random(3)
    topics.publish(records)
    settings = kept_settings(topics, folder)
    wanted = expected(topics, records, settings)
    points = [point for point in POINTS if point not in ("while rebuilding", "ends are asked")]
    lives = [f"{point}={chance.randint(30, 60)}" for point in points] + ["ends are asked=1"]
    assert killed(settings, tmp_path, lives) == []
    with Worker(settings, tmp_path) as worker:
        topics.wait_for(len(wanted[CUTS]), alive=worker.alive)
        assert worker.stop() == 0, worker.words()
        assert lines_of(worker, "adl.snapshot_read"), worker.words()
        assert not lines_of(worker, "adl.snapshot_refused"), worker.words()
    assert topics.outputs() == wanted
    for path in snapshots_in(folder):
        SnapshotFile(path).verify()
