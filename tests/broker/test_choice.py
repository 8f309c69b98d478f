"""Which broker a machine gets, without any broker; and what a machine gets that can have none."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.broker.choice import Choice, Machine, choose

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = Machine("host:9092", docker=True, image_official=True, image_built=True, java=21, jars=True)
DOCKERLESS = Machine(java=17, jars=True)


def test_what_is_nearest_to_production_is_taken_first():
    """Taking away the chosen one leaves the next of the list, until there is none."""
    machine, chosen = EVERYTHING, []
    for taken in ({"bootstrap": None}, {"image_official": False}, {"image_built": False}, {"jars": False}, {}):
        chosen.append(choose(machine))
        machine = replace(machine, **taken)
    assert chosen == list(Choice)


@pytest.mark.parametrize(
    ("machine", "choice"),
    [
        (Machine(), Choice.NONE),
        (Machine(bootstrap=""), Choice.NONE),  # set and empty is not set
        (Machine(docker=True), Choice.NONE),  # neither an image nor a way to one
        (Machine(docker=True, image_built=True), Choice.BUILT),
        (Machine(image_official=True, image_built=True), Choice.NONE),  # images without a daemon
        (DOCKERLESS, Choice.PROCESS),
        (replace(DOCKERLESS, docker=True), Choice.PROCESS),
        (replace(DOCKERLESS, java=16), Choice.NONE),
        (replace(DOCKERLESS, java=0), Choice.NONE),
        (replace(DOCKERLESS, jars=False), Choice.NONE),
    ],
)
def test_each_broker_needs_all_of_its_parts(machine, choice):
    """A machine that lacks one part of a broker gets a later one."""
    assert choose(machine) is choice


@pytest.mark.parametrize(("required", "code", "end"), [("", 0, "skipped"), ("1", 1, "error")])
def test_a_machine_that_can_have_no_broker_says_so_and_fails_where_one_is_required(tmp_path, required, code, end):
    """Tests against Kafka are skipped with one line that says why; ADL_REQUIRE_KAFKA=1 makes them fail."""
    nothing = {"PATH": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none", "XDG_CACHE_HOME": str(tmp_path)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADL_", "PYTEST_"))}
    said = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/kafka/test_broker.py"],
        cwd=ROOT, env=kept | nothing | {"ADL_REQUIRE_KAFKA": required}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == code, said.stdout
    assert f"kafka (5 tests): {Choice.NONE.value}" in said.stdout
    assert said.stdout.splitlines()[-1].startswith(f"5 {end}")
