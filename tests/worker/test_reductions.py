"""Staged reductions: who is told to close what, and when again; and that silence costs and changes nothing."""

import random
from collections import defaultdict
from fractions import Fraction

import pytest

from schemas import Account, Instrument, MarginTier, Position, RiskModel, RiskSymbol, decode_output, text_of
from tests.worker.tape import Said, Tape, run_tape, settings_of
from tests.worker.twin_reductions import Twin, Wanted, text
from worker.book.book import Book
from worker.cli.common import recording_source, start_of
from worker.edge.jsonlines import write_records
from worker.engine import Start
from worker.loop import run
from worker.memory import MemorySink
from worker.output import REDUCTIONS

TIERS = [("1.5", "0.25"), ("1.25", "0.5"), ("1.1", "1")]
FLAG = "reductions.tiers=" + ", ".join(f"{ratio}:{share}" for ratio, share in TIERS)
SYMBOLS = {"A": ("1", "0.1", "1"), "B": ("0.01", "0.05", "1"), "C": ("5", "0.004", "0.1"), "D": ("1", "0.25", "3")}
MARGIN_TIERS = [
    MarginTier(notional_max=end, maintenance_margin_fraction=part)
    for end, part in (("5000", "0.1"), ("20000", "0.2"), ("50000", "0.35"))
]


def reductions(said):
    return [decode_output(record.value) for record in said.sink.outputs(REDUCTIONS)]


def few(said, *fields):
    return [tuple(getattr(reduction, name) for name in fields) for reduction in reductions(said)]


def one(cash, *, tape=None):
    """BTC at 100, requirement 10 %; `a` holds 10 long entered at 100, so its ratio is cash / 100."""
    tape = tape or Tape().instrument().mark(price="100")
    return tape.account("a", cash, ("BTC", "10", "100"))


# --- one account, by hand ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cash", "said"),
    [
        ("150.01", []),
        ("150", [("3", "1.5", "1.5", "2.142857")]),  # a quarter of 10 lots, in whole lots
        ("125.01", [("3", "1.5", "1.2501", "1.785857")]),
        ("125", [("5", "1.25", "1.25", "2.5")]),
        ("100.01", [("10", "1.1", "1.0001", None)]),
        ("100", []),  # liquidation's
        ("-1", []),
    ],
)
def test_the_deepest_tier_that_is_reached_says_how_much(cash, said):
    """At or below a tier, above 1; at least its share, in whole lots."""
    assert few(one(cash).run(FLAG), "quantity", "tier", "ratio_before", "ratio_after") == said


def test_a_tier_counts_again_above_its_hysteresis_and_never_in_the_cool_down():
    """A deeper tier waits for the cool-down alone, one that was passed for a ratio above it."""
    tape = Tape().instrument().mark(price="100")
    for ms, cash in [
        (1_500, "140"),  # 1.5 counts
        (2_500, "120"),  # 1.25 is reached inside the cool-down
        (12_500, "120"),  # and counts behind it
        (23_500, "135"),  # above 1.3: 1.25 counts again, 1.5 not yet
        (24_500, "140"),
        (25_500, "125"),
        (36_500, "156"),  # above 1.55: all count
        (37_500, "150"),
    ]:
        one(cash, tape=tape.at(ms).mark(price="100"))
    assert few(tape.run(FLAG), "cut_time_ms", "tier", "again_above") == [
        (2_000, "1.5", {"1.5": "1.55"}),
        (13_000, "1.25", {"1.25": "1.3", "1.5": "1.55"}),
        (26_000, "1.25", {"1.25": "1.3", "1.5": "1.55"}),
        (38_000, "1.5", {"1.5": "1.55"}),
    ]


def test_an_isolated_position_is_a_margin_of_its_own():
    """Its ratio is its own, and nothing else of the account is told to close."""
    tape = Tape().instrument().instrument("ETH").mark(price="100").mark("ETH", price="100")
    isolated = Position(
        symbol="ETH", quantity="-10", position_side="SHORT", entry_price="100", margin_mode="isolated",
        isolated_margin="120",
    )  # fmt: skip
    said = tape.account("a", "1000", ("BTC", "10", "100"), isolated).run(FLAG)
    assert few(said, "symbol", "position_side", "margin_mode", "side", "quantity") == [
        ("ETH", "SHORT", "isolated", "BUY", "5")
    ]


