"""Which code decides: a digest of the sources that can change an output, and of the libraries that do the sums."""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from worker.settings import Settings

ROOT: Final = Path(__file__).resolve().parents[2]
OUTSIDE: Final = (
    "solver/metrics.py",
    "worker/edge/",
    "worker/demo/",
    "worker/adapters/",  # those that are set are counted by name
    "worker/cli/",
    "worker/burden.py",
    "worker/candidate.py",
    "worker/chains.py",
    "worker/check.py",
    "worker/client_settings.py",
    "worker/compare.py",
    "worker/curves.py",
    "worker/explain.py",
    "worker/explain_risk.py",
    "worker/explain_words.py",
    "worker/findings.py",
    "worker/fit.py",
    "worker/risk_words.py",
    "worker/student.py",
    "worker/summary.py",
)
# What the cells of a state mean, and what is kept of it: where these change, a snapshot means something else.
LAYOUT: Final = (
    "schemas/limits.py",
    "schemas/messages.py",
    "schemas/units.py",
    "worker/batch.py",
    "worker/book/",
    "worker/claims.py",
    "worker/cut.py",
    "worker/decide.py",
    "worker/engine.py",
    "worker/forecast.py",
    "worker/funds.py",
    "worker/held.py",
    "worker/ids.py",
    "worker/inputs.py",
    "worker/merge.py",
    "worker/output.py",
    "worker/poison.py",
    "worker/rebuild.py",
    "worker/reductions.py",
    "worker/refusals.py",
    "worker/risk.py",
    "worker/saved.py",
    "worker/solvent.py",
    "worker/states.py",
)
LIBRARIES: Final = ("msgspec", "numba", "numpy")


def code_digest(settings: Settings | None = None) -> str:
    """Changes with every line that can change an output, and only with those; adapters that are set are such lines."""
    digest = _digest_of(lambda name: not name.startswith(OUTSIDE))
    for module in sorted({form.partition(":")[0] for form in _formats(settings) if ":" in form}):
        content = _source(module)
        digest.update(f"{module} {len(content)}\n".encode() + content)
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}\n".encode())
    return digest.hexdigest()


def layout_digest() -> str:
    """Changes with every line that can change what a kept state means."""
    return _digest_of(lambda name: name.startswith(LAYOUT)).hexdigest()


def _digest_of(is_part: Callable[[str], bool]) -> blake2b:
    digest = blake2b(digest_size=16)
    for room in ("schemas", "solver", "worker"):
        for path in sorted((ROOT / room).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if is_part(name):
                content = path.read_bytes()
                digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest


def _formats(settings: Settings | None) -> Iterable[str]:
    return () if settings is None else settings.format.topics.values()


def _source(module: str) -> bytes:
    """What an adapter's module is made of; nothing where there is none, which its use then refuses."""
    try:
        spec = find_spec(module)
    except ImportError:
        return b""
    return Path(spec.origin).read_bytes() if spec and spec.origin and Path(spec.origin).is_file() else b""


def worker_version() -> str:
    """The installed version; "unknown" in a checkout that is not installed."""
    try:
        return version("adl-worker")
    except PackageNotFoundError:
        return "unknown"
