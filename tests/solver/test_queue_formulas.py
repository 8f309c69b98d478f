"""Every queue against its formula written out in exact fractions, and against a loop that takes one lot at a time."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from solver import Problem, solve, verify

QUEUES = ("pnl_leverage", "effective_leverage", "binance", "okx", "hyperliquid")
SEEDS = st.integers(0, 2**32 - 1)


def book(seed):
    """Arguments of a Problem: cross accounts, hedges, losers and winners, some insolvent, at most a few lots each."""
    rng = np.random.default_rng(seed)
    accounts, assets, entries = int(rng.integers(1, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 20))
    asset = rng.integers(0, assets, entries)
    mark = rng.choice([0.5, 3.0, 17.25, 100.0], assets)
    quantity = rng.integers(-9, 10, entries)
    pairs = [(a, s) for a in range(assets) for s in (1, -1)]
    held = [np.abs(quantity[(asset == a) & (np.sign(quantity) == s)]).sum() for a, s in pairs]
    return {
        "account": np.sort(rng.integers(0, accounts, entries)), "asset": asset, "quantity_lots": quantity,
        "equity": np.round(rng.uniform(-20, 400, accounts), 2), "mark_price": mark,
        "lot_size": rng.choice([1.0, 0.25, 2.0], assets),
        "demand_asset": [a for a, _ in pairs], "demand_side": [s for _, s in pairs],
        "demand_lots": [int(rng.integers(0, h + 2)) for h in held],
        "entry_price": mark[asset] * rng.choice([0.5, 0.875, 1.0, 1.125, 2.0], entries),
        "balance": np.round(rng.uniform(-50, 300, accounts), 2),
        "maintenance_margin": np.round(rng.uniform(0, 30, accounts), 2), "tie_rank": rng.permutation(accounts),
    }  # fmt: skip


def score(name, b, row):
    """The score of one position as the exchange defines it; 0 of an account without equity."""
    a, j, q = int(b["account"][row]), int(b["asset"][row]), int(b["quantity_lots"][row])
    equity, mark, entry = (Fraction(float(v)) for v in (b["equity"][a], b["mark_price"][j], b["entry_price"][row]))
    size, side = Fraction(float(b["lot_size"][j])), 1 if q > 0 else -1
    if equity <= 0:
        return Fraction(0)
    price = [Fraction(float(p)) * Fraction(float(s)) for p, s in zip(b["mark_price"], b["lot_size"], strict=True)]
    held = zip(b["account"], b["asset"], b["quantity_lots"].tolist(), strict=True)
    gross = sum(abs(lots) * price[i] for holder, i, lots in held if holder == a)
    leverage, ratio, profit = gross / equity, side * (mark - entry) / entry, (mark - entry) * q * size
    if name == "effective_leverage":
        return leverage
    if name == "pnl_leverage":
        return ratio * leverage if ratio > 0 else ratio / leverage
    if name == "okx":
        return ratio * leverage
    if name == "hyperliquid":
        return (mark / entry if side > 0 else entry / mark) * (abs(q) * size * mark) / equity
    balance, margin = Fraction(float(b["balance"][a])), Fraction(float(b["maintenance_margin"][a]))
    worth = balance + profit
    return Fraction(0) if worth <= 0 else max(Fraction(0), profit) / max(Fraction(1), balance) * margin / worth


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from(QUEUES))
def test_scores_are_the_exchanges_formulas(seed, name):
    """To a few roundings, for every position."""
    b = book(seed)
    rows = np.flatnonzero(b["quantity_lots"])
    found = solve(Problem(**b), f"queue:{name}").score[rows]
    assert found == pytest.approx([float(score(name, b, row)) for row in rows], rel=1e-13, abs=1e-300)


@settings(max_examples=150, deadline=None)
@given(SEEDS, st.sampled_from(QUEUES))
def test_whole_positions_go_best_score_first(seed, name):
    """Insolvent accounts, then by score, then by tie rank, the larger of one account's equal ones first."""
    b = book(seed)
    problem = Problem(**b)
    solution = solve(problem, f"queue:{name}")
    assert verify(problem, solution).failures == []
    rows = range(len(b["account"]))
    expected = np.zeros(len(b["account"]), dtype=int)
    for asset, side, lots in zip(b["demand_asset"], b["demand_side"], b["demand_lots"], strict=True):
        mine = [r for r in rows if b["asset"][r] == asset and b["quantity_lots"][r] * side > 0]
        rank = {r: int(b["tie_rank"][b["account"][r]]) for r in mine}
        held = {r: abs(int(b["quantity_lots"][r])) for r in mine}
        broke = [r for r in mine if b["equity"][b["account"][r]] <= 0]
        queue = sorted(broke, key=lambda r: (_depth(b, r), rank[r], -held[r]))
        # Equal as floats is equal: 1/3 of 3 and 1 differ as fractions of rounded numbers.
        queue += sorted(set(mine) - set(broke), key=lambda r: (-solution.score[r], rank[r], -held[r], r))
        for row in queue:
            part = min(lots, held[row])
            expected[row] += part
            lots -= part
    assert _by_size(b, solution.reduction_lots) == _by_size(b, expected)


def _depth(b, row):
    """Equity over gross notional of the account, most under water first."""
    a = b["account"][row]
    mine = b["account"] == a
    notional = np.abs(b["quantity_lots"]) * b["mark_price"][b["asset"]] * b["lot_size"][b["asset"]]
    return b["equity"][a] / notional[mine].sum()


def _by_size(b, lots):
    """What was taken of each (account, asset, quantity): rows that are the same in all of it may be exchanged."""
    keys = zip(b["account"].tolist(), b["asset"].tolist(), b["quantity_lots"].tolist(), lots.tolist(), strict=True)
    return sorted(keys)