def test_the_position_whose_closing_lowers_the_own_risk_most_comes_first():
    """Not the largest: `a` is long 3 BTC beside a long of 4 ETH that a short of 4 SOL nearly hedges."""
    symbols = ("BTC", "ETH", "SOL")
    rows = [RiskSymbol(symbol=s, loadings=[0.1, 0.0], idiosyncratic=1e-6) for s in symbols]
    tape = Tape().say(RiskModel(id="m", horizon_seconds=600, tail=None, symbols=rows))
    for symbol in symbols:
        tape.instrument(symbol).mark(symbol, price="100")
    tape.account("a", "124", ("BTC", "3", "100"), ("ETH", "4", "100"), ("SOL", "-4", "100"))
    assert few(tape.run(FLAG), "symbol", "side", "quantity", "place", "places") == [
        ("BTC", "SELL", "3", 1, 2), ("ETH", "SELL", "3", 2, 2),
    ]  # fmt: skip


def test_who_is_bankrupt_parked_unmarked_no_trader_or_at_a_stale_mark_is_left_alone():
    """Nothing is asked of a margin whose equity is not known, or that liquidation has already taken."""
    tape = one("120").instrument("NEW").instrument("OLD").mark("OLD", price="100")
    tape.account("unmarked", "120", ("BTC", "10", "100"), ("NEW", "1", "1"))
    tape.account("stale", "12", ("OLD", "1", "100"))
    tape.account("house", "120", ("BTC", "10", "100")).say(Account(account="house", role="INSURANCE"))
    tape.account("parked", "120", ("BTC", "10", "100"), ("BTC", "3", "100"))  # named twice: refused
    tape.account("parked", "120", ("BTC", "10", "100")).account("parked", "1", ("NIX", "1", "1"))
    tape.account("bankrupt", "120", ("BTC", "10", "100"))
    tape.at(70_000).mark(price="100").bankrupt("bankrupt", ("OLD", "1"))  # held: its mark is stale
    said = tape.at(71_500).mark(price="100").run(FLAG)
    assert [decision.status for decision in said.decisions] == ["HELD"]
    assert {account for (account,) in few(said, "account") if account not in ("stale", "bankrupt")} == {"a"}
    late = [r.account for r in reductions(said) if r.cut_time_ms >= 70_000]
    assert late == []  # `a` has used its tier up; the others are left alone


def test_what_legs_hold_is_taken_off():
    """A counterparty that gave up 6 of 10 and paid 60 for it has 52 on a requirement of 40: a quarter of 4 lots."""
    tape = Tape().instrument().mark(price="100").at(1_100)
    tape.account("loser", "0", ("BTC", "-6", "90")).account("a", "112", ("BTC", "10", "100"))
    said = tape.at(1_200).bankrupt("loser").at(2_500).mark(price="100").run(FLAG)
    assert [(trade.quantity, trade.price) for trade in said.trades if trade.account == "a"] == [("6", "90")]
    assert few(said, "account", "quantity", "tier", "ratio_before") == [("a", "1", "1.5", "1.3")]


def test_a_pause_a_shadow_and_the_time_before_the_start_are_silent():
    """An instruction goes out only where trades would."""
    assert few(one("120").run(FLAG), "quantity") == [("5",)]
    assert few(one("120").run(FLAG, "worker.mode=shadow"), "quantity") == []
    paused = one("120", tape=Tape().instrument().mark(price="100").control("PAUSE"))
    assert few(paused.run(FLAG), "quantity") == []
    assert few(paused.at(5_000).control("RESUME").at(5_500).mark(price="100").run(FLAG), "cut_time_ms") == [(5_000,)]
    for start in (Start(log_time_ms=3_000), Start(offsets={("mark-prices", 0): 2})):
        tape = one("120").at(4_500).mark(price="100")
        said = Said(run_tape(tape.records, settings_of(FLAG), start=start))
        assert few(said, "cut_time_ms") == [(5_000,)]


OTHERWISE = {
    "switched off": ["reductions.tiers=null"],
    "other tiers": ["reductions.tiers=2:0.1", "reductions.hysteresis=0.5", "reductions.cool_down_ms=1"],
    "in shadow": [FLAG, "worker.mode=shadow"],
}


@pytest.mark.parametrize("flags", OTHERWISE.values(), ids=OTHERWISE)
def test_a_pool_goes_on_under_other_settings(flags):
    """What is used up follows from what was published, not from what is set now; it is the same at the commit."""
    tape = random_tape(2)
    for part in (0.3, 0.6, 0.9):
        sink = run_tape(tape.records[: int(part * len(tape.records))], settings_of(FLAG))
        digest = sink.report.state_digest
        again = run_tape(tape.records[: int(part * len(tape.records))], settings_of(*flags), sink)
        assert again.report.state_digest == digest
        run_tape(tape.records, settings_of(*flags), sink)


