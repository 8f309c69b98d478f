"""Numbers from public sources: closed forms, dYdX v4, StarkEx/Extended, Dango, BitMEX, Delta, Vega."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from solver import Problem, settlement, solve, verify
from tests.solver.books import isolated

GOLDEN = Path(__file__).parent.parent / "golden"
WATERFILL = json.loads((GOLDEN / "waterfill.json").read_text())["cases"]
VENUES = json.loads((GOLDEN / "venues.json").read_text())
DYDX = VENUES["dydx"]
MARK = {name: Fraction(price) for name, price in DYDX["mark"].items()}
MMF = Fraction("0.1")
MICRO = 10**6


def exact(value):
    return Fraction(str(value))


@pytest.mark.parametrize("case", WATERFILL, ids=lambda case: case["id"])
def test_water_filling_closed_forms(case):
    """Level, relaxed reductions and lots are the exact ones."""
    problem = isolated(case["quantity"], case["equity"], case["inventory"], case["mark"])
    solution = solve(problem, policy="waterfill")
    assert verify(problem, solution).failures == []
    relaxed = solve(problem, policy="waterfill", lots=False)
    assert relaxed.level == pytest.approx([float(Fraction(case["level"]))], rel=1e-14)
    assert relaxed.relaxed_lots == pytest.approx([float(Fraction(x)) for x in case["reduction"]], abs=1e-13)
    assert relaxed.relaxed_lots.tolist() == solution.relaxed_lots.tolist()
    assert solution.reduction_lots.sum() == case["inventory"]
    if "lots" in case:
        assert solution.reduction_lots.tolist() == case["lots"]


def state(book, mark, mmf):
    """TAV (not clipped) and maintenance requirement of a venue's account."""
    lines = [(name, exact(size)) for name, size in book.items() if name != "usdc"]
    value = exact(book.get("usdc", 0)) + sum(size * mark[name] for name, size in lines)
    return value, sum(abs(size) * mark[name] for name, size in lines) * mmf


def closing(book, close, mark, mmf):
    """Exact quote of closing `close` lots of each name, and the prices."""
    tav, mmr = state(book, mark, mmf)
    total, prices = Fraction(0), {}
    for name, size in close.items():
        side = 1 if book[name] > 0 else -1
        factor = settlement.bankruptcy_factor(side, mmf, tav, mmr)
        prices[name] = factor * mark[name]
        total += settlement.bankruptcy_quote(side, exact(size) * mark[name], mmf, tav, mmr)
    return total, prices


@pytest.mark.parametrize("name", ["DY1", "DY2", "DY3", "DY6", "DY7", "DY8"])
def test_dydx_prices(name):
    """Price, cash and what is left agree with the venue's own tests."""
    case = next(c for c in DYDX["cases"] if c["id"] == name)
    total, prices = closing(case["liquidated"], case["close"], MARK, MMF)
    if "price" in case:
        assert list(prices.values()) == [case["price"]]
    if "quote" in case:
        assert total == exact(case["quote"])
    if "liquidated_after" in case:
        assert exact(case["liquidated"]["usdc"]) + total == exact(case["liquidated_after"]["usdc"])
    others = case.get("counterparties", [case["counterparty"]] if "counterparty" in case else [])
    after = case.get("counterparty_after", [])
    for other, end in zip(others, after if isinstance(after, list) else [after], strict=True):
        share = abs(exact(other["BTC"])) / exact(case["close"]["BTC"])
        assert exact(other["usdc"]) - total * share == exact(end["usdc"])


@pytest.mark.parametrize("row", next(c for c in DYDX["cases"] if c["id"] == "DYQ")["rows"])
def test_dydx_quotes(row):
    """Quotes of partial closings, with a takeover value of either sign."""
    book, close, expected = row
    assert closing(book, close, MARK, MMF)[0] == expected


@pytest.mark.parametrize("row", next(c for c in DYDX["cases"] if c["id"] == "DYR")["rows"])
def test_dydx_rounding(row):
    """Rounding is up, in favour of the liquidated account."""
    book, close, expected = row
    assert settlement.rounded_up(closing(book, close, MARK, MMF)[0] * MICRO) == expected


@pytest.mark.parametrize("row", next(c for c in DYDX["cases"] if c["id"] == "DY5")["matrix"])
def test_dydx_who_can_be_taken_from(row):
    """DY5: a long of one bitcoin meets a liquidated short at its bankruptcy price where both can pay for it.

    One difference: at the mark we take from insolvent accounts too, and from them first, since that costs them nothing.
    """
    short_cash, long_cash, filled = row
    mark = float(MARK["BTC"])
    problem = isolated([1], [long_cash + mark], 1, mark, demand_price=[short_cash])
    solution = solve(problem, policy="waterfill")
    assert verify(problem, solution).failures == []
    insolvent_at_the_mark = long_cash + mark < 0 and short_cash == mark
    assert solution.reduction_lots.tolist() == [int(filled or insolvent_at_the_mark)]


