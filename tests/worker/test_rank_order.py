"""A rank is exact: the naive twin's in every place, and the order in which a decision takes."""

import random

import pytest

from schemas import Account, Position
from tests.bench_ranks import bench
from tests.worker.tape import Tape, settings_of
from tests.worker.test_ranks import feed
from tests.worker.twin_ranks import twin_ranks
from worker.edge.recording import RecordingSource
from worker.inputs import POLICIES
from worker.loop import run
from worker.memory import MemorySink

FLAGS = ("ranks.records_per_second=100000", "cut.watch_ms=1000", "ranks.interval_ms=1")
SYMBOLS = {"BTC": ("100", "0.05"), "ETH": ("7", "0.1"), "SOL": ("0.3", "0.2"), "NEW": (None, "0.1")}
QUEUES = [policy for policy in POLICIES if policy.startswith("queue:")]


def random_book(seed, accounts=150):
    """A tape: cross, isolated and hedged, some without equity, exempt, last, parked, unmarked, and many alike."""
    rng, tape = random.Random(seed), Tape()
    for symbol, (price, mmf) in SYMBOLS.items():
        tape.instrument(symbol, tick="0.01", mmf=mmf)
        if price:
            tape.mark(symbol, price)
    for number in range(accounts):
        name, held = f"{rng.choice('AZaéz')}{number}", []
        symbols = rng.sample(["BTC", "ETH", "SOL"], rng.choice((1, 1, 2, 3))) + ["NEW"] * (rng.random() < 0.03)
        for symbol in symbols:
            price = float(SYMBOLS[symbol][0] or 5)
            entry = f"{price * rng.choice((0.7, 0.9, 1, 1.1, 1.3)):.2f}"
            lots = rng.choice((1, 2, 5, rng.randrange(1, 50)))
            isolated = rng.random() < 0.3
            more = {"margin_mode": "isolated", "isolated_margin": f"{rng.randrange(1, 900)}"} if isolated else {}
            if rng.random() < 0.2:
                held += [
                    Position(symbol=symbol, quantity=str(lots), entry_price=entry, position_side="LONG", **more),
                    Position(symbol=symbol, quantity="-1", entry_price=entry, position_side="SHORT", **more),
                ]
            else:
                quantity = str(rng.choice((-1, 1)) * lots)
                held.append(Position(symbol=symbol, quantity=quantity, entry_price=entry, **more))
        tape.account(name, str(rng.choice((100, 500, rng.randrange(0, 3000)))), *held)
        if rng.random() < 0.1:
            adl, role = rng.choice((("EXEMPT", "TRADER"), ("LAST", "TRADER"), ("NORMAL", "LIQUIDATION")))
            tape.say(Account(account=name, adl=adl, role=role))
        if rng.random() < 0.03:
            tape.raw("positions", b"no json", name.encode())
    if seed % 2:
        tape.raw("mark-prices", b"no json", b"SOL")
    return tape.account("CLEARING", "100", ("BTC", "-50", "100"))


def ranked_by(tape, *flags):
    """The newest message of each key, and the engine."""
    sink, engines = MemorySink(), []
    settings = settings_of(*FLAGS, *flags)
    run(RecordingSource(tape.records), sink, settings, on_engine=engines.append)
    return {key: message for _, key, message in feed(sink) if message}, engines[0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("policy", POLICIES)
def test_every_place_is_the_naive_twin_s(policy, seed):
    """Rank, population and score of every position, ties by name; nobody else has a place."""
    found, engine = ranked_by(random_book(seed), f"decision.policy={policy}")
    wanted = twin_ranks(engine.book, policy, {"CLEARING"}, {key: message.score for key, message in found.items()})
    assert {key: (m.rank, m.population) for key, m in found.items()} == {key: w[:2] for key, w in wanted.items()}
    assert len(found) > 150
    for key, (rank, population, score) in wanted.items():
        message = found[key]
        assert message.score == (None if score is None else pytest.approx(float(score), rel=1e-9, abs=1e-15)), key
        assert message.percentile == (population - rank + 1) / population
        assert message.quantile == -(-5 * (population - rank + 1) // population) - 1


def taken_by(tape, policy, lots, symbol="BTC"):
    """Who gives how much when a liquidated long of so many lots comes at the mark."""
    tape.account("~bankrupt", "-100", (symbol, str(lots), SYMBOLS[symbol][0])).bankrupt("~bankrupt")
    said = tape.run(f"decision.policy={policy}", "decision.settlement=mark")
    assert [decision.status for decision in said.decisions] == ["DECIDED"]
    taken = {}
    for trade in said.trades:
        if trade.role == "COUNTERPARTY":
            key = trade.account, trade.symbol, trade.position_side
            taken[key] = taken.get(key, 0) + int(trade.quantity)
    return taken


def shorts(found, engine, symbol="BTC"):
    """(key, lots) of a symbol's shorts, first to be deleveraged first."""
    line = sorted((m.rank, key) for key, m in found.items() if m.symbol == symbol and m.side == "SHORT")
    return [(key, abs(engine.book.position(*key).lots)) for _, key in line]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", QUEUES)
def test_a_queue_takes_in_the_order_of_ranks(policy, seed):
    """Whole positions from rank 1 on, the last in part, however much is asked; at the mark, where nobody pays."""
    tape = random_book(2 * seed)
    found, engine = ranked_by(tape, f"decision.policy={policy}")
    line = shorts(found, engine)
    normal = sum(lots for (name, *_), lots in line if engine.book.adl_class(name) == "NORMAL")
    for asked in (1, normal // 3, normal - 1):
        wanted, left = {}, asked
        for key, lots in line:
            if left:
                wanted[key] = min(lots, left)
                left -= wanted[key]
        assert taken_by(random_book(2 * seed).at(2000), policy, asked) == wanted


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("policy", ["risk", "factor", "waterfill"])
def test_the_first_lot_is_taken_from_rank_one(policy, seed):
    """What is not a queue moves on as figures fall; where it begins is the first of the line."""
    found, engine = ranked_by(random_book(2 * seed), f"decision.policy={policy}")
    assert list(taken_by(random_book(2 * seed).at(2000), policy, 1)) == [shorts(found, engine)[0][0]]


def test_legs_in_flight_are_taken_off():
    """What open legs hold has no place any more: ranks are of what is left."""
    tape = (
        Tape().instrument().mark().account("a", "300", ("BTC", "-10", "100")).account("b", "500", ("BTC", "-10", "100"))
    )
    tape.account("loser", "0", ("BTC", "12", "100")).at(2000).bankrupt("loser").mark()
    found, _ = ranked_by(tape, "decision.policy=queue:effective_leverage")
    assert {key[0]: (m.rank, m.population) for key, m in found.items() if m.side == "SHORT"} == {
        "b": (1, 1),
        "a": (1, 2),
    }


@pytest.mark.bench
def test_the_bench_runs_small_and_repeats_itself():
    """Two runs give the same digests."""
    first, second = bench(300, 1), bench(300, 1)
    assert [row["digest"] for row in first] == [row["digest"] for row in second]
    assert all(row["due"] for row in first)
