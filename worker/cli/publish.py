"""`adl publish`: a recording's records go to the topics they came from, at once or at its own pace.

At once, the topics then hold what the recording holds: same partitions, offsets and times, or it is refused.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.common import Json, Set, SettingsFile, fail, read_settings, recording_source
from worker.edge import terminal
from worker.edge.exits import ClientError, Exit, WrongTopicsError
from worker.edge.recording import RecordingSource
from worker.edge.secrets import client_config
from worker.edge.topics import input_topics, output_topics, wanted_topics
from worker.edge.topics_check import Level, judge
from worker.settings import SettingError, Settings

if TYPE_CHECKING:
    from worker.edge.kafka_cluster import Cluster
    from worker.edge.kafka_publish import Publisher

POLL_RECORDS = 1000


def publish(
    recording: Annotated[Path, typer.Argument(help="JSON lines as `kcat -J` prints them; plain, .gz or .zst.")],
    speed: Annotated[
        float | None,
        typer.Option(help="So many times the recording's pace, with times of now; else at once, with its own times."),
    ] = None,
    append: Annotated[
        bool,
        typer.Option("--append", help="Also behind other records, or with gaps: offsets will not be the recording's."),
    ] = False,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """A recording's records go to their topics, which must be inputs."""
    from worker.edge.kafka_cluster import Cluster
    from worker.edge.kafka_publish import Publisher

    settings = read_settings(settings_file, sets)
    if speed is not None and not 0 < speed < 1e9:
        raise SettingError(f"--speed must be above 0, was {speed}")
    source = recording_source(recording, settings)
    config = client_config(settings.kafka, os.environ)
    cluster = Cluster(config)
    _check_topics(source, settings, cluster)
    whole = speed is None and not append
    if whole:
        _check_whole(source, settings, cluster)
    publisher = Publisher(config)
    facts: dict[str, object] = {}
    begun = time.monotonic()
    with terminal.progress("records", source.count, quiet=json) as show:
        if speed is None:
            _at_once(source, publisher, show)
        else:
            facts["behind_ms_max"] = _paced(source, publisher, speed, show)
    publisher.flush()
    if whole and (short := _differing(cluster, source.ends())):
        raise ClientError(f"the topics do not end where the recording does: {short}")
    facts = {"records": source.count, "seconds": round(time.monotonic() - begun, 3), **facts}
    if json:
        terminal.show_json(facts)
    else:
        behind = f", at most {facts['behind_ms_max']:,} ms behind its pace" if speed is not None else ""
        typer.echo(f"{source.count:,} records in {facts['seconds']} s{behind}")


def _check_topics(source: RecordingSource, settings: Settings, cluster: "Cluster") -> None:
    """Only inputs are written to, and only partitions that are there."""
    inputs, outputs = set(input_topics(settings)), set(output_topics(settings).values())
    foreign = sorted({topic for topic, _ in source.begins} - (inputs - outputs))
    if foreign:
        raise WrongTopicsError(
            f"the recording writes to {', '.join(foreign)}, which the settings do not name as inputs"
        )
    there = set(cluster.partitions(inputs))
    missing = [f"{topic}:{number}" for topic, number in sorted(source.begins) if (topic, number) not in there]
    if missing:
        raise WrongTopicsError(f"these partitions must exist: {', '.join(missing)}; make the topics with more")


def _check_whole(source: RecordingSource, settings: Settings, cluster: "Cluster") -> None:
    """Every offset and time will be the recording's, and stay there."""
    ends = source.ends()
    if source.count != sum(ends.values()):
        gaps = sum(ends.values()) - source.count
        raise SettingError(
            f"the recording lacks {gaps:,} offsets (of a part, of compaction or of transactions), so offsets would not "
            "be its own; with --append they need not be"
        )
    inputs = {topic: want for topic, want in wanted_topics(settings).items() if want.is_input}
    wrong = [f for f in judge(inputs, cluster.facts(inputs), filled=True) if f.level != Level.ODD]
    if wrong:
        raise WrongTopicsError("; ".join(f"topic {f.topic}: {f.sentence}" for f in wrong))
    if full := _differing(cluster, dict.fromkeys(cluster.partitions(inputs), 0)):
        raise WrongTopicsError(f"the inputs must be empty, or offsets will not be the recording's: {full}; or --append")


def _differing(cluster: "Cluster", ends: dict[tuple[str, int], int]) -> str:
    """The partitions whose log does not end where it should, in words."""
    found = cluster.ends(ends, committed=False)
    return ", ".join(f"{topic}:{number} ends at {end}" for (topic, number), end in sorted(found.items())
                     if end != ends[topic, number])  # fmt: skip


def _at_once(source: RecordingSource, publisher: "Publisher", show: Callable[[int], None]) -> None:
    done = 0
    while records := source.poll(POLL_RECORDS):
        for record in records:
            if record.log_time_ms <= 0:
                place = f"{record.topic}:{record.partition}@{record.offset}"
                raise SettingError(f"every record must have a time above 0, {place} has {record.log_time_ms}")
            publisher.put(record, timed=True)
        done += len(records)
        show(done)


def _paced(source: RecordingSource, publisher: "Publisher", speed: float, show: Callable[[int], None]) -> int:
    """Puts each record when it is due; how late the latest was, in milliseconds."""
    from worker.timeline import OutOfOrderError, in_time_order

    first_ms: int | None = None
    begun, behind, done = time.monotonic(), 0.0, 0
    try:
        for batch in in_time_order(source):
            for log_time_ms, record in batch:
                first_ms = log_time_ms if first_ms is None else first_ms
                due = begun + (log_time_ms - first_ms) / 1000 / speed
                if due > time.monotonic():
                    # Partitions travel in requests of their own: what was before is there before what comes now.
                    publisher.flush()
                while (early := due - time.monotonic()) > 0:
                    publisher.wait(min(early, 0.1))
                behind = max(behind, -early)
                publisher.put(record, timed=False)
            done += len(batch)
            show(done)
    except OutOfOrderError as error:
        fail(f"{error}; put the recording in order of time, as adl record writes it", Exit.UNREADABLE)
    return int(behind * 1000)
