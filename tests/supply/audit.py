"""`make audit`: what is known against the locked versions, asked of a vulnerability service by pip-audit; and that the
list a release carries is what its format says.

Rule: what was not looked up counts as not audited, is said so, and fails unless `--unreached-passes` is given.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.supply.pins import Pin, canonical, lock_files, pins_of

TIMEOUT_S = 10
FOUND, NOT_AUDITED = 1, 3  # exit codes


def rounds(pins: Iterable[Pin]) -> list[list[Pin]]:
    """Every version once, in lists that name no package twice: where one has a version for each Python, both are asked
    for, whichever runs here.
    """
    found: list[dict[str, Pin]] = []
    for pin in sorted({(pin.name, pin.version): pin for pin in pins}.values()):
        free = next((one for one in found if pin.name not in one), None)
        if free is None:
            found.append(free := {})
        free[pin.name] = pin
    return [list(one.values()) for one in found]


def verdict(pins: Iterable[Pin], answer: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """What is known against locked versions, one sentence each, and those that were not looked up."""
    known, left = [], {f"{pin.name}=={pin.version}" for pin in pins}
    for one in answer:
        if "skip_reason" in one:
            continue
        name = f"{canonical(one['name'])}=={one['version']}"
        left.discard(name)
        known += [f"{name}: {found['id']}, mended in {_mended(found)}" for found in one["vulns"]]
    return known, sorted(left)


def _mended(found: dict[str, Any]) -> str:
    return " or ".join(found["fix_versions"]) or "no version"


def ask(pins: Iterable[Pin]) -> tuple[list[dict[str, Any]], str]:
    """What pip-audit answers of each, nothing where it cannot, and why something was not looked up."""
    lines = [" ".join([f"{pin.name}=={pin.version}", *(f"--hash=sha256:{one}" for one in pin.hashes)]) for pin in pins]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join([*lines, ""]))
        file.flush()
        said = subprocess.run(
            [
                sys.executable, "-m", "pip_audit", "--requirement", file.name, "--require-hashes", "--disable-pip",
                "--format", "json", "--progress-spinner", "off", "--timeout", str(TIMEOUT_S),
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    try:
        found = json.loads(said.stdout)["dependencies"]
    except json.JSONDecodeError:
        return [], (said.stderr.strip().splitlines() or [f"exit code {said.returncode}"])[-1]
    return found, next((one["skip_reason"] for one in found if "skip_reason" in one), "")


def check_sbom(path: Path) -> str | None:
    """Why a list is not CycloneDX 1.6, None where it is."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(path.read_text())
    return None if error is None else str(error)


def main() -> None:
    """Tells what came out, and ends with the worst of it."""
    sbom, *options = sys.argv[1:]
    if error := check_sbom(Path(sbom)):
        sys.exit(f"{sbom} is not CycloneDX 1.6: {error}")
    asked = rounds(pin for file in lock_files() for pin in pins_of(file.read_text()))
    pins = [pin for one in asked for pin in one]
    # One first: of a service that is not there the same would be heard of each. pip-audit itself then finds nothing
    # and ends with 0.
    answer, why = ask(pins[:1])
    if not verdict(pins[:1], answer)[1]:
        answer = []
        for one in asked:
            said, words = ask(one)
            answer, why = answer + said, words or why
    known, left = verdict(pins, answer)
    print(f"{len(pins)} locked versions, {len(pins) - len(left)} looked up, {len(known)} known vulnerabilities")
    for sentence in known:
        print(f"  {sentence}")
    if left:
        print(f"NOT AUDITED: {len(left)} versions, the first {', '.join(left[:3])}; pip-audit says: {why}")
    sys.exit(FOUND if known else NOT_AUDITED if left and "--unreached-passes" not in options else 0)


if __name__ == "__main__":
    main()
