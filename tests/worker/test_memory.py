"""What the worker keeps is bounded by what can still matter, and all of it is in the state digest."""

import tracemalloc

from schemas import AccountUpdate, Position, decode, encode
from tests.worker.tape import Tape, settings_of
from worker.cut import BANKRUPTCY, KIND, RESULT, CutPoint, Event
from worker.edge.recording import BLOCK_RECORDS, RecordingSource
from worker.engine import Engine
from worker.funds import Funds
from worker.merge import RUN_MIN
from worker.reader import Reader
from worker.record import Record


def events_of(tape):
    """The tape's records as the loop hands them over."""
    for record in tape.records:
        messages = decode(record.value)
        yield Event(record, messages, KIND[type(messages[0])], None, record.log_time_ms)


def test_a_decision_is_forgotten_when_all_its_legs_are_answered():
    """An update that shows a leg is not enough: its refusal may come behind it, and needs the decision."""
    tape = Tape().instrument().mark(price="100").account("rich", "100000", ("BTC", "-100", "105"))
    for number in range(5):
        tape.account(f"loser{number}", "0", ("BTC", "10", "105"))
    for number in range(5):
        tape.at(2000 + number).bankrupt(f"loser{number}")
    trades = tape.run().trades
    tape.at(3000).account("rich", "100000", ("BTC", "-50", "105"), adl_seq=5)
    for trade in trades[:-1]:
        tape.result(trade, trade.quantity)
    kept = len(tape.records)
    tape.at(3500).result(trades[-1], "4")  # the refused 6 are decided again
    again = tape.run().trades[-1]
    tape.at(4000).result(again, again.quantity)

    engine = Engine(settings_of())
    roots = []
    for number, event in enumerate(events_of(tape)):
        if event.kind in (RESULT, BANKRUPTCY):
            engine.cut(CutPoint(event.log_time_ms, {}, [event]))
        else:
            engine.apply(event)
        roots.append((number < kept, len(engine._roots), len(engine._unanswered)))
    assert max(count for _, count, _ in roots) == 5
    assert [count for early, count, _ in roots if early][-1] == 1
    assert roots[-1] == (False, 0, 0)


def far_ahead(fetches):
    """In each fetch as few records of a partition far ahead as are a run; the others have many positions."""
    long = [Position(symbol=f"SYMBOL-{number}", quantity="1.25", entry_price="100.5") for number in range(5)]
    values = [
        encode(AccountUpdate(account=f"account-{number:06d}", epoch=1, seq=1, full=True, positions=positions))
        for positions in (long, long[:1])
        for number in range(BLOCK_RECORDS)
    ]
    for number in range(BLOCK_RECORDS * fetches):
        fetch, place = divmod(number, BLOCK_RECORDS)
        if place < RUN_MIN:
            yield Record("positions", 1, RUN_MIN * fetch + place, 10**9 + fetch, None, values[BLOCK_RECORDS + place])
        else:
            yield Record("positions", 0, number, fetch, None, values[place])


def test_what_waits_keeps_nothing_alive_that_was_taken():
    """A partition far ahead waits with its own bytes, not with those of each fetch that it had a part in."""
    fetches = 400
    reader = Reader(RecordingSource(list(far_ahead(fetches))), settings_of(), batches=True)
    waiting = reader.sequencer.merge.waiting
    held = []
    tracemalloc.start()
    try:
        for steps in reader.steps():
            for _ in steps:
                pass
            if waiting():
                held.append((waiting(), tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    half = len(held) // 2
    (few, few_bytes), (many, many_bytes) = held[half], held[-2]
    assert many > few + RUN_MIN * fetches // 3
    assert (many_bytes - few_bytes) / (many - few) < 1000


def test_a_draw_on_a_fund_that_nobody_reported_is_state():
    """It counts as soon as the fund is reported, so two states that differ in it must not have one digest."""
    drawn, never = Funds(), Funds()
    drawn.draw("memes", 5, 7)
    assert drawn.digest() != never.digest()
    for funds in (drawn, never):
        funds.set("memes", 100, 6)
    assert (drawn.available(), never.available()) == ({"memes": 95}, {"memes": 100})
    drawn.set("memes", 100, 7)
    never.set("memes", 100, 7)
    assert drawn.digest() == never.digest()
