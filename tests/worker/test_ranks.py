"""The feed of ranks: what is said when, at which rate, and that it is complete again after a restart."""

import msgspec
import numpy as np
import pytest

from schemas import Account, AdlRank, Position, decode, decode_output, encode
from tests.worker.random_run import source_of
from tests.worker.random_tape import random_settings
from tests.worker.tape import Tape, run_tape, settings_of
from tests.worker.test_inverse import COIN, Coins
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.output import RANKS
from worker.ranks import Ranks
from worker.record import Output, Record

ON = ("ranks.records_per_second=1000", "ranks.interval_ms=1000", "decision.policy=queue:effective_leverage")


def lines():
    """BTC at 100: three shorts of 5, 4 and 2 times leverage, a long of 10."""
    tape = Tape().instrument().mark(price="100")
    tape.account("five", "200", ("BTC", "-10", "100")).account("four", "250", ("BTC", "-10", "100"))
    tape.account("two", "500", ("BTC", "-10", "100"))
    return tape.account("long", "300", ("BTC", "30", "100"))


def feed(sink):
    """(log time, key, message or None) of each record, in order."""
    return [
        (out.log_time_ms, tuple(out.key.decode().split("\t")), out.value and decode_output(out.value))
        for out in sink.advice
        if out.topic == RANKS
    ]


def said(tape, *flags, sink=None):
    return feed(run_tape(tape.records, settings_of(*ON, *flags), sink))


def table(records):
    """What a reader of the compacted topic holds: (rank, population, quantile) by account."""
    held = {}
    for _, (account, _, _), message in records:
        held[account] = message and (message.rank, message.population, message.quantile)
    return {account: place for account, place in held.items() if place}


def test_every_position_is_told_once_with_its_place():
    """Whole messages: the first of a line is in the highest fifth, the most urgent come first."""
    found = said(lines())
    assert found[0] == (
        1000,
        ("five", "BTC", "NET"),
        AdlRank(
            pool="main", account="five", symbol="BTC", position_side="NET", side="SHORT", score=5.0, rank=1,
            population=3, percentile=1.0, quantile=4, formula="queue:effective_leverage/1", cut_time_ms=1000,
        ),
    )  # fmt: skip
    assert [(m.account, m.side, m.score, m.rank, m.population, m.quantile) for _, _, m in found] == [
        ("five", "SHORT", 5.0, 1, 3, 4),
        ("long", "LONG", 10.0, 1, 1, 4),
        ("four", "SHORT", 4.0, 2, 3, 3),
        ("two", "SHORT", 2.0, 3, 3, 1),
    ]


def test_off_says_nothing():
    """The default."""
    tape = lines()
    assert [out for out in run_tape(tape.records, settings_of()).advice if out.topic == RANKS] == []


def test_switched_off_the_feed_removes_what_it_said(monkeypatch):
    """Once, at a bounded rate, in the order of keys; nothing is ranked, and what another pool said stays."""
    tape, sink = lines(), MemorySink()
    run_tape(tape.records, settings_of(*ON), sink)
    theirs = encode(msgspec.structs.replace(decode_output(sink.advice[0].value), account="x", pool="other"))
    sink.advice.append(Output(RANKS, b"x\tBTC\tNET", theirs, 1000))
    monkeypatch.setattr("worker.ranks.REMOVED_PER_SECOND", 3)
    monkeypatch.setattr("worker.ranks.ranked", None)
    before = len(feed(sink))
    for ms in (2000, 3000, 4000):
        tape.at(ms).mark(price="99")
    found = feed(run_tape(tape.records, settings_of(), sink))
    assert found[before:] == [
        (2000, ("five", "BTC", "NET"), None), (2000, ("four", "BTC", "NET"), None),
        (2000, ("long", "BTC", "NET"), None), (3000, ("two", "BTC", "NET"), None),
    ]  # fmt: skip
    assert table(found).keys() == {"x"}
    tape.at(6000).mark(price="98").at(7000).mark(price="97")
    assert feed(run_tape(tape.records, settings_of(), sink)) == found


def test_only_what_changed_is_told():
    """A new fifth at once, the same fifth when the score moved by more than a part of itself."""
    tape = lines().at(2000).account("two", "495", ("BTC", "-10", "100"))  # 2.02 times: less than a tenth
    assert [time for time, _, _ in said(tape)] == [1000] * 4
    assert [(time, key[0]) for time, key, _ in said(tape, "ranks.score_change=0.005")][4:] == [(2000, "two")]
    tape.at(3000).account("two", "50", ("BTC", "-10", "100"))  # 20 times: first
    found = said(tape)
    assert [(time, m.account, m.rank, m.quantile) for time, _, m in found[4:]] == [
        (3000, "two", 1, 4), (3000, "five", 2, 3), (3000, "four", 3, 1),
    ]  # fmt: skip
    assert [m.account for _, _, m in said(tape, "ranks.score_change=null")[4:]] == ["two", "five", "four"]


