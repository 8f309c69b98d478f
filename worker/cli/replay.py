"""`adl replay`: a recording becomes decisions and forced trades, or the proof that it did."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from worker.cli.common import Json, Set, SettingsFile, fail, finish, folder_sink, read_settings, start_of
from worker.edge import terminal
from worker.edge.code import code_digest
from worker.edge.exits import Exit
from worker.edge.log import log_decision
from worker.edge.recording import RecordingSource, committed_outputs
from worker.settings import Settings, to_values
from worker.summary import summarise


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

    settings = read_settings(settings_file, sets)
    folder = out or recording.with_name(recording.name.split(".")[0] + ".outputs")
    source = RecordingSource(
        recording, partitions=[(t, 0) for topics in settings.input.topics.values() for t in topics]
    )
    if verify:
        _verify(source, folder, settings, json=json)
        return
    start = start_of(source, settings)
    try:
        with folder_sink(folder, settings) as sink, terminal.progress("records", source.count, quiet=json) as show:
            report = run(
                source,
                sink,
                settings,
                code_digest=code_digest(settings),
                start=start,
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
            source,
            published,
            settings,
            code_digest=code_digest(settings),
            start=start_of(source, settings),
            progress=show,
        )
    if json:
        terminal.show_json(report)
    else:
        found = "the same bytes" if report.ok else "DIFFERENT"
        typer.echo(f"{report.compared} outputs with {report.decisions} decisions derived again: {found}")
        if report.other_code:
            typer.echo(
                "they were decided by another version of the code, so what they mean was compared, not the bytes"
            )
        for difference in report.differences:
            typer.echo(f"  {difference}")
    raise typer.Exit(Exit.DONE if report.ok else Exit.DIFFERENCE)
