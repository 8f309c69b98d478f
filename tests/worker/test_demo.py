"""The demo exchange alone, against a naive policy: greedy, at the mark, knowing nothing of solvers."""

import itertools
import zlib
from collections import Counter, defaultdict

import msgspec
import numpy as np
import pytest

from schemas import decode, decode_output, encode
from schemas.messages import (
    AccountUpdate,
    Bankruptcy,
    Instrument,
    MarginReduction,
)
from schemas.units import Scale, amount_minor
from tests.worker.naive_policy import NaivePolicy, run_demo
from worker.demo.exchange import EPOCH_MS, RANK, TICK_MS, TOPICS, Exchange
from worker.demo.ledger import NET, SIDES, BrokenInvariantError, Ledger
from worker.demo.population import FIRST_TRADER
from worker.demo.prices import PricePath, minor_of, specs
from worker.demo.run import DemoSink, DemoSource, deliver
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import REDUCTIONS
from worker.record import END, Output, Record
from worker.settings import load


@pytest.fixture(scope="module")
def story() -> tuple[Exchange, NaivePolicy, list[Record]]:
    """One full run: 10,000 accounts, 20 symbols."""
    exchange = Exchange(seed=7)
    policy = NaivePolicy(exchange)
    recording: list[Record] = []
    run_demo(policy.step, exchange, recording.append)
    return exchange, policy, recording


def small(seed: int) -> tuple[Exchange, list[Record]]:
    exchange = Exchange(seed, accounts=600, symbols=5, ticks=60)
    recording: list[Record] = []
    run_demo(NaivePolicy(exchange).step, exchange, recording.append)
    return exchange, recording


def pair(isolated: bool = False) -> tuple[Ledger, int, int]:
    """Two accounts with 1000 each, and an empty slot of both in one symbol worth 6.125 a lot."""
    chosen = specs(2)
    ledger = Ledger(["A", "B"], chosen, [spec.scaled(spec.start) for spec in chosen])
    ledger.deposit(0, 1_000_000_000)
    ledger.deposit(1, 1_000_000_000)
    return ledger, ledger.slot(0, 1, NET, isolated), ledger.slot(1, 1)


def test_a_crash_runs_to_its_end_with_every_invariant_checked_at_every_step(story):
    """Longs equal shorts and cash sums to zero through bursts, deficits, refusals and partial fills."""
    exchange, _, _ = story
    report = exchange.report()
    assert exchange.done
    assert report["accounts"] == 10_000
    assert len(exchange.ledger.specs) == 20
    assert max(report["bankruptcies_by_tick"]) >= 30
    assert len(report["bankruptcies_by_tick"]) >= 12
    assert report["forced_filled"] > 1000
    assert report["forced_partial"] > 0
    assert report["forced_refused"] > 0
    assert report["fund_shortfall"] == "0"
    assert minor_of(report["written_off_by_house"]) > 0
    assert all(0 <= amount < exchange.liquidation.fund_start[fund] for fund, amount in exchange.ledger.funds.items())


def test_every_situation_of_a_bankruptcy_occurs(story):
    """Whole books, isolated lines, priced lines, hedge legs, named insurance, and joint ones at one log time."""
    exchange, policy, _ = story
    events = [event for _, event in policy.bankruptcies]
    lines = [line for event in events for line in event.lines]
    assert any(not event.lines for event in events)
    assert {line.position_side for line in lines} >= {"NET", "LONG"}
    assert any(line.price is not None for line in lines)
    assert any(minor_of(event.insurance) > 0 for event in events if event.insurance is not None)
    assert any(event.insurance is None for event in events)
    times = Counter(record.log_time_ms for record, _ in policy.bankruptcies)
    assert max(times.values()) >= 30
    assert min(times.values()) == 1
    assert len({event.id for event in events}) == len(events)
    # The thin symbol: its longs stay frozen because its shorts are too few.
    thin = len(exchange.ledger.specs) - 1
    assert any(exchange.ledger.slot_of.get((account, thin, NET)) for account, _ in exchange.liquidation.frozen)


