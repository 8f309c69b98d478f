"""The certificate of optimality of relaxed reductions, in plain numpy on the problem's rows: shares no kernel."""

import numpy as np


def violations(problem, demand, level, taken, index, loading, idiosyncratic):
    """Largest violation per demand k of index, relative to max(|level|, largest H sqrt(Sigma_jj)); Student, 4 degrees.

    demand int64[P]: of rows that may be asked, else -1; level float[K] per notional of the demands `index`; taken
    float[P] lots. Rows of demands not in `index` count as positions that stay, or are gone where they were closed.
    """
    p = problem
    M, N = p.mark_price.size, p.equity.size
    side = np.where(demand >= 0, p.demand_side[np.maximum(demand, 0)], 0)
    left = (p.quantity_lots - side * taken) * p.lot_price[p.asset]
    y = np.zeros((N, M))
    np.add.at(y, (p.account, p.asset), left)
    equity = p.equity.astype(float).copy()
    np.subtract.at(equity, p.account, np.where(demand >= 0, p.haircut[np.maximum(demand, 0)], 0.0) * taken)
    sigma_y = (y @ loading) @ loading.T + y * idiosyncratic
    variance = (y * sigma_y).sum(axis=1)
    Q = np.maximum(np.sqrt(4 * variance + equity**2), 1e-60)
    H = 4 * variance / Q**3  # over sigma
    d = np.where(equity > 0, 4 * variance / (Q + np.maximum(equity, 0)), Q - equity)
    e = equity / Q
    survival = np.where(equity > 0, (d / Q) ** 2 * (2 + e) / 4, 1 - (1 + e) ** 2 * (2 - e) / 4)
    worst = np.zeros(index.size)
    unit = np.sqrt((loading**2).sum(axis=1) + idiosyncratic)
    for at, k in enumerate(index):
        j, s = p.demand_asset[k], p.demand_side[k]
        accounts = np.unique(p.account[(demand == k) & (free_lots(p) > 0)])
        here = (demand == k)
        free = np.bincount(p.account[here], free_lots(p)[here], N)[accounts]
        gone = np.bincount(p.account[here], taken[here], N)[accounts]
        m = H[accounts] * s * sigma_y[accounts, j] - survival[accounts] * p.haircut[k] / p.lot_price[j]
        r = m - level[at]
        wrong = np.where(gone <= 0, np.maximum(r, 0), np.where(gone >= free, np.maximum(-r, 0), np.abs(r)))
        gross = np.abs(y[accounts]) @ np.abs(loading) @ np.abs(loading[j]) + np.abs(y[accounts, j]) * idiosyncratic[j]
        noise = 1e-13 * (H[accounts] * gross + survival[accounts] * abs(p.haircut[k]) / p.lot_price[j])
        scale = max(abs(level[at]), (H * np.sqrt(variance))[accounts].max() * unit[j], 1e-30)
        worst[at] = (np.maximum(wrong - noise, 0) / scale).max()
    return worst


def free_lots(problem):
    """Lots of each row that may be taken, where the row may be asked."""
    return np.abs(problem.quantity_lots) if problem.available_lots is None else problem.available_lots
