"""`adl-state`: which state follows which, what is said when, and that a replay says the same."""

import random
from itertools import pairwise

import msgspec
import pytest

from schemas import AdlPoolState, AdlState, decode_output
from tests.worker.random_run import Timely, source_of
from tests.worker.tape import Tape, run_tape, settings_of
from worker import states as states_module
from worker.edge.recording import RecordingSource
from worker.forecast import forecast
from worker.loop import run
from worker.memory import MemorySink
from worker.output import STATE
from worker.settings import KINDS
from worker.states import FUND_WINDOW_MS, POOL_KEY, Highest, Machine

WARNED = ("state.warning_fall=0.3", "state.quiet_ms=5000")
FORECAST = ("state.forecast_ms=1000", "state.quiet_ms=3000")


def market():
    """Loser long 10 BTC at 105 with 20, winner short; a fund of 100."""
    tape = Tape().instrument().instrument("ETH", fund_id="alts").mark(price="100").mark("ETH", price="100")
    tape.fund("100").fund("70", "alts")
    return tape.account("loser", "20", ("BTC", "10", "105")).account("winner", "500", ("BTC", "-10", "105"))


def states(said, symbol="BTC"):
    return [(state.cut_time_ms, state.state, state.trigger) for state in said.states if state.symbol == symbol]


def ticks(tape, *seconds):
    """A mark each of these seconds, so that watch cuts follow one another."""
    for second in seconds:
        tape.at(1000 * second).mark(price="100")
    return tape


# --- the machine ------------------------------------------------------------------------------------------------------


def test_a_decision_makes_a_symbol_active_until_it_is_quiet_then_ended_then_normal():
    """Each lasts `quiet_ms` of log time; the trigger names the decision, at the cut that made it."""
    tape = ticks(market().at(2500).bankrupt("loser"), *range(3, 16))
    said = tape.run("state.quiet_ms=5000")
    [decision] = said.decisions
    trigger = f"DECISION {decision.decision_id}"
    assert states(said) == [(2500, "ACTIVE", trigger), (8000, "ENDED", None), (13000, "NORMAL", None)]
    assert states(said, "ETH") == []


def test_a_decision_in_between_keeps_it_active():
    """Quiet begins anew; that it is still ACTIVE, by another decision, is said."""
    tape = market().account("other", "0", ("BTC", "1", "105")).account("rest", "500", ("BTC", "-1", "105"))
    tape = ticks(tape.at(2500).bankrupt("loser"), 3, 4, 5, 6)
    tape = ticks(tape.at(6500).bankrupt("other"), *range(7, 13))
    said = tape.run("state.quiet_ms=5000")
    first, second = (f"DECISION {decision.decision_id}" for decision in said.decisions)
    assert states(said) == [(2500, "ACTIVE", first), (6500, "ACTIVE", second), (12000, "ENDED", None)]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([("cause", 0), ("quiet", 4), ("quiet", 5)], ["WARNING", "WARNING", "NORMAL"]),
        ([("cause", 0), ("cause", 4), ("quiet", 8), ("quiet", 9)], ["WARNING", "WARNING", "WARNING", "NORMAL"]),
        ([("act", 0), ("cause", 4), ("cause", 5), ("quiet", 10)], ["ACTIVE", "ACTIVE", "WARNING", "NORMAL"]),
        ([("act", 0), ("cause", 4), ("quiet", 5), ("quiet", 10)], ["ACTIVE", "ACTIVE", "ENDED", "NORMAL"]),
        ([("act", 0), ("quiet", 5), ("cause", 6), ("quiet", 11)], ["ACTIVE", "ENDED", "WARNING", "NORMAL"]),
        ([("act", 0), ("quiet", 5), ("act", 6), ("quiet", 11)], ["ACTIVE", "ENDED", "ACTIVE", "ENDED"]),
        ([("quiet", 5), ("cause", 6), ("act", 7)], ["NORMAL", "WARNING", "ACTIVE"]),
        ([("act", 0), ("quiet", 50), ("quiet", 54), ("quiet", 55)], ["ACTIVE", "ENDED", "ENDED", "NORMAL"]),
    ],
)
def test_which_state_follows_which(steps, expected):
    """The table at the head of worker/states.py, with 5 ms of quiet."""
    machine, seen = Machine(), []
    for step, now_ms in steps:
        if step == "act":
            machine.act("DECISION d", now_ms)
        else:
            machine.look("CAUSE" if step == "cause" else None, now_ms, 5)
        seen.append(machine.state)
    assert seen == expected


def test_what_blocks_wins_and_what_was_before_comes_back():
    """A symbol in WARNING that is parked is BLOCKED, and in WARNING again once it is not."""
    tape = ticks(market().at(2000).fund("60"), 3).raw("mark-prices", b"?", b"BTC")
    said = ticks(tape, 4, 5).run(*WARNED)
    assert [state for _, state, _ in states(said)] == ["WARNING", "BLOCKED", "WARNING"]


