"""The one way this room compiles: numba without fastmath, cached on disk, with the signatures given.

Given signatures are compiled when the module is imported, so no event ever waits for a compiler. No divisor here is
ever zero, so the error model is numpy's, which does not look.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba  # type: ignore[import-untyped, unused-ignore]  # numba ships no types

import solver.cache  # noqa: F401  # when compiled code is still good

_Function = TypeVar("_Function", bound=Callable[..., Any])


def kernel(*signatures: str) -> Callable[[_Function], _Function]:
    """A typed `numba.njit`: the compiled function keeps the Python function's type."""
    return cast(Callable[[_Function], _Function], numba.njit(list(signatures), cache=True, error_model="numpy"))
