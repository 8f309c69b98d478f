"""Lock files and what is made of them: every package in one exact version with its hashes, and nothing left unsaid."""

import re
import tomllib

import pytest

from tests.supply.audit import rounds, verdict
from tests.supply.pins import ROOT, Pin, PinError, lock_files, pins_of, strangers
from tests.supply.sbom import sbom_of

HASH = "a" * 64
GOOD = f"a-b==1.0 ; sys_platform == 'win32' \\\n    --hash=sha256:{HASH} \\\n    --hash=sha256:{HASH}\n    # via c\n"


@pytest.mark.parametrize("file", lock_files(), ids=lambda file: file.name)
def test_every_package_is_locked_by_version_and_hash(file):
    """Counted another way, too: no line is passed over."""
    text = file.read_text()
    pins = pins_of(text)
    assert [f"{pin.name}=={pin.version}" for pin in pins] == [
        re.sub(r"\[.*\]", "", line.split()[0]) for line in text.splitlines() if line and line[0] not in " #"
    ]
    assert sum(len(pin.hashes) for pin in pins) == text.count("--hash=")
    assert "://" not in text


def test_a_pin_is_read_whole():
    """Name, version, where, hashes, and who asks."""
    assert pins_of("# c\n" + GOOD) == [Pin("a-b", "1.0", "sys_platform == 'win32'", (HASH, HASH), ("c",))]
    askers = "    # via\n    #   -c requirements.txt\n    #   one\n    #   two (p.toml)\n"
    several = f"x.Y==2 \\\n    --hash=sha256:{HASH}\n{askers}"
    assert pins_of(several) == [Pin("x-y", "2", "", (HASH,), ("one", "two"))]


@pytest.mark.parametrize(
    "line",
    [
        "a==1.0",
        f"a>=1.0 --hash=sha256:{HASH}",
        f"a --hash=sha256:{HASH}",
        f"a==1.* --hash=sha256:{HASH}",
        f"a==1.0 --hash=md5:{HASH}",
        f"a==1.0 --hash=sha256:{HASH[1:]}",
        f"a @ file:///a.whl --hash=sha256:{HASH}",
        "-r other.txt",
        "--index-url x",
    ],
)
def test_a_line_that_locks_nothing_is_refused(line):
    """One loose line lets anything in."""
    with pytest.raises(PinError, match="must be name==version with sha256 hashes"):
        pins_of(GOOD + line + "\n")


def test_what_is_installed_and_not_locked_is_named():
    """Another version counts; the project and pip do not."""
    here = [("A_B", "1.0"), ("adl-worker", "0.1.0"), ("pip", "26"), ("c", "1"), ("D", "2")]
    pins = [*pins_of(GOOD), Pin("d", "1", "", (HASH,), ())]
    assert strangers(pins, here) == ["c==1", "d==2"]


def test_every_version_is_asked_for_once():
    """Also where a package has one for each Python; no question names a package twice."""
    pins = [Pin(name, version, "", (HASH,), ()) for name, version in ("a2", "b1", "a1", "b1", "a3")]
    assert [[pin.name + pin.version for pin in one] for one in rounds(pins)] == [["a1", "b1"], ["a2"], ["a3"]]


def test_what_was_not_looked_up_is_not_audited():
    """Neither what the service skipped, nor what it left out, nor another version."""
    pins = [Pin(name, "1", "", (HASH,), ()) for name in "abcd"]
    answer = [
        {"name": "A", "version": "1", "vulns": []},
        {"name": "b", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}]},
        {"name": "c", "skip_reason": "not found"},
        {"name": "d", "version": "2", "vulns": []},
    ]
    assert verdict(pins, answer) == (["b==1: PYSEC-1, mended in 2"], ["c==1", "d==1"])
    assert verdict(pins, []) == ([], ["a==1", "b==1", "c==1", "d==1"])


def test_the_list_of_components_is_what_is_locked():
    """Each once, with its hashes; the project asks for what pyproject.toml says, and all are reached from it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = pins_of((ROOT / "requirements.txt").read_text())
    made = sbom_of(pins, project)
    assert [
        (part["name"], part["version"], tuple(digest["content"] for digest in part["hashes"]))
        for part in made["components"]
    ] == [(pin.name, pin.version, pin.hashes) for pin in pins]
    edges = {node["ref"]: node["dependsOn"] for node in made["dependencies"]}
    root = made["metadata"]["component"]["bom-ref"]
    direct = {ref.removeprefix("pkg:pypi/").partition("@")[0] for ref in edges[root]}
    assert direct == {name.partition(">")[0] for name in project["dependencies"]} | {"setuptools"}
    reached, waiting = set(), [root]
    while waiting:
        if (ref := waiting.pop()) not in reached:
            reached.add(ref)
            waiting += edges[ref]
    assert reached == {root, *(part["purl"] for part in made["components"])}
