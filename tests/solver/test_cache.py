"""Compiled code is thrown away when anything that it is made of has changed."""

import subprocess
import sys
from pathlib import Path

from solver import cache

KERNEL = """
import numba
import solver.cache
from worker.{source} import {name}


@numba.njit("int64()", cache=True)
def kernel():
    return {answer}
"""
INNER = """
import numba
from worker.fields import (
    FIELD,
)


@numba.njit("int64()", cache=True)
def inner():
    return FIELD
"""


def answer(folder: Path) -> tuple[str, int]:
    """What the kernel says in a new process, and how many kernels it found compiled."""
    code = "from worker.{0} import kernel; print(kernel(), sum(kernel.stats.cache_hits.values()))"
    said = [
        subprocess.run(
            [sys.executable, "-B", "-c", code.format(name)], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.split()
        for name in ("direct", "nested")
    ]
    assert said[0][0] == said[1][0]
    return said[0][0], int(said[0][1]) + int(said[1][1])


def test_a_constant_that_changes_in_another_file_changes_what_is_compiled(tmp_path):
    """Directly, and through a kernel that the kernel calls; what has not changed is not compiled again."""
    for room in ("solver", "worker"):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
    (tmp_path / "solver" / "cache.py").write_text(Path(cache.__file__).read_text())
    (tmp_path / "worker" / "direct.py").write_text(KERNEL.format(source="fields", name="FIELD", answer="FIELD"))
    (tmp_path / "worker" / "inner.py").write_text(INNER)
    (tmp_path / "worker" / "nested.py").write_text(KERNEL.format(source="inner", name="inner", answer="inner()"))
    (tmp_path / "worker" / "fields.py").write_text("FIELD = 3")
    assert answer(tmp_path) == ("3", 0)
    assert answer(tmp_path) == ("3", 2)
    (tmp_path / "worker" / "fields.py").write_text("FIELD = 4")
    assert answer(tmp_path) == ("4", 0)
    assert answer(tmp_path) == ("4", 2)
