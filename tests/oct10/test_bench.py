"""The bench of the event runs, small, and what it measures is what happened."""

from pathlib import Path

import pytest

from tests.oct10 import bench
from tests.oct10.convert import convert
from worker.edge.jsonlines import read_records

pytestmark = [pytest.mark.oct10, pytest.mark.bench]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The event without survivors."""
    path = tmp_path_factory.mktemp("small") / "small.jsonl"
    convert(path, with_survivors=False)
    return path


def test_a_recording_is_timed_from_behind_its_opening_book(small: Path):
    """All 100 bursts are counted, and two runs say the same bytes."""
    first, again = (list(bench.from_recording(small, "waterfill")) for _ in range(2))
    assert first[0].startswith("waterfill: 22,")
    assert "100 cuts with decisions" in first[3]
    assert first[-1] == again[-1]
    assert first[-1].startswith("  digest ")


def test_bursts_are_timed_through_kafka(small: Path, broker, tmp_path: Path):
    """Each with its trades; a decision can be read before the last of them."""
    records = [record for block in read_records(small) for record in block if record.log_time_ms < bench.SMALL_END_MS]
    bursts = bench.through_kafka(broker, records, "waterfill", tmp_path)
    assert len(bursts) == len({record.log_time_ms for record in records} - {bench.T0_MS}) > 0
    assert all(burst.trades > 0 and 0 < burst.committed_ms <= burst.read_ms for burst in bursts)
