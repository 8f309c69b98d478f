"""Who stays untouched: an account none of whose marginals, with nothing taken, is above the level of its demand."""

from numba import njit

from solver.loss.model import curves


@njit(cache=True, error_model="numpy", inline="always")
def at_rest(i, first, last, base, candidates, demands, tail, m, factor):
    """Fill m with the marginals of account i, items first:last, with nothing taken; mirror counts from `base`."""
    variance, equity = candidates.variance[i], candidates.equity[i]
    for f in range(factor.size):
        factor[f] = candidates.factor[i, f]
    for p in range(first, last):
        k, other = candidates.demand[p], candidates.mirror[p]
        rest = candidates.kept[p] + candidates.available[p]
        for f in range(factor.size):
            factor[f] += rest * demands.loading[k, f]
        net = rest
        if other >= 0:
            net -= candidates.kept[base + other] + candidates.available[base + other]
        m[p - first] = demands.idiosyncratic[k] * net
        if base + other < p:  # the two legs of an asset are one net position
            variance += m[p - first] * net
    for f in range(factor.size):
        variance += factor[f] * factor[f]
    _, rr, survival, _, _, _ = curves(variance, equity, tail)
    for p in range(first, last):
        k = candidates.demand[p]
        c = m[p - first]
        for f in range(factor.size):
            c += demands.loading[k, f] * factor[f]
        m[p - first] = rr * c - survival * demands.haircut[k]


@njit(cache=True, error_model="numpy", inline="always")
def stays(i, first, last, base, candidates, demands, level, tail, m, factor):
    """Is no marginal of account i above its level with nothing taken?"""
    at_rest(i, first, last, base, candidates, demands, tail, m, factor)
    for p in range(first, last):
        if not m[p - first] <= level[candidates.demand[p]]:
            return False
    return True
