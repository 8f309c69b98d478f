"""`adl check`: what is missing or odd in an input stream."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.common import Json, Set, SettingsFile, published_topics, read_settings, recording_source
from worker.edge import terminal
from worker.edge.kafka_check import look_at_topics


def check(
    recording: Annotated[
        Path | None,
        typer.Argument(
            help="JSON lines as `kcat -J` prints them; plain, .gz or .zst. Without it: the topics of the settings.",
            show_default=False,
        ),
    ] = None,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """What is missing or odd in an input stream; exit code 1 when something is wrong.

    Topics are read from their beginning to where they end now; nothing is joined, committed or written.
    """
    from worker.check import check as check_stream

    settings = read_settings(settings_file, sets)
    if recording is None:
        topics = published_topics(settings)
        compacted, found = look_at_topics(topics, settings)
        with terminal.progress("records", None, quiet=json) as show:
            report = check_stream(topics.inputs(), settings, compacted=compacted, found=found, progress=show)
    else:
        source = recording_source(recording, settings)
        with terminal.progress("records", source.count, quiet=json) as show:
            report = check_stream(source, settings, progress=show)
    if json:
        terminal.show_json(report)
    else:
        terminal.show_check(report)
    raise typer.Exit(0 if report.ok else 1)
