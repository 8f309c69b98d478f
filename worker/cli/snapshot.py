"""`adl snapshot`: which states are kept, whether every byte of them is right, and how two of them differ."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from worker.cli.common import Json, Set, SettingsFile, read_settings
from worker.edge import terminal
from worker.edge.exits import Exit
from worker.edge.jsonlines import RecordingError
from worker.edge.snapshot_file import Facts, SnapshotFile
from worker.edge.snapshots import snapshots_in
from worker.record import NotKeptError
from worker.settings import SettingError

Folder = Annotated[
    Path | None,
    typer.Argument(help="Folder of snapshots; default: snapshot.folder of the settings.", show_default=False),
]
File = Annotated[Path, typer.Argument(help="A snapshot.", show_default=False)]


def ls(folder: Folder = None, settings_file: SettingsFile = None, sets: Set = None, json: Json = False) -> None:
    """The snapshots of a folder, oldest first; only their headers are read."""
    _show([_facts(path, whole=False) for path in _paths(folder, settings_file, sets)], json=json)


def verify(folder: Folder = None, settings_file: SettingsFile = None, sets: Set = None, json: Json = False) -> None:
    """Reads every byte of each snapshot; exit code 1 where one is not what was written."""
    found = [_facts(path, whole=True) for path in _paths(folder, settings_file, sets)]
    _show(found, json=json)
    raise typer.Exit(Exit.DIFFERENCE if any(not facts["ok"] for facts in found) else Exit.DONE)


def diff(one: File, other: File, json: Json = False) -> None:
    """What two snapshots say differently; exit code 1 where they do."""
    files = [_file(path) for path in (one, other)]
    try:
        words = [file.words() for file in files]
        found: dict[str, Any] = {
            "facts": _facts_that_differ(*(file.facts for file in files)),
            "words": words[0] != words[1],
            "columns": _columns_that_differ(*(dict(file.columns()) for file in files)),
        }
    except NotKeptError as error:
        raise RecordingError(f"a snapshot cannot be compared: {error}") from None
    same = not any(found.values())
    if json:
        terminal.show_json({"same": same, **found})
    else:
        for name, (mine, theirs) in found["facts"].items():
            typer.echo(f"{name}: {mine} -> {theirs}")
        for name, words_of in found["columns"].items():
            typer.echo(f"column {name}: {words_of}")
        typer.echo("the same state" if same else "words differ" if found["words"] else "words are the same")
    raise typer.Exit(Exit.DONE if same else Exit.DIFFERENCE)


def _paths(folder: Path | None, settings_file: Path | None, sets: list[str] | None) -> list[Path]:
    if folder is None:
        named = read_settings(settings_file, sets).snapshot.folder
        if named is None:
            raise SettingError("a folder must be given, or snapshot.folder be set")
        folder = Path(named)
    if not folder.is_dir():
        raise RecordingError(f"{folder} must be a folder of snapshots")
    return snapshots_in(folder)


def _facts(path: Path, *, whole: bool) -> dict[str, Any]:
    """What a file says of itself, or why nothing of it can be believed."""
    try:
        file = SnapshotFile(path)
        if whole:
            file.verify()
    except NotKeptError as error:
        return {"file": path.name, "ok": False, "reason": str(error)}
    facts = file.facts
    return {
        "file": path.name, "ok": True, "pool": facts.pool, "cut": facts.cut, "log_time_ms": facts.log_time_ms,
        "bytes": file.bytes, "state_digest": facts.digest, "code_digest": facts.code_digest,
        "layout_digest": facts.layout_digest, "settings_digest": facts.settings_digest,
    }  # fmt: skip


def _show(found: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        terminal.show_json(found)
        return
    for facts in found:
        if facts["ok"]:
            size = f"{facts['bytes'] / 1e6:,.1f} MB"
            typer.echo(f"{facts['file']}  cut {facts['cut']:,}  {size}  digest {facts['state_digest']}")
        else:
            typer.echo(f"{facts['file']}  NOT GOOD: {facts['reason']}")
    if not found:
        typer.echo("no snapshots")


def _file(path: Path) -> SnapshotFile:
    try:
        return SnapshotFile(path)
    except NotKeptError as error:
        raise RecordingError(f"{path}: {error}") from None


def _facts_that_differ(one: Facts, other: Facts) -> dict[str, tuple[Any, Any]]:
    names = one.__struct_fields__
    return {
        name: (getattr(one, name), getattr(other, name)) for name in names if getattr(one, name) != getattr(other, name)
    }


def _columns_that_differ(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> dict[str, str]:
    """By column: how many of its places hold something else, or how its size has changed."""
    found: dict[str, str] = {}
    for name in sorted(one.keys() | other.keys()):
        mine, theirs = one.get(name), other.get(name)
        if mine is None or theirs is None:
            found[name] = "only in the second" if mine is None else "only in the first"
            continue
        size = min(mine.shape[-1], theirs.shape[-1])
        changed = np.count_nonzero(np.atleast_2d(mine[..., :size] != theirs[..., :size]).any(axis=0))
        if changed or mine.shape != theirs.shape:
            found[name] = f"{changed:,} of {size:,} places differ, {mine.shape[-1]:,} became {theirs.shape[-1]:,}"
    return found
