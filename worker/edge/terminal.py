"""What a person sees: summaries and explanations as tables, JSON where asked for, progress at a terminal only."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from worker.explain import Explanation
from worker.findings import SENTENCES, CheckReport, Finding
from worker.summary import Summary, Taken

ROWS_MAX = 10
FINDINGS_MAX = 5  # of one kind


def show_json(value: Any) -> None:
    """One JSON document on standard output."""
    encoded = msgspec.json.encode(value, order="deterministic")
    sys.stdout.write(msgspec.json.format(encoded, indent=2).decode() + "\n")


@contextmanager
def progress(words: str, total: int | None, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on standard error while inside; nothing where that is no terminal."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    columns = TextColumn(words), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(words, total=total)
        yield lambda done: bar.update(task, completed=done)


def show_explanation(explanation: Explanation) -> None:
    """One sentence a line."""
    console = _console()
    for sentence in explanation.sentences:
        console.print(Text(sentence))


def show_table(columns: list[str], rows: list[list[str]]) -> None:
    """Words in columns."""
    table = _table(*columns)
    for row in rows:
        table.add_row(*map(Text, row))
    _console().print(table)


def show_summary(summary: Summary, facts: dict[str, Any]) -> None:
    """Who was liquidated, what was taken from whom, who paid, what is left, and whether it adds up."""
    console = _console()
    statuses = ", ".join(f"{count} {status}" for status, count in summary.decisions.items()) or "none"
    console.print(
        _heading("Decisions"), f"{statuses}; {summary.cuts} cuts, {summary.mode} mode, {', '.join(summary.policies)}"
    )
    if summary.reasons:
        console.print("  reasons: " + ", ".join(f"{count} {reason}" for reason, count in summary.reasons.items()))
    if summary.expected_loss_before is not None:
        models = f"model{'s' * (len(summary.risk_models) > 1)} {', '.join(summary.risk_models)}"
        console.print(
            _heading("Risk"),
            f"those who could be asked expected to lose {summary.expected_loss_before:,.2f} beyond their equity, "
            f"afterwards {summary.expected_loss_after or 0.0:,.2f}; {models}",
        )
    _show_liquidated(console, summary)
    _show_taken(console, summary)
    console.print(
        _heading("Who paid"),
        f"deficits {_amount(summary.deficit)} = fund {_amount(summary.fund)} + winners' haircuts "
        f"{_amount(summary.haircut)} + bad debt {_amount(summary.bad_debt)}",
    )
    _show_residuals(console, summary)
    letters = ", ".join(f"{count} {reason}" for reason, count in summary.dead_letters.items()) or "none"
    console.print(_heading("Dead letters"), letters)
    for name, value in facts.items():
        console.print(_heading(name), Text(_words(value)))
    console.print(_heading("Checks"))
    for check in summary.checks:
        mark = Text("  ok  ", "green") if check.ok else Text("  NO  ", "bold red")
        console.print(mark, Text(f"{check.promise} ({check.checked:,})"), sep="")
        for failure in check.failures:
            console.print(Text(f"        {failure}", "red"))


def show_check(report: CheckReport) -> None:
    """What was read, the symbols whose marks were silent longest, and every finding with its first place."""
    console = _console()
    lasted = _words((report.end_ms or 0) - (report.begin_ms or 0))
    console.print(_heading("Read"), f"{report.records:,} records over {lasted} ms, {report.accounts:,} accounts;")
    if report.messages:
        console.print("  " + _words(report.messages), f"removals {report.removals:,}", sep=", ")
    if report.silent_topics:
        console.print(_heading("No record on"), ", ".join(report.silent_topics))
    if not report.seq_counts_by_one:
        console.print(_heading("Note"), "seq does not count by one here, so a gap in it would not be seen")
    if report.symbols:
        _show_symbols(console, report)
    console.print(_heading("Findings"), "" if report.findings else "none")
    for kind in SENTENCES:
        _show_findings(console, [finding for finding in report.findings if finding.kind == kind])


def _show_symbols(console: Console, report: CheckReport) -> None:
    symbols = sorted(report.symbols, key=lambda facts: (-(facts.mark_gap_ms_max or 0), facts.symbol))
    console.print(_heading("Symbols"), f"{len(symbols)}; the longest without a new mark:")
    table = _table("symbol", "holders", "longs less shorts", "marks", "longest gap ms")
    for facts in symbols[:ROWS_MAX]:
        gap = "-" if facts.mark_gap_ms_max is None else f"{facts.mark_gap_ms_max:,}"
        table.add_row(facts.symbol, f"{facts.holders:,}", facts.longs_minus_shorts, f"{facts.marks:,}", gap)
    console.print(table)


def _show_findings(console: Console, findings: list[Finding]) -> None:
    """All of one kind: what it means once, then the first subjects."""
    if not findings:
        return
    kind = findings[0].kind
    mark = Text("  WRONG  ", "bold red") if findings[0].wrong else Text("  odd    ", "yellow")
    console.print(mark, Text(f"{kind}: {SENTENCES[kind]}"), sep="")
    for finding in findings[:FINDINGS_MAX]:
        times = f", {finding.count:,} times" if finding.count > 1 else ""
        place = "" if finding.first == finding.subject else f", first at {finding.first}"
        console.print(Text(f"         {finding.subject}{times}{place}: {finding.seen}"))
    if len(findings) > FINDINGS_MAX:
        console.print(f"         and {len(findings) - FINDINGS_MAX:,} more; --json shows them")


def _show_liquidated(console: Console, summary: Summary) -> None:
    console.print(_heading("Liquidated"), f"{len(summary.liquidated)} bankruptcies; the largest deficits:")
    table = _table("account", "equity", "deficit", "fund", "haircut", "bad debt", "decision")
    for item in summary.liquidated[:ROWS_MAX]:
        amounts = (_amount(a) for a in (item.equity, item.deficit, item.fund, item.haircut, item.bad_debt))
        table.add_row(item.account, *amounts, item.decision_id[:12])
    console.print(table)


def _show_taken(console: Console, summary: Summary) -> None:
    console.print(
        _heading("Taken"),
        f"{summary.trades:,} forced trades, {summary.counterparties:,} counterparties; largest leverage asked "
        f"{_leverage(summary.leverage_before_max)} before, {_leverage(summary.leverage_after_max)} after; the largest:",
    )
    table = _table("symbol", "side", "quantity", "price", "mark", "accounts", "leverage before", "after", "decision")
    for item in summary.taken[:ROWS_MAX]:
        table.add_row(*_taken_row(item))
    console.print(table)


def _taken_row(item: Taken) -> tuple[str, ...]:
    return (
        item.symbol,
        item.side,
        _quantity(item.quantity),
        f"{item.price:.8g}",
        f"{item.mark_price:.8g}",
        f"{item.accounts:,}",
        _leverage(item.leverage_before_max),
        _leverage(item.leverage_after_max),
        item.decision_id[:12],
    )


def _show_residuals(console: Console, summary: Summary) -> None:
    if not summary.residuals:
        console.print(_heading("Residuals"), "none")
        return
    console.print(_heading("Residuals"), f"{len(summary.residuals)}:")
    table = _table("symbol", "side", "quantity", "reason", "decision")
    for item in summary.residuals[:ROWS_MAX]:
        table.add_row(item.symbol, item.side, _quantity(item.quantity), item.reason, item.decision_id[:12])
    console.print(table)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{str(name).replace('_', ' ')} {_words(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "/".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else str(value)


def _console() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    # Not a terminal: wide enough that tables keep their lines, so that what is piped can be searched.
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=160)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        left = column in ("figure", "account", "symbol", "side", "reason", "decision")
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def _heading(words: str) -> Text:
    return Text(f"{words}:", "bold")


def _amount(value: Decimal) -> str:
    return (
        f"{value:,.2f}" if value == value.quantize(Decimal("0.01")) or abs(value) >= 100 else f"{value.normalize():f}"
    )


def _quantity(value: Decimal) -> str:
    return f"{value.normalize():,f}"


def _leverage(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}x"
