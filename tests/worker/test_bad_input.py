"""Each row of the table "What bad input gets": exactly that answer, and the worker goes on."""

import pytest

from schemas import AccountUpdate, Balance, Bankruptcy, Instrument, MarkPrice, Position, encode
from tests.worker.tape import Said, Tape, run_tape, settings_of
from worker.engine import Start


def market():
    """BTC at 100; winner holds 10 short against loser's 10 long, bankrupt by 50."""
    tape = Tape().instrument().mark(price="100")
    tape.account("winner", "1050", ("BTC", "-10", "105")).account("rich", "100000", ("BTC", "-10", "105"))
    return tape.account("loser", "0", ("BTC", "10", "105"))


def position(**fields):
    return {"symbol": "BTC", "quantity": "1", "entry_price": "100"} | fields


def update(**fields):
    cash = [Balance(currency="USD", amount="1")]
    given = {"account": "odd", "epoch": 1, "seq": 1, "full": True, "balances": cash} | fields
    return encode(AccountUpdate(**given))


POISON = {
    "no json": ("positions", b"\xff{", "DECODE"),
    "no message": ("positions", b"[]", "DECODE"),
    "a leg's number out of reach": ("positions", update(adl_seq=2**61 + 1), "RANGE"),
    "the same of a position": ("positions", update(positions=[Position(**position(adl_seq=2**62))]), "RANGE"),
    "unknown type": ("positions", b'{"type":"Nothing"}', "DECODE"),
    "missing field": ("positions", b'{"type":"AccountUpdate","account":"odd","epoch":1}', "DECODE"),
    "null": ("mark-prices", None, "DECODE"),
    "unknown symbol": ("positions", update(positions=[Position(**position(symbol="DOGE"))]), "UNKNOWN_SYMBOL"),
    "part of a lot": ("positions", update(positions=[Position(**position(quantity="1.5"))]), "LOT"),
    "no entry": ("positions", update(positions=[Position(**position(entry_price=None))]), "FIELD"),
    "NaN": ("positions", update(positions=[Position(**position(quantity="NaN"))]), "NUMBER"),
    "infinite": ("positions", update(balances=[Balance(currency="USD", amount="inf")]), "NUMBER"),
    "out of range": ("positions", update(positions=[Position(**position(quantity="9" * 30))]), "RANGE"),
    "wrong side": ("positions", update(positions=[Position(**position(quantity="1", position_side="SHORT"))]), "SIDE"),
    "two modes in one update": (
        "positions",
        update(positions=[Position(**position()), Position(**position(quantity="-1", position_side="SHORT"))]), "SIDE",
    ),
    "foreign currency": ("positions", update(balances=[Balance(currency="EUR", amount="1")]), "UNSUPPORTED"),
    "collateral weight": (
        "positions", update(balances=[Balance(currency="USD", amount="1", collateral_weight="0.9")]), "UNSUPPORTED",
    ),
    "price zero": ("mark-prices", encode(MarkPrice(symbol="BTC", mark_price="0", event_time_ms=1)), "PRICE"),
    "price below zero": ("mark-prices", encode(MarkPrice(symbol="BTC", mark_price="-1", event_time_ms=1)), "PRICE"),
    "mark of none": ("mark-prices", encode(MarkPrice(symbol="X", mark_price="1", event_time_ms=1)), "UNKNOWN_SYMBOL"),
    "second scale": (
        "instruments",
        encode(
            Instrument(
                symbol="BTC", tick_size="1", lot_size="10", settlement_currency="USD",
                maintenance_margin_fraction="0.1", price_decimals=2,
            )
        ),
        "SCALE",
    ),
    "inverse in coins": (
        "instruments",
        encode(
            Instrument(
                symbol="INV", tick_size="1", lot_size="1", settlement_currency="BTC",
                maintenance_margin_fraction="0.1", contract_type="inverse",
            )
        ),
        "UNSUPPORTED",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", POISON)
def test_poison_becomes_one_dead_letter_with_its_reason_and_place(name):
    """The raw record stands in the dead letter, the same once only, and what follows is decided."""
    topic, value, reason = POISON[name]
    tape = market()
    offset = sum(record.topic == topic for record in tape.records)
    tape.at(1500).raw(topic, value, b"odd")
    tape.at(2000).instrument().mark().at(2500).bankrupt("loser", ("BTC", "10"))
    said = tape.run()
    [letter] = said.letters
    assert (letter.reason, letter.topic, letter.partition, letter.offset) == (reason, topic, 0, offset)
    assert letter.payload == value
    assert letter.key == b"odd"
    assert letter.sentence
    assert [decision.status for decision in said.decisions] == ["DECIDED"]


def test_a_delta_that_would_mix_position_modes_is_refused_and_parks_the_account():
    """NET beside LONG or SHORT has no one meaning; closing the one and opening the other in one step has."""
    tape = market().at(1500).account("rich", "100000", Position(**position(position_side="LONG")), full=False)
    said = tape.at(2000).bankrupt("x", ("BTC", "12")).run()
    [letter] = said.letters
    assert letter.reason == "SIDE"
    assert letter.sentence == "positions in 'BTC' must be NET, or LONG and SHORT, would be LONG beside NET"
    assert {account for account, *_ in said.legs()} == {"winner"}
    change = Position(**position(quantity="0")), Position(**position(quantity="-10", position_side="SHORT"))
    tape = market().at(1500).account("rich", "100000", *change, full=False)
    said = tape.at(2000).bankrupt("x", ("BTC", "12")).run()
    assert said.letters == []
    assert {(t.account, t.position_side) for t in said.trades} == {("winner", "NET"), ("rich", "SHORT"), ("x", "NET")}


@pytest.mark.parametrize("line", [("BTC", "-10", "90000000000000"), ("BTC", "9007199254740992")])
def test_a_line_worth_more_than_can_be_booked_is_refused(line):
    """One mistyped price must not stop the pool."""
    said = market().at(2000).bankrupt("x", line).bankrupt("loser", name="b2").run()
    assert [letter.reason for letter in said.letters] == ["RANGE"]
    assert [decision.status for decision in said.decisions] == ["DECIDED"]


def test_a_takeover_whose_trades_could_not_be_booked_is_refused():
    """A deficit of 90 trillion on one position: nothing is written and nothing drawn, and the pool goes on."""
    tape = market().fund("5").account("whale", "11000000000000000", ("BTC", "-200000000000", "100"))
    tape.account("hole", "-9000000000000000", ("BTC", "200000000000", "100"))
    said = tape.at(2000).bankrupt("hole").at(3000).bankrupt("loser").run()
    assert [(d.status, d.reason, d.trades, d.fund_draws) for d in said.decisions] == [
        ("REFUSED", "QUOTE_RANGE", 0, {}), ("DECIDED", None, 2, {"default": "5"}),
    ]  # fmt: skip


def test_trades_that_together_could_not_be_booked_are_refused():
    """Two takeovers of 20 trillion each from one position, the second while the first is held: 22.5 can be booked."""
    tape = Tape().instrument().mark().account("rich", "11000000000000000", ("BTC", "-200000000000", "100"))
    for name in ("a", "b"):
        tape.account(name, "-10000000000000", ("BTC", "100000000000", "100"))
    said = tape.at(2000).bankrupt("a").at(2010).bankrupt("b").run()
    assert [(d.status, d.reason) for d in said.decisions] == [("DECIDED", None), ("REFUSED", "QUOTE_RANGE")]


def test_a_null_value_without_a_key_is_refused():
    """It says that something is gone, but not what."""
    said = market().raw("positions", None, None).raw("accounts", None, b"").at(2000).bankrupt("loser").run()
    assert [(letter.reason, letter.topic) for letter in said.letters] == [
        ("DECODE", "accounts"), ("DECODE", "positions"),
    ]  # fmt: skip


def test_answers_to_events_of_one_record_have_ids_of_their_own():
    """Two strangers in one record, one of them twice: three answers, three ids."""
    events = [Bankruptcy(id=name, account=name, event_time_ms=2000) for name in ("s", "t", "s")]
    said = market().at(2000).raw("bankruptcies", b"[" + b",".join(map(encode, events)) + b"]", b"s").run()
    assert [d.status for d in said.decisions] == ["UNKNOWN_ACCOUNT", "UNKNOWN_ACCOUNT", "ALREADY_DECIDED"]
    assert len({d.decision_id for d in said.decisions}) == 3


def test_a_refused_update_parks_its_account_until_a_good_one_comes():
    """The account whose state is unknown is nobody's counterparty; the next good record brings it back."""
    odd = update(account="rich", seq=2, positions=[Position(**position(quantity="x"))])
    tape = market().at(1500).raw("positions", odd, b"rich").at(2000).bankrupt("x", ("BTC", "12"))
    assert {account for account, *_ in tape.run().legs()} == {"winner"}
    tape = market().at(1500).raw("positions", odd, b"rich")
    tape.account("rich", "500", ("BTC", "-10", "105")).at(2000).bankrupt("x", ("BTC", "12"))
    assert {account for account, *_ in tape.run().legs()} == {"rich", "winner"}


def test_a_refused_mark_parks_its_symbol_and_is_reported():
    """No decision is made at a price of which the newest word was not understood."""
    tape = market().at(1500).raw("mark-prices", b"?", b"BTC").at(2000).bankrupt("loser", ("BTC", "10"))
    tape.at(3500).mark(price="100").at(5000).mark(price="100")
    said = tape.run()
    assert [decision.status for decision in said.decisions] == ["HELD", "DECIDED"]
    assert [(state.symbol, state.state) for state in said.states] == [("BTC", "BLOCKED"), ("BTC", "ACTIVE")]


def test_an_update_that_is_not_newer_is_ignored_and_counted():
    """13: upstream sends again; neither the state nor the outputs change."""
    tape = market()
    tape.raw("positions", update(account="rich", seq=1, positions=[Position(**position(quantity="-99"))]), b"rich")
    tape.at(2000).bankrupt("loser", ("BTC", "10"))
    plain = market().at(2000).bankrupt("loser", ("BTC", "10"))
    said = tape.run()
    assert said.legs() == plain.run().legs()
    assert said.report.counts == {"STALE": 1}
    assert said.letters == []


def test_a_whole_book_that_we_do_not_hold_is_answered():
    """Nothing can be taken over of which nothing is known."""
    [decision] = market().at(2000).bankrupt("nobody").run().decisions
    assert (decision.status, decision.trades) == ("UNKNOWN_ACCOUNT", 0)


def test_listed_lines_stand_alone():
    """An event with lines needs no book; its equity counts."""
    said = market().at(2000).bankrupt("nobody", ("BTC", "4"), equity="-40").run()
    [decision] = said.decisions
    assert (decision.status, decision.bankruptcies[0].deficit, decision.haircut) == ("DECIDED", "40", "40")
    assert sum(int(quantity) for _, _, _, quantity, _ in said.legs()) == 4


def test_a_bankruptcy_is_decided_once():
    """The second event with the same id is answered with the first one's decision."""
    tape = market().at(2000).bankrupt("loser").at(3000).bankrupt("loser")
    first, second = tape.run().decisions
    assert (first.status, second.status) == ("DECIDED", "ALREADY_DECIDED")
    assert first.decision_id in second.reason


def test_bankruptcies_before_the_start_are_answered_and_left():
    """`start_at` in log time or by offset."""
    tape = market().at(2000).bankrupt("loser", name="old").at(4000).bankrupt("loser", name="new")
    for start in (Start(log_time_ms=3000), Start(offsets={("bankruptcies", 0): 1})):
        said = Said(run_tape(tape.records, settings_of(), start=start))
        assert [decision.status for decision in said.decisions] == ["BEFORE_START", "DECIDED"]


def test_where_our_book_disagrees_the_event_wins_and_it_is_said():
    """The exchange knows what it took over."""
    said = market().at(2000).bankrupt("loser", ("BTC", "7")).run()
    [decision] = said.decisions
    assert decision.bankruptcies[0].disagreements == ["BTC NET: event 7, book 10"]
    assert sum(int(quantity) for _, _, _, quantity, _ in said.legs()) == 7


@pytest.mark.parametrize(("age", "status"), [(60_000, "DECIDED"), (60_001, "HELD")])
def test_a_stale_mark_holds_the_decision_until_a_fresh_one(age, status):
    """Held at its cut, BLOCKED reported, decided at the first cut at which the mark is fresh."""
    tape = market().at(1000 + age).bankrupt("loser")
    assert [decision.status for decision in tape.run().decisions] == [status]
    if status == "HELD":
        tape.at(70_000).mark(price="99").at(70_500).mark(price="98").at(80_000).mark(price="97")
        said = tape.run()
        held, decided = said.decisions
        assert (held.reason, decided.status) == ("MARK_STALE BTC", "DECIDED")
        assert held.decision_id == decided.decision_id
        assert decided.cut_time_ms == 70_000
        assert decided.demands[0].mark_price == "99"
        assert [(state.symbol, state.state) for state in said.states] == [("BTC", "BLOCKED"), ("BTC", "ACTIVE")]


def test_a_missing_mark_holds_the_decision():
    """A symbol that never had a mark cannot be taken over."""
    tape = Tape().instrument().account("winner", "1000", ("BTC", "-10", "105")).at(2000).bankrupt("x", ("BTC", "1"))
    [decision] = tape.run().decisions
    assert (decision.status, decision.reason) == ("HELD", "MARK_MISSING BTC")


def test_an_account_with_a_symbol_without_mark_is_not_asked_and_counted():
    """Its equity is unknown."""
    tape = Tape().instrument().instrument("ETH").mark()
    tape.account("dark", "1", ("BTC", "-10", "105"), ("ETH", "1", "10")).account("light", "999", ("BTC", "-10", "105"))
    said = tape.at(2000).bankrupt("x", ("BTC", "3")).run()
    assert [account for account, *_ in said.legs()] == ["light"]
    assert said.decisions[0].accounts_without_mark == 1


def test_no_counterparties_is_a_residual_with_its_reason():
    """Never silently short."""
    tape = Tape().instrument().mark().account("long", "1000", ("BTC", "10", "90"))
    [decision] = tape.at(2000).bankrupt("x", ("BTC", "3")).run().decisions
    [demand] = decision.demands
    assert (decision.status, demand.residual, demand.residual_reason) == ("RESIDUAL", "3", "NO_COUNTERPARTIES")


def test_not_enough_counterparties_gives_everything_there_is():
    """All 20 shorts are closed, the rest is reported."""
    said = market().at(2000).bankrupt("x", ("BTC", "25")).run()
    [decision] = said.decisions
    assert (decision.status, decision.demands[-1].taken, decision.demands[-1].residual) == ("RESIDUAL", "20", "5")
    assert sum(int(quantity) for _, _, _, quantity, _ in said.legs()) == 20


@pytest.mark.parametrize(("residual", "status", "bad_debt"), [("mark", "DECIDED", "50"), ("none", "RESIDUAL", "50")])
def test_counterparties_that_cannot_pay_the_haircut(residual, status, bad_debt):
    """A haircut beyond their equity is not theirs: taken at the mark as bad debt, or left with its reason."""
    tape = Tape().instrument().mark().account("thin", "-40", ("BTC", "-10", "105"))  # equity 10 on gross 1000
    said = tape.at(2000).bankrupt("x", ("BTC", "10"), equity="-50").run(f"decision.residual={residual}")
    [decision] = said.decisions
    assert (decision.status, decision.bad_debt) == (status, bad_debt)
    if residual == "none":
        assert decision.demands[0].residual_reason == "COUNTERPARTIES_CANNOT_PAY"
        assert said.trades == []
    else:
        assert said.legs() == [("thin", "BTC", "BUY", "10", "-1000")]


@pytest.mark.parametrize(
    ("flag", "reason"),
    [
        ("decision.notional_max=500", "NOTIONAL"),
        ("decision.accounts_max=1", "ACCOUNTS"),
        ("decision.mark_jump_max=0.05", "MARK_JUMP"),
    ],
)
def test_a_decision_beyond_a_limit_waits_for_its_release(flag, reason):
    """Held with its reason; a RELEASE counts as applied at its own cut."""
    tape = market().at(1500).mark(price="90").at(2500).mark(price="100").bankrupt("x", ("BTC", "19"))
    held = tape.run(flag).decisions
    assert [(d.status, d.reason.split()[0]) for d in held] == [("HELD", reason)]
    tape.at(9000).control("RELEASE", decision_id=held[0].decision_id)
    assert [d.status for d in tape.run(flag).decisions] == ["HELD", "DECIDED"]
    assert tape.run(flag).decisions[1].cut_time_ms == 9000
