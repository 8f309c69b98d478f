"""Open legs: a replay books them as they were booked live, and adding them is what summing them anew would give."""

import pytest

from tests.worker.random_tape import PARTITIONS, random_log, random_settings
from worker.book.hold import FIRST_LEG, LEG_NEXT, NEWEST
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import DECISIONS


def log_with_open_legs(seed):
    """A random log whose exchange falls silent after its first third: nothing shows or answers later legs."""
    records = random_log(seed)
    silent = ("positions", "forced-trade-results")
    return [record for place, record in enumerate(records) if 3 * place < len(records) or record.topic not in silent]


def engine_after(records, sink):
    """The engine at the end of a run that goes on from what the sink committed."""
    engines = []
    report = run(RecordingSource(records, partitions=PARTITIONS), sink, random_settings(), on_engine=engines.append)
    return engines[0], report


def cells_of(engine):
    """Everything that is known of legs, by names."""
    held, book = engine.held, engine.book
    rows = held._rows
    ids = {row: f"{rows._high[row]:016x}{rows._low[row]:016x}" for row in range(held._used) if rows.has(row)}
    lists = {}
    for row, name in enumerate(book.accounts.name(row) for row in range(len(book.accounts))):
        leg = held._accounts.columns[FIRST_LEG][row] if row < held._accounts.capacity else 0
        newest = held._accounts.columns[NEWEST][row] if row < held._accounts.capacity else 0
        trades = []
        while leg:
            trades.append(ids[leg - 1])
            leg = held._legs.columns[LEG_NEXT][leg - 1]
        if trades or newest:
            lists[name] = (newest, sorted(trades))
    legs = {trade: held.find(trade)._replace(row=0) for trade in ids.values()}
    numbers = {trade: held._legs.columns[4][row] for row, trade in ids.items()}
    accounts = {name: (book.equity_minor(name), book.loose_quote_minor(name)) for name in book.accounts}
    positions = {
        name: [(v.symbol, v.side, v.effective_lots, v.sell_lots, v.buy_lots, v.held_quote_minor, v.value_minor)
               for v in book.positions(name)]
        for name in book.accounts
    }  # fmt: skip
    return lists, legs, numbers, accounts, positions


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_replayed_ledger_is_the_live_one(seed):
    """Cell by cell: legs, their lists and numbers, what they hold; and both digests."""
    records = log_with_open_legs(seed)
    sink = MemorySink()
    live, _ = engine_after(records, sink)
    decisions = sum(1 for _ in sink.outputs(DECISIONS))
    replayed, report = engine_after(records, sink)
    assert sum(1 for _ in sink.outputs(DECISIONS)) == decisions > 20, "the second run must decide nothing"
    assert report.decisions == 0
    cells = cells_of(live)
    assert len(cells[1]) > 100
    assert max(len(trades) for _, trades in cells[0].values()) > 5
    assert cells_of(replayed) == cells
    assert (replayed.digest(), replayed._ledger_digest) == (live.digest(), live._ledger_digest)
    assert live.book.digest() == live.book.digest_full()


@pytest.mark.parametrize("seed", [1, 2])
def test_adding_legs_is_summing_them_anew(seed):
    """What new legs add to an account's cells is what all of its legs hold together."""
    engine, _ = engine_after(log_with_open_legs(seed), MemorySink())
    before, digest = cells_of(engine), engine.digest()
    for name in [name for name in engine.book.accounts if engine.book.holds(name)]:
        engine.held.sync(name)
    assert cells_of(engine) == before
    assert engine.digest() == digest
