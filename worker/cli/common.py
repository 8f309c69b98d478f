"""What the commands share: options, settings read and logs started, a sink for a folder, and how a command ends.

The loop and the demo are imported inside the commands that need them: numba takes a second, `adl version` does not.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import structlog
import typer
from confluent_kafka import KafkaError, KafkaException

from worker.edge import terminal
from worker.edge.exits import Exit
from worker.edge.kafka import PublishedTopics
from worker.edge.log import start_logging
from worker.edge.recording import RecordingSink, RecordingSource
from worker.edge.secrets import client_config, masked
from worker.edge.topics import deciding_topics
from worker.settings import SettingError, Settings, load, to_values
from worker.summary import Summary

if TYPE_CHECKING:
    from worker.engine import Start

SettingsFile = Annotated[Path | None, typer.Option("--settings", "-s", help="TOML file.", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; wins over file and environment.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def read_settings(file: Path | None, sets: list[str] | None) -> Settings:
    """Settings of file, environment and flags; starts the logs. Raises SettingError."""
    try:
        text = file.read_text() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{file} must be a readable TOML file: {error}") from None
    settings = load(text, os.environ, sets or [])
    start_logging(settings.log.format, settings.log.level)
    return settings


def folder_sink(folder: Path, settings: Settings) -> RecordingSink:
    """Outputs in a folder, under the configured names of their topics."""
    return RecordingSink(
        folder, {name.replace("_", "-"): topic for name, topic in to_values(settings)["output"].items()}
    )


def start_of(source: RecordingSource, settings: Settings) -> "Start":
    """Where deciding begins: a recording, other than a live topic, is decided from its beginning."""
    from worker.engine import Start

    start_at = settings.worker.start_at
    if isinstance(start_at, int):
        return Start(log_time_ms=start_at)
    topics = deciding_topics(settings)
    ends = {where: end for where, end in source.ends().items() if where[0] in topics}
    return Start(offsets=ends) if start_at == "end" else Start()


def recording_source(recording: Path, settings: Settings) -> RecordingSource:
    """A recording, with every configured topic also where it holds no record of it; raises RecordingError."""
    partitions = [(topic, 0) for topics in settings.input.topics.values() for topic in topics]
    source = RecordingSource(recording, partitions=partitions)
    if late := {f"{topic}:{number}": begin for (topic, number), begin in sorted(source.begins.items()) if begin}:
        # As good as any recording where the logs themselves begin there, and not the pool's state where they do not.
        structlog.get_logger().warning("adl.recording_begins_late", first_offsets=late)
    return source


def published_topics(settings: Settings) -> PublishedTopics:
    """The topics of the settings, to look at."""
    return PublishedTopics(settings, client_config(settings.kafka, os.environ))


def finish(summary: Summary, facts: dict[str, Any], *, json: bool) -> None:
    """Shows what came out; exit code 1 when a check failed."""
    if json:
        terminal.show_json({"summary": summary, "facts": facts})
    else:
        terminal.show_summary(summary, facts)
    if not all(check.ok for check in summary.checks):
        raise typer.Exit(1)


def end_of(error: KafkaException) -> Exit:
    """A Kafka error where nobody expects one: the client does not take its settings (a key that its password does not
    open), or says what it never should.
    """
    refused = error.args[0].code() == KafkaError._INVALID_ARG  # noqa: SLF001  the library's public name
    return Exit.USAGE if refused else Exit.CLIENT


def fail(sentence: str, code: int) -> NoReturn:
    """One sentence on standard error, and the exit code."""
    typer.echo(f"adl: {masked(sentence)}", err=True)
    raise SystemExit(code)
