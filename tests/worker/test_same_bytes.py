"""The same verdict and the same bytes in every process: batches, threads, hash seed, processor, C library, uncompiled.

Each variant is a process of its own. It replays recordings that were made here, and verifies what was published.
"""

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from schemas import RiskModel, RiskSymbol
from solver.optimum.threads import SMALL
from tests.worker.tape import Tape, settings_of
from worker.edge.code import code_digest
from worker.edge.jsonlines import write_records
from worker.edge.recording import RecordingSink, RecordingSource
from worker.loop import run
from worker.settings import KINDS, load, to_toml

ROOT = Path(__file__).parents[2]
POLICIES = ("risk", "waterfill")
CROWD, FEW = SMALL + 500, 12  # accounts: enough for threads, few enough to be decided without a compiler
NO_FMA = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-FMA,-FMA_Usable,-FMA4,-FMA4_Usable"
# Replays each folder's recording anew, then verifies what was published about it; the first argument: records a fetch.
ALONE = """
import sys
from worker import cli, reader

reader.POLL_RECORDS, new, folders = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
for folder in folders:
    for more in (["--out", new + "/" + folder.rpartition("/")[2]], ["--out", folder, "--verify"]):
        sys.argv = ["adl", "replay", folder + "/recording.jsonl", "--settings", folder + "/settings.toml", *more]
        try:
            cli.main()
        except SystemExit as end:
            assert not end.code, end.code
"""
VARIANTS = {
    "one record a fetch": ("1", {}),
    "seven records a fetch, one thread": ("7", {"NUMBA_NUM_THREADS": "1"}),
    "two threads, a hash seed": ("1000", {"NUMBA_NUM_THREADS": "2", "PYTHONHASHSEED": "1"}),
    "four threads, another hash seed": ("100", {"NUMBA_NUM_THREADS": "4", "PYTHONHASHSEED": "4711"}),
    "a C library without FMA": ("1000", {"GLIBC_TUNABLES": NO_FMA, "OPENBLAS_CORETYPE": "Prescott"}),
}


def crash(accounts):
    """Two symbols that move together, in which all fall: three go bankrupt, two of them at once; most are winners."""
    rng, tape = random.Random(accounts), Tape()
    moves = [RiskSymbol(symbol=name, loadings=[0.05, 0.01], idiosyncratic=2e-4) for name in ("A", "B")]
    tape.say(RiskModel(id="m", horizon_seconds=3600, tail=3.8, symbols=moves))  # a tail without a closed form
    for name in ("A", "B"):
        tape.instrument(name).mark(name, "100")
    taken = accounts // 4
    for name in ("l1", "l2", "l3"):
        tape.account(name, str(6 * taken), ("A", str(taken), "100"), ("B", str(taken // 2), "101"))
    for number in range(accounts):
        lots = rng.randint(1, 9)
        held = [(name, f"-{rng.randint(1, lots)}", f"{rng.uniform(95, 105):.2f}") for name in ("A", "B")]
        tape.account(f"a{number:05}", f"{rng.uniform(5, 90) * lots:.2f}", *held[: rng.randint(1, 2)])
    tape.fund(str(accounts)).at(2000).mark("A", "92").mark("B", "91.5")
    return tape.at(2100).bankrupt("l1").at(2400).mark("A", "90.25").bankrupt("l2").bankrupt("l3").records


def published(folder, accounts, policy):
    """A folder with the recording of a crash, its settings, and what a replay here said about it."""
    folder.mkdir()
    text = to_toml(settings_of(f"decision.policy={policy}", "worker.start_at=beginning"))
    settings = load(text)
    (folder / "settings.toml").write_text(text)
    write_records(folder / "recording.jsonl", crash(accounts))
    recording = RecordingSource(folder / "recording.jsonl", partitions=[(kind, 0) for kind in KINDS])
    with RecordingSink(folder) as sink:
        run(recording, sink, settings, code_digest=code_digest(settings))
    return folder


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """One folder a policy."""
    return [published(tmp_path_factory.mktemp("crowd") / policy, CROWD, policy) for policy in POLICIES]


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return [published(tmp_path_factory.mktemp("few") / policy, FEW, policy) for policy in POLICIES]


def digest(folder):
    return hashlib.sha256((folder / "outputs.jsonl").read_bytes()).hexdigest()


def check(folders, tmp_path, batch="1000", **environment):
    """Asserts that another process derives the same bytes, and says so of what was published."""
    done = subprocess.run(
        [sys.executable, "-c", ALONE, batch, str(tmp_path), *map(str, folders)],
        cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert {folder.name: digest(tmp_path / folder.name) for folder in folders} == {f.name: digest(f) for f in folders}
    for folder in folders:
        lines = (folder / "outputs.jsonl").read_bytes().splitlines()
        decisions = sum(b'"topic":"adl-decisions"' in line for line in lines)
        assert decisions == 2
        assert f"{len(lines)} outputs with {decisions} decisions derived again: the same bytes\n" in done.stdout


@pytest.mark.parametrize("name", VARIANTS)
def test_another_process_derives_the_same_bytes(name, crowded, tmp_path):
    """Both policies, in a book large enough for threads."""
    batch, environment = VARIANTS[name]
    check(crowded, tmp_path, batch, **environment)


def test_a_generic_processor_derives_the_same_bytes(crowded, tmp_path):
    """It compiles for itself, so without vectors and FMA."""
    given = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    check(crowded, tmp_path, **given)


def test_without_a_compiler_the_same_bytes_are_derived(few, tmp_path):
    """numba only makes it fast: its kernels are plain Python, on a book that this can bear."""
    check(few, tmp_path, NUMBA_DISABLE_JIT="1")