# --- funds ------------------------------------------------------------------------------------------------------------


def test_a_fund_that_falls_warns_the_symbols_it_answers_for():
    """30 of 100 is no more than the setting; 31 is. The other fund's symbols are left alone; draws count at once."""
    tape = market().at(2000).fund("70").at(3000).fund("69").at(4000).mark(price="99")
    said = tape.run(*WARNED)
    assert states(said) == [(3000, "WARNING", "FUND_FALLEN default")]
    assert states(said, "ETH") == []
    [pool] = [state for state in said.pool_states if state.state == "WARNING"]
    assert [(fund.fund_id, fund.available, fund.highest) for fund in pool.funds] == [
        ("alts", "70", "70"), ("default", "69", "100"),
    ]  # fmt: skip


def test_a_draw_of_a_decision_counts_before_the_fund_reports_it():
    """The fund pays the loser's 30 of its 60: half of what it had."""
    tape = ticks(market().fund("60").at(2000).bankrupt("loser"), 3, 4)
    said = tape.run(*WARNED)
    assert said.decisions[0].fund == "30"
    assert [state.state for state in said.pool_states][-1] == "WARNING"


def test_a_fall_is_forgotten_after_eight_hours():
    """The highest of the window, whatever was before."""
    highest = Highest(FUND_WINDOW_MS)
    assert highest.see(0, 100) == 100
    assert highest.see(1, 60) == 100
    assert highest.see(FUND_WINDOW_MS, 50) == 100
    assert highest.see(FUND_WINDOW_MS + 1, 50) == 60
    assert highest.see(FUND_WINDOW_MS + 2, 50) == 50
    assert highest.see(FUND_WINDOW_MS + 3, 70) == 70


def test_the_highest_is_that_of_every_window():
    """Against the naive maximum, at times that are not evenly apart."""
    values = [(13 * step % 101, 7 * step * step % 89) for step in range(400)]
    highest, now_ms, seen = Highest(500), 0, []
    for gap, value in values:
        now_ms += gap
        seen.append((now_ms, value))
        assert highest.see(now_ms, value) == max(v for t, v in seen if t >= now_ms - 500)


# --- forecasts --------------------------------------------------------------------------------------------------------


def test_a_forecast_that_the_fund_would_not_cover_warns():
    """The loser lacks 30 already; a fall by 5 % makes it 80, which the fund's 100 cover, one by 10 % 130."""
    said = market().run(*FORECAST)
    [state] = said.states
    assert (state.state, state.trigger, state.distance) == ("WARNING", "FORECAST -0.1", "-0.1")
    at = {shock.shock: shock for shock in state.shocks}
    assert (at["-0.05"].accounts, at["-0.05"].deficit, at["-0.05"].shortfall) == (1, "80", "0")
    assert (at["-0.1"].accounts, at["-0.1"].deficit, at["-0.1"].shortfall) == (1, "130", "30")
    assert (at["-0.1"].volume, state.factor_volumes["-0.1"], state.fund) == ("900", "900", "100")
    assert market().run(*FORECAST, "state.warning_shock=0.05").states[0].state == "NORMAL"
    assert market().run(*FORECAST, "state.warning_shock=null").states[0].state == "NORMAL"


def test_forecasts_are_made_no_more_often_than_set_and_said_when_they_differ():
    """One in each 2 s of log time that has a watch cut; the same again is not said."""
    tape = market()
    for second, price in ((2, "100"), (3, "99"), (4, "99"), (5, "98"), (6, "97"), (8, "97")):
        tape.at(1000 * second).mark(price=price)
    said = tape.run("state.forecast_ms=2000")
    assert [state.forecast_time_ms for state in said.pool_states] == [1000, 4000, 6000]
    assert [state.forecast_time_ms for state in said.states] == [1000, 4000, 6000]
    assert tape.run("state.forecast_ms=null").states == []
    assert all(not state.shocks for state in tape.run("state.forecast_ms=null").pool_states)


def test_insolvent_accounts_are_reported_until_a_bankruptcy_names_them():
    """The loser is below zero from the start; once named it is not, also while its decision waits."""
    tape = ticks(market(), 2, 3).control("PAUSE").bankrupt("loser")
    said = ticks(tape, 4, 5).run(*FORECAST)
    assert [(s.cut_time_ms, s.insolvent, s.insolvent_deficit) for s in said.pool_states] == [
        (1000, 1, "30"), (3000, 0, "0"),
    ]  # fmt: skip
    assert [(a.account, a.deficit) for a in said.pool_states[0].insolvent_accounts] == [("loser", "30")]
    assert said.decisions[-1].status == "HELD"


