"""Small symmetric systems, without BLAS: its sums differ between machines.

Rule: inner loops run along a row and add nothing up, so that they are vectorised and no sum changes its order.
"""

import math

import numpy as np
from numba import njit

PIVOT = 1e-14  # of the diagonal: what is smaller is rounding


@njit(cache=True, error_model="numpy")
def invert(K, n, scratch):
    """Inverse of the positive semidefinite K[:n, :n] in place, read from its upper triangle; scratch float[2, n].

    One sweep per row (Goodnight 1979): each leaves the inverse so far, negated, and the Schur complement of the rest.
    """
    h, least = scratch[0], scratch[1]
    for k in range(n):
        least[k] = max(PIVOT * K[k, k], 1e-290)
    for k in range(n):
        pivot = K[k, k]
        if not pivot > least[k]:
            pivot = least[k]
        for j in range(k):
            h[j] = K[j, k] / pivot
        h[k] = 0.0
        for j in range(k + 1, n):
            h[j] = K[k, j] / pivot
        for i in range(n):
            f = h[i] * pivot
            for j in range(i, n):
                K[i, j] -= f * h[j]
        for j in range(k):
            K[j, k] = h[j]
        for j in range(k + 1, n):
            K[k, j] = h[j]
        K[k, k] = -1.0 / pivot
    for i in range(n):
        for j in range(i, n):
            K[i, j] = -K[i, j]
            K[j, i] = K[i, j]


@njit(cache=True, error_model="numpy")
def factor(S, U, scale):
    """Upper Cholesky factor U of S scaled to a unit diagonal by scale float[K]; S is read from both triangles.

    A row without diagonal (a demand with nobody free) is left out: its unknown will be 0.
    """
    n = scale.size
    for i in range(n):
        scale[i] = 1.0 / math.sqrt(S[i, i]) if S[i, i] > 0.0 else 0.0
    for i in range(n):
        for j in range(i, n):
            U[i, j] = S[i, j] * scale[i] * scale[j]
        if scale[i] == 0.0:
            U[i, i] = 1.0
    for k in range(n):
        pivot = U[k, k]
        if not pivot > PIVOT:
            pivot = PIVOT
        root = math.sqrt(pivot)
        for j in range(k, n):
            U[k, j] /= root
        U[k, k] = root
        for i in range(k + 1, n):
            f = U[k, i]
            if f != 0.0:
                for j in range(i, n):
                    U[i, j] -= f * U[k, j]


@njit(cache=True, error_model="numpy")
def _substitute(U, x):
    """x := (U'U)^-1 x."""
    n = x.size
    for k in range(n):
        x[k] /= U[k, k]
        f = x[k]
        for j in range(k + 1, n):
            x[j] -= f * U[k, j]
    for k in range(n - 1, -1, -1):
        t = x[k]
        for j in range(k + 1, n):
            t -= U[k, j] * x[j]
        x[k] = t / U[k, k]


@njit(cache=True, error_model="numpy")
def solve(S, U, scale, r, x):
    """Fill x float[K] with the solution of S x = r from the factor of S, refined once; False where it is not finite."""
    n = r.size
    rest = np.empty(n)
    for i in range(n):
        x[i] = r[i] * scale[i]
    _substitute(U, x)
    for i in range(n):
        rest[i] = r[i] * scale[i]
        for j in range(n):
            rest[i] -= S[i, j] * scale[i] * scale[j] * x[j]
    _substitute(U, rest)
    finite = True
    for i in range(n):
        x[i] = (x[i] + rest[i]) * scale[i]
        finite = finite and abs(x[i]) < np.inf
    return finite
