"""The certificate of policy `factor` at the mark: one level of factor leverage per demand, for any distribution."""

import numpy as np

from solver.verify.risk import KKT_MAX, NOTHING


def worth(leverage):
    """Marginal per unit of beta at a factor leverage, Student t of 4: 4 l^3 / (4 l^2 + 1)^1.5; it rises with l.

    Leverages are compared by it, because near 0, and where they are large, no loss tells them apart.
    """
    root = np.sqrt(4.0 * leverage * leverage + 1.0)
    return 4.0 * (leverage / root) ** 3


def certify(view, asked, solution, model, report):
    """Nobody with lots left stands above the level, nobody who gave stands below it."""
    p, beta, account = view.problem, model.loadings[:, 0], asked.account
    exposure, size = beta[p.asset] * p.lot_price[p.asset], p.equity.size
    gone = np.sign(p.quantity_lots) * solution.relaxed_lots
    side, equity = np.sign(p.demand_side * beta[p.demand_asset])[asked.k], p.equity[account]
    before, after, noise = (
        np.bincount(p.account, part, size)[account] / equity
        for part in (
            exposure * p.quantity_lots,
            exposure * (p.quantity_lots - gone),
            8e-15 * np.abs(exposure * p.quantity_lots),
        )
    )
    silent = asked.demands.reduce(np.add, asked.relaxed, 0.0) == 0
    report.check((np.isinf(solution.level) == silent).all(), "a level must be finite where solvent accounts gave")
    level = worth(np.where(np.isfinite(solution.level), solution.level, 0.0))
    slack = 2 * KKT_MAX * np.maximum(asked.demands.reduce(np.maximum, worth(np.abs(before)), 0.0), np.abs(level))
    slack = np.maximum(slack, KKT_MAX * NOTHING / np.maximum(np.abs(beta[p.demand_asset]), NOTHING))
    at_least, at_most = worth(side * after - noise), worth(side * after + noise)
    left, gave = (asked.relaxed < asked.free) & ~silent[asked.k], asked.relaxed > 0
    above, below = left & (at_least > (level + slack)[asked.k]), gave & (at_most < (level - slack)[asked.k])
    report.check(not above.any(), f"relaxed: {above.sum()} positions with lots left stand above the level")
    report.check(not below.any(), f"relaxed: {below.sum()} positions were reduced below the level")
    # Where nobody has lots left the level is the smallest leverage.
    highest = asked.demands.reduce(np.maximum, np.where(left, at_most, -np.inf), -np.inf)
    lowest = asked.demands.reduce(np.minimum, at_most, np.inf)
    off = ~silent & (level > np.where(np.isfinite(highest), highest, lowest) + slack)
    report.check(not off.any(), f"level of demands {np.flatnonzero(off)[:5]} must not be above every account")