def test_an_account_that_recovers_must_be_named_again():
    """What a bankruptcy said of an account ends when the account is solvent."""
    tape = Tape().instrument().instrument("ETH").mark(price="100").mark("ETH", price="100")
    tape.account("loser", "20", ("BTC", "10", "105"))  # nobody on the other side: the positions stay
    tape = ticks(tape.at(2500).bankrupt("loser"), 3, 4)
    tape = ticks(tape.at(4500).account("loser", "900", ("BTC", "10", "105")), 5)
    said = ticks(tape.at(5500).account("loser", "20", ("BTC", "10", "105")), 6, 7).run(*FORECAST)
    assert said.decisions[0].status == "RESIDUAL"
    assert [(s.cut_time_ms, s.insolvent) for s in said.pool_states if s.insolvent] == [(1000, 1), (6000, 1)]


@pytest.mark.parametrize(("every_ms", "named"), [("null", set()), ("1000", {"loser"})])
def test_who_was_named_is_forgotten(every_ms, named):
    """Once solvent or gone; and nobody is remembered where no forecast asks."""
    tape = Tape().instrument().instrument("ETH").mark(price="100").mark("ETH", price="100")
    tape.account("loser", "20", ("BTC", "10", "105")).account("other", "20", ("BTC", "10", "105"))
    tape = ticks(tape.at(2500).bankrupt("loser").bankrupt("other"), 3)
    tape = ticks(tape.at(3500).account("other", "900", ("BTC", "10", "105")), 4, 5)
    engines = []
    settings = settings_of(f"state.forecast_ms={every_ms}")
    run(RecordingSource(tape.records), MemorySink(), settings, on_engine=engines.append)
    assert engines[0].states._named == named


def test_nobody_is_left_out_in_silence():
    """The house, parked accounts and those without a mark are counted."""
    from schemas import Account

    tape = market().instrument("NEW").account("fresh", "1", ("NEW", "1", "1")).say(Account("maker", role="LIQUIDATION"))
    tape.account("maker", "1", ("BTC", "1", "1")).raw("positions", b"?", b"winner")
    assert tape.run(*FORECAST).pool_states[0].left_out == {"HOUSE": 1, "PARKED": 1, "UNMARKED": 1}


# --- always the same --------------------------------------------------------------------------------------------------


def test_the_random_log_has_every_state(records, settings):
    """What the tests of determinism compare holds every state, and forecasts that warn."""
    sink = MemorySink()
    run(source_of(records), sink, settings)
    said = [decode_output(output.value) for output in sink.advice]
    symbols = [state for state in said if isinstance(state, AdlState)]
    assert {state.state for state in symbols} == {"NORMAL", "WARNING", "ACTIVE", "ENDED", "BLOCKED"}
    triggers = {state.trigger.split(" ")[0] for state in symbols if state.trigger}
    assert triggers >= {"FORECAST", "DECISION"}
    assert any(isinstance(state, AdlPoolState) and state.insolvent for state in said)
    for symbol in {state.symbol for state in symbols}:
        for before, after in pairwise(state for state in symbols if state.symbol == symbol):
            assert (before.state, before.trigger, before.shocks, before.factor_volumes) != (
                after.state, after.trigger, after.shocks, after.factor_volumes,
            )  # fmt: skip


@pytest.mark.parametrize(("seed", "batch"), [(1, 1), (2, 50), (3, 1000)])
def test_any_batch_and_interleaving_gives_the_same_states(seed, batch, records, settings):
    """Which partition was fetched first, and how much at a time, is chance."""
    said = []
    for options in ({}, {"interleaving_seed": seed, "batch_max": batch}):
        sink = MemorySink()
        run(source_of(records, **options), sink, settings)
        said.append([(output.key, output.value) for output in sink.advice])
    assert said[0] == said[1]


def changes(advice):
    """What was said that is new of its key, without times and funds: a restart says everything once more."""
    found, last = [], {}
    for state in (decode_output(output.value) for output in advice if output.topic == STATE):
        is_pool = isinstance(state, AdlPoolState)
        key = POOL_KEY if is_pool else state.symbol
        more = (state.insolvent, state.insolvent_deficit) if is_pool else state.factor_volumes
        words = state.state, state.trigger, state.shocks, more
        if words != last.get(key):
            found.append((key, words))
        last[key] = words
    return found


