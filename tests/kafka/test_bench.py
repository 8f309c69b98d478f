"""The benchmarks on Kafka run, small, and what they measure is what happened."""

import pytest

from tests import bench_rebuild
from tests.kafka import ingest, latency, soak


@pytest.mark.bench
def test_the_ingest_bench_runs_small_and_says_who_is_not_installed(broker):
    """Every reader has read every record; the digest is compared with that of a run in memory inside."""
    found, count = ingest.measured(broker, "no-such-python", accounts=200, mark_count=300, rounds=1)
    assert [len(rows) for rows in found.values()] == [1, 1, 1]
    assert {row["records"] for rows in found.values() for row in rows} == {count}
    assert found["in_order"][0]["cuts"] == found["worker"][0]["cuts"] > 0
    assert not ingest.has("no-such-python", "quixstreams")


@pytest.mark.bench
def test_the_latency_bench_runs_small(broker):
    """As many decisions as asked for, and the large ones with their legs."""
    small, large = latency.measured(broker, count=5, legs_max=3, large=(40,), warm=2)
    assert len(small) == 5
    assert min(small) > 0
    assert [legs for legs, _ in large] == [40]


@pytest.mark.bench
def test_the_rebuild_bench_runs_small(broker):
    """Half as batches, half as JSON: both lives end with the digest of a book that was told the same in memory."""
    (_, *found) = bench_rebuild.lines(broker, ["mixed"], 2000, 60, 0.002)
    assert len(found) == 2


@pytest.mark.bench
def test_the_soak_runs_small(broker, tmp_path):
    """Each bankruptcy is decided, outputs follow one another; in so short a time memory may still be taken."""
    assert soak.soak(broker, tmp_path, minutes=0.15, accounts=500, rate=5_000, growth_max=2) > 1_000
