"""`adl warmup`: compiles every kernel into the cache, so that no later start waits for the compiler."""

import os
import time
from itertools import pairwise
from pathlib import Path

import typer

from worker.cli.common import Json
from worker.edge import terminal


def warmup(json: Json = False) -> None:
    """Compiles all kernels into the cache (NUMBA_CACHE_DIR, else beside the code) and says how long it took."""
    begun = time.monotonic()
    from worker.inputs import POLICIES
    from worker.warm import warm

    turned = [time.monotonic()]
    warm(decided=lambda: turned.append(time.monotonic()))
    steps = [round(after - before, 2) for before, after in pairwise(turned)]
    seconds = dict(zip(POLICIES, steps, strict=True))
    cache = os.environ.get("NUMBA_CACHE_DIR") or f"{Path(__file__).parents[2]}, beside the code"
    if json:
        whole = round(time.monotonic() - begun, 2)
        terminal.show_json({"seconds": whole, "import": round(turned[0] - begun, 2), "policies": seconds})
        return
    typer.echo(f"loaded the code in {turned[0] - begun:.1f} s")
    for policy, took in seconds.items():
        typer.echo(f"{policy}: {took:.1f} s")
    typer.echo(f"all in {time.monotonic() - begun:.1f} s; compiled code is kept in {cache}")