def test_a_run_that_goes_on_says_what_an_undisturbed_one_says(records, settings, monkeypatch):
    """Replayed cuts are silent, leave the states as they were, and make few forecasts; then all is said once more."""
    whole, made = MemorySink(), []
    run(source_of(records), whole, settings)
    expected = changes(whole.advice)
    monkeypatch.setattr(states_module, "forecast", lambda *given: made.append(0) or forecast(*given))
    again = []
    for part in range(1, 5):
        sink = MemorySink()
        looks = iter(range(part * len(records) // 600))
        made.clear()
        run(Timely(records, batch_max=100), sink, settings, stop=lambda looks=looks: next(looks, None) is None)
        said = len(sink.advice)
        run(source_of(records), sink, settings)
        assert 0 < said < len(sink.advice)
        assert changes(sink.advice) == expected
        keys = [output.key for output in sink.advice]
        watched = keys.index(POOL_KEY.encode(), said)  # stands behind the symbols of its cut
        assert {*keys[said:watched], POOL_KEY.encode()} >= {*keys[:said]}, "what was advised last may be lost"
        again.append(len(made))
    made.clear()
    run(source_of(records), MemorySink(), settings)
    assert max(again) <= len(made) + 2, "a replay makes those of the last `quiet_ms` and `forecast_ms`"


def test_a_commit_that_names_no_forecast_asks_for_those_of_the_last_while_alone(monkeypatch):
    """Forecasts that are switched on behind a long life without, and a commit of code that named none."""
    tape, made = market().at(1_760_000_000_000), []
    for _ in range(60):
        tape.at(tape.now_ms + 1000).mark(price="100")
    sink = run_tape(tape.records, settings_of())
    assert msgspec.json.decode(sink.committed().metadata)["forecasts_since_ms"] == 0
    monkeypatch.setattr(states_module, "forecast", lambda *given: made.append(0) or forecast(*given))
    run_tape(tape.records, settings_of(*FORECAST), sink)
    assert 3 <= len(made) <= 6, "those of the last `quiet_ms` and `forecast_ms`"


def sparse_tape(seed):
    """Marks, fund draws, bankruptcies and deposits with seconds or minutes of silence between them."""
    rng, tape = random.Random(seed), Tape().instrument().instrument("ETH", fund_id="alts")
    tape.mark(price="100").mark("ETH", price="100").fund("300").fund("70", "alts")
    for name, cash, btc, eth in (("a", "90", "10", "0"), ("b", "60", "4", "-4"), ("c", "2000", "-14", "4")):
        held = [(symbol, lots, "100") for symbol, lots in (("BTC", btc), ("ETH", eth)) if lots != "0"]
        tape.account(name, cash, *held)
    now_ms = 1000
    for step in range(45):
        now_ms += rng.choice([100, 400, 900, 1100, 1500, 2500, 4000, 9000, 60_000])
        tape.at(now_ms)
        kind = rng.random()
        if kind < 0.6:
            tape.mark(rng.choice(["BTC", "ETH"]), price=str(rng.randint(80, 120)))
        elif kind < 0.75:
            tape.fund(str(rng.randint(0, 300)), rng.choice(["default", "alts"]))
        elif kind < 0.9:
            tape.bankrupt(rng.choice("ab"), name=f"b{step}")
        else:
            tape.account("a", str(rng.randint(0, 300)), ("BTC", "10", "100"))
    return tape


@pytest.mark.parametrize("seed", range(4))
def test_a_second_life_says_the_bytes_of_one_life_from_any_cut_on(seed):
    """But for its first watch cut, which says everything once more."""
    tape = sparse_tape(seed).records  # in one topic, so that a commit can stand behind every cut
    records = [msgspec.structs.replace(record, topic="all", offset=at) for at, record in enumerate(tape)]
    topics = (f"input.topics.{kind}=all" for kind in KINDS)
    settings = settings_of(*FORECAST, "state.warning_fall=0.3", *topics)
    whole, seen = MemorySink(), set()
    run(RecordingSource(records), whole, settings)
    for turns in range(1, 2 * len(records)):
        sink, looks = MemorySink(), iter(range(turns))
        life = RecordingSource(records, batch_max=1)
        run(life, sink, settings, stop=lambda looks=looks: next(looks, None) is None)
        before, cuts = len(sink.advice), len(list(sink.outputs("adl-cuts")))
        if cuts in seen:
            continue
        seen.add(cuts)
        assert sink.advice == whole.advice[:before]
        run(RecordingSource(records), sink, settings)
        said, expected = sink.advice[before:], whole.advice[before:]
        watched = next((o.log_time_ms for o in said if o.key == POOL_KEY.encode()), None)
        assert [o for o in said if o.log_time_ms != watched or o in expected] == expected
    assert len(seen) > 30


def test_states_change_no_decision(records):
    """They are advice: decisions, trades and cuts are the same with other settings of them, but for the digest."""
    chosen = []
    for flags in ((), ("state.forecast_ms=1000", "state.warning_fall=0.01")):
        sink = run_tape(records, settings_of("decision.accounts_max=12", *flags))
        chosen.append([record.value for record in sink.outputs("forced-trades")])
    assert chosen[0] == chosen[1]
    assert chosen[0]