def test_the_stream_is_in_merge_order_with_gapless_offsets(story):
    """Replaying the file record by record is the same sequence that the merge of its partitions gives."""
    _, _, recording = story
    order = [(record.log_time_ms, RANK[record.topic], record.partition) for record in recording]
    assert order == sorted(order)
    assert order[0][0] == EPOCH_MS
    expected: Counter[tuple[str, int]] = Counter()
    for record in recording:
        assert record.partition == zlib.crc32(record.key or b"") % TOPICS[record.topic]
        assert record.offset == expected[record.topic, record.partition]
        expected[record.topic, record.partition] += 1
    assert {partition for topic, partition in expected if topic == "positions"} == {0, 1, 2, 3}


def test_answers_come_after_the_cut_that_decided_them(story):
    """No result has a log time at or before its decision's; each trade gets exactly one."""
    _, policy, _ = story
    assert Counter(result.trade_id for _, result in policy.results) == Counter(policy.decided_at.keys())
    for record, result in policy.results:
        assert record.log_time_ms > policy.decided_at[result.trade_id]
        assert (result.seq is None) == (result.filled_quantity == "0")


def test_the_published_updates_alone_give_the_ledger(story):
    """A reader that keeps only what was published, by seq and epoch, ends with the exchange's own books."""
    exchange, _, recording = story
    ledger = exchange.ledger
    scales: dict[str, Scale] = {}
    newest: dict[str, tuple[int, int]] = {}
    balances: dict[str, int] = {}
    positions: dict[str, dict[tuple[str, str], tuple[int, int, int]]] = defaultdict(dict)
    stale = restarted = 0
    for record in recording:
        for message in decode(record.value or b""):
            if isinstance(message, Instrument):
                scales[message.symbol] = Scale.of(message, 6)
            if not isinstance(message, AccountUpdate):
                continue
            if (message.epoch, message.seq) <= newest.get(message.account, (0, 0)):
                stale += 1
                continue
            restarted += message.epoch > newest.get(message.account, (1, 0))[0]
            newest[message.account] = (message.epoch, message.seq)
            balances[message.account] = amount_minor(message.balances[0].amount, 6, "balance")
            held = positions[message.account]
            if message.full:
                held.clear()
            for position in message.positions:
                lots = scales[position.symbol].lots(position.quantity)
                entry = amount_minor(position.entry_value or "0", 6, "entry")
                margin = amount_minor(position.isolated_margin or "0", 6, "margin")
                held[position.symbol, position.position_side] = (lots, entry, margin)
    ours = {name: int(balance) for name, balance in zip(ledger.names, ledger.balance, strict=True)}
    assert balances == ours
    assert stale > 0
    assert restarted > 0
    published = {
        (name, *key): value for name, held in positions.items() for key, value in held.items() if value[0] != 0
    }
    books = {
        (ledger.names[account], ledger.specs[symbol].symbol, ("NET", "LONG", "SHORT")[side]): (
            int(ledger.lots[slot]),
            int(ledger.entry[slot]),
            int(ledger.margin[slot]),
        )
        for (account, symbol, side), slot in ledger.slot_of.items()
        if ledger.lots[slot]
    }
    assert published == books


def test_the_ledger_values_positions_as_the_wire_scale_does():
    """Both opinions of a symbol's units agree, for every symbol and both signs, to the minor unit."""
    exchange = Exchange(seed=1, accounts=600, ticks=60)
    ledger = exchange.ledger
    values = ledger.values()
    instruments = [m for r in exchange.start() for m in decode(r.value or b"") if isinstance(m, Instrument)]
    scales = {instrument.symbol: Scale.of(instrument, 6) for instrument in instruments}
    for slot in range(ledger.count):
        symbol = int(ledger.symbol[slot])
        scale = scales[ledger.specs[symbol].symbol]
        assert values[slot] == scale.value_minor(int(ledger.lots[slot]), int(ledger.marks[symbol]))
    assert (values < 0).any()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    """All chance comes from the seed."""
    first, again, other = small(3)[1], small(3)[1], small(4)[1]
    assert first == again
    assert first != other


def test_small_polls_give_the_same_records_and_never_promise_too_much():
    """Batches do not matter, and no record lies below a log time that was called complete."""
    _, whole = small(5)
    exchange = Exchange(5, accounts=600, symbols=5, ticks=60)
    policy, seen = NaivePolicy(exchange), []
    source = DemoSource(exchange, seen.append)
    tick: list[Record] = []
    complete = 0
    while not source.at_end():
        records = source.poll(37)
        assert 0 < len(records) <= 37
        assert records[0].log_time_ms >= complete
        complete = source.complete_until()
        assert complete == source.complete_until_ms(("positions", 0))
        tick += records
        if complete == END or complete % 1000 == 0:  # the tick is whole
            deliver(exchange, policy.step(tick))
            tick = []
    assert seen == whole
    assert source.poll(10) == []
    assert source.complete_until() == END
    assert source.ends() == exchange.offsets
    assert ("controls", 0) in source.partitions()


