"""The bench of the book repeats itself: what is timed is the same state each time."""

from types import ModuleType

import pytest

from tests import bench_book, bench_ladder


@pytest.mark.bench
@pytest.mark.parametrize("bench", [bench_book, bench_ladder])
def test_the_bench_runs_small_and_repeats_itself(bench: ModuleType) -> None:
    """Two runs give the same digests."""
    first, second = bench.bench_all(300), bench.bench_all(300)
    assert [line["digest"] for line in first] == [line["digest"] for line in second]
