"""`adl explain`: a decision or a trade, in words."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.common import Json, Set, SettingsFile, published_topics, read_settings
from worker.edge import terminal
from worker.edge.kafka_log import until_end
from worker.edge.recording import committed_outputs
from worker.explain import explain
from worker.output import DECISIONS, TRADES


def explain_command(
    wanted: Annotated[str, typer.Argument(metavar="DECISION|TRADE", help="An id, or its beginning.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder of outputs; without it: the topics of the settings."),
    ] = None,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """Why this account, why this amount."""
    settings = read_settings(settings_file, sets)
    if out is None:
        topics = published_topics(settings)
        records = until_end(topics.said([DECISIONS, TRADES], finite=True), topics.cluster)
    else:
        records = committed_outputs(out)
    explanation = explain(wanted, records)
    if json:
        terminal.show_json(explanation)
    else:
        terminal.show_explanation(explanation)
