"""Policies `queue:NAME`: positions are closed one after the other by a score, best first, as exchanges print it.

Whole positions, ties by tie rank, the last one in part. With G gross notional and E equity of the account, WB its
wallet balance, MMR its maintenance margin, uPnL the position's unrealised profit and pnl% = uPnL / entry value:
    effective_leverage  G / E
    pnl_leverage        pnl% x G / E gaining, pnl% / (G / E) losing                             (BitMEX)
    binance             max(0, uPnL) / max(1, WB) x MMR / (WB + uPnL), 0 if WB + uPnL <= 0
    okx                 pnl% x G / E
    hyperliquid         mark / entry x notional / E, entry / mark for shorts
"""

import numpy as np
from numba import njit

from solver.items import gross_of, spread
from solver.solution import OPTIMAL

NAMES = ("pnl_leverage", "effective_leverage", "binance", "okx", "hyperliquid")
# Columns of the problem that a score is made of.
NEEDS = {
    "pnl_leverage": ("entry_price",), "effective_leverage": (), "okx": ("entry_price",),
    "hyperliquid": ("entry_price",), "binance": ("entry_price", "balance", "maintenance_margin"),
}  # fmt: skip


@njit(cache=True, error_model="numpy")
def account_leverage(account, asset, quantity, lot_price, equity):
    """G/E per account, independent of the order of its entries; 0 where equity is not positive."""
    out = np.zeros(equity.size)
    nothing = np.full(account.size, -1, np.int64)
    first = 0
    while first < account.size:
        holder = account[first]
        last = first + 1
        while last < account.size and account[last] == holder:
            last += 1
        if equity[holder] > 0.0:
            out[holder] = gross_of(first, last, asset, quantity, lot_price, nothing) / equity[holder]
        first = last
    return out


@njit(cache=True, error_model="numpy")
def return_times_leverage(account, asset, quantity, mark_price, entry_price, lev, divide_losses):
    """The score of BitMEX (`divide_losses`) or OKX per entry; without an entry price a gain is infinite."""
    out = np.zeros(account.size)
    for row in range(account.size):
        q = quantity[row]
        power = lev[account[row]]
        gain = mark_price[asset[row]] - entry_price[row]
        if q < 0:
            gain = -gain
        if q == 0 or power == 0.0 or gain == 0.0:
            continue
        base = abs(entry_price[row])
        if base == 0.0:
            out[row] = np.inf if gain > 0.0 else -np.inf
        elif gain < 0.0 and divide_losses:
            out[row] = gain / base / power
        else:
            out[row] = gain / base * power
    return out


@njit(cache=True, error_model="numpy")
def profit_times_margin(account, asset, quantity, mark_price, lot_size, entry_price, equity, balance, margin):
    """The score of Binance per entry."""
    out = np.zeros(account.size)
    for row in range(account.size):
        a, j = account[row], asset[row]
        profit = (mark_price[j] - entry_price[row]) * (quantity[row] * lot_size[j])
        if profit > 0.0 and balance[a] + profit > 0.0 and equity[a] > 0.0:
            out[row] = profit / max(1.0, balance[a]) * (margin[a] / (balance[a] + profit))
    return out


@njit(cache=True, error_model="numpy")
def price_times_leverage(account, asset, quantity, mark_price, lot_price, entry_price, equity):
    """The score of Hyperliquid per entry; without an entry price a long's is infinite, a short's 0."""
    out = np.zeros(account.size)
    for row in range(account.size):
        own, j, q = equity[account[row]], asset[row], quantity[row]
        if q == 0 or not own > 0.0 or mark_price[j] == 0.0:
            continue
        entry = max(entry_price[row], 0.0)
        notional = abs(q) * lot_price[j] / own
        if q < 0:
            out[row] = entry / mark_price[j] * notional
        else:
            out[row] = mark_price[j] / entry * notional if entry > 0.0 else np.inf
    return out


def scores(problem, name):
    """Score per entry, float[P]; 0 for entries of accounts without equity."""
    p = problem
    if name == "binance":
        return profit_times_margin(
            p.account, p.asset, p.quantity_lots, p.mark_price, p.lot_size, p.entry_price, p.equity, p.balance,
            p.maintenance_margin,
        )  # fmt: skip
    if name == "hyperliquid":
        return price_times_leverage(
            p.account, p.asset, p.quantity_lots, p.mark_price, p.lot_price, p.entry_price, p.equity
        )
    lev = account_leverage(p.account, p.asset, p.quantity_lots, p.lot_price, p.equity)
    if name == "effective_leverage":
        return lev[p.account]
    return return_times_leverage(
        p.account, p.asset, p.quantity_lots, p.mark_price, p.entry_price, lev, name == "pnl_leverage"
    )


@njit(cache=True, error_model="numpy")
def greedy(order, free, left, taken):
    """Take items in the given order until `left` lots are found; what is missing comes back."""
    for j in order:
        if left == 0:
            break
        part = min(left, free[j])
        taken[j] = part
        left -= part
    return left


def queue(problem, name, items, asked, relaxed, reduction, available, solution):
    """Fill `asked` lots per demand from solvent `items` by score; adds to relaxed and reduction."""
    score = scores(problem, name)
    filled = np.zeros(asked.size, dtype=np.int64)
    taken = np.zeros(items.entry.size, dtype=np.int64)
    for k in range(asked.size):
        if asked[k] == 0:
            continue
        s, t = items.start[k], items.start[k + 1]
        # Entries of one account and score are told apart by their lots, never by their row.
        own = (-items.lots[s:t], -items.available[s:t], items.account[s:t])
        order = np.lexsort((*own, items.rank[s:t], -score[items.entry[s:t]])) + s
        filled[k] = asked[k] - greedy(order, items.available, asked[k], taken)
    spread(items, taken.astype(np.float64), relaxed, available)
    if reduction is not None:
        spread(items, taken, reduction, available)
    solution.score = score
    solution.clearing_residual_lots = 0.0
    solution.iterations = 1
    solution.status = OPTIMAL
    return filled
