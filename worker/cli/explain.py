"""`adl explain`: a decision or a trade, in words."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.common import Json
from worker.edge import terminal
from worker.edge.recording import committed_outputs
from worker.explain import explain


def explain_command(
    wanted: Annotated[str, typer.Argument(metavar="DECISION|TRADE", help="An id, or its beginning.")],
    out: Annotated[Path, typer.Option(help="Folder of outputs.")] = Path("build/demo"),
    json: Json = False,
) -> None:
    """Why this account, why this amount."""
    explanation = explain(wanted, committed_outputs(out))
    if json:
        terminal.show_json(explanation)
    else:
        terminal.show_explanation(explanation)