@pytest.mark.parametrize("column", ["lots", "balance", "margin", "entry"])
def test_check_sees_one_unit_out_of_place(column):
    """A single lot or minor unit that appears from nowhere raises."""
    exchange = Exchange(seed=2, accounts=600, symbols=5, ticks=60)
    slot = int(np.flatnonzero(exchange.ledger.isolated & (exchange.ledger.lots > 1))[0])
    getattr(exchange.ledger, column)[slot if column != "balance" else 9] += 1
    with pytest.raises(BrokenInvariantError):
        exchange.check()


def test_a_fill_moves_cash_by_its_quote_and_nothing_else():
    """Opening, closing a part and turning through zero: balance less entry value changes by the quote each time."""
    ledger, mine, other = pair()
    trades = [(10, -70), (-3, 25), (-9, 50), (2, -11)]
    for lots, quote in trades:
        ledger.fill(mine, lots, quote)
        ledger.fill(other, -lots, -quote)
        ledger.check()
    assert ledger.lots[mine] == 0
    assert ledger.entry[mine] == 0
    assert int(ledger.balance[0]) == 1_000_000_000 + sum(quote for _, quote in trades)


def test_an_isolated_loss_beyond_its_margin_is_the_houses():
    """The cross balance never pays for an isolated position; the house's loss is counted."""
    ledger, mine, other = pair(isolated=True)
    ledger.trade(mine, other, 10, 700)
    ledger.deposit_margin(mine, 100)
    ledger.trade(other, mine, 10, 450)
    ledger.check()
    assert int(ledger.balance[0]) == 1_000_000_000
    assert ledger.bad_debt == 150


def test_a_forced_trade_fills_at_most_the_position_on_its_side():
    """min(quantity, position) is filled at the quote's share, the rest is reported; nothing on the wrong side."""
    exchange = Exchange(seed=6, accounts=600, symbols=5, ticks=60)
    exchange.start()
    ledger, policy = exchange.ledger, NaivePolicy(exchange)
    slot = int(np.flatnonzero((ledger.lots > 4) & (ledger.account >= FIRST_TRADER))[0])
    held, event = int(ledger.lots[slot]), Bankruptcy(id="X", account="nobody", event_time_ms=0)
    event_trades = [policy.leg(slot, -(held + 7), event), policy.leg(slot, 1, event)]
    liquidated = [msgspec.structs.replace(trade, role="LIQUIDATED") for trade in event_trades]
    cash = int(ledger.balance[ledger.account[slot]]) + int(ledger.margin[slot]) - int(ledger.entry[slot])
    exchange.execute(liquidated)
    exchange.execute(liquidated)  # a repeated delivery changes nothing
    exchange.execution.run(10)
    exchange.check()
    answers = [(result.filled_quantity, result.reason) for result in exchange.execution.due_results(99)]
    symbol = ledger.specs[int(ledger.symbol[slot])]
    assert answers == [(symbol.quantity(held), "POSITION_TOO_SMALL"), ("0", "POSITION_TOO_SMALL")]
    assert ledger.lots[slot] == 0
    assert ledger.leg[slot] == ledger.account_leg[ledger.account[slot]] == 2
    after = int(ledger.balance[ledger.account[slot]])
    assert after - cash == minor_of(liquidated[0].quote_amount) * held // (held + 7)


def test_the_sink_tells_the_exchange_only_after_its_commit():
    """A commit that fails reaches nobody."""

    class Torn:
        def commit(self, *_: object) -> None:
            raise OSError("disk full")

    exchange = Exchange(seed=6, accounts=600, symbols=5, ticks=60)
    exchange.start()
    slot = int(np.flatnonzero(exchange.ledger.lots > 4)[0])
    leg = NaivePolicy(exchange).leg(slot, -1, Bankruptcy(id="X", account="nobody", event_time_ms=0))
    output = Output("forced-trades", leg.account.encode(), encode(leg))
    with pytest.raises(OSError, match="disk full"):
        DemoSink(Torn(), exchange).commit([output], {}, "", 0)
    assert exchange.execution.pending == []
    deliver(exchange, [output])
    assert [trade for _, trade in exchange.execution.pending] == [leg]


