"""A forecast made a minute before the demo's largest burst, against the bankruptcies that then came.

It cannot be exact. Meanwhile traders trade, the exchange sells out weak accounts, and an account goes bankrupt at the
first price at which it is insolvent, not at the last one: so its deficit is smaller than one jump would have made it,
and one that a recovering price would have saved is gone. A forecast of all symbols together knows nothing of how far
apart they will move.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np
import pytest

from schemas import AdlDecision, AdlPoolState, MarkPrice, decode, decode_output
from tests.worker.twin_forecast import TwinForecast
from worker.demo.exchange import Exchange
from worker.demo.foretold import LEAD_MS, largest_burst
from worker.demo.run import DemoSink, DemoSource
from worker.edge.recording import RecordingSource
from worker.loop import run
from worker.memory import MemorySink
from worker.settings import load

FLAGS = ("worker.mode=live", "state.forecast_ms=1000")


class Story(NamedTuple):
    exchange: Exchange
    records: list
    decisions: list
    pools: list


@pytest.fixture(scope="module")
def story():
    """The demo as the command line runs it, with a forecast each second."""
    exchange, records, sink = Exchange(1), [], MemorySink()
    run(DemoSource(exchange, records.append), DemoSink(sink, exchange), load(flags=FLAGS))
    decisions = [decode_output(record.value) for record in sink.outputs("adl-decisions")]
    said = [decode_output(output.value) for output in sink.advice]
    return Story(exchange, records, decisions, [state for state in said if isinstance(state, AdlPoolState)])


def marks_at(records, log_time_ms):
    """The scaled marks as of a log time."""
    marks = {}
    for record in records:
        if record.topic == "mark-prices" and record.log_time_ms <= log_time_ms:
            marks.update({m.symbol: float(m.mark_price) for m in decode(record.value) if isinstance(m, MarkPrice)})
    return marks


def bankruptcies(decisions: list[AdlDecision], after_ms, until_ms):
    """Number and deficits of those first decided in a time."""
    found = [
        float(bankruptcy.deficit)
        for decision in decisions
        if decision.attempt == 1 and decision.status in ("DECIDED", "RESIDUAL")
        for bankruptcy in decision.bankruptcies
        if after_ms < decision.cut_time_ms <= until_ms
    ]
    return len(found), sum(found)


def book_at(story, log_time_ms):
    """The book as it stood then, from the recording."""
    engines = []
    source = RecordingSource(
        [record for record in story.records if record.log_time_ms <= log_time_ms],
        partitions=sorted(story.exchange.offsets),
    )
    run(source, MemorySink(), load(flags=[FLAGS[0], "state.forecast_ms=null"]), on_engine=engines.append)
    return engines[0].book, engines[0].funds.available()


def test_a_forecast_a_minute_before_the_largest_burst_foretold_it(story):
    """At the moves of prices that then happened: bankrupt accounts and deficits to a twentieth.

    Forecasts of all symbols together were made a minute before; at the mean move they saw half of the accounts at
    least, and no more than came: what moved further than the mean went bankrupt as well.
    """
    burst = largest_burst(story.decisions)
    assert burst.accounts > 100
    pool = [state for state in story.pools if state.forecast_time_ms <= burst.cut_time_ms - LEAD_MS][-1]
    made_ms = pool.forecast_time_ms
    count, deficit = bankruptcies(story.decisions, made_ms, burst.cut_time_ms)

    book, available = book_at(story, made_ms)
    before, then = marks_at(story.records, made_ms), marks_at(story.records, burst.cut_time_ms)
    moves = {symbol: round(1e6 * (then[symbol] / before[symbol] - 1)) for symbol in before}
    twin = TwinForecast(book, story.exchange.ledger.names, available)
    struck, _ = twin.together(0, moves)
    assert abs(struck.accounts - count) <= count / 20, (struck, count)
    assert abs(struck.deficit / 1e6 - deficit) <= deficit / 20, (struck, deficit)

    longs = Counter()
    for unit in twin.units:
        for (symbol, long), value in unit.sides.items():
            longs[symbol] += value * long
    mean = sum(longs[symbol] * moves[symbol] for symbol in longs) / sum(longs.values()) / 1e6
    grid = sorted([(float(shock.shock), shock.accounts) for shock in pool.shocks] + [(0.0, 0)])
    foretold = np.interp(mean, *zip(*grid, strict=True))
    assert count / 2 <= foretold <= count


def test_the_forecast_that_was_said_is_that_of_the_book_then(story):
    """What stands in `adl-state` a minute before the burst is what the naive twin makes of the recording."""
    burst = largest_burst(story.decisions)
    pool = [state for state in story.pools if state.forecast_time_ms <= burst.cut_time_ms - LEAD_MS][-1]
    book, available = book_at(story, pool.forecast_time_ms)
    twin = TwinForecast(book, story.exchange.ledger.names, available)
    for shock in pool.shocks:
        ppm = round(float(shock.shock) * 1e6)
        struck, _ = twin.together(ppm, {market.symbol: ppm for market in book.markets})
        assert struck.message(6) == shock
