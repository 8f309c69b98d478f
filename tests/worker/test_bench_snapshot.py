"""The bench of snapshots repeats itself, and what it loads is what it saved."""

import pytest

from tests.bench_snapshot import bench_all


@pytest.mark.bench
def test_the_bench_runs_small():
    """Every line has been measured; loading asserts the digest."""
    lines = bench_all(300, 50)
    assert len(lines) == 8
    assert all(line["size"] > 0 and line["ms"] > 0 for line in lines)
    assert any("digest" in line for line in lines)
