"""Settlement at last solvent marks: what counts as one, who is asked for it, and that histories are told the same way.

A watch cut stands at each second of log time. Prices and accounts are those of the golden cases where nothing is said.
"""

import json
import random
from fractions import Fraction
from pathlib import Path

import pytest

from schemas import Position
from tests.worker.auditor import audit
from tests.worker.random_run import Timely, source_of
from tests.worker.random_tape import random_log, random_settings
from tests.worker.small_market import legs, run, waterfall
from tests.worker.tape import Said, Tape, run_tape, settings_of
from tests.worker.test_inverse import COIN, SATOSHI, Coins
from worker.engine import Engine
from worker.explain import explain
from worker.ids import digest_of
from worker.loop import StateLostError
from worker.loop import run as run_loop
from worker.memory import MemorySink
from worker.solvent import SolventMarks

CASES = json.loads((Path(__file__).parent.parent / "golden" / "venues.json").read_text())["last_solvent_mark"]["cases"]
FLAG = "decision.settlement=last_solvent_mark"


def carol(cash="1200", **more):
    """Long 10 AAPL at 200 and 50 TSLA at 300, worth 1,200 at these marks; the bear is on the other side."""
    tape = Tape().instrument("AAPL").instrument("TSLA").mark("AAPL", "200").mark("TSLA", "300")
    tape.account("carol", cash, ("AAPL", "10", "200"), ("TSLA", "50", "300"), **more)
    return tape.account("bear", "100000", ("AAPL", "-30", "200"), ("TSLA", "-150", "300"))


def tsla(said, decision=0):
    """What carol's TSLA brings, and what is said of the marks."""
    [quote] = [quote for name, _, size, quote in legs(said, decision) if (name, size) == ("carol", "50")]
    [bankruptcy] = said.decisions[decision].bankruptcies
    marks = [(mark.symbol, mark.mark_price, mark.loss_share) for mark in bankruptcy.solvent_marks]
    return quote, bankruptcy.settlement, marks


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_the_golden_cases_through_the_whole_worker(case):
    """Solvent at a watch cut, under water half a second later, and closed so that nothing is left."""
    like = next(c for c in CASES if c["id"] == case.get("like", case["id"]))
    book, last, mark = like["liquidated"], like["last_solvent_mark"], like["mark"]
    sizes = {name: size for name, size in book.items() if name != "usd"}
    tape = Tape().fund(str(case.get("insurance", 0)))
    for name in sizes:
        tape.instrument(name).mark(name, str(last[name]))
    for holder, sign, cash in (("x", 1, book["usd"]), ("y", -1, 10**6)):
        cash += sign * sum(size * last[name] for name, size in sizes.items())
        tape.account(holder, str(cash), *((name, str(sign * size), str(last[name])) for name, size in sizes.items()))
    tape.at(1500)
    for name in sizes:
        tape.mark(name, str(mark[name]))
    said = run(tape.at(1600).bankrupt("x"), FLAG)
    [decision] = said.decisions
    prices = {t.symbol: t.price for t in said.trades if t.role == "LIQUIDATED"}
    assert prices == {name: str(price) for name, price in case["settle"].items()}
    [bankruptcy] = decision.bankruptcies
    assert bankruptcy.equity == str(like["equity_now"])
    cash = sum(float(t.quote_amount) for t in said.trades if t.role == "LIQUIDATED")
    assert book["usd"] + float(bankruptcy.fund) + cash == case["equity_after"]
    assert (decision.bad_debt, bankruptcy.settlement) == ("0", None)


def test_marks_are_those_of_the_newest_watch_cut_that_saw_it_solvent():
    """280 at 2,000 is the newest at which carol was solvent, and stays it while she is below zero at later ones."""
    tape = carol().at(1900).mark("TSLA", "280").at(2500).mark("TSLA", "260").mark("AAPL", "210")
    assert tsla(run(tape.at(2600).bankrupt("carol"), FLAG)) == ("13700", None, [("TSLA", "280", 0.7)])
    tape = carol().at(1900).mark("TSLA", "280").at(2500).mark("TSLA", "270").at(3500).mark("TSLA", "260")
    tape.at(4500).mark("AAPL", "210")
    assert tsla(run(tape.at(4600).bankrupt("carol"), FLAG)) == ("13700", None, [("TSLA", "280", 0.7)])


