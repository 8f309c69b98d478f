"""`adl record`: a part of topics becomes a recording, which `adl replay`, `check` and `publish` read."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import Json, Set, SettingsFile, read_settings
from worker.edge import terminal
from worker.edge.jsonlines import RecordingError, write_records
from worker.edge.secrets import client_config
from worker.edge.topics import READER_GROUP, input_topics
from worker.record import Partition, Record
from worker.settings import SettingError

if TYPE_CHECKING:
    from worker.edge.kafka_range import LogRange
    from worker.edge.kafka_source import KafkaSource


def record(
    recording: Annotated[Path, typer.Argument(help="A new file; .jsonl, .jsonl.gz or .jsonl.zst.")],
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Again for more; default: the inputs.", show_default=False)
    ] = None,
    from_offsets: Annotated[
        str | None, typer.Option(help="topic:partition=offset with commas; others from the beginning of their logs.")
    ] = None,
    from_time: Annotated[int | None, typer.Option(min=0, help="First log time, in milliseconds.")] = None,
    to_offsets: Annotated[
        str | None, typer.Option(help="First offsets not to record; others to where their logs end now.")
    ] = None,
    to_time: Annotated[int | None, typer.Option(min=0, help="First log time not to record.")] = None,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """A part of topics becomes a recording, in time order; committed records only. Joins no group, commits nothing."""
    from worker.edge.kafka_cluster import Cluster
    from worker.edge.kafka_range import Place, range_of
    from worker.edge.kafka_source import KafkaSource

    settings = read_settings(settings_file, sets)
    if recording.exists():
        raise SettingError(f"{recording} is there already; a recording is a new file")
    config = client_config(settings.kafka, os.environ)
    cluster = Cluster(config)
    found = range_of(
        cluster,
        cluster.partitions(topic or input_topics(settings)),
        Place(_offsets("--from-offsets", from_offsets), from_time),
        Place(_offsets("--to-offsets", to_offsets), to_time),
    )
    source = KafkaSource(config, cluster, found.begins, group=READER_GROUP, finite=True, until=found.ends)
    try:
        with terminal.progress("records", None, quiet=json) as show:
            counts = _write(recording, source, show)
    finally:
        source.close()
    if json:
        terminal.show_json({"records": sum(counts.values()), "partitions": _facts(found, counts)})
        return
    for where, facts in _facts(found, counts).items():
        typer.echo(f"{where}: {facts['records']:,} records, offsets {facts['from_offset']} to {facts['to_offset']}")
    typer.echo(f"{sum(counts.values()):,} records in {recording}")
    late = sum(begin > 0 for where, begin in found.begins.items() if counts[where])
    if late:
        typer.echo(f"{late} partitions are recorded from behind offset 0: a replay knows nothing of what was before")


def _facts(found: "LogRange", counts: dict[Partition, int]) -> dict[str, dict[str, int]]:
    return {
        f"{where[0]}:{where[1]}": {
            "records": counts[where], "from_offset": found.begins[where], "to_offset": found.ends[where],
            "log_begins": found.log_begins[where],
        }
        for where in sorted(found.begins)
    }  # fmt: skip


def _write(recording: Path, source: "KafkaSource", show: Callable[[int], None]) -> dict[Partition, int]:
    """Writes all that the source gives; the records of each partition, counted."""
    from worker.timeline import in_time_order

    counts = dict.fromkeys(source.partitions(), 0)

    def counted() -> Iterator[Record]:
        for batch in in_time_order(source, progress=show):
            for _, record in batch:
                counts[record.topic, record.partition] += 1
                yield record

    # Under another name until it is whole: a recording that was cut off looks like one.
    part = recording.with_name(f"part-{recording.name}")
    try:
        write_records(part, counted())
        part.replace(recording)
    except OSError as error:
        raise RecordingError(f"{recording} cannot be written: {error}") from None
    finally:
        part.unlink(missing_ok=True)
    return counts


def _offsets(option: str, text: str | None) -> dict[Partition, int]:
    """Partition -> offset of `topic:partition=offset,...`; raises SettingError."""
    found: dict[Partition, int] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        name, _, offset = part.partition("=")
        topic, _, number = name.rpartition(":")
        if not (topic and number.isdigit() and offset.isdigit()):
            raise SettingError(f"{option} must be topic:partition=offset with commas, was {part!r}")
        found[topic, int(number)] = int(offset)
    return found
