"""`adl snapshot`: what it says of good files, of changed ones, and of two."""

import json

import pytest

from tests.worker.edge.test_snapshots import AtEvery
from tests.worker.random_run import SEED, source_of
from tests.worker.random_tape import random_log
from tests.worker.test_cli import adl
from worker.edge.snapshots import snapshots_in
from worker.loop import run
from worker.memory import MemorySink


@pytest.fixture
def folder(settings, tmp_path):
    """Three snapshots of one run."""
    log = random_log(SEED + 2, accounts=40, end_ms=8000)
    run(source_of(log), MemorySink(), settings, keeper=AtEvery(tmp_path, 5))
    assert len(snapshots_in(tmp_path)) == 3
    return tmp_path


def test_the_files_are_listed_oldest_first(capsys, folder):
    """As words and as JSON; the folder may stand in the settings."""
    code, out, _ = adl(capsys, "snapshot", "ls", folder)
    assert (code, len(out.splitlines())) == (0, 3)
    assert "cut 30 " in out.splitlines()[0]
    code, out, _ = adl(capsys, "snapshot", "ls", "--set", f"snapshot.folder={folder}", "--json")
    found = json.loads(out)
    assert [facts["pool"] for facts in found] == ["main"] * 3
    assert [facts["cut"] for facts in found] == sorted(facts["cut"] for facts in found)


def test_a_changed_byte_is_told(capsys, folder):
    """Exit code 1 and the file's name; the others are still good."""
    assert adl(capsys, "snapshot", "verify", folder)[0] == 0
    path = snapshots_in(folder)[1]
    text = bytearray(path.read_bytes())
    text[len(text) // 2] ^= 4
    path.write_bytes(text)
    code, out, _ = adl(capsys, "snapshot", "verify", folder)
    assert code == 1
    assert [("NOT GOOD" in line, path.name in line) for line in out.splitlines()] == [
        (False, False), (True, True), (False, False),
    ]  # fmt: skip


def test_two_files_are_compared(capsys, folder):
    """The same file does not differ; another says in what."""
    one, other = snapshots_in(folder)[:2]
    assert adl(capsys, "snapshot", "diff", one, one) == (0, "the same state\n", "")
    code, out, _ = adl(capsys, "snapshot", "diff", one, other)
    assert code == 1
    assert out.startswith("cut: 30 -> 35\n")
    assert "column account: " in out
    code, out, _ = adl(capsys, "snapshot", "diff", one, other, "--json")
    assert (code, json.loads(out)["same"]) == (1, False)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("ls",), 2, "a folder must be given, or snapshot.folder be set"),
        (("ls", "nowhere"), 3, "nowhere must be a folder of snapshots"),
        (("diff", "nowhere", "nowhere"), 3, "it cannot be read: No such file"),
    ],
)
def test_what_is_not_there_is_one_sentence(capsys, arguments, code, sentence):
    found, _, err = adl(capsys, "snapshot", *arguments)
    assert (found, err.count("\n")) == (code, 1)
    assert sentence in err
