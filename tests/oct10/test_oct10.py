"""The October 2025 event through the whole worker: conversion, every decision of both variants, and the closed loop."""

from collections import defaultdict
from pathlib import Path
from zlib import crc32

import msgspec
import numpy as np
import pytest

from schemas.codec import decode
from schemas.messages import AccountUpdate, Bankruptcy, Instrument, MarkPrice
from tests.oct10 import data as source
from tests.oct10.analysis import run_worker, settings, venue_moves
from tests.oct10.checker import check_run
from tests.oct10.convert import PARTITIONS, convert
from tests.oct10.executor import ExecutingSink, TinyExchange
from tests.oct10.ledger import Run, integer, read_recording, read_run
from tests.oct10.survivors import ACCOUNTS, POSITIONS
from worker.edge.jsonlines import read_records
from worker.edge.recording import RecordingSink
from worker.loop import run as run_loop

pytestmark = pytest.mark.oct10  # skipped where its data is absent: tests/conftest.py
VARIANTS = ("base", "deficit")


@pytest.fixture(scope="session")
def recordings(base_recording: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both variants, and the base without survivors, converted once."""
    folder = tmp_path_factory.mktemp("oct10")
    paths = {name: folder / f"{name}.jsonl.gz" for name in ("deficit", "small")}
    for name, path in paths.items():
        convert(path, deficit=name == "deficit", with_survivors=name != "small")
    return {"base": base_recording, **paths}


@pytest.fixture(scope="session")
def runs(recordings: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """What the worker says to each recording under waterfill, and to the small one under the exchanges' queue."""
    done = {}
    for name, variant, policy in (
        ("base", "base", "waterfill"),
        ("deficit", "deficit", "waterfill"),
        ("small", "small", "waterfill"),
        ("queue", "small", "queue:pnl_leverage"),
    ):
        folder = tmp_path_factory.mktemp(name)
        run_worker(recordings[variant], folder, policy)
        done[name] = read_run(folder / "outputs.jsonl")
    return done


def test_the_same_seed_gives_the_same_bytes(recordings: dict[str, Path], tmp_path: Path):
    """Converting again writes the same file, and another seed another one."""
    convert(tmp_path / "again.jsonl.gz")
    convert(tmp_path / "other.jsonl.gz", seed=1)
    first = recordings["base"].read_bytes()
    assert first == (tmp_path / "again.jsonl.gz").read_bytes()
    assert first != (tmp_path / "other.jsonl.gz").read_bytes()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_recording_is_whole_and_balanced(recordings: dict[str, Path], variant: str):
    """437,000 accounts, 221,000 positions; longs = shorts per symbol, bankrupt accounts included; all of it decodes."""
    decimals: dict[str, tuple[int, int]] = {}
    balance: dict[str, int] = defaultdict(int)
    offsets: dict[tuple[str, int], int] = defaultdict(int)
    newest: dict[tuple[str, int], int] = defaultdict(int)
    positions, names, takeovers = 0, set(), 0
    for block in read_records(recordings[variant]):
        for record in block:
            partition = (record.topic, record.partition)
            assert record.partition == crc32(record.key or b"") % PARTITIONS.get(record.topic, 1)
            assert record.offset == offsets[partition]
            assert record.log_time_ms >= max(newest[partition], source.T0_MS)
            offsets[partition], newest[partition] = record.offset + 1, record.log_time_ms
            (message,) = decode(record.value or b"")
            if isinstance(message, Instrument):
                lot_decimals = len(message.lot_size.partition(".")[2])
                decimals[message.symbol] = lot_decimals, message.price_decimals or 0
            elif isinstance(message, AccountUpdate):
                assert (message.epoch, message.seq, message.full) == (1, 1, True)
                names.add(message.account)
                positions += len(message.positions)
                for position in message.positions:
                    lots = integer(position.quantity, decimals[position.symbol][0])
                    assert lots != 0
                    assert integer(position.entry_price or "", decimals[position.symbol][1]) > 0
                    balance[position.symbol] += lots
            elif isinstance(message, MarkPrice):
                assert integer(message.mark_price, decimals[message.symbol][1]) > 0
            elif isinstance(message, Bankruptcy):
                (line,) = message.lines
                balance[line.symbol] += integer(line.quantity, decimals[line.symbol][0])
                assert (line.price is None) == (message.equity is not None) == (variant == "deficit")
                if variant == "deficit":
                    assert integer(message.equity or "", 6) == -2 * integer(message.insurance or "", 6) < 0
                takeovers += 1
    assert (len(names), positions, len(decimals), takeovers) == (ACCOUNTS, POSITIONS, 162, 1294)
    assert {symbol: lots for symbol, lots in balance.items() if lots} == {}


def test_survivors_survive_and_leave_a_choice(recordings: dict[str, Path]):
    """No survivor is insolvent at any burst's marks, and what is taken is at most half of what its side holds."""
    ledger, bursts = read_recording(recordings["base"])
    survivor = np.array([name.startswith("survivor-") for name in ledger.names])
    taken: dict[tuple[int, int], int] = defaultdict(int)
    for burst in bursts:
        for mark in burst.marks:
            ledger.set_mark(mark)
        assert ledger.equity_minor()[survivor].min() >= 0
        for takeover in burst.takeovers:
            asset = ledger.symbol[takeover.lines[0].symbol]
            lots = ledger.lots_of(asset, takeover.lines[0].quantity)
            taken[asset, -1 if lots > 0 else 1] += abs(lots)
    for (asset, side), lots in taken.items():
        held = np.abs(ledger.lots[(ledger.asset == asset) & (np.sign(ledger.lots) == side)]).sum()
        assert held * 1.001 >= 2 * lots


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_burst_is_allocated_to_the_level(recordings: dict[str, Path], runs: dict[str, Run], variant: str):
    """All that `checker.py` says, per burst: takeovers, prices, waterfall, levels, residuals, no position over zero."""
    ledger, bursts = read_recording(recordings[variant])
    assert len(runs[variant].decisions) == len(bursts) == 100
    assert check_run(ledger, bursts, runs[variant]) == []
    assert all(certificate.ok for decision in runs[variant].decisions for certificate in decision.certificates)


def test_without_survivors_what_is_missing_is_a_residual(recordings: dict[str, Path], runs: dict[str, Run]):
    """Where nobody is left to take from, the decision says so, and everything else still holds."""
    ledger, bursts = read_recording(recordings["small"])
    assert check_run(ledger, bursts, runs["small"]) == []
    assert {decision.status for decision in runs["small"].decisions} == {"DECIDED", "RESIDUAL"}


def test_the_queue_takes_every_takeover_too(recordings: dict[str, Path], runs: dict[str, Run]):
    """Under queue:pnl_leverage the same holds but for the levels."""
    ledger, bursts = read_recording(recordings["small"])
    assert check_run(ledger, bursts, runs["queue"], policy="queue:pnl_leverage") == []


def test_the_queue_is_not_taken_for_a_waterfill(recordings: dict[str, Path], runs: dict[str, Run]):
    """The checker can fail: the queue's trades leave accounts above the level that the waterfill reached."""
    levels = {
        (decision.cut_time_ms, demand.symbol, demand.round): demand.level
        for decision in runs["small"].decisions
        for demand in decision.demands
    }
    posed = [
        msgspec.structs.replace(
            decision,
            demands=[
                msgspec.structs.replace(item, level=levels.get((decision.cut_time_ms, item.symbol, item.round)))
                for item in decision.demands
            ],
        )
        for decision in runs["queue"].decisions
    ]
    ledger, bursts = read_recording(recordings["small"])
    failures = check_run(ledger, bursts[:1], Run(posed, runs["queue"].trades))
    assert any("stands at" in failure for failure in failures)


def test_a_missing_leg_is_seen(recordings: dict[str, Path], runs: dict[str, Run]):
    """The checker can fail: without one counterparty's leg the symbol does not sum to zero."""
    run = runs["small"]
    decision = run.decisions[0]
    trades = list(run.trades[decision.decision_id])
    trades.remove(next(trade for trade in trades if trade.role == "COUNTERPARTY"))
    ledger, bursts = read_recording(recordings["small"])
    wrong = Run(run.decisions[:1], {decision.decision_id: trades})
    assert any("must sum to zero" in failure for failure in check_run(ledger, bursts[:1], wrong))


def test_executed_trades_give_the_trades_that_held_lots_gave(
    recordings: dict[str, Path], runs: dict[str, Run], tmp_path: Path
):
    """An exchange that fills and reports every trade sees exactly the orders of the static recording."""
    exchange = TinyExchange(recordings["small"])
    with RecordingSink(tmp_path) as sink:
        run_loop(exchange, ExecutingSink(sink, exchange), settings("waterfill"))
    closed = read_run(tmp_path / "outputs.jsonl")
    assert orders(closed) == orders(runs["small"])
    ledger, bursts = read_recording(recordings["small"])
    check_run(ledger, bursts, closed)  # moves every trade
    assert (ledger.cash == exchange.ledger.cash).all()
    assert (ledger.lots == exchange.ledger.lots).all()


def test_the_venues_own_fills_can_be_walked(recordings: dict[str, Path]):
    """`adl_fills` moved over the same ledger cross no position: 33,371 fills less the 3 of accounts that had traded."""
    ledger, _ = read_recording(recordings["small"])
    moves = [move for burst in venue_moves(ledger, source.data_dir()).values() for move in burst]
    for move in moves:
        ledger.take(*move)
    assert len(moves) == 33_368


def orders(run: Run) -> list[tuple[str, ...]]:
    """What was ordered, without the numbering of records and cuts."""
    return [
        (trade.account, trade.symbol, trade.side, trade.quantity, trade.quote_amount, str(trade.round))
        for decision in run.decisions
        for trade in run.trades[decision.decision_id]
    ]
