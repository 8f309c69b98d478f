"""The command `adl`: settings -> edge -> loop, and nothing else.

Exit codes: 0 done; 1 a check or `--verify` found a difference; 2 wrong use or settings; 3 a file cannot be read;
4 the inputs and what was committed about them do not agree.
"""

import gc
import os
import platform
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, NoReturn

import msgspec
import typer

from worker.edge import terminal
from worker.edge.code import code_digest, worker_version
from worker.edge.jsonlines import RecordingError, line_of, open_for_write
from worker.edge.log import log_decision, start_logging
from worker.edge.recording import (
    ADVICE_FILE,
    COMMITS_FILE,
    OUTPUTS_FILE,
    RecordingSink,
    RecordingSource,
    committed_outputs,
)
from worker.explain import NotFoundError, explain
from worker.record import Record
from worker.settings import SettingError, Settings, load, settings_digest, to_toml, to_values
from worker.summary import Summary, summarise

if TYPE_CHECKING:
    from worker.engine import Start

# The loop and the demo are imported by the commands that need them: numba takes a second, `adl version` does not.

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Auto-deleveraging.")
config = typer.Typer(no_args_is_help=True, help="What is set.")
app.add_typer(config, name="config")

SettingsFile = Annotated[Path | None, typer.Option("--settings", "-s", help="TOML file.", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; wins over file and environment.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def main() -> None:
    """Runs the command line; expected errors are one sentence on standard error and an exit code."""
    # Nothing we keep in numbers (records, legs) is part of a cycle, and looking for cycles took half of a long replay.
    gc.set_threshold(1_000_000, 50, 100)
    try:
        app()
    except (SettingError, NotFoundError) as error:
        _fail(str(error), 2)
    except RecordingError as error:
        _fail(str(error), 3)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder, made anew.")] = Path("build/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another crash.")] = 1,
    accounts: Annotated[int, typer.Option(min=500)] = 10_000,
    symbols: Annotated[int, typer.Option(min=2, max=20)] = 20,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """A seeded exchange crashes: recording, decisions and forced trades, summary."""
    from worker.demo.exchange import Exchange
    from worker.demo.run import DemoSink, DemoSource
    from worker.loop import run

    # In shadow mode no trade is written and the exchange would wait for ever.
    settings = _settings(settings_file, ["worker.mode=live", *(sets or [])])
    recording = _made_anew(out, settings)
    exchange = Exchange(seed, accounts=accounts, symbols=symbols)
    with open_for_write(recording) as file, _sink(out, settings) as sink:
        source = DemoSource(exchange, lambda record: _append(file, record))
        with terminal.progress("ticks of the exchange", exchange.ticks, quiet=json) as show:
            run(
                source,
                DemoSink(sink, exchange),
                settings,
                code_digest=code_digest(),
                progress=lambda _: show(exchange.tick),
                on_decision=log_decision,
            )
    exchange.check()
    summary = summarise(committed_outputs(out))
    facts = {"Exchange's own books": exchange.report(), "Files": f"{recording}, {out / 'outputs.jsonl'}"}
    _finish(summary, facts, json=json)


@app.command()
def replay(
    recording: Annotated[Path, typer.Argument(help="JSON lines as `kcat -J` prints them; plain, .gz or .zst.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of outputs; default beside it.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Decide again and compare with the folder.")] = False,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """A recording becomes decisions and forced trades; goes on where the folder of outputs ends."""
    from worker.loop import StateLostError, run

    settings = _settings(settings_file, sets)
    folder = out or recording.with_name(recording.name.split(".")[0] + ".outputs")
    source = RecordingSource(
        recording, partitions=[(t, 0) for topics in settings.input.topics.values() for t in topics]
    )
    if verify:
        _verify(source, folder, settings, json=json)
        return
    start = _start(source, settings)
    try:
        with _sink(folder, settings) as sink, terminal.progress("records", source.count, quiet=json) as show:
            report = run(
                source,
                sink,
                settings,
                code_digest=code_digest(),
                start=start,
                progress=show,
                on_decision=log_decision,
            )
    except StateLostError as error:
        _fail(str(error), 4)
    facts = {
        "Records": f"{report.records:,}",
        "State digest": report.state_digest,
        "Files": str(folder / "outputs.jsonl"),
    }
    _finish(summarise(committed_outputs(folder)), facts, json=json)


@app.command(name="explain")
def explain_command(
    wanted: Annotated[str, typer.Argument(metavar="DECISION|TRADE", help="An id, or its beginning.")],
    outputs: Annotated[Path, typer.Option("--outputs", help="Folder of outputs.")] = Path("build/demo"),
    json: Json = False,
) -> None:
    """Why this account, why this amount."""
    explanation = explain(wanted, committed_outputs(outputs))
    if json:
        terminal.show_json(explanation)
    else:
        terminal.show_explanation(explanation)


@config.command(name="show")
def config_show(settings_file: SettingsFile = None, sets: Set = None, json: Json = False) -> None:
    """What is set, as a file that `--settings` reads."""
    settings = _settings(settings_file, sets)
    if json:
        terminal.show_json({"settings": to_values(settings), "digest": settings_digest(settings)})
    else:
        typer.echo(to_toml(settings), nl=False)
        typer.echo(f"# digest {settings_digest(settings)}")


@app.command()
def version(json: Json = False) -> None:
    """Version, digest of the code that decides, Python."""
    facts = {"version": worker_version(), "code_digest": code_digest(), "python": platform.python_version()}
    if json:
        terminal.show_json(facts)
    else:
        typer.echo(f"adl-worker {facts['version']}, code {facts['code_digest']}, Python {facts['python']}")


def _settings(file: Path | None, sets: list[str] | None) -> Settings:
    try:
        text = file.read_text() if file else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{file} must be a readable TOML file: {error}") from None
    settings = load(text, os.environ, sets or [])
    start_logging(settings.log.format, settings.log.level)
    return settings


def _sink(folder: Path, settings: Settings) -> RecordingSink:
    return RecordingSink(
        folder, {name.replace("_", "-"): topic for name, topic in to_values(settings)["output"].items()}
    )


def _made_anew(out: Path, settings: Settings) -> Path:
    """An empty folder for a demo, of which only files that a demo makes are removed; the recording's path."""
    out.mkdir(parents=True, exist_ok=True)
    recording = out / "recording.jsonl"
    for path in (recording, out / OUTPUTS_FILE, out / COMMITS_FILE, out / ADVICE_FILE):
        path.unlink(missing_ok=True)
    (out / "settings.toml").write_text(to_toml(settings))
    return recording


def _append(file: IO[bytes], record: Record) -> None:
    file.write(line_of(record))


def _start(source: RecordingSource, settings: Settings) -> "Start":
    """Where deciding begins: a recording, other than a live topic, is decided from its beginning."""
    from worker.engine import Start

    start_at = settings.worker.start_at
    if isinstance(start_at, int):
        return Start(log_time_ms=start_at)
    topics = settings.input.topics["bankruptcies"]
    ends = {where: end for where, end in source.ends().items() if where[0] in topics}
    return Start(offsets=ends) if start_at == "end" else Start()


def _verify(source: RecordingSource, folder: Path, settings: Settings, *, json: bool) -> None:
    from worker.memory import MemorySink
    from worker.verify import verify_replay

    logical = {topic: name.replace("_", "-") for name, topic in to_values(settings)["output"].items()}
    published = MemorySink()
    published.records = [
        msgspec.structs.replace(r, topic=logical.get(r.topic, r.topic)) for r in committed_outputs(folder)
    ]
    with terminal.progress("records", source.count, quiet=json) as show:
        report = verify_replay(
            source, published, settings, code_digest=code_digest(), start=_start(source, settings), progress=show
        )
    if json:
        terminal.show_json(report)
    else:
        same = "the same in meaning" if report.other_code else "the same bytes"
        found = same if report.ok else "DIFFERENT"
        typer.echo(f"{report.compared} outputs with {report.decisions} decisions derived again: {found}")
        if report.other_code:
            typer.echo(
                "another version of the code decided them: all fields but chain and code_digest were compared, and "
                "that the published chain holds"
            )
        for difference in report.differences:
            typer.echo(f"  {difference}")
    raise typer.Exit(0 if report.ok else 1)


def _finish(summary: Summary, facts: dict[str, Any], *, json: bool) -> None:
    """Shows what came out; exit code 1 when a check failed."""
    if json:
        terminal.show_json({"summary": summary, "facts": facts})
    else:
        terminal.show_summary(summary, facts)
    if not all(check.ok for check in summary.checks):
        raise typer.Exit(1)


def _fail(sentence: str, code: int) -> NoReturn:
    typer.echo(f"adl: {sentence}", err=True)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
