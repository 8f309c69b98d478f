"""`make sbom`: what a worker is made of, as CycloneDX 1.6 in JSON, from what requirements.txt locks.

Rule: the same lock file gives the same bytes, so there is no time and no random number in it.
"""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.supply.pins import ROOT, Pin, pins_of


def sbom_of(pins: list[Pin], project: dict[str, Any]) -> dict[str, Any]:
    """The document; hashes of a component are those of its files, one of which is installed."""
    root = f"pkg:pypi/{project['name']}@{project['version']}"
    refs: dict[str, list[str]] = {project["name"]: [root]}  # of a package there may be a version for each Python
    for pin in pins:
        refs.setdefault(pin.name, []).append(_ref(pin))
    asks: dict[str, list[str]] = {ref: [] for of in refs.values() for ref in of}
    for pin in pins:
        for asker in (ref for name in pin.wanted_by for ref in refs[name]):
            asks[asker].append(_ref(pin))
    about = {"type": "application", "bom-ref": root, "name": project["name"], "version": project["version"]}
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": about | {"licenses": [{"license": {"id": project["license"]}}]}},
        "components": [_component(pin) for pin in pins],
        "dependencies": [{"ref": ref, "dependsOn": sorted(set(parts))} for ref, parts in asks.items()],
    }


def _ref(pin: Pin) -> str:
    return f"pkg:pypi/{pin.name}@{pin.version}"


def _component(pin: Pin) -> dict[str, Any]:
    ref = _ref(pin)
    found: dict[str, Any] = {
        "type": "library", "bom-ref": ref, "name": pin.name, "version": pin.version, "purl": ref,
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in pin.hashes],
    }  # fmt: skip
    return found | ({"properties": [{"name": "marker", "value": pin.marker}]} if pin.marker else {})


def main() -> None:
    """Writes it to the path that is given."""
    path = Path(sys.argv[1])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    made = sbom_of(pins_of((ROOT / "requirements.txt").read_text()), project)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=2) + "\n")
    print(f"{path}: {len(made['components'])} components")


if __name__ == "__main__":
    main()
