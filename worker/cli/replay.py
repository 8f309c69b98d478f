"""`adl replay`: a recording, or topics, become decisions and forced trades, or the proof that they did."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from worker.cli.common import (
    Json,
    Set,
    SettingsFile,
    fail,
    finish,
    folder_sink,
    published_topics,
    read_settings,
    recording_source,
    start_of,
)
from worker.cli.run import start_of_pool
from worker.edge import terminal
from worker.edge.code import code_digest
from worker.edge.exits import Exit
from worker.edge.jsonlines import RecordingError
from worker.edge.log import log_decision
from worker.edge.recording import OUTPUTS_FILE, RecordingSource, committed_outputs
from worker.settings import SettingError, Settings, to_values
from worker.summary import summarise

if TYPE_CHECKING:
    from schemas import Cut
    from worker.cut import RecordedCut
    from worker.engine import Start
    from worker.record import Source
    from worker.verify import VerifyReport


def replay(
    recording: Annotated[
        Path | None, typer.Argument(help="JSON lines as `kcat -J` prints them; plain, .gz or .zst.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of outputs; default beside it.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Decide again and compare with what was said.")] = False,
    from_offsets: Annotated[
        str | None,
        typer.Option(help="Topics instead of a recording: `beginning`, or topic:partition=offset with commas."),
    ] = None,
    from_time: Annotated[int | None, typer.Option(help="The same, from a log time in milliseconds.")] = None,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """A recording becomes decisions and forced trades; goes on where the folder of outputs ends.

    Topics are only read. Their state is built from the beginning; with --verify, decisions are compared from the place.
    """
    settings = read_settings(settings_file, sets)
    if (recording is None) == (from_offsets is None and from_time is None):
        raise SettingError("replay must be given a recording, or --from-offsets or --from-time for topics")
    if recording is None:
        _replay_topics(settings, _since(from_offsets, from_time), out, verify=verify, json=json)
        return
    folder = out or recording.with_name(recording.name.split(".")[0] + ".outputs")
    source = recording_source(recording, settings)
    if verify:
        _verify(source, folder, settings, json=json)
        return
    with terminal.progress("records", source.count, quiet=json) as show:
        _run_to_folder(source, folder, settings, start_of(source, settings), show, json=json)


def _run_to_folder(
    source: "Source",
    folder: Path,
    settings: Settings,
    start: "Start",
    show: Callable[[int], None],
    *,
    json: bool,
    recorded: "Iterable[RecordedCut]" = (),
) -> None:
    from worker.loop import StateLostError, run

    try:
        with folder_sink(folder, settings) as sink:
            report = run(
                source,
                sink,
                settings,
                code_digest=code_digest(settings),
                start=start,
                recorded=recorded,
                progress=show,
                on_decision=log_decision,
            )
    except StateLostError as error:
        fail(str(error), Exit.STATE_LOST)
    facts = {
        "Records": f"{report.records:,}",
        "State digest": report.state_digest,
        "Files": str(folder / "outputs.jsonl"),
    }
    finish(summarise(committed_outputs(folder)), facts, json=json)


def _since(offsets: str | None, time_ms: int | None) -> "Callable[[Cut], bool]":
    """Whether a cut is at or behind a place in the logs."""
    if time_ms is not None:
        return lambda cut: cut.log_time_ms >= time_ms
    if offsets == "beginning":
        return lambda _: True
    try:
        least = {name.strip(): int(offset) for name, _, offset in (p.partition("=") for p in str(offsets).split(","))}
    except ValueError:
        raise SettingError(f"--from-offsets must be `beginning` or topic:partition=offset, was {offsets}") from None
    return lambda cut: all((cut.basis | cut.after).get(name, 0) >= offset for name, offset in least.items())


def _replay_topics(
    settings: Settings, since: "Callable[[Cut], bool]", out: Path | None, *, verify: bool, json: bool
) -> None:
    from worker.engine import Start
    from worker.verify import recorded_cuts, verify_replay

    published = published_topics(settings)
    origin = published.origin()
    start = Start() if origin is None else start_of_pool(origin)
    if not verify:
        folder = out or Path("build/replay")
        with terminal.progress("records", None, quiet=json) as show:
            _run_to_folder(
                published.source(), folder, settings, start, show, json=json, recorded=recorded_cuts(published)
            )
        return
    with terminal.progress("records", None, quiet=json) as show:
        report = verify_replay(
            published.source(), published, settings,
            code_digest=code_digest(settings), start=start, beyond=False, since=since, progress=show,
        )  # fmt: skip
    _tell(report, json=json)


def _verify(source: RecordingSource, folder: Path, settings: Settings, *, json: bool) -> None:
    from worker.memory import MemorySink
    from worker.verify import verify_replay

    if not (folder / OUTPUTS_FILE).exists():
        raise RecordingError(f"there is nothing to verify in {folder}; replay it first, or name its --out")
    logical = {topic: name.replace("_", "-") for name, topic in to_values(settings)["output"].items()}
    published = MemorySink()
    published.records = [
        msgspec.structs.replace(r, topic=logical.get(r.topic, r.topic)) for r in committed_outputs(folder)
    ]
    with terminal.progress("records", source.count, quiet=json) as show:
        report = verify_replay(
            source,
            published,
            settings,
            code_digest=code_digest(settings),
            start=start_of(source, settings),
            progress=show,
        )
    _tell(report, json=json)


def _tell(report: "VerifyReport", *, json: bool) -> None:
    """Says what was compared; exit code 1 when something differs."""
    if json:
        terminal.show_json(report)
    else:
        same = "the same in meaning" if report.other_code else "the same bytes"
        found = same if report.ok else "DIFFERENT"
        typer.echo(f"{report.compared} outputs with {report.decisions} decisions derived again: {found}")
        if report.other_code:
            typer.echo(
                f"another version of the code decided them: {_counts(report.other_code)}; this one is "
                f"{report.code_digest}. All but digests, floats, certificates and sentences were compared, and that "
                "the published chain holds"
            )
        if report.beside:
            typer.echo(f"beside the meaning differ: {_counts(report.beside)}")
        for difference in report.differences:
            typer.echo(f"  {difference}")
    raise typer.Exit(Exit.DONE if report.ok else Exit.DIFFERENCE)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
