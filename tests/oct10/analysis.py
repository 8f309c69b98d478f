"""What happened on 10 October 2025 under two policies, beside what the venue did: `python -m tests.oct10.analysis`.

Prints a markdown table of the ten largest bursts (by notional taken over) and the whole event. Each column walks its
own path: the worker's trades of that policy, or `adl_fills` for the venue (which never touched a survivor).

*Leverage after* is that of solvent accounts which after the burst still hold some of what was asked for, the largest
and in brackets the one that one in a thousand of them exceeds. Where a burst asks little of an asset, high ones stay in
it under every policy: its demand is smaller than the positions of its most levered holders.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from tests.oct10 import data as source
from tests.oct10.convert import account_name, convert
from tests.oct10.data import CURRENCY, T0_MS
from tests.oct10.ledger import Burst, Ledger, integer, read_recording, read_run
from worker import settings as worker_settings
from worker.edge.recording import RecordingSink, RecordingSource
from worker.loop import RunReport, run

POLICIES = ("waterfill", "queue:pnl_leverage")
VENUE = "Hyperliquid"
BURSTS_SHOWN = 10

Move = tuple[int, int, int, int]  # slot, sign, lots, quote in minor units


@dataclass(frozen=True)
class Figures:
    """One burst under one policy."""

    trades: int
    accounts: int
    leverage_max: float
    leverage_thousandth: float


def settings(policy: str, **decision: object) -> worker_settings.Settings:
    """The worker's settings for this recording: its currency, live, everything else by default."""
    values = {"pool": {"currency": CURRENCY}, "worker": {"mode": "live"}, "decision": {"policy": policy, **decision}}
    return worker_settings.from_values(values)


def run_worker(recording: Path, folder: Path, policy: str) -> tuple[RunReport, float]:
    """Runs the real loop over a recording; outputs in `folder`, and the seconds it took."""
    began = time.perf_counter()
    with RecordingSink(folder) as sink:
        report = run(RecordingSource(recording), sink, settings(policy))
    return report, time.perf_counter() - began


def figures(ledger: Ledger, bursts: list[Burst], moves: dict[int, list[Move]]) -> Iterator[Figures]:
    """Walks the bursts and their moves; one row of figures each."""
    for burst in bursts:
        for mark in burst.marks:
            ledger.set_mark(mark)
        asked = np.zeros(len(ledger.slot), dtype=bool)
        for takeover in burst.takeovers:
            line = takeover.lines[0]
            side = -1 if float(line.quantity) > 0 else 1
            asked |= (ledger.asset == ledger.symbol[line.symbol]) & (np.sign(ledger.lots) == side)
        mine = moves.get(burst.t_ms, [])
        for move in mine:
            ledger.take(*move)
        holders = np.unique(ledger.account[asked & (ledger.lots != 0)])
        leverage = ledger.leverage()[holders]
        leverage = leverage[np.isfinite(leverage)]
        touched = len({int(ledger.account[move[0]]) for move in mine})
        yield Figures(len(mine), touched, float(leverage.max()), float(np.quantile(leverage, 0.999)))


def worker_moves(ledger: Ledger, outputs: Path) -> dict[int, list[Move]]:
    """The counterparties' trades of a run by log time of their decision."""
    done = read_run(outputs)
    moves: dict[int, list[Move]] = {}
    for decision in done.decisions:
        for trade in done.trades[decision.decision_id]:
            if trade.role == "COUNTERPARTY":
                asset = ledger.symbol[trade.symbol]
                slot = ledger.slot[ledger.name[trade.account], asset]
                quote = integer(trade.quote_amount, source.CURRENCY_DECIMALS)
                sign = 1 if trade.side == "SELL" else -1
                moves.setdefault(decision.cut_time_ms, []).append(
                    (slot, sign, ledger.lots_of(asset, trade.quantity), quote)
                )
    return moves


