"""The bench of the book repeats itself: what is timed is the same state each time."""

from types import ModuleType

import pytest

from tests import bench_book, bench_ladder, bench_size


@pytest.mark.bench
@pytest.mark.parametrize("bench", [bench_book, bench_ladder])
def test_the_bench_runs_small_and_repeats_itself(bench: ModuleType) -> None:
    """Two runs give the same digests."""
    first, second = bench.bench_all(300), bench.bench_all(300)
    assert [line["digest"] for line in first] == [line["digest"] for line in second]


@pytest.mark.bench
def test_the_bench_of_size_leaves_as_many_accounts_as_came() -> None:
    """Two runs give the same digests, and accounts that went are gone."""
    first, second = bench_size.bench_all(200, 50), bench_size.bench_all(200, 50)
    assert [line["digest"] for line in first] == [line["digest"] for line in second]
    assert {line["accounts"] for line in first[-5:]} == {200 + 10 + 20}
