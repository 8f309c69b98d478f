"""Forecasts against a naive twin, and by hand; the order of rows, blocks and names changes nothing."""

import random

import numpy as np
import pytest

from schemas import Instrument, Refused, RiskModel, RiskSymbol
from tests.bench_forecast import bench
from tests.worker.book.sequences import ACCOUNTS, CONVERTING, History, instrument
from tests.worker.twin_forecast import TwinForecast
from worker.book import census
from worker.book.book import Book
from worker.book.shocks import add, moved
from worker.forecast import distance_ppm, factor_ppm, forecast, shocks_ppm, value_ppm
from worker.risk import Risk

PPM = shocks_ppm("0.01,0.02,0.05,0.1,0.2,0.3,0.4,0.5")
NEAR_FIRST = sorted(PPM, key=lambda ppm: (abs(ppm), ppm))
MODEL = RiskModel(
    id="m", horizon_seconds=60, tail=None,
    symbols=[
        RiskSymbol("BTC-PERP", [-0.01, 0.002], 1e-6), RiskSymbol("ETH-PERP", [-0.03, 0.0], 1e-6),
        RiskSymbol("PEPE", [0.02, 0.001], 1e-6), RiskSymbol("DOGE", [-0.04, 0.0], 1e-6),
    ],
)  # fmt: skip


def book_after(seed, steps):
    """A book after a random history, good and bad messages mixed; two funds."""
    history, book = History(seed, collateral=True), Book("USDT", 6, CONVERTING)
    for step in [*history.start(), ("set_instrument", (instrument("PEPE", fund_id="alts"),))]:
        getattr(book, step[0])(*step[1])
    for _ in range(steps):
        name, arguments = history.step()
        try:
            getattr(book, name)(*arguments)
        except Refused:
            continue
    return book


def market_of(symbol, **changes):
    book = Book("USDT", 6)
    book.set_instrument(
        Instrument(
            symbol=symbol, tick_size="0.01", lot_size="1", settlement_currency="USDT",
            maintenance_margin_fraction="0.1", **changes,
        )
    )  # fmt: skip
    return book.market(symbol)


def risk_of(model):
    risk = Risk()
    if model is not None:
        risk.set(model)
    return risk


def compare(book, risk, available):
    """Asks both for everything; returns how much there was to compare."""
    said = forecast(book, risk, available, PPM)
    twin = TwinForecast(book, ACCOUNTS, available)
    symbols = [market.symbol for market in book.markets]
    for symbol in symbols:
        expected = [struck for struck in (twin.alone(symbol, ppm) for ppm in NEAR_FIRST) if struck.accounts]
        assert said.symbols.get(symbol, []) == expected
    expected = []
    for ppm in NEAR_FIRST:
        struck, volumes = twin.together(
            ppm, dict(zip(symbols, (ppm * m for m in risk.factor_moves(symbols)), strict=True))
        )
        expected += [struck] if struck.accounts else []
        assert {s: v for s, v in volumes.items() if v} == {
            s: by_shock[ppm] for s, by_shock in said.factor_volumes.items() if ppm in by_shock
        }
    assert said.factor == expected
    assert {book.accounts.name(row): deficit for row, deficit in said.insolvent.items()} == twin.insolvent()
    assert said.left_out == twin.left_out
    return len(expected), len(said.symbols), len(said.insolvent), len(said.left_out)


def test_the_naive_twin_agrees_after_any_history():
    """Hedged and isolated positions, held legs, parked and unmarked accounts, the house, two funds, a risk model."""
    seen = np.zeros(4, np.int64)
    for seed in range(150):
        book = book_after(seed, 40 + seed)
        chance = random.Random(seed)
        available = {"default": chance.choice([0, 10**9, 10**11]), "alts": chance.choice([0, 10**8])}
        seen += compare(book, risk_of(chance.choice([None, MODEL])), available)
    assert (seen > 30).all(), seen


def test_blocks_and_threads_of_rows_change_nothing(monkeypatch):
    """Two accounts a block give what all at once give."""
    book = book_after(3, 300)
    whole = forecast(book, Risk(), {"default": 10**9}, PPM)
    assert whole.symbols
    monkeypatch.setattr(census, "_BLOCK_ACCOUNTS", 2)
    assert forecast(book, Risk(), {"default": 10**9}, PPM) == whole