TIERS = "reductions.tiers=5:0.25, 2:0.5, 1.2:1"


def test_what_staged_reductions_ask_for_is_done_and_shown():
    """The loop is closed: all that was asked in time is closed against makers, and a replay gives the same bytes."""
    exchange, sink, records = Exchange(5, accounts=600, symbols=5, ticks=60), MemorySink(), list[Record]()
    settings = load(flags=["worker.mode=live", TIERS])
    run(DemoSource(exchange, records.append), DemoSink(sink, exchange), settings)
    exchange.check()
    asked = [decode_output(record.value) for record in sink.outputs(REDUCTIONS)]
    in_time = sum(said.cut_time_ms < EPOCH_MS + 60 * TICK_MS for said in asked)
    report, counts = exchange.report(), exchange.reducing.counts
    assert report["reductions_filled"] == counts["filled"] > 20
    assert sum(counts.values()) + len(exchange.reducing.asked) == len(asked)
    assert sum(counts.values()) >= in_time
    assert any(decode_output(record.value).status == "DECIDED" for record in sink.outputs("adl-decisions"))
    again = MemorySink()
    run(RecordingSource(records, partitions=sorted(exchange.offsets)), again, settings)
    assert [record.value for record in again.records] == [record.value for record in sink.records]


def test_a_reduction_closes_at_most_the_position_on_its_side_and_once():
    """Against a maker, at the mark; not of a book that is frozen."""
    exchange = Exchange(seed=6, accounts=600, symbols=5, ticks=60)
    ledger, said = exchange.ledger, exchange.reducing
    traders = np.flatnonzero((ledger.lots > 4) & (ledger.account >= FIRST_TRADER))
    slot, frozen = int(traders[0]), int(traders[-1])
    held, cash = int(ledger.lots[slot]), int(ledger.balance.sum() + ledger.margin.sum() - ledger.entry.sum())
    exchange.execute((), (), [asking(ledger, slot, "SELL", 3), asking(ledger, slot, "SELL", 3)])
    said.run()
    assert (int(ledger.lots[slot]), said.counts) == (held - 3, {"filled": 1, "partial": 0, "left": 0})
    exchange.execute((), (), [asking(ledger, slot, "BUY", 1), asking(ledger, slot, "SELL", held)])
    said.run()
    assert (int(ledger.lots[slot]), said.counts) == (0, {"filled": 1, "partial": 1, "left": 1})
    book = int(ledger.account[frozen]), frozen if ledger.isolated[frozen] else None
    exchange.liquidation.frozen[book] = 1, 1
    exchange.execute((), (), [asking(ledger, frozen, "SELL", 1)])
    said.run()
    assert said.counts["left"] == 2
    assert int(ledger.balance.sum() + ledger.margin.sum() - ledger.entry.sum()) == cash
    exchange.check()


def asking(ledger, slot, side, lots):
    spec = ledger.specs[int(ledger.symbol[slot])]
    return MarginReduction(
        pool="main", sequence=1, chain="", reduction_id=f"{slot} {side} {lots}", cut_number=1, cut_time_ms=1,
        account=ledger.names[int(ledger.account[slot])], symbol=spec.symbol,
        position_side=SIDES[int(ledger.side[slot])], margin_mode="cross", side=side, quantity=spec.quantity(lots),
        place=1, places=1, tier="1.5", share="0.5", ratio_before="1.4", account_seq=1, again_above={}, not_before_ms=0,
    )  # fmt: skip


def test_marks_stay_positive_and_fall_together():
    """Prices are integers above zero, and in the crash nearly every symbol loses."""
    for seed in range(20):
        path = PricePath(specs(20), 180, np.random.default_rng(seed))
        history = [list(path.marks)] + [list(path.step(tick)) for tick in range(1, 181)]
        assert min(itertools.chain.from_iterable(history)) > 0
        before, after = history[path.crash.start - 1], history[path.crash.stop - 1]
        assert sum(b < a for a, b in zip(before, after, strict=True)) >= 16