def venue_moves(ledger: Ledger, folder: Path) -> dict[int, list[Move]]:
    """What the venue did, from `adl_fills`; 3 of 33,371 close what the account bought meanwhile, which is left out."""
    fills = source.table(folder, "adl_fills")
    symbols = [str(name) for name in source.table(folder, "assets")["symbol"]]
    left = ledger.lots.copy()
    moves: dict[int, list[Move]] = {}
    columns = (fills[name].tolist() for name in ("t_ms", "asset", "account", "side", "size_lots", "notional_usd"))
    for t_ms, asset, account, side, size, value in sorted(zip(*columns, strict=True)):
        slot = ledger.slot[ledger.name[account_name(account)], ledger.symbol[symbols[asset]]]
        lots = min(size, side * int(left[slot]))
        if lots > 0:
            left[slot] -= side * lots
            quote = round(side * value * lots / size * 10**source.CURRENCY_DECIMALS)
            moves.setdefault(t_ms, []).append((slot, side, lots, quote))
    return moves


def notional(bursts: Iterable[Burst]) -> list[float]:
    """What was taken over per burst at its marks, quote currency."""
    totals = []
    for burst in bursts:
        price = {mark.symbol: float(mark.mark_price) for mark in burst.marks}
        lines = [takeover.lines[0] for takeover in burst.takeovers]
        totals.append(sum(abs(float(line.quantity)) * price[line.symbol] for line in lines))
    return totals


def table(bursts: list[Burst], columns: dict[str, list[Figures]]) -> str:
    """Markdown: per policy trades / accounts / largest leverage after (one in a thousand exceeds)."""
    sizes = notional(bursts)
    largest = sorted(range(len(bursts)), key=lambda row: -sizes[row])[:BURSTS_SHOWN]
    head = ["time (UTC)", "takeovers", "USD m", *(f"{name}: trades, accounts, leverage after" for name in columns)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in largest:
        at = datetime.fromtimestamp(bursts[row].t_ms / 1000, UTC).strftime("%H:%M:%S")
        cells = [at, str(len(bursts[row].takeovers)), f"{sizes[row] / 1e6:.1f}"]
        for values in columns.values():
            got = values[row]
            after = f"{got.leverage_max:,.1f} ({got.leverage_thousandth:,.1f})"
            cells.append(f"{got.trades:,}, {got.accounts:,}, {after}")
        lines.append("| " + " | ".join(cells) + " |")
    cells = ["all", str(sum(len(burst.takeovers) for burst in bursts)), f"{sum(sizes) / 1e6:.1f}"]
    cells += [f"{sum(got.trades for got in values):,} trades" for values in columns.values()]
    return "\n".join([*lines, "| " + " | ".join(cells) + " |"])


def main(arguments: list[str]) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.oct10.analysis", description=__doc__.split("\n")[0])
    parser.add_argument("--recording", type=Path, help="made by tests.oct10.convert; default: made anew")
    parser.add_argument("--deficit", action="store_true", help="of the deficit variant, where one is made")
    parser.add_argument("--data", type=Path, default=None, help="folder of the parquet files")
    given = parser.parse_args(arguments)
    folder = given.data or source.data_dir()
    with tempfile.TemporaryDirectory() as scratch:
        recording = given.recording or Path(scratch) / "oct10.jsonl.gz"
        if given.recording is None:
            convert(recording, deficit=given.deficit, folder=folder)
        ledger, bursts = read_recording(recording)
        columns = {}
        print(f"{len(ledger.names):,} accounts, {len(ledger.slot):,} positions, {len(bursts)} bursts")
        for policy in POLICIES:
            out = Path(scratch) / policy.replace(":", "-")
            report, seconds = run_worker(recording, out, policy)
            realtime = (bursts[-1].t_ms - T0_MS) / 1000 / seconds
            print(f"{policy}: {report.records:,} records, {seconds:.1f} s, {realtime:.0f} times real time")
            moves = worker_moves(ledger, out / "outputs.jsonl")
            columns[policy] = list(figures(read_recording(recording)[0], bursts, moves))
        columns[VENUE] = list(figures(read_recording(recording)[0], bursts, venue_moves(ledger, folder)))
    print("\n" + table(bursts, columns))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
