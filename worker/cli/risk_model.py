"""`adl risk-model fit|show|publish`: a model from a recording's marks, what a model says, and onto its topic with it.

There is no setting that names a model's file: a model is an input, on the log, so that a replay decides with it too.
"""

import os
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas import MarkPrice, Refused, RiskModel, decode, encode, fraction_of
from worker.cli.common import Json, Set, SettingsFile, read_settings, recording_source
from worker.edge import terminal
from worker.edge.jsonlines import RecordingError
from worker.edge.secrets import client_config
from worker.record import Record, Source
from worker.settings import SettingError, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from worker.fit import Fit
    from worker.risk_words import RiskWords

POLL_RECORDS = 1000


def fit_command(
    recording: Annotated[Path, typer.Argument(help="JSON lines as `kcat -J` prints them; plain, .gz or .zst.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model: one line of JSON, as it stands on the topic.")],
    step_seconds: Annotated[int, typer.Option(min=1, help="Between the marks that make a return.")] = 60,
    horizon_seconds: Annotated[int, typer.Option(min=1, help="For which the model speaks.")] = 3600,
    factors: Annotated[int, typer.Option(min=1, help="Common to all symbols.")] = 3,
    tail: Annotated[
        str | None, typer.Option(help="Degrees of freedom, or `gaussian`; default: fitted.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--id", help="The model's id; default: made of its numbers.", show_default=False)
    ] = None,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """Loadings, variances and tail from a recording's mark prices; who has too few of them is left out and named."""
    from worker.fit import FitError, Wanted, fit

    settings = read_settings(settings_file, sets)
    wanted = Wanted(
        step_seconds=step_seconds, horizon_seconds=horizon_seconds, factors=factors, tail=_tail(tail), name=name
    )
    source = recording_source(recording, settings)
    with terminal.progress("records", source.count, quiet=json) as show:
        marks, refused = marks_of(source, settings, show)
    try:
        found = fit(marks, wanted)
        decode(encode(found.model))  # what the worker would refuse is not written
    except FitError as error:
        raise SettingError(str(error)) from None
    except Refused as refusal:
        raise SettingError(f"what was asked for is no model that the worker takes: {refusal.sentence}") from None
    try:
        out.write_bytes(encode(found.model) + b"\n")
    except OSError as error:
        raise RecordingError(f"{out} cannot be written: {error}") from None
    _tell_fit(found, refused, out, json=json)


def show_command(
    file: Annotated[Path | None, typer.Argument(help="A model, as `fit` writes it.", show_default=False)] = None,
    topic: Annotated[bool, typer.Option("--topic", help="The newest on the topics of the settings.")] = False,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """What a model says: volatilities, correlations, and what large moves of its factors do."""
    from worker.risk_words import words_of

    settings = read_settings(settings_file, sets)
    if (file is None) != topic:
        raise SettingError("show must be given a file or --topic")
    model = model_of_topic(settings) if file is None else model_of_file(file)
    words = words_of(model)
    if json:
        terminal.show_json(words)
    else:
        _show_words(words)


def publish_command(
    file: Annotated[Path, typer.Argument(help="A model, as `fit` writes it.")],
    settings_file: SettingsFile = None,
    sets: Set = None,
) -> None:
    """The model goes onto its topic, where it holds for whatever is decided after it."""
    from worker.edge.kafka_publish import Publisher

    settings = read_settings(settings_file, sets)
    model, topic = model_of_file(file), settings.input.topics["risk-model"][0]
    form = settings.format.topics.get(topic, "json")
    if ":" in form:
        raise SettingError(f"format.topics.{topic} must be json or msgpack for a model of ours, was {form}")
    value = encode(model, "msgpack" if form == "msgpack" else "json")
    publisher = Publisher(client_config(settings.kafka, os.environ), linger_ms=0)
    publisher.put(Record(topic, 0, 0, 0, settings.pool.name.encode(), value), timed=False)
    publisher.flush()
    typer.echo(f"model {model.id} is on {topic}")


def marks_of(
    source: Source, settings: Settings, show: "Callable[[int], None]"
) -> tuple[dict[str, tuple[list[int], list[float]]], int]:
    """Every mark price of a source, log times and prices by symbol, and how many records could not be read."""
    from worker.formats import decoders

    read = decoders(settings)
    marks: dict[str, tuple[list[int], list[float]]] = {}
    refused = done = 0
    while records := source.poll(POLL_RECORDS):
        for record in records:
            try:
                messages = read[record.topic](record) if record.value is not None else []
                for message in messages:
                    if isinstance(message, MarkPrice):
                        price = float(fraction_of(message.mark_price, "mark_price"))
                        times, prices = marks.setdefault(message.symbol, ([], []))
                        if price > 0:
                            times.append(record.log_time_ms)
                            prices.append(price)
            except Refused:
                refused += 1
        done += len(records)
        show(done)
    return marks, refused


def model_of_file(file: Path) -> RiskModel:
    """The model in a file; raises RecordingError."""
    try:
        messages = decode(file.read_bytes())
    except OSError as error:
        raise RecordingError(f"{file} cannot be read: {error}") from None
    except Refused as refused:
        raise RecordingError(f"{file} must hold a risk model: {refused.sentence}") from None
    if len(messages) != 1 or not isinstance(messages[0], RiskModel):
        raise RecordingError(f"{file} must hold one risk model and nothing else")
    return messages[0]


def model_of_topic(settings: Settings) -> RiskModel:
    """The newest model on the topics; raises SettingError where there is none that the worker takes."""
    from worker.edge.kafka_cluster import Cluster
    from worker.edge.kafka_log import records_of
    from worker.formats import decoders

    read, config, topics = decoders(settings), client_config(settings.kafka, os.environ), settings.input.topics
    newest: list[RiskModel] = []
    for record in records_of(config, Cluster(config), topics["risk-model"]):
        try:
            messages = read[record.topic](record) if record.value is not None else []
        except Refused:
            continue
        newest = [message for message in messages if isinstance(message, RiskModel)] or newest
    if not newest:
        raise SettingError(f"there is no model on {', '.join(topics['risk-model'])}")
    return newest[-1]


def _tail(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return inf if text == "gaussian" else float(text)
    except ValueError:
        raise SettingError(f"--tail must be a number or gaussian, was {text!r}") from None


def _tell_fit(found: "Fit", refused: int, out: Path, *, json: bool) -> None:
    if json:
        facts = {"model": found.model, "steps": found.steps, "returns": found.returns, "left_out": found.left_out,
                 "shrinkage": found.shrinkage, "remarks": found.remarks, "refused": refused}  # fmt: skip
        terminal.show_json(facts)
        return
    model = found.model
    typer.echo(
        f"model {model.id}: {len(model.symbols)} symbols, {len(model.symbols[0].loadings)} factors, tail "
        f"{model.tail or 'gaussian'}, horizon {model.horizon_seconds:,} s, of {found.steps:,} steps; "
        f"correlations moved {found.shrinkage:.1%} to their mean"
    )
    for remark in found.remarks:
        typer.echo(remark)
    for symbol, reason in found.left_out.items():
        typer.echo(f"left out, so the default holds: {symbol}: {reason}")
    if refused:
        typer.echo(f"{refused:,} records could not be read")
    typer.echo(f"written to {out}")


def _show_words(words: "RiskWords") -> None:
    typer.echo(
        f"Model {words.id}, digest {words.digest}: {len(words.symbols)} symbols, {words.factors} factors, tail "
        f"{words.tail or 'gaussian'}, horizon {words.horizon_seconds:,} s"
    )
    typer.echo("Scale and volatility over the horizon, volatility over a year, and the common part of the variance:")
    terminal.show_table(
        ["symbol", "scale", "volatility", "a year", "common"],
        [
            [row.symbol, f"{row.scale:.4%}", _share(row.volatility), _share(row.volatility_year), f"{row.common:.0%}"]
            for row in words.symbols
        ],
    )
    if words.correlations:
        typer.echo("Correlations of those that vary most:")
        names = list(words.correlations)
        rows = [[name, *(f"{value:.2f}" for value in words.correlations[name])] for name in names]
        terminal.show_table(["symbol", *names], rows)
    if words.scenarios:
        typer.echo(f"A factor moves by {words.move:g} of its scales (chance {words.chance:.2g} each way); worst for:")
        rows = [[item.factor, *(f"{symbol} {move:+.2%}" for symbol, move in item.moves.items())]
                for item in words.scenarios]  # fmt: skip
        terminal.show_table(["factor", *[""] * max(len(row) - 1 for row in rows)], rows)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2%}"