def test_a_recording_that_is_joined_at_its_end_asks_for_nothing_of_the_past(tmp_path):
    """`worker.start_at` end: what the marks of the past would have asked for is no instruction any more."""
    tape = one("120").at(4_500).mark(price="100")
    recording = tmp_path / "recording.jsonl"
    write_records(recording, tape.records)
    settings = settings_of(FLAG, "worker.start_at=end")
    source = recording_source(recording, settings)
    assert [said.cut_time_ms for said in _run(source, settings, start_of(source, settings))] == [5_000]
    source = recording_source(recording, settings)
    assert [said.cut_time_ms for said in _run(source, settings, Start())] == [1_000]


def _run(source, settings, start):
    sink = MemorySink()
    run(source, sink, settings, start=start)
    return [decode_output(record.value) for record in sink.outputs(REDUCTIONS)]


# --- random books against the twin ------------------------------------------------------------------------------------


def random_tape(seed):
    """Books that lose, marks that jump, updates that fill a part of what was asked or something else."""
    rng, tape = random.Random(seed), Tape()
    if seed % 2:
        rows = [
            RiskSymbol(
                symbol=s, loadings=[rng.uniform(-0.02, 0.05), rng.uniform(-0.01, 0.01)],
                idiosyncratic=rng.uniform(1e-5, 1e-3),
            )
            for s in SYMBOLS
        ]  # fmt: skip
        tape.say(RiskModel(id="m", horizon_seconds=600, tail=4.0, symbols=rows))
    marks = {}
    for symbol, (lot, mmf, multiplier) in SYMBOLS.items():
        instrument = Instrument(
            symbol=symbol, tick_size="0.01", lot_size=lot, settlement_currency="USD", multiplier=multiplier,
            maintenance_margin_fraction=mmf, price_decimals=2,
            margin_tiers=MARGIN_TIERS if symbol == "A" else None,
        )  # fmt: skip
        tape.say(instrument)
        marks[symbol] = rng.randint(500, 20_000)
        if symbol != "D" or seed % 3:
            tape.mark(symbol, text_of(marks[symbol], 2))
    for step in range(40):
        tape.at(1_000 + 700 * step)
        for symbol in marks:
            if rng.random() < 0.6:
                marks[symbol] = max(1, round(marks[symbol] * rng.uniform(0.93, 1.07)))
                tape.mark(symbol, text_of(marks[symbol], 2))
        if step % 13 == 5:
            tape.mark("B", "-1")  # refused: parked until the next one
        for number in range(8):
            if step == 0 or rng.random() < 0.15:
                tape.account(f"a{number}", *random_account(rng, marks))
        if step in (10, 24):  # rows that nobody has stand before rows of others
            tape.raw("positions", None, f"a{rng.randrange(4)}".encode())
        if step == 20:
            tape.say(Account(account="a1", role="LIQUIDATION"))
        if step == 25:  # held for ever: NEW has no mark
            tape.instrument("NEW")
            tape.bankrupt("a2", ("NEW", "1"))
    return tape


def random_account(rng, marks):
    """Cash that makes the cross margin's ratio 0.9 to 1.7, and positions entered at the mark."""
    held, required = [], 0
    for symbol in rng.sample(sorted(SYMBOLS), rng.randint(1, 4)):
        lot, mmf, multiplier = SYMBOLS[symbol]
        for side in rng.choice((("NET",), ("NET",), ("LONG", "SHORT"))):
            sign = {"NET": rng.choice((-1, 1)), "LONG": 1, "SHORT": -1}[side]
            lots = sign * rng.choice((1, 2, 7, rng.randint(1, 400)))
            value = lots * Fraction(lot) * Fraction(multiplier) * marks[symbol]
            needed = abs(value) * Fraction(mmf)
            isolated = text_of(int(needed * rng.uniform(0.9, 1.7)), 2) if rng.random() < 0.25 else None
            required += 0 if isolated else needed
            held.append(
                Position(
                    symbol=symbol, quantity=text(lots * Fraction(lot)), position_side=side, isolated_margin=isolated,
                    entry_value=text_of(int(value), 2), margin_mode="cross" if isolated is None else "isolated",
                )
            )  # fmt: skip
    return [text_of(int(required * Fraction(rng.uniform(0.9, 1.7))), 2), *held]


def followed(tape, said, twin):
    """At each cut of the worker, once the twin has read what the cut rests on: the cut and what was said at it."""
    written = defaultdict(list)
    for reduction in reductions(said):
        written[reduction.cut_number].append(reduction)
    unread = list(tape.records)
    for cut in said.cuts:
        basis = cut.basis | cut.after
        while unread and unread[0].offset < basis.get(f"{unread[0].topic}:0", 0):
            twin.apply(unread.pop(0))
        twin.now_ms = cut.log_time_ms
        yield cut, written[cut.number]