def test_who_becomes_solvent_again_is_looked_at_anew():
    """Below zero at 2,000 and 3,000, solvent by a deposit at 4,000 with 265 as mark: that is the last one."""
    tape = carol().at(1900).mark("TSLA", "260").at(2900).mark("TSLA", "265").at(3900)
    tape.account("carol", "2000", ("AAPL", "10", "200"), ("TSLA", "50", "300")).at(4500).mark("TSLA", "255")
    assert tsla(run(tape.at(4600).bankrupt("carol"), FLAG)) == ("13000", None, [("TSLA", "265", 0.5)])


def test_what_losses_since_then_do_not_explain_stays_as_bad_debt():
    """Cash went away in the same second: the whole loss is undone, 100 is nobody's; the mark of AAPL is not touched."""
    tape = carol().at(1500).mark("TSLA", "270").account("carol", "-100", ("AAPL", "10", "200"), ("TSLA", "50", "300"))
    said = run(tape.at(1600).bankrupt("carol"), FLAG)
    assert tsla(said) == ("15000", None, [("TSLA", "300", 1.0)])
    assert waterfall(said.decisions[0]) == [("carol", "1600", "0", "1500", "100")]


def test_a_collar_bounds_this_price_too():
    """At most 2 % above 260."""
    tape = carol().at(1500).mark("TSLA", "260").mark("AAPL", "210").at(1600).bankrupt("carol")
    said = run(tape, FLAG, "decision.collar=0.02")
    assert tsla(said)[0] == "13260"
    assert waterfall(said.decisions[0]) == [("carol", "700", "0", "260", "440")]


def test_an_account_never_seen_solvent_settles_at_its_bankruptcy_price_and_the_decision_says_so():
    """Insolvent at its first watch cut; the same for a book that we do not hold."""
    tape = Tape().instrument().mark().account("winner", "1050", ("BTC", "-10", "105"))
    tape.account("rich", "100000", ("BTC", "-10", "105")).account("loser", "0", ("BTC", "10", "105"))
    tape.at(2000).bankrupt("loser").at(2100).bankrupt("x", ("BTC", "10"), equity="-30")
    said = run(tape, FLAG)
    assert [b.settlement for d in said.decisions for b in d.bankruptcies] == ["bankruptcy", "bankruptcy"]
    assert [waterfall(d) for d in said.decisions] == [[("loser", "50", "0", "50", "0")], [("x", "30", "0", "30", "0")]]
    told = explain(said.decisions[0].decision_id, said.sink.records).sentences
    assert (
        "At no watch cut before was it seen solvent, so another rule holds for it. The price is the bankruptcy price: "
        "winners carry what the fund did not pay of a deficit."
    ) in told


def test_each_bankruptcy_of_a_joint_decision_has_its_own_share():
    """Two accounts with deficits of 700 and 200 of losses of 2,000: 35 % and 10 % of them are undone."""
    tape = carol().account("dora", "1700", ("AAPL", "10", "200"), ("TSLA", "50", "300"))
    tape.at(1500).mark("TSLA", "260").mark("AAPL", "210").at(1600).bankrupt("carol").bankrupt("dora")
    [decision] = run(tape, FLAG).decisions
    assert [mark.loss_share for b in decision.bankruptcies for mark in b.solvent_marks] == [0.35, 0.1]
    assert waterfall(decision) == [("carol", "700", "0", "700", "0"), ("dora", "200", "0", "200", "0")]


