"""Which code decides: a digest of the sources that can change an output, and of the libraries that do the sums."""

from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
OUTSIDE: Final = (
    "worker/edge/",
    "worker/demo/",
    "worker/cli/",
    "worker/client_settings.py",
    "worker/explain.py",
    "worker/summary.py",
)
LIBRARIES: Final = ("msgspec", "numba", "numpy")


def code_digest() -> str:
    """Changes with every line that can change an output, and only with those."""
    digest = blake2b(digest_size=16)
    for room in ("schemas", "solver", "worker"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(OUTSIDE):
                content = path.read_bytes()
                digest.update(f"{name} {len(content)}\n".encode() + content)
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()


def worker_version() -> str:
    """The installed version; "unknown" in a checkout that is not installed."""
    try:
        return version("adl-worker")
    except PackageNotFoundError:
        return "unknown"
