"""`adl publish`: a recording's records go to the topics they came from, at once or at its own pace.

At once, the topics then hold what the recording holds: same partitions, offsets and times, or it is refused.
"""

import os
import time
from collections.abc import Callable, Mapping
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
from worker.record import END, Record
from worker.settings import KINDS, SettingError, Settings

if TYPE_CHECKING:
    from worker.edge.kafka_cluster import Cluster
    from worker.edge.kafka_publish import Publisher

POLL_RECORDS = 1000
BEHIND_MS_MAX = 1000.0  # of the pace, at which it is more than the order of time


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
    publisher = Publisher(config, linger_ms=5 if speed is None else 0)
    begun = time.monotonic()
    pace = None
    with terminal.progress("records", source.count, quiet=json) as show:
        if speed is None:
            _at_once(source, publisher, show)
        else:
            pace = _paced(source, Pace(publisher, speed, kinds_of_topics(settings)), show)
    publisher.flush()
    if whole and (differing := _differing(cluster, source.ends())):
        raise ClientError(f"the topics do not end where the recording does: {differing}")
    facts = {"records": source.count, "seconds": round(time.monotonic() - begun, 3)}
    if pace is not None:
        facts |= {
            "behind_ms_max": pace.behind_ms_max, "times": pace.steps, "times_not_waited_for": pace.steps_not_waited
        }  # fmt: skip
    if json:
        terminal.show_json(facts)
    else:
        typer.echo(", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in facts.items()))


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


def kinds_of_topics(settings: Settings) -> dict[str, int]:
    """Topic -> its place in the order in which equal log times are taken; of several kinds, the first counts."""
    ranks: dict[str, int] = {}
    for rank, kind in enumerate(KINDS):
        for topic in settings.input.topics[kind]:
            ranks.setdefault(topic, rank)
    return ranks


class Pace:
    """When each record is due; one of a later time, or of the same and a later kind, goes when those before are there.

    Partitions travel in requests of their own, so without that wait their order is lost. Where the waits take more
    time than the pace leaves, order gives way for a time that is BEHIND_MS_MAX behind, and that is counted.
    """

    def __init__(self, publisher: "Publisher", speed: float, kinds: Mapping[str, int]) -> None:
        self._publisher, self._speed, self.kinds = publisher, speed, kinds
        self._begun, self._first_ms, self._last_ms, self._last_kind = 0.0, 0, -END, 0
        self._waits = True
        self.behind_ms_max = self.steps = self.steps_not_waited = 0

    def put(self, log_time_ms: int, record: Record) -> None:
        """Puts a record when it is due."""
        kind = self.kinds[record.topic]
        if log_time_ms > self._last_ms:
            self._step(log_time_ms)
        elif kind != self._last_kind and self._waits:
            self._publisher.flush()
        self._last_kind = kind
        self._publisher.put(record, timed=False)

    def _step(self, log_time_ms: int) -> None:
        if self.steps == 0:
            self._publisher.ready()
            self._begun, self._first_ms = time.monotonic(), log_time_ms
        self.steps, self._last_ms = self.steps + 1, log_time_ms
        due = self._begun + (log_time_ms - self._first_ms) / 1000 / self._speed
        self._waits = (time.monotonic() - due) * 1000 < BEHIND_MS_MAX
        if self._waits:
            self._publisher.flush()
        else:
            self.steps_not_waited += 1
        while (early := due - time.monotonic()) > 0:
            self._publisher.wait(min(early, 0.1))
        self.behind_ms_max = max(self.behind_ms_max, int(-early * 1000))


def _paced(source: RecordingSource, pace: Pace, show: Callable[[int], None]) -> Pace:
    from worker.timeline import OutOfOrderError, in_time_order

    done = 0
    try:
        for batch in in_time_order(source, kinds=pace.kinds):
            for log_time_ms, record in batch:
                pace.put(log_time_ms, record)
            done += len(batch)
            show(done)
    except OutOfOrderError as error:
        fail(f"{error}; put the recording in order of time, as adl record writes it", Exit.UNREADABLE)
    return pace