def test_an_isolated_position_was_solvent_at_its_own_time():
    """Its margin of 500 is gone at 289, below zero at 2,000; the cross book beside it is still solvent then."""
    lonely = Position(
        symbol="TSLA", quantity="50", entry_price="300", margin_mode="isolated", isolated_margin="500",
    )  # fmt: skip
    tape = Tape().instrument("AAPL").instrument("TSLA").mark("AAPL", "200").mark("TSLA", "300")
    tape.account("carol", "600", ("AAPL", "10", "200"), lonely)
    tape.account("bear", "100000", ("AAPL", "-10", "200"), ("TSLA", "-50", "300"))
    tape.at(1900).mark("TSLA", "289").at(2900).mark("TSLA", "285").mark("AAPL", "150").at(3500).mark("AAPL", "130")
    tape.at(3600).bankrupt("carol").bankrupt("carol", ("TSLA", "50"), name="alone")
    [decision] = run(tape, FLAG).decisions
    assert [[(m.symbol, m.mark_price) for m in b.solvent_marks] for b in decision.bankruptcies] == [
        [("AAPL", "150")], [("TSLA", "300")],
    ]  # fmt: skip
    assert waterfall(decision) == [("carol", "100", "0", "100", "0"), ("carol", "250", "0", "250", "0")]


def test_a_long_of_an_inverse_contract_settles_above_the_mark_too():
    """1,000 coins at the entry, solvent with 30 of them there; 8.2 short at 7,600: it gives 1,030, as it can."""
    tape = Coins().lists("B").marks("B", "7890.08").holds("long", "30", ("B", "NET", "7890080", "7890.08", None))
    tape.holds("short", "500", ("B", "NET", "-7890080", "7890.08", None)).at(1500).marks("B", "7600")
    said = tape.at(1600).bankrupt("long").run(*COIN, FLAG)
    [decision], [loser, winner] = said.decisions, said.trades
    assert abs(Fraction(loser.quote_amount) + 1030) <= SATOSHI
    assert Fraction(winner.quote_amount) == -Fraction(loser.quote_amount)
    [mark] = decision.bankruptcies[0].solvent_marks
    assert (mark.mark_price, decision.bankruptcies[0].bad_debt) == ("7890.08", "0")
    deficit = Fraction(decision.bankruptcies[0].deficit)
    assert mark.loss_share == pytest.approx(float(deficit / (Fraction(7890080, 7600) - 1000)), rel=1e-9)


def test_what_is_said_of_a_price_names_the_mark_and_the_share():
    """In the decision and in the liquidated account's trade, not in that of a position that gained."""
    tape = carol().at(1500).mark("TSLA", "260").mark("AAPL", "210").at(1600).bankrupt("carol")
    said = run(tape, FLAG)
    sentence = (
        "The price of TSLA NET undoes 35.00% of the loss since the mark was 300, when the account was last solvent."
    )
    assert sentence in explain(said.decisions[0].decision_id, said.sink.records).sentences
    told = {
        t.symbol: explain(t.trade_id, said.sink.records).sentences for t in said.trades if t.role == "LIQUIDATED"
    }  # fmt: skip
    assert (sentence in told["TSLA"], sentence in told["AAPL"]) == (True, False)
    assert told["TSLA"][-2].startswith("Against the mark it gains 700. A position that lost since its account")


# --- histories --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rule():
    return random_settings(FLAG)


@pytest.fixture(scope="module")
def log(rule):
    return random_log(3, accounts=80, settings=rule)


@pytest.fixture(scope="module")
def whole(log, rule):
    return Said(run_tape(log, rule, batch_max=1000)).bytes


@pytest.mark.parametrize("seed", [0, 1, 3, 4])
def test_the_auditor_agrees_on_a_log_with_refusals_and_controls(seed, rule):
    """Prices, shares and fallbacks of every decision, from a history that it keeps by itself."""
    records = random_log(seed, poison=False, settings=rule)
    said = Said(run_tape(records, rule))
    assert audit(records, said.decisions, said.trades, said.cuts, settlement="last_solvent_mark") == []
    shares = [mark.loss_share for d in said.decisions for b in d.bankruptcies for mark in b.solvent_marks]
    assert any(0 < share < 1 for share in shares)
    assert any(audit(records, said.decisions, said.trades, settlement="last_solvent_mark"))


