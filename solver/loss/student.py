"""Student's t with 4 degrees of freedom, the default: everything is algebraic, one square root and no 0/0.

With Q = sqrt(4 v + E^2), v = sigma^2 the variance and E the equity:
L = (Q - E)^2 / (4 Q), H / sigma = 4 v / Q^3, S = ((Q - E) / Q)^2 (2 + E/Q) / 4.
"""

import math

from numba import njit

SMALLEST = 1e-60  # of Q: keeps the vertex of L (variance and equity both 0) finite


@njit(cache=True, error_model="numpy", inline="always")
def curves_at_mark(variance, equity):
    """(H / sigma, kc) as in model.curves."""
    inverse = 1.0 / max(math.sqrt(4.0 * variance + equity * equity), SMALLEST)
    e = equity * inverse
    x = variance * inverse * inverse
    return 4.0 * x * inverse, (8.0 * e * e - 16.0 * x) * inverse * inverse * inverse


@njit(cache=True, error_model="numpy", inline="always")
def curves(variance, equity):
    """(L, H / sigma, S, kc, kx, kd) as in model.curves."""
    root = max(math.sqrt(4.0 * variance + equity * equity), SMALLEST)
    inverse = 1.0 / root
    e = equity * inverse
    x = variance * inverse * inverse
    gap = 4.0 * x / (1.0 + abs(e))  # (Q - |E|) / Q without cancellation
    beyond = 0.25 * gap * gap * (2.0 + abs(e))  # P(T > |k|)
    if equity > 0.0:
        survival, short = beyond, gap
    else:
        survival, short = 1.0 - beyond, 1.0 - e
    return (
        0.25 * short * short * root,
        4.0 * x * inverse,
        survival,
        (8.0 * e * e - 16.0 * x) * inverse * inverse * inverse,
        -12.0 * x * e * inverse * inverse,
        12.0 * x * x * inverse,
    )
