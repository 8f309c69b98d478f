"""What the tests of this folder share."""

from pathlib import Path

import pytest

from tests.oct10.convert import convert


@pytest.fixture(scope="session")
def base_recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The event with survivors, takeovers at their marks, converted once."""
    path = tmp_path_factory.mktemp("oct10") / "base.jsonl.gz"
    convert(path)
    return path