@pytest.mark.parametrize("stop", range(12))
def test_a_restart_anywhere_knows_the_same_marks(stop, log, whole, rule):
    """Stopped after any batch, gone on with others: the same bytes, state digests among them."""
    rng = random.Random(stop)
    sink, turns = MemorySink(), iter(range(rng.randint(1, 80)))
    run_loop(Timely(log, batch_max=rng.choice((7, 20))), sink, rule, stop=lambda: next(turns, None) is None)
    assert sink.committed() is not None
    run_loop(source_of(log, batch_max=rng.choice((3, 50, 1000))), sink, rule)
    assert [(r.topic, r.offset, r.log_time_ms, r.key, r.value) for r in sink.records] == whole


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("first", [(), (FLAG,)], ids=["from", "to"])
def test_a_running_pool_may_change_its_rule(first, part, log):
    """To this rule or from it and back, at a restart; its history is that of all the cuts before."""
    sink, other = MemorySink(), () if first else (FLAG,)
    some = [log[: int(part * len(log))], log[: int((0.1 + part) * len(log))], log]
    for records, flags in zip(some, (first, other, first), strict=True):
        run_tape(records, random_settings(*flags), sink)
    assert len(list(sink.outputs("adl-cuts"))) > 100


def test_a_rule_that_is_switched_on_knows_the_cuts_before():
    """Below zero at 2,000, and the rule began at 3,000: 300 is still the mark when carol was last solvent."""
    tape = carol().at(1900).mark("TSLA", "270").mark("AAPL", "180").at(2900).mark("TSLA", "270")
    sink = run_tape(tape.records, settings_of())
    tape.at(3500).mark("TSLA", "260").mark("AAPL", "210").at(3600).bankrupt("carol")
    assert tsla(Said(run_tape(tape.records, settings_of(FLAG), sink))) == tsla(run(tape, FLAG))
    assert tsla(Said(sink)) == ("13700", None, [("TSLA", "300", 0.35)])


def test_a_restart_with_another_history_of_solvent_times_stops_the_pool(log, rule, monkeypatch):
    """While the rule stays, its history is a part of the state."""
    sink = run_tape(log[: len(log) // 2], rule)
    watch = SolventMarks.watch
    monkeypatch.setattr(SolventMarks, "watch", lambda notes: watch(notes) + 1)
    with pytest.raises(StateLostError):
        run_tape(log, rule, sink)


def test_other_rules_look_at_nobody(log, monkeypatch):
    """Not one pass over the book."""
    monkeypatch.setattr(SolventMarks, "watch", lambda _: pytest.fail("looked"))
    run_tape(log, random_settings())


def test_the_digest_is_that_of_everything_that_is_noted(log, rule):
    """Kept by small changes, it is what a walk over all notes gives; an earlier solvent time is another state."""
    engines = []
    run_loop(source_of(log), MemorySink(), rule, on_engine=engines.append)
    [engine] = engines
    notes, book, kept = SolventMarks(engine.book), engine.book, engine._solvent
    total = 0
    for (account, key), (marks, _) in kept._kept.items():
        isolated = (book.markets[key - 1 >> 2].symbol, key - 1 & 3) if key else None
        total += digest_of("last solvent", account, isolated, marks.digest)
    assert notes.watch() == notes._last.digest + sum(cell for _, cell in notes._kept.values())
    assert total == sum(cell for _, cell in kept._kept.values())
    assert kept._kept.keys() == notes._kept.keys()
    assert total != sum(cell for _, cell in notes._kept.values())
    assert kept._last.digest == notes._last.digest
    assert Engine(rule).digest() == Engine(rule).digest() != engine.digest()
