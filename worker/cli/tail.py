"""`adl tail`: decisions, trades, reductions and dead letters as lines, and loudly whatever is missing between them.

Everything is read from the beginning, because only then is it known that nothing is missing.
"""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from schemas import AdlDecision, DeadLetter, ForcedTrade, MarginReduction, decode_output
from worker.chains import Break, Chains, Said
from worker.cli.common import Set, SettingsFile, fail, published_topics, read_settings
from worker.edge.exits import Exit
from worker.edge.kafka_source import KafkaSource
from worker.edge.recording import committed_outputs
from worker.edge.tail import line
from worker.output import DEAD_LETTERS, DECISIONS, REDUCTIONS, TRADES
from worker.record import Record
from worker.settings import SettingError

POLL_RECORDS: Final = 1000
LATE_SECONDS: Final = 2.0  # a transaction shows in one partition after the other; what comes later than this is missing
KINDS: Final = (AdlDecision, ForcedTrade, MarginReduction, DeadLetter)  # that have a line; cuts say nothing to a person
Step = Said | Break | None  # None: all that was there when it began has been given


def tail(
    outputs: Annotated[
        Path | None,
        typer.Argument(help="Folder of outputs; without it: the topics of the settings.", show_default=False),
    ] = None,
    count: Annotated[int, typer.Option("--last", "-n", min=0, help="The last so many; 0: all.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Goes on with what comes, until Ctrl-C.")] = False,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Annotated[bool, typer.Option("--json", help="Each line a JSON document.")] = False,
) -> None:
    """Decisions, trades, staged reductions and dead letters, a line each; sequence and chain are verified on the way.

    Exit code 1 when they are broken. Of topics only what is committed is seen; nothing is joined or written.
    """
    settings = read_settings(settings_file, sets)
    if outputs is None:
        source = published_topics(settings).said([DECISIONS, TRADES, REDUCTIONS, DEAD_LETTERS], finite=not follow)
        steps = _of_topics(source, settings.pool.name, count)
    elif follow:
        raise SettingError("--follow must be of topics, a folder of outputs does not grow")
    else:
        steps = _of_folder(outputs)
    broken = _tell(steps, count, json=json)
    if broken:
        fail(f"sequence or chain is broken {broken} times: this is not what the worker wrote", Exit.DIFFERENCE)


def _tell(steps: Iterable[Step], count: int, *, json: bool) -> int:
    """Prints the last `count` lines of what is there, then each that comes; how often the chains are broken."""
    last, caught_up, broken = deque[Said]([], count or None), False, 0
    try:
        for step in steps:
            if isinstance(step, Break):
                typer.secho(f"BROKEN {step.sentence}", fg="red", bold=True, err=True)
                broken += 1
            elif step is None:
                caught_up = True
                _print(last, json=json)
            elif caught_up:
                _print([step], json=json)
            elif isinstance(step.message, KINDS):
                last.append(step)
    except KeyboardInterrupt:  # the end of following
        pass
    return broken


def _print(said: Iterable[Said], *, json: bool) -> None:
    for step in said:
        if isinstance(step.message, KINDS):
            typer.echo(line(step.message, step.record.log_time_ms, json=json))


def _of_folder(folder: Path) -> Iterator[Step]:
    chains = Chains()
    for record in committed_outputs(folder):
        yield from chains.see(record, decode_output(record.value or b""))
    yield from chains.settle()
    yield None


def _of_topics(source: KafkaSource, pool: str, count: int) -> Iterator[Step]:
    """The pool's outputs until the source is at its end, which one that follows never is; first the last `count`."""
    chains, caught_up = Chains(), False
    there: list[deque[Said]] = [deque(maxlen=count or None) for _ in KINDS]
    missing, since = chains.missing(), time.monotonic()
    try:
        source.ends()
        while not source.at_end():
            steps = [step for record in source.poll(POLL_RECORDS) for step in _seen(chains, record, pool)]
            if missing != chains.missing():
                missing, since = chains.missing(), time.monotonic()
            late = caught_up and time.monotonic() - since > LATE_SECONDS
            if missing and (late or source.at_end()):
                steps += chains.settle()
            said = [step for step in steps if isinstance(step, Said)]
            yield from (step for step in steps if isinstance(step, Break))
            if caught_up:
                yield from sorted(said, key=_turn)
                continue
            for step in said:
                there[KINDS.index(type(step.message))].append(step)
            if source.caught_up():
                caught_up = True
                yield from sorted((step for kind in there for step in kind), key=_turn)
                yield None
    finally:
        source.close()


def _turn(said: Said) -> tuple[int, int]:
    """Topics are read one beside the other; a reader wants each decision before its trades."""
    return said.record.log_time_ms, KINDS.index(type(said.message))


def _seen(chains: Chains, record: Record, pool: str) -> Iterator[Step]:
    try:
        message = decode_output(record.value or b"")
    except (msgspec.MsgspecError, ValueError):
        yield Break(f"{record.topic}:{record.partition}@{record.offset} is no output of a worker")
        return
    if message.pool == pool:
        yield from chains.see(record, message)
