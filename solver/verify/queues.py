"""The certificate of policies `queue:NAME`: scores by their formula, better ones closed first."""

import numpy as np

from solver.verify.common import greedy


def _scores(view, name):
    """The score of every row, by the formula as the exchange prints it."""
    p, rows = view.problem, view.rows
    lev = view.gross[view.account] / view.equity
    if name == "effective_leverage":
        return lev
    entry, mark, side = p.entry_price[rows], p.mark_price[p.asset[rows]], np.sign(p.quantity_lots[rows])
    gain = side * (mark - entry)
    if name == "hyperliquid":
        ratio = np.where(side > 0, mark / np.maximum(entry, 0.0), np.maximum(entry, 0.0) / mark)
        return ratio * (view.lots * view.price / view.equity)
    if name == "binance":
        profit, balance = gain * p.lot_size[p.asset[rows]] * view.lots, p.balance[view.account]
        worth = profit + balance
        score = np.maximum(profit, 0.0) / np.maximum(balance, 1.0) * (p.maintenance_margin[view.account] / worth)
        return np.where((worth > 0) & (profit > 0), score, 0.0)
    part = gain / np.abs(entry)
    score = part * lev if name == "okx" else np.where(gain > 0, part * lev, part / lev)
    return np.where(gain == 0, 0.0, score)


def certify(view, solution, report):
    """Scores are what the formula says, and better scores are closed before worse ones are touched."""
    rows = view.rows
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = _scores(view, solution.policy[6:])
    expected = np.where(view.solvent, expected, 0.0)
    score = solution.score[rows]
    same = np.isclose(score, expected, rtol=1e-9, atol=0.0)
    report.check(bool(same.all()), f"{(~same).sum()} scores are not what {solution.policy} gives")
    if view.taken is not None:
        report.check((view.relaxed == view.taken).all(), "relaxed_lots of a queue must be its reduction_lots")
    ask = view.solvent & view.must
    if ask.any():
        rank = view.rank(view.account[ask])
        greedy(view.k[ask], -score[ask], rank, view.given[ask], view.free[ask], solution.policy, report)
