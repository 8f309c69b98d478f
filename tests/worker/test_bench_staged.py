"""The bench of staged reductions repeats itself."""

import pytest

from tests.bench_staged import bench_all


@pytest.mark.bench
def test_the_bench_runs_small_and_repeats_itself():
    """Two runs say the same, and something."""
    first, second = bench_all(300), bench_all(300)
    assert [line["digest"] for line in first] == [line["digest"] for line in second]
    assert [line["said"] > 0 for line in first] == [False, True, False]
