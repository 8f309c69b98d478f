"""The bench of the book repeats itself: what is timed is the same state each time."""

import pytest

from tests.bench_book import bench_all


@pytest.mark.bench
def test_the_bench_runs_small_and_repeats_itself() -> None:
    """Two runs give the same digests."""
    first, second = bench_all(300), bench_all(300)
    assert [line["digest"] for line in first] == [line["digest"] for line in second]