@pytest.mark.parametrize("case", VENUES["extended"]["cases"], ids=lambda case: case["id"])
def test_extended_prices(case):
    """The same price function on Extended's cases."""
    mark = {name: Fraction(price) for name, price in case["mark"].items()}
    total, prices = closing(case["liquidated"], case["close"], mark, exact(case["mmf"]))
    if "price" in case:
        assert list(prices.values()) == [case["price"]]
    if "quote" in case:
        assert total == case["quote"]
    assert case["liquidated"]["usdc"] + total == case["liquidated_after"]["usdc"]


def test_isolated_bankruptcy_price():
    """Entry less margin per unit (Dango DA4)."""
    case = next(c for c in VENUES["isolated_bankruptcy"]["cases"] if c["id"] == "DA4")
    size, mark = case["size"], case["mark"]
    factor = settlement.isolated_factor(1, size * case["entry"], case["margin"], size * mark)
    assert factor * mark == case["price"]


@pytest.mark.parametrize("case", VENUES["last_solvent_mark"]["cases"], ids=lambda case: case["id"])
def test_last_solvent_mark(case):
    """Losers settle between the mark and the last solvent mark, winners at the mark; equity ends at zero (QFEX)."""
    like = next(c for c in VENUES["last_solvent_mark"]["cases"] if c["id"] == case.get("like", case["id"]))
    book, last, mark = like["liquidated"], like["last_solvent_mark"], like["mark"]
    sizes = {name: size for name, size in book.items() if name != "usd"}
    equities = [book["usd"] + sum(size * at[name] for name, size in sizes.items()) for at in (last, mark)]
    assert equities == [like["equity_at_last_solvent"], like["equity_now"]]

    [paid] = settlement.fund_payment([-equities[1]], case.get("insurance", 0))
    sides = {name: 1 if size > 0 else -1 for name, size in sizes.items()}
    losses = {name: settlement.loss_since(sides[name], mark[name], last[name]) for name in sizes}
    share = settlement.last_solvent_share(-equities[1] - paid, sum(abs(sizes[name]) * losses[name] for name in sizes))
    factor = {name: settlement.last_solvent_factor(sides[name], mark[name], losses[name], share) for name in sizes}
    assert {name: mark[name] * factor[name] for name in sizes} == case["settle"]
    cash = sum(settlement.quote(sides[name], abs(size) * mark[name], factor[name]) for name, size in sizes.items())
    assert book["usd"] + paid + cash == case["equity_after"]


def test_bitmex_documentation_example():
    """BM1: the two best longs give ten each, the second one only in part."""
    case = next(c for c in VENUES["queues"] if c["id"] == "BM1")
    longs = case["longs"]
    # Twice the mark over entry is a return of 100 %, so that leverage G/E is the printed score.
    equity = [20.0 * size / score for _, size, score in longs]
    problem = isolated([size for _, size, _ in longs], equity, case["liquidated_short"], 20.0,
                       entry_price=[10.0] * len(longs))  # fmt: skip
    solution = solve(problem, policy="queue:pnl_leverage")
    assert verify(problem, solution).failures == []
    assert solution.score.tolist() == [score for _, _, score in longs]
    taken = {longs[i][0]: int(x) for i, x in enumerate(solution.reduction_lots) if x}
    assert taken == dict(case["taken"])


@pytest.mark.parametrize("lots", [15, 40])
def test_delta_exchange_example(lots):
    """DE2: a gain is multiplied, a loss divided by leverage."""
    case = next(c for c in VENUES["queues"] if c["id"] == "DE2")
    entry = [100.0 / (1 + percent / 100) for percent, _ in case["pnl_pct_and_leverage"]]
    equity = [100.0 * size / lev for size, (_, lev) in zip(case["sizes"], case["pnl_pct_and_leverage"], strict=True)]
    problem = isolated(case["sizes"], equity, lots, 100.0, entry_price=entry)
    solution = solve(problem, policy="queue:pnl_leverage")
    order = np.argsort(-np.round(solution.score, 9), kind="stable") + 1
    assert order.tolist() == case["order"]
    taken = {i + 1: int(x) for i, x in enumerate(solution.reduction_lots) if x}
    assert taken == dict(case[f"short_{lots}"])
    assert verify(problem, solution).failures == []


def test_vega_largest_remainder():
    """VE5: 206,600 among three."""
    case = next(c for c in VENUES["loss_sharing"] if c["id"] == "VE5")
    assert settlement.split_by_largest_remainder(case["shortfall"], [1] * case["winners"]) == case["losses"]


def test_hedged_book_is_a_valid_problem():
    """Both sides of one asset may be demanded at once from one account."""
    problem = Problem([0, 0, 1], [0, 0, 0], [5, -4, 5], [1.0, 2.0], [1.0],
                      demand_asset=[0, 0], demand_side=[1, -1], demand_lots=[6, 3])  # fmt: skip
    solution = solve(problem, policy="waterfill")
    assert verify(problem, solution).failures == []
    assert solution.reduction_lots.sum() == 9
