"""`adl ladder`: who stands where in the leverage queues of a symbol, as a recording or topics have it at their end.

Rule: nothing is decided and nothing written. What a forced trade holds until an update shows it is not in the inputs,
so it is not counted.
"""

from collections.abc import Callable
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from schemas import text_of
from worker.cli.common import Json, Set, SettingsFile, published_topics, read_settings, recording_source
from worker.edge import terminal
from worker.settings import SettingError, Settings

if TYPE_CHECKING:
    from worker.book.book import Book
    from worker.record import Source


class Side(StrEnum):
    """Of positions, as on the wire."""

    LONG = "LONG"
    SHORT = "SHORT"


class Level(msgspec.Struct, frozen=True):
    """One level of a ladder; its positions have more leverage than it says, and at most that of the level before."""

    leverage_above: float | None  # null: no equity is left
    positions: int
    quantity: str
    notional: str


class Standing(msgspec.Struct, frozen=True):
    """One position; rank 1 is deleveraged first."""

    rank: int
    account: str
    margin_mode: str
    leverage: float | None  # null: no equity is left


class Line(msgspec.Struct, frozen=True):
    """One side of a symbol."""

    side: str
    positions: int
    notional: str
    levels: list[Level]
    first: list[Standing]
    account_rank: int | None = None  # of the account that was asked for; null where it does not queue


class Ladder(msgspec.Struct, frozen=True):
    """What the command says."""

    symbol: str
    mark_price: str | None
    sides: list[Line]
    account: str | None = None


def ladder_command(
    symbol: Annotated[str, typer.Argument(help="As its instrument names it.")],
    recording: Annotated[
        Path | None,
        typer.Option(
            "--recording", "-r", help="JSON lines; without it: the topics of the settings.", show_default=False
        ),
    ] = None,
    side: Annotated[Side | None, typer.Option(help="Default: both.", show_default=False)] = None,
    top: Annotated[int, typer.Option(min=0, help="So many of those who are deleveraged first.")] = 10,
    account: Annotated[str | None, typer.Option(help="Whose place to tell.", show_default=False)] = None,
    settings_file: SettingsFile = None,
    sets: Set = None,
    json: Json = False,
) -> None:
    """How deep each leverage level of a symbol is, who is first, and where an account stands."""
    settings = read_settings(settings_file, sets)
    source: Source
    if recording is None:
        source, count = published_topics(settings).inputs(), None
    else:
        source = recorded = recording_source(recording, settings)
        count = recorded.count
    with terminal.progress("records", count, quiet=json) as show:
        book = book_of(source, settings, show)
    if symbol not in book.symbols:
        raise SettingError(f"SYMBOL must have an instrument in the inputs, was {symbol}")
    if account is not None and not book.holds(account):
        raise SettingError(f"--account must be one with an update in the inputs, was {account}")
    found = ladder_of(book, symbol, [side] if side else list(Side), top, account)
    if json:
        terminal.show_json(found)
    else:
        _show(found)


def book_of(source: "Source", settings: Settings, show: Callable[[int], None]) -> "Book":
    """The book that the inputs fill; what they refuse or ask to be decided is left out."""
    from worker.cut import CutPoint
    from worker.inputs import Inputs
    from worker.reader import Reader

    inputs, reader = Inputs(settings), Reader(source, settings, batches=True)
    for steps in reader.steps():
        for step in steps:
            if not isinstance(step, CutPoint):
                inputs.apply(step)
        show(reader.records)
    return inputs.book


def ladder_of(book: "Book", symbol: str, sides: list[Side], top: int, account: str | None) -> Ladder:
    """What the book says of a symbol."""
    market, scale = book.market(symbol), book.scale(symbol)
    lines = []
    for side in sides:
        sign = 1 if side is Side.LONG else -1
        rungs = book.depth(symbol, sign)
        place = book.rank(account, symbol, sign) if account is not None else None
        lines.append(
            Line(
                side=side.value,
                positions=sum(rung.positions for rung in rungs),
                notional=text_of(sum(rung.notional_minor for rung in rungs), book.currency_decimals),
                levels=[
                    Level(
                        _finite(rung.leverage_from),
                        rung.positions,
                        scale.quantity_text(rung.lots),
                        text_of(rung.notional_minor, book.currency_decimals),
                    )
                    for rung in rungs
                ],
                first=[
                    Standing(rank, found.account, "isolated" if found.isolated else "cross", _finite(found.leverage))
                    for rank, found in enumerate(book.top(symbol, sign, top), start=1)
                ],
                account_rank=place[0] if place else None,
            )
        )
    return Ladder(symbol, scale.price_text(market.mark) if market.mark else None, lines, account)


def _finite(leverage: float) -> float | None:
    return leverage if isfinite(leverage) else None


def _show(ladder: Ladder) -> None:
    mark = "without a mark nobody queues" if ladder.mark_price is None else f"mark {ladder.mark_price}"
    typer.echo(f"{ladder.symbol}, {mark}")
    for line in ladder.sides:
        typer.echo(f"\n{line.side}: {line.positions:,} positions, notional {_amount(line.notional)}")
        if line.levels:
            rows = [
                [_leverage(level.leverage_above), f"{level.positions:,}", level.quantity, _amount(level.notional)]
                for level in line.levels
            ]
            terminal.show_table(["leverage above", "positions", "quantity", "notional"], rows)
        if line.first:
            typer.echo(f"\nFirst of {line.positions:,}:")
            rows = [[f"{one.rank:,}", one.account, one.margin_mode, _leverage(one.leverage)] for one in line.first]
            terminal.show_table(["rank", "account", "margin", "leverage"], rows)
        if ladder.account is not None:
            place = "not in this line" if line.account_rank is None else f"{line.account_rank:,} of {line.positions:,}"
            typer.echo(f"\n{ladder.account}: {place}")


def _leverage(leverage: float | None) -> str:
    return "no equity" if leverage is None else f"{leverage:,.4g}x"


def _amount(text: str) -> str:
    whole, point, rest = text.partition(".")
    return f"{int(whole):,}{point}{rest}"
