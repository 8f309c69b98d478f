"""What requirements*.txt lock; as a program: that nothing else is installed where it runs.

Rule: a line that names no exact version, or no hash of it, is an error and never skipped.
"""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
OURS = ("adl-worker", "pip")  # the project itself; what Python puts into every environment that it makes
_PIN = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[a-z0-9,_-]+\])?==(?P<version>[A-Za-z0-9.!+_-]+)"
    r"( ; (?P<marker>[^\\]+?))?(?P<hashes>( --hash=sha256:[0-9a-f]{64})+)"
)


class PinError(Exception):
    """A line that locks nothing."""


class Pin(NamedTuple):
    """One version of one package; `marker` says where it is installed, `wanted_by` who asks for it."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]
    wanted_by: tuple[str, ...]


def pins_of(text: str) -> list[Pin]:
    """What a lock file locks, in its order; raises PinError."""
    found: list[tuple[re.Match[str], list[str]]] = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.startswith((" ", "#")) and (words := " ".join(line.split())):
            if (match := _PIN.fullmatch(words)) is None:
                raise PinError(f"must be name==version with sha256 hashes, was {words[:100]!r}")
            found.append((match, []))
        elif found and (asker := line.strip(" #").removeprefix("via").strip()):
            found[-1][1].append(asker)
    return [
        Pin(
            canonical(match["name"]), match["version"], match["marker"] or "",
            tuple(match["hashes"].replace("--hash=sha256:", "").split()),
            tuple(canonical(name.partition(" ")[0]) for name in askers if not name.startswith("-c ")),
        )
        for match, askers in found
    ]  # fmt: skip


def canonical(name: str) -> str:
    """A package's name as an index writes it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_files() -> list[Path]:
    """Every lock file of the project."""
    return sorted(ROOT.glob("requirements*.txt"))


def strangers(pins: Iterable[Pin], installed: Iterable[tuple[str, str]]) -> list[str]:
    """What is installed and not locked, or in another version, as `name==version`."""
    locked = {(pin.name, pin.version) for pin in pins}
    found = {(canonical(name), version) for name, version in installed}
    return sorted(f"{name}=={version}" for name, version in found - locked if name not in OURS)


def main() -> None:
    """Ends with 1 where something is installed that requirements-dev.txt does not lock."""
    pins = pins_of((ROOT / "requirements-dev.txt").read_text())
    here = [(found.metadata["Name"], found.version) for found in distributions()]
    if others := strangers(pins, here):
        sys.exit(f"installed, but not locked: {', '.join(others)}")
    print(f"installed: {len(here)} packages, each of them locked")


if __name__ == "__main__":
    main()
