"""The certificate of policies `queue:NAME`: scores by their formula, better ones closed first."""

import numpy as np

from solver.verify.common import greedy


def certify(view, solution, report):
    """Scores are what the formula says, and better scores are closed before worse ones are touched."""
    p, rows = view.problem, view.rows
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = lev = view.gross[view.account] / view.equity
        if solution.policy == "queue:pnl_leverage":
            entry = p.entry_price[rows]
            gain = np.sign(p.quantity_lots[rows]) * (p.mark_price[p.asset[rows]] - entry)
            part = gain / np.abs(entry)
            expected = np.where(gain > 0, part * lev, part / lev)
            expected[gain == 0] = 0.0
    expected = np.where(view.solvent, expected, 0.0)
    score = solution.score[rows]
    same = np.isclose(score, expected, rtol=1e-9, atol=0.0)
    report.check(bool(same.all()), f"{(~same).sum()} scores are not what {solution.policy} gives")
    ask = view.solvent & view.must
    if ask.any():
        rank = view.rank(view.account[ask])
        greedy(view.k[ask], -score[ask], rank, view.given[ask], view.free[ask], solution.policy, report)
