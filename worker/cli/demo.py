"""`adl demo`: a seeded exchange crashes, and the worker answers it; in one process, or each on its side of a broker."""

import os
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import msgspec
import typer

from schemas import AdlDecision, AdlPoolState, decode_output
from worker.cli.common import Json, Set, SettingsFile, finish, folder_sink, published_topics, read_settings
from worker.cli.topics import make
from worker.edge import terminal
from worker.edge.code import code_digest
from worker.edge.jsonlines import line_of, open_for_write, read_records
from worker.edge.log import log_decision
from worker.edge.recording import ADVICE_FILE, COMMITS_FILE, OUTPUTS_FILE, committed_outputs
from worker.edge.secrets import client_config
from worker.edge.topics import wanted_topics
from worker.output import ADVISORY, CHAINED, DECISIONS, STATE, read
from worker.record import Record
from worker.settings import KINDS, SettingError, Settings, to_toml
from worker.summary import Check, Summary, summarise

if TYPE_CHECKING:
    from worker.demo.exchange import Exchange
    from worker.edge.kafka import PublishedTopics


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder, made anew.")] = Path("build/demo"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another crash.")] = 1,
    accounts: Annotated[int, typer.Option(min=500)] = 10_000,
    symbols: Annotated[int, typer.Option(min=2, max=20)] = 20,
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", help="Live on this broker, host:port, on new topics.", show_default=False),
    ] = None,
    speed: Annotated[float, typer.Option(help="With --kafka: so many ticks a second, of 180.")] = 8.0,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """A seeded exchange crashes: recording, decisions and forced trades, summary.

    With --kafka there is no recording: exchange and worker are two processes that share nothing but topics.
    """
    from worker.demo.exchange import Exchange

    if kafka is None:
        # In shadow mode no trade is written and the exchange would wait for ever. Its crash lasts a minute.
        settings = read_settings(settings_file, ["worker.mode=live", "state.forecast_ms=1000", *(sets or [])])
        _recorded(Exchange(seed, accounts=accounts, symbols=symbols), out, settings, json=json)
        return
    if not 0 < speed < 1e9:
        raise SettingError(f"--speed must be above 0, was {speed}")
    prefix = time.strftime("adl-demo-%Y%m%d-%H%M%S", time.gmtime())
    settings = read_settings(settings_file, [*(sets or []), *_live_settings(prefix, kafka)])
    _live(Exchange(seed, accounts=accounts, symbols=symbols), out, settings, speed, json=json)


def _recorded(exchange: "Exchange", out: Path, settings: Settings, *, json: bool) -> None:
    from worker.demo.run import DemoSink, DemoSource
    from worker.loop import run

    recording = _made_anew(out, settings)
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
    facts = {
        "Forecast": _foretold(out), "Exchange's own books": exchange.report(),
        "Files": f"{recording}, {out / 'outputs.jsonl'}",
    }  # fmt: skip
    finish(summary, facts, json=json)


def _foretold(out: Path) -> str:
    from worker.demo.foretold import foretold

    decisions = [read(record.value, AdlDecision) for record in committed_outputs(out) if record.topic == DECISIONS]
    advice = (record for block in read_records(out / ADVICE_FILE) for record in block if record.topic == STATE)
    said = [decode_output(record.value or b"") for record in advice]
    return foretold(decisions, [state for state in said if isinstance(state, AdlPoolState)])


def _live_settings(prefix: str, bootstrap: str) -> list[str]:
    """What a live demo sets whatever else is set: topics, and a pool, of its own."""
    return [
        *(f"input.topics.{kind}={prefix}.{kind}" for kind in KINDS),
        *(f"output.{topic.replace('-', '_')}={prefix}.{topic}" for topic in (*CHAINED, *ADVISORY)),
        f"pool.environment={prefix}", f"kafka.bootstrap={bootstrap}", "worker.mode=live", "worker.start_at=beginning",
    ]  # fmt: skip


def _live(exchange: "Exchange", out: Path, settings: Settings, speed: float, *, json: bool) -> None:
    from worker.demo.live import LiveExchange
    from worker.demo.process import WorkerProcess

    prefix, config = settings.pool.environment, client_config(settings.kafka, os.environ)
    published = published_topics(settings)
    _make_topics(exchange, published, settings)
    _made_anew(out, settings)
    begun = time.monotonic()
    with WorkerProcess(out / "settings.toml") as worker:
        live = LiveExchange(exchange, prefix, config, published.cluster, worker.check)
        with terminal.progress("ticks of the exchange", exchange.ticks, quiet=json) as show:
            live.run(speed, show)
        worker.stop()
    exchange.check()
    summary = summarise(record for topic in CHAINED for record in published.outputs(topic))
    summary = msgspec.structs.replace(summary, checks=[*summary.checks, _answered(exchange, summary)])
    facts = {
        "Exchange's own books": exchange.report(), "Seconds": round(time.monotonic() - begun, 1),
        "Topics": f"{prefix}.* on {settings.kafka.bootstrap}, named in {out / 'settings.toml'}",
    }  # fmt: skip
    finish(summary, facts, json=json)


def _make_topics(exchange: "Exchange", published: "PublishedTopics", settings: Settings) -> None:
    counts: dict[str, int] = {}
    for topic, number in exchange.offsets:
        name = f"{settings.pool.environment}.{topic}"
        counts[name] = max(counts.get(name, 0), number + 1)
    for topic, *_, given in make(published.cluster, wanted_topics(settings), counts):
        if given is None:
            raise SettingError(f"topic {topic} is there already: another demo began in the same second")


def _answered(exchange: "Exchange", summary: Summary) -> Check:
    answered = sum(exchange.execution.counts.values())
    failures = [] if answered == summary.trades else [f"the exchange answered {answered} of {summary.trades}"]
    return Check(promise="every forced trade was answered by the exchange", checked=answered, failures=failures)


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
