"""Where what was resolved or built once is kept, so that a second run starts at once."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from tests.broker import VERSION


def folder() -> Path:
    """The folder for this version of Kafka, below the user's cache; made where it is missing."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    path = home / "adl-worker" / f"kafka-{VERSION}"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def arriving(name: str):
    """A path to write to; what was written there gets its name only when it is complete.

    A run that is interrupted must not leave half of something that the next one takes for whole.
    """
    with tempfile.TemporaryDirectory(prefix=f"{name}.", dir=folder()) as work:
        yield Path(work) / name
        target = folder() / name
        if target.is_dir():  # a second run was faster
            shutil.rmtree(target)
        (Path(work) / name).replace(target)
