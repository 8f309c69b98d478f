"""Compiled kernels are kept on disk while nothing they are made of has changed.

numba looks at the file alone in which a kernel stands. A constant or a kernel that it imports may change, say the field
of a column with a new version, and the old code would go on, silently wrong. Here the stamp covers every file of ours
that is imported, through all of them.
"""

import re
import sys
from functools import cache
from hashlib import sha256
from typing import Any

from numba import config  # type: ignore[import-untyped, unused-ignore]  # numba ships no types
from numba.core import caching  # type: ignore[import-untyped, unused-ignore]

_ROOMS = ("solver", "worker", "schemas", "tests")
_IMPORT = re.compile(rf"^from ((?:{'|'.join(_ROOMS)})[.\w]*) import (\([^)]*\)|.*)", re.MULTILINE)


def source_of(module: str) -> str:
    """The source of a module that is loaded, empty where it has none."""
    spec = getattr(sys.modules[module], "__spec__", None)
    return str(spec.loader.get_source(module) or "") if spec else ""


@cache
def imported(module: str) -> frozenset[str]:
    """The modules of ours that a loaded module takes names from."""
    found = set()
    for source, names in _IMPORT.findall(source_of(module)):
        found |= {source, *(f"{source}.{name}" for name in re.findall(r"\w+", names))}
    return frozenset(found & sys.modules.keys())


@cache
def stamp(module: str) -> bytes:
    """A digest of the source of a loaded module and of all that it imports of ours."""
    seen, waiting = {module}, [module]
    while waiting:
        new = imported(waiting.pop()) - seen
        seen |= new
        waiting += new
    digest = sha256()
    for name in sorted(seen):
        digest.update(_digest(name))
    return digest.digest()


@cache
def _digest(module: str) -> bytes:
    return sha256(f"{module}\n{source_of(module)}".encode()).digest()


class _Stamped:
    """A place for compiled code of ours; for everybody else's numba goes on to its own."""

    module: str

    def get_source_stamp(self) -> bytes:
        return stamp(self.module)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        if py_func.__module__.partition(".")[0] not in _ROOMS:
            return None
        place = super().from_function(py_func, py_file)  # type: ignore[misc]  # of the class beside it
        if place is not None:
            place.module = py_func.__module__
        return place


class Given(_Stamped, caching.UserProvidedCacheLocator):  # type: ignore[misc, unused-ignore]  # untyped
    """Where NUMBA_CACHE_DIR says."""


class InTree(_Stamped, caching.InTreeCacheLocator):  # type: ignore[misc, unused-ignore]  # untyped
    """Beside the source."""


class UserWide(_Stamped, caching.UserWideCacheLocator):  # type: ignore[misc, unused-ignore]  # untyped
    """In the user's folder, where the source's cannot be written."""


if not config.CACHE_LOCATOR_CLASSES:  # type: ignore[attr-defined, unused-ignore]  # made while it runs
    _OURS = [f"{__name__}.{place.__name__}" for place in (Given, InTree, UserWide)]
    _THEIRS = [place.__name__ for place in caching.CacheImpl._locator_classes]  # noqa: SLF001  # what numba has, unset
    config.CACHE_LOCATOR_CLASSES = ",".join(_OURS + _THEIRS)  # type: ignore[attr-defined, unused-ignore]  # the same
