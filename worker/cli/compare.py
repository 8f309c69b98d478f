"""`adl compare`: policies beside each other on a recording, in one table, one JSON document and two pictures."""

from collections.abc import Callable
from decimal import Decimal
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
import typer

from worker.cli.common import Json, Set, SettingsFile, read_settings, recording_source, start_of
from worker.cli.risk_model import model_of_file
from worker.edge import terminal
from worker.edge.jsonlines import RecordingError
from worker.edge.plots import NoPlotsError, draw
from worker.settings import SettingError

if TYPE_CHECKING:
    from worker.candidate import InAll
    from worker.compare import Comparison

JSON_FILE: Final = "compare.json"


def compare_command(
    recording: Annotated[Path, typer.Argument(help="JSON lines as `kcat -J` prints them; plain, .gz or .zst.")],
    policies: Annotated[
        str, typer.Option("--policies", "-p", help="With commas.")
    ] = "risk,waterfill,queue:pnl_leverage",
    risk_model: Annotated[
        Path | None,
        typer.Option(
            help="A model, as `adl risk-model fit` writes it, that decides and measures; default: the recording's.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for compare.json and the plots.", show_default=False)
    ] = None,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """Each policy decides the whole recording on a book of its own; what it did is measured by one risk model."""
    from worker.compare import compare

    settings = read_settings(settings_file, sets)
    chosen = _policies(policies)
    model = None if risk_model is None else model_of_file(risk_model)
    source = recording_source(recording, settings)
    with terminal.progress("records", source.count, quiet=json) as show:
        comparison, curves = compare(
            source, settings, chosen, model=model, start=start_of(source, settings), progress=show
        )
    written = []
    if out is not None:
        written.append(_write(comparison, out))
        try:
            written += draw(curves, out)
        except NoPlotsError as error:
            typer.echo(f"adl: {error}", err=True)
    if json:
        terminal.show_json(comparison)
        return
    _tell(comparison)
    if written:
        typer.echo(f"written: {', '.join(map(str, written))}")


def _policies(text: str) -> list[str]:
    """The policies of a list with commas; raises SettingError."""
    from solver.solve import POLICIES

    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in POLICIES:
            raise SettingError(f"--policies must be of {', '.join(POLICIES)}, was {name!r}")
        if names.count(name) > 1:
            raise SettingError(f"--policies must name each policy once, has {name} again")
    return names


def _write(comparison: "Comparison", out: Path) -> Path:
    path = out / JSON_FILE
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(comparison, order="deterministic"), indent=2) + b"\n")
    except OSError as error:
        raise RecordingError(f"{path} cannot be written: {error}") from None
    return path


# The table's lines: what is said, and how it is found.
LINES: Final[list[tuple[str, Callable[["InAll"], str]]]] = [
    ("decisions", lambda of: ", ".join(f"{count:,} {status}" for status, count in of.decisions.items())),
    ("accounts taken from", lambda of: f"{of.accounts_touched:,}"),
    ("of them more than once", lambda of: f"{of.repeat_hits:,}"),
    ("accounts closed", lambda of: f"{of.accounts_closed:,}"),
    ("notional taken", lambda of: _number(of.notional)),
    ("left open (symbols and sides)", lambda of: f"{of.residuals:,}"),
    ("expected loss removed", lambda of: _number(of.loss_removed)),
    ("expected loss at the end", lambda of: _number(of.expected_loss_end)),
    ("largest leverage after a decision", lambda of: f"{of.leverage_after_max:,.2f}x"),
    ("largest leverage at the end", lambda of: f"{of.leverage_end_max:,.2f}x"),
    ("insolvent accounts at the end", lambda of: f"{of.accounts_insolvent_end:,}"),
    ("deficits", lambda of: _number(of.deficit)),
    ("paid by the fund", lambda of: _number(of.fund)),
    ("haircuts", lambda of: _number(of.haircut)),
    ("bad debt", lambda of: _number(of.bad_debt)),
    ("overshoot", lambda of: _number(of.overshoot)),
    ("largest haircut of equity", lambda of: _share(of.haircut_to_equity_max)),
    ("largest haircut of profit", lambda of: _share(of.haircut_to_profit_max)),
    ("Gini of haircuts", lambda of: _ratio(of.haircut_gini)),
    ("PTSR", lambda of: _ratio(of.profit_to_deficits)),
    ("PMR", lambda of: _ratio(of.profit_to_largest_deficit)),
]


def _tell(comparison: "Comparison") -> None:
    typer.echo(
        f"{comparison.records:,} records, settlement {comparison.settlement}; expected losses of every policy by risk "
        f"model {', '.join(comparison.risk_models)}"
    )
    columns = ["figure", *(item.policy for item in comparison.policies)]
    rows = [[words, *(say(item.in_all) for item in comparison.policies)] for words, say in LINES]
    terminal.show_table(columns, rows)


def _number(value: float | Decimal) -> str:
    return f"{value:,.0f}" if abs(float(value)) >= 1000 else f"{float(value):,.4g}"


def _share(value: float | None) -> str:
    return "-" if value is None else "no profit" if isinf(value) else f"{value:.2%}"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3f}" if value < 1000 else f"{value:,.0f}"