def test_a_position_without_a_place_gets_a_tombstone():
    """Closed, exempt, parked or of the clearing account: no decision would ask it."""
    tape = lines().account("CLEARING", "1000", ("BTC", "-10", "100"))
    tape.at(2000).account("five", "200").say(Account(account="four", adl="EXEMPT"))
    tape.raw("positions", b"no json", b"two")
    found = said(tape)
    assert [(time, key) for time, key, message in found if message is None] == [
        (2000, ("five", "BTC", "NET")), (2000, ("four", "BTC", "NET")), (2000, ("two", "BTC", "NET")),
    ]  # fmt: skip
    assert table(found) == {"long": (1, 1, 4)}
    tape.at(3000).account("five", "200", ("BTC", "-10", "100")).say(Account(account="four"))
    assert table(said(tape)) == {"long": (1, 1, 4), "five": (1, 2, 4), "four": (2, 2, 2)}


def test_who_is_marked_last_stands_behind_all_others():
    """And without equity first, for at the mark it costs nothing; its score is no number."""
    tape = lines().say(Account(account="five", adl="LAST")).account("broke", "-1", ("BTC", "-10", "100"))
    found = {message.account: message for _, _, message in said(tape)}
    assert {name: m.rank for name, m in found.items() if m.side == "SHORT"} == {
        "broke": 1, "four": 2, "two": 3, "five": 4,
    }  # fmt: skip
    assert (found["broke"].score, found["broke"].quantile, found["five"].quantile) == (None, 4, 1)


def test_legs_of_a_hedge_stand_in_their_own_lines():
    """The key names the position side, the line is the side of the lots."""
    tape = lines().account(
        "both", "100",
        Position(symbol="BTC", quantity="3", entry_price="100", position_side="LONG"),
        Position(symbol="BTC", quantity="-1", entry_price="100", position_side="SHORT"),
    )  # fmt: skip
    found = [(key[2], m.side, m.rank, m.population) for _, key, m in said(tape) if m.account == "both"]
    assert sorted(found) == [("LONG", "LONG", 2, 2), ("SHORT", "SHORT", 2, 4)]


@pytest.mark.parametrize("policy", ["risk", "queue:effective_leverage", "queue:pnl_leverage"])
def test_an_inverse_contract_stands_as_the_linear_one_of_its_reciprocal(policy):
    """Same ranks and scores; the sides are those of the contract that the trader holds."""

    def told(by_hand):
        tape = Coins(by_hand).lists("INV").marks("INV", "8000")
        for name, cash, lots in (("a", "1", "20000"), ("b", "1", "30000"), ("c", "2", "-50000"), ("d", "0.9", "9000")):
            tape.holds(name, cash, ("INV", "NET", lots, "7900", None))
        found = feed(run_tape(tape.records, settings_of(*ON, *COIN, f"decision.policy={policy}")))
        return {m.account: (tape.side_of("INV", m.side), m.rank, pytest.approx(m.score, 1e-6)) for _, _, m in found}

    assert told(by_hand=False) == told(by_hand=True)
    assert {name: side for name, (side, *_) in told(by_hand=False).items()} == {
        "a": "LONG", "b": "LONG", "c": "SHORT", "d": "LONG",
    }  # fmt: skip


def test_what_the_rate_leaves_waits_and_nothing_is_lost():
    """One record a second: highest fifths first; what changes meanwhile is told as it is then."""
    flags = ("ranks.records_per_second=1",)
    tape = lines()
    for ms in range(2000, 9000, 1000):
        tape.at(ms).mark(price="100")
    found = said(tape, *flags)
    assert [(time, m.account) for time, _, m in found] == [
        (1000, "five"), (2000, "long"), (3000, "four"), (4000, "two"),
    ]  # fmt: skip
    assert table(found) == table(said(tape))


def test_a_ranking_is_told_over_the_cuts_until_the_next_one():
    """Every ten seconds a ranking; in between the rest of it, with the time of its cut."""
    tape = lines()
    for ms in range(2000, 14_000, 1000):
        tape.at(ms).mark(price="100")
    tape.at(1500).account("two", "50", ("BTC", "-10", "100"))
    found = said(tape, "ranks.records_per_second=2", "ranks.interval_ms=10000")
    assert [(time, m.account, m.cut_time_ms) for time, _, m in found] == [
        (1000, "five", 1000), (1000, "long", 1000), (2000, "four", 1000), (2000, "two", 1000),
        (11_000, "two", 11_000), (11_000, "five", 11_000), (12_000, "four", 11_000),
    ]  # fmt: skip


