"""`adl check`: what is missing or odd in an input stream."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.common import Json, Set, SettingsFile, read_settings, recording_source
from worker.edge import terminal


def check(
    recording: Annotated[Path, typer.Argument(help="JSON lines as `kcat -J` prints them; plain, .gz or .zst.")],
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """What is missing or odd in an input stream; exit code 1 when something is wrong."""
    from worker.check import check as check_stream

    settings = read_settings(settings_file, sets)
    source = recording_source(recording, settings)
    with terminal.progress("records", source.count, quiet=json) as show:
        report = check_stream(source, settings, progress=show)
    if json:
        terminal.show_json(report)
    else:
        terminal.show_check(report)
    raise typer.Exit(0 if report.ok else 1)