def test_a_fall_of_a_tenth_by_hand():
    """Ten lots bought at 105 with 150: equity 100 at the mark 100, gone at -10 %; the fund pays first."""
    from tests.worker.tape import Tape, settings_of  # the tape imports the whole worker
    from worker.edge.recording import RecordingSource
    from worker.loop import run
    from worker.memory import MemorySink
    from worker.settings import KINDS

    tape = Tape().instrument().mark(price="100").account("long", "150", ("BTC", "10", "105"))
    tape.account("short", "500", ("BTC", "-10", "100")).account("even", "20", ("BTC", "5", "100"), ("BTC", "-5", "100"))
    engines = []
    source = RecordingSource(tape.records, partitions=[(kind, 0) for kind in KINDS])
    run(source, MemorySink(), settings_of(), on_engine=engines.append)
    book = engines[0].book
    said = forecast(book, Risk(), {"default": 5000}, PPM)
    by_ppm = {struck.ppm: struck for struck in said.symbols["BTC"]}
    assert sorted(by_ppm) == [-500000, -400000, -300000, -200000, -100000, 500000]
    # In cents: at -0.1 nothing is missing; at -0.2 it is 100.00, of which the fund pays half.
    assert (by_ppm[-100000].accounts, by_ppm[-100000].deficit, by_ppm[-100000].volume) == (1, 0, 90000)
    assert (by_ppm[-200000].deficit, by_ppm[-200000].shortfall, by_ppm[-200000].volume) == (10000, 5000, 80000)
    assert (by_ppm[500000].deficit, by_ppm[500000].shortfall, by_ppm[500000].volume) == (0, 0, 150000)
    assert distance_ppm(said.symbols["BTC"]) == -200000
    assert said.factor == said.symbols["BTC"], "without a model all symbols move together"


def test_the_first_factor_moves_symbols_by_their_loadings():
    """In the mean by the shock, whatever the factor's sign; a symbol that is not named by the shock itself."""
    flipped = RiskModel(
        id="f", horizon_seconds=60, tail=None,
        symbols=[RiskSymbol(row.symbol, [-part for part in row.loadings], row.idiosyncratic) for row in MODEL.symbols],
    )  # fmt: skip
    markets = [market_of(symbol) for symbol in ("BTC-PERP", "ETH-PERP", "PEPE", "DOGE", "NEW")]
    for model in (MODEL, flipped):
        moves = factor_ppm(risk_of(model), markets, [-100000, 500000]).T.tolist()
        assert moves[0] == [-66667, -200000, 133333, -266667, -100000]
        assert moves[1] == [333333, 1000000, -666667, 1333333, 500000]
    assert factor_ppm(Risk(), markets, [-100000]).T.tolist() == [[-100000] * 5]


@pytest.mark.parametrize(
    ("move", "linear", "inverse"),
    [
        (-500_000, -500_000, 1_000_000),  # coins are worth twice as much of the quote's contract at half the price
        (250_000, 250_000, -200_000),
        (-1_000_000, -1_000_000, 8_000_000),
        (-3_000_000, -1_000_000, 8_000_000),
        (9_000_000, 8_000_000, -900_000),
        (-1, -1, 1),
    ],
)
def test_a_value_moves_with_its_price_or_against_it(move, linear, inverse):
    """No price falls below zero; an inverse contract is booked as the linear one of its reciprocal."""
    assert value_ppm(move, market_of("A")) == linear
    assert value_ppm(move, market_of("A", contract_type="inverse")) == inverse


@pytest.mark.parametrize("value", [0, 1, -1, 999_999, -1_000_001, 2**58, -(2**58), 2**58 - 12345])
@pytest.mark.parametrize("ppm", [-1_000_000, -10_001, -1, 0, 1, 333_333, 8_000_000])
def test_a_move_is_exact_up_to_the_limits(value, ppm):
    """floor(value * ppm / 10**6), as whole numbers of any size have it."""
    assert moved(value, ppm) == value * ppm // 10**6


def test_sums_stop_at_their_largest_in_any_order():
    """What is beyond every limit is at least the same beyond."""
    terms = [2**61, 5, 2**60, 2**62 - 1]
    totals = set()
    for seed in range(10):
        random.Random(seed).shuffle(terms)
        total = 0
        for term in terms:
            total = add(total, term)
        totals.add(total)
    assert totals == {2**61}


@pytest.mark.bench
def test_the_bench_runs_small_and_repeats_itself():
    """Two books made anew give the same records."""
    assert bench(300, 5)["digest"] == bench(300, 5)["digest"]