def test_another_policy_says_everything_anew():
    """Its numbers mean something else, so nothing that was said counts any more."""
    tape = lines().at(2000).control("POLICY", policy="pro_rata:contracts").mark(price="100")
    found = [(time, m.account, m.formula, m.score) for time, _, m in said(tape)][4:]
    assert sorted(found) == [
        (2000, name, "pro_rata:contracts/1", score)
        for name, score in (("five", 1 / 3), ("four", 1 / 3), ("long", 1.0), ("two", 1 / 3))
    ]


@pytest.mark.parametrize("lost", [0, 2, 4, 100])
def test_the_feed_is_complete_again_after_a_restart(lost):
    """Whatever was lost of it: everything is said anew, and what has no place any more is removed."""
    tape = lines()
    sink = MemorySink()
    run_tape(tape.records, settings_of(*ON), sink)
    first = decode_output(sink.advice[0].value)
    sink.advice = sink.advice[:lost]
    # Kept of another life of the topic, and of another pool that shares it.
    for name, pool in (("gone", "main"), ("theirs", "other")):
        value = encode(msgspec.structs.replace(first, account=name, pool=pool))
        sink.advice.append(Output(RANKS, f"{name}\tBTC\tNET".encode(), value, 1000))
    before = len(feed(sink))
    garbage = Output(RANKS, b"\xff", b"no json", 1000), Output(RANKS, b"a\tb", encode(first), 1000)
    sink.advised = lambda _: iter([Record(RANKS, 0, 0, 0, o.key, o.value) for o in (*sink.advice, *garbage)])
    tape.at(5000).account("five", "200").mark(price="100")
    found = feed(run_tape(tape.records, settings_of(*ON), sink))
    assert table(found) == {"four": (1, 2, 4), "two": (2, 2, 2), "long": (1, 1, 4), "theirs": (1, 3, 4)}
    assert len(found) == before + 3 + len({key[0] for _, key, _ in found[:before]} & {"five", "gone"})
    again = feed(run_tape(tape.records, settings_of(*ON), sink))
    assert again == found  # nothing new was read, so nothing was looked at


def test_the_feed_is_the_same_for_any_interleaving(records):
    """The log, not the order in which it came, says what is said when; also where the rate leaves much waiting."""
    settings = random_settings("ranks.records_per_second=7", "ranks.interval_ms=2000")

    def advice(**options):
        sink = MemorySink()
        run(source_of(records, **options), sink, settings)
        return sink.advice

    first = advice()
    assert len(feed(type("Sink", (), {"advice": first}))) > 100
    for seed in range(3):
        assert advice(interleaving_seed=seed, batch_max=50) == first


def test_a_source_with_nothing_in_it_ranks_nothing():
    """No symbol, no line."""
    sink = MemorySink()
    run(RecordingSource(Tape().at(1000).fund("5").records), sink, settings_of(*ON))
    assert feed(sink) == []


def test_a_row_that_another_account_took_is_told_by_the_names_it_had():
    """The book may give a name's row away; its record is removed by its own key, and what was due of it is not said."""
    flags = (*ON, "ranks.interval_ms=5000")
    engines = []
    run(RecordingSource(lines().records), MemorySink(), settings_of(*flags), on_engine=engines.append)
    book, risk = engines[0].book, engines[0].risk
    feed = Ranks(settings_of(*flags, "ranks.records_per_second=2"))

    def told(ms):
        return [(key.split("\t")[0], m and m.rank) for key, m in feed.watch(book, "queue:effective_leverage", risk, ms)]

    assert told(1000) == [("five", 1), ("long", 1)]
    rows = [book.accounts.row(name) for name in ("five", "four")]
    for name, row in zip(("five", "four"), rows, strict=True):
        book.remove_account(name)
        if book.accounts.row(name) >= 0:
            book.accounts.drop(np.array([row]))
    assert told(2000) == [("five", None), ("two", 3)]  # a fifth place of its own until the next ranking
    later = lines().at(3000).account("new", "200", ("BTC", "-10", "100")).account("x", "100", ("BTC", "-10", "100"))
    for record in later.records[-2:]:
        book.apply_update(decode(record.value)[0])
    assert sorted(book.accounts.row(name) for name in ("new", "x")) == sorted(rows)
    assert told(6000) == [("x", 1), ("new", 2)]
    assert told(7000) == []  # two is where it was
