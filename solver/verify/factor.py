"""The certificate of policy `factor` at the mark: one level of factor leverage per demand, for any distribution."""

import numpy as np

SAME = 1e-7  # two leverages nearer than this, relatively, may be one


def certify(view, asked, solution, model, report):
    """Nobody with lots left stands above the level, nobody who gave stands below it."""
    p, beta = view.problem, model.loadings[:, 0]
    gone = np.sign(p.quantity_lots) * solution.relaxed_lots
    exposure, size = beta[p.asset] * p.lot_price[p.asset], p.equity.size
    total = np.bincount(p.account, exposure * (p.quantity_lots - gone), size)
    noise = 8e-15 * np.bincount(p.account, np.abs(exposure * p.quantity_lots), size)
    side = np.sign(p.demand_side * beta[p.demand_asset])[asked.k]
    equity = p.equity[asked.account]
    lev, noise = side * total[asked.account] / equity, noise[asked.account] / equity
    left, gave = asked.relaxed < asked.free, asked.relaxed > 0
    silent = asked.demands.reduce(np.add, asked.relaxed, 0.0) == 0
    report.check((np.isinf(solution.level) == silent).all(), "a level must be finite where solvent accounts gave")
    level = np.where(silent, 0.0, solution.level)
    # Loss is flat without exposure: there a level of 0 is right within what the loss can tell.
    scale = asked.demands.reduce(np.maximum, np.abs(lev), 0.0)
    slack = SAME * np.maximum(scale, np.abs(level))
    above = left & ~silent[asked.k] & (lev - noise > (level + slack)[asked.k])
    below = gave & (lev + noise < (level - slack)[asked.k])
    report.check(not above.any(), f"relaxed: {above.sum()} positions with lots left stand above the level")
    report.check(not below.any(), f"relaxed: {below.sum()} positions were reduced below the level")
    highest = asked.demands.reduce(np.maximum, np.where(left, lev + noise, -np.inf), -np.inf)
    lowest = asked.demands.reduce(np.minimum, lev - noise, np.inf)
    reached = np.where(np.isfinite(highest), highest, lowest + 2 * asked.demands.reduce(np.maximum, noise, 0.0))
    off = ~silent & (level > reached + slack)
    report.check(not off.any(), f"level of demands {np.flatnonzero(off)[:5]} must not be above every account")
