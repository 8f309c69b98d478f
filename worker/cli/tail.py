"""`adl tail`: decisions, forced trades and dead letters as lines."""

from collections import deque
from pathlib import Path
from typing import Annotated

import typer

from worker.edge.recording import committed_outputs
from worker.edge.tail import lines


def tail(
    outputs: Annotated[Path, typer.Argument(help="Folder of outputs.")] = Path("build/demo"),
    count: Annotated[int, typer.Option("--lines", "-n", min=0, help="The last so many; 0: all.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Each line a JSON document.")] = False,
) -> None:
    """Decisions, forced trades and dead letters, a line each."""
    for line in deque(lines(committed_outputs(outputs), json=json), count or None):
        typer.echo(line)
