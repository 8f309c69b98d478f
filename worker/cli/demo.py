"""`adl demo`: a seeded exchange crashes, and the worker answers it."""

from pathlib import Path
from typing import IO, Annotated

import typer

from worker.cli.common import Json, Set, SettingsFile, finish, folder_sink, read_settings
from worker.edge import terminal
from worker.edge.code import code_digest
from worker.edge.jsonlines import line_of, open_for_write
from worker.edge.log import log_decision
from worker.edge.recording import ADVICE_FILE, COMMITS_FILE, OUTPUTS_FILE, committed_outputs
from worker.record import Record
from worker.settings import Settings, to_toml
from worker.summary import summarise


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
    settings = read_settings(settings_file, ["worker.mode=live", *(sets or [])])
    recording = _made_anew(out, settings)
    exchange = Exchange(seed, accounts=accounts, symbols=symbols)
    with open_for_write(recording) as file, folder_sink(out, settings) as sink:
        source = DemoSource(exchange, lambda record: _append(file, record))
        with terminal.progress("ticks of the exchange", exchange.ticks, quiet=json) as show:
            run(
                source,
                DemoSink(sink, exchange),
                settings,
                code_digest=code_digest(settings),
                progress=lambda _: show(exchange.tick),
                on_decision=log_decision,
            )
    exchange.check()
    summary = summarise(committed_outputs(out))
    facts = {"Exchange's own books": exchange.report(), "Files": f"{recording}, {out / 'outputs.jsonl'}"}
    finish(summary, facts, json=json)


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
