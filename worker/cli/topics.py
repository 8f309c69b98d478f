"""`adl topics create|check|acls`: the pool's topics made, judged, and who may do what with them."""

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from worker.cli.common import Json, Set, SettingsFile, read_settings
from worker.edge import terminal
from worker.edge.acls import acls, command
from worker.edge.exits import Exit
from worker.edge.secrets import client_config
from worker.edge.topics import Wanted, replicas_wanted, settings_wanted, wanted_topics
from worker.edge.topics_check import Level, judge
from worker.settings import SettingError

if TYPE_CHECKING:
    from worker.edge.kafka_cluster import Cluster

Filled = Annotated[
    bool, typer.Option("--filled", help="Inputs hold records of the past with their own times, as `adl publish` does.")
]


def create(
    partitions: Annotated[
        str, typer.Option(help="NAME=COUNT with commas; a topic, or what it carries. All others have one.")
    ] = "",
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of each; default three, or as many as brokers.", show_default=False),
    ] = None,
    filled: Filled = False,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """Makes those of the pool's topics that are missing; never changes one that is there."""
    from worker.edge.kafka_cluster import Cluster

    settings = read_settings(settings_file, sets)
    wanted = wanted_topics(settings)
    counts = _counts(partitions, wanted)
    cluster = Cluster(client_config(settings.kafka, os.environ))
    made: dict[str, dict[str, object]] = {}
    # Said at once: the next one may be refused.
    for topic, count, copies, given in make(cluster, wanted, counts, replicas=replicas, filled=filled):
        if given is None:
            _say(f"left {topic} as it is", json=json)
            continue
        made[topic] = {"partitions": count, "replicas": copies, "settings": given}
        named = ", ".join(f"{name}={value}" for name, value in given.items())
        _say(f"made {topic}: partitions {count}, replicas {copies}, {named}", json=json)
    if json:
        terminal.show_json({"made": made, "left": sorted(set(wanted) - set(made))})


def make(
    cluster: "Cluster",
    wanted: dict[str, Wanted],
    counts: dict[str, int],
    *,
    replicas: int | None = None,
    filled: bool = False,
) -> Iterator[tuple[str, int, int, dict[str, str] | None]]:
    """Makes what is missing: topic, partitions, replicas and settings of each, None where it was there; all led."""
    copies = replicas or replicas_wanted(cluster.brokers())[0]
    in_sync = {"min.insync.replicas": str(replicas_wanted(copies)[1])}
    there = cluster.facts(wanted)
    for topic, want in wanted.items():
        given, count = settings_wanted(want, filled=filled) | in_sync, counts.get(topic, 1)
        made = topic not in there and cluster.create(topic, count, copies, given)
        yield topic, count, copies, given if made else None
    cluster.wait_for_leaders(wanted)


def _say(line: str, *, json: bool) -> None:
    if json:
        return
    try:
        typer.echo(line)
    except BrokenPipeError:  # `| head` has seen enough, and the other topics are to be made all the same
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def check_command(
    filled: Filled = False, settings_file: SettingsFile = None, sets: Set = None, json: Json = False
) -> None:
    """What must hold of the pool's topics and does not; exit code 1 when something is wrong."""
    from worker.edge.kafka_cluster import Cluster

    settings = read_settings(settings_file, sets)
    wanted = wanted_topics(settings)
    cluster = Cluster(client_config(settings.kafka, os.environ))
    findings = judge(wanted, cluster.facts(wanted), brokers=cluster.brokers(), filled=filled)
    ok = all(finding.level == Level.ODD for finding in findings)
    if json:
        terminal.show_json({"ok": ok, "topics": len(wanted), "findings": findings})
    else:
        for finding in findings:
            typer.echo(f"{finding.level:<5} {finding.topic}: {finding.kind}: {finding.sentence}")
        typer.echo(f"{len(wanted)} topics, {len(findings)} findings: {'in order' if ok else 'not in order'}")
    raise typer.Exit(Exit.DONE if ok else Exit.DIFFERENCE)


def acls_command(
    principal: Annotated[str, typer.Option(help="Who shall be allowed, as the broker names it.")] = "User:adl-worker",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="For replay, check, tail and record, not for the worker.")
    ] = False,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """The least that the worker must be allowed, as commands for kafka-acls.sh."""
    settings = read_settings(settings_file, sets)
    found = acls(settings, read_only=read_only)
    if json:
        terminal.show_json({"principal": principal, "allow": [msgspec.to_builtins(acl) for acl in found]})
        return
    for acl in found:
        typer.echo(command(acl, principal, settings.kafka.bootstrap))


def _counts(text: str, wanted: dict[str, Wanted]) -> dict[str, int]:
    """Topic -> partitions of `NAME=COUNT,...`; raises SettingError."""
    counts: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, count = part.partition("=")
        topics = [topic for topic, want in wanted.items() if name == topic or name in want.carries]
        if not topics:
            raise SettingError(f"--partitions: {name} is no topic of the pool and no kind of message")
        if not (count.isdigit() and 1 <= int(count) <= 10_000):
            raise SettingError(f"--partitions: {name} must have a whole number from 1 to 10,000, was {count!r}")
        counts |= dict.fromkeys(topics, int(count))
    return counts
