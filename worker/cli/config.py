"""`adl config show` and `adl version`: what runs here, and how it is set."""

import platform

import typer

from worker.cli.common import Json, Set, SettingsFile, read_settings
from worker.edge import terminal
from worker.edge.code import code_digest, worker_version
from worker.settings import settings_digest, to_toml, to_values


def config_show(settings_file: SettingsFile = None, sets: Set = None, json: Json = False) -> None:
    """What is set, as a file that `--settings` reads."""
    settings = read_settings(settings_file, sets)
    if json:
        terminal.show_json({"settings": to_values(settings), "digest": settings_digest(settings)})
    else:
        typer.echo(to_toml(settings), nl=False)
        typer.echo(f"# digest {settings_digest(settings)}")


def version(json: Json = False) -> None:
    """Version, digest of the code that decides, Python."""
    facts = {"version": worker_version(), "code_digest": code_digest(), "python": platform.python_version()}
    if json:
        terminal.show_json(facts)
    else:
        typer.echo(f"adl-worker {facts['version']}, code {facts['code_digest']}, Python {facts['python']}")