@pytest.mark.parametrize("seed", range(24))
def test_random_books_are_reduced_as_the_twin_says(seed):
    """Every field of every reduction, in order; and nothing else."""
    tape = random_tape(seed)
    said, twin, count = tape.run(FLAG), Twin(TIERS), 0
    for cut, written in followed(tape, said, twin):
        expected = [] if cut.after else twin.watch(cut.log_time_ms)
        assert [Wanted(*(getattr(r, name) for name in Wanted._fields)) for r in written] == expected
        count += len(written)
    assert count > 10


@pytest.mark.parametrize("seed", range(12))
def test_of_more_than_a_cut_may_ask_the_thinnest_come_first(seed, monkeypatch):
    """One margin a cut, as the twin says; the others at the cuts that follow, unless they have recovered."""
    monkeypatch.setattr("worker.reductions.ASKED_MAX", 1)
    tape = random_tape(seed)
    said, twin, count = tape.run(FLAG), Twin(TIERS, asked_max=1), 0
    for cut, written in followed(tape, said, twin):
        expected = [] if cut.after else twin.watch(cut.log_time_ms)
        assert [Wanted(*(getattr(r, name) for name in Wanted._fields)) for r in written] == expected
        count += len(written)
    assert count > 10


def test_margins_that_are_alike_are_asked_by_name(monkeypatch):
    """Two at a cut, of five."""
    monkeypatch.setattr("worker.reductions.ASKED_MAX", 2)
    tape = Tape().instrument().mark(price="100")
    for name, cash in (("d", "130"), ("c", "130"), ("b", "130"), ("a", "140"), ("e", "120")):
        tape.account(name, cash, ("BTC", "10", "100"))
    for ms in (1_500, 2_500, 3_500):
        tape.at(ms).mark(price="100")
    assert few(tape.run(FLAG), "cut_time_ms", "account") == [
        (1_000, "b"), (1_000, "e"), (2_000, "c"), (2_000, "d"), (3_000, "a")
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(24))
def test_random_reductions_keep_their_promises(seed):
    """Filled at the marks they remove the share, with no lot too many and none that is not held; cool-downs hold."""
    tape = random_tape(seed)
    twin, last_ms = Twin(TIERS), {}
    for cut, written in followed(tape, tape.run(FLAG), twin):
        margins = {name: (own, dict(lots)) for name, _, _, own, lots in twin.margins()}
        together = defaultdict(list)
        for r in written:
            isolated = (r.symbol, r.position_side) if r.margin_mode == "isolated" else None
            together[r.account, isolated].append(r)
        for name, parts in together.items():
            own, lots = margins[name]
            assert cut.log_time_ms - last_ms.get(name, -10_000) >= 10_000
            last_ms[name] = cut.log_time_ms
            for at, r in enumerate(parts):
                key = r.symbol, r.position_side
                asked = Fraction(r.quantity) / Fraction(SYMBOLS[r.symbol][0]) * (1 if r.side == "SELL" else -1)
                assert (asked > 0) == (lots[key] > 0)
                assert abs(asked) <= abs(lots[key])
                lots[key] -= int(asked)
                if at == len(parts) - 1:
                    assert own - twin._own(lots) >= Fraction(r.share) * own
                    lots[key] += 1 if asked > 0 else -1
                    assert own - twin._own(lots) < Fraction(r.share) * own


def test_nothing_set_says_nothing_and_looks_at_nothing(monkeypatch):
    """Off is the default, and costs nothing: the book is not even asked."""
    tape = random_tape(1)
    on = tape.run(FLAG)
    monkeypatch.setattr(Book, "thin", None)
    off = tape.run()
    assert (len(reductions(on)) > 10, reductions(off), off.cuts) == (True, [], on.cuts)


def test_a_long_of_an_inverse_contract_is_reduced_by_selling():
    """10,000 contracts of a dollar at 100 are worth 100 coins: equity 12 over the requirement of 10 is at the tier."""
    tape = Tape().instrument("INV", contract_type="inverse").mark("INV")
    tape.account("long", "12", ("INV", "10000", "100")).account("short", "12", ("INV", "-10000", "100")).at(2500)
    tape.mark("INV").at(4000).mark("INV")
    found = {said.account: (said.side, said.quantity) for said in reductions(tape.run(FLAG))}
    assert found == {"long": ("SELL", "5000"), "short": ("BUY", "5000")}
