"""The relaxed problem as a convex program: second-order cones for cvxpy and Clarabel, scenarios as a linear program.

With four degrees of freedom the expected loss has an exact form in second-order cones. Of Q^2 = 4 sigma^2 + E^2 are
L = (Q - E)^2 / (4 Q) and M = E + L = (Q + E)^2 / (4 Q), what the account is expected to keep (a call where L is the
put), so that L M = (sigma^2 / Q)^2 and sqrt(L) + sqrt(M) = sqrt(Q), hence
    sigma = L^(1/4) M^(3/4) + L^(3/4) M^(1/4),   so that L >= sigma h(E / sigma) if and only if, for some r, a, b,
    r^2 <= L M,   a^2 <= r M,   b^2 <= r L,   |(B'y, sqrt(D) y)| <= a + b.
No such form is known here for other tails; cvxpy gets them, as HiGHS does, as scenarios.
Rule: what is timed is the solver alone, not what it takes cvxpy to write the program down.
"""

import time
import warnings

import cvxpy as cp
import numpy as np
from scipy import optimize, sparse

from solver import Scenarios


def prices(book):
    """What a unit of an account's loss costs in each scenario, float[S * N], about 1: tolerances are absolute."""
    weight = book.risk.weights * book.risk.weights.size
    return np.repeat(weight, book.accounts) * np.tile(book.unit / book.unit.mean(), weight.size)


def clearing(book, u):
    """Constraint: shares u of what is available meet every demand."""
    share = book.available / book.asked[book.demand]
    return sparse.csr_array((share, (book.demand, np.arange(u.size))), (book.asked.size, u.size)) @ u == 1.0


def by_account(book, values):
    """Sparse matrix that adds up values float[n] of items by account."""
    return sparse.csr_array((values, (book.account, np.arange(values.size))), (book.accounts, values.size))


def exposures(book, u):
    """(factor exposures of all accounts, one factor after the other; equity), affine in u, per unit of the account."""
    x = book.available / book.unit[book.account]
    given = sparse.vstack([by_account(book, x * column) for column in book.loading.T]).tocsr()
    start = (book.factor / book.unit[:, None]).T.ravel()
    return start - given @ u, book.equity / book.unit - by_account(book, book.haircut * x) @ u


def cones(book):
    """(cvxpy Problem, shares u) of a book with Student's t of four degrees of freedom; see the top."""
    n, N, F = book.available.size, book.accounts, book.loading.shape[1]
    # Every cone's unknowns are about 1 where nothing was taken.
    L0 = np.maximum(book.losses(np.zeros(n)) / book.unit, 1e-12)
    M0 = L0 + book.equity / book.unit
    r0 = np.sqrt(L0 * M0)
    a0, b0 = np.sqrt(r0 * M0), np.sqrt(r0 * L0)
    u, lost, r, a, b = cp.Variable(n), *(cp.Variable(N) for _ in range(4))
    factor, equity = exposures(book, u)
    left = cp.multiply(1.0 / M0, cp.multiply(L0, lost) + equity)
    spread = cp.multiply(a0, a) + cp.multiply(b0, b)
    own = cp.multiply(np.sqrt(book.own) * book.available / book.unit[book.account], 1.0 - u)
    rows = cp.hstack([factor, own, np.sqrt(book.variance) / book.unit])
    count = np.bincount(book.account, minlength=N)
    first = np.cumsum(count) - count
    order = np.argsort(book.account, kind="stable")
    limits = [u >= 0.0, u <= 1.0, clearing(book, u)]
    for size in np.unique(count):  # cones of one size are one constraint
        who = np.flatnonzero(count == size)
        at = np.concatenate([
            who + N * np.arange(F)[:, None], F * N + order[first[who] + np.arange(size)[:, None]], F * N + n + who[None]
        ])  # fmt: skip
        limits.append(cp.SOC(spread[who], cp.reshape(rows[at.T.ravel()], at.shape, order="F")))
    for one, other, middle in ((lost, left, r), (r, left, a), (r, lost, b)):
        limits.append(cp.SOC(one + other, cp.vstack([2.0 * middle, one - other])))
    weight = L0 * book.unit
    return cp.Problem(cp.Minimize((weight / weight.sum()) @ lost), limits), u


def hinges(book):
    """(cvxpy Problem, shares u) of a book with scenarios, without their kernel."""
    u = cp.Variable(book.available.size)
    factor, equity = exposures(book, u)
    lost = cp.pos(-(factor + cp.hstack([equity] * book.risk.weights.size)))
    return cp.Problem(cp.Minimize(prices(book) @ lost), [u >= 0.0, u <= 1.0, clearing(book, u)]), u


def by_clarabel(book, limit_s):
    """(processor seconds, status, x or None) of Clarabel behind cvxpy."""
    program, u = (hinges if isinstance(book.risk, Scenarios) else cones)(book)
    options = {"time_limit": limit_s}
    warnings.filterwarnings("ignore", "Solution may be inaccurate")  # the status says so
    data, chain, inverse = program.get_problem_data(cp.CLARABEL, solver_opts=options)
    start = time.process_time()
    raw = chain.solve_via_data(program, data, solver_opts=options)
    spent = time.process_time() - start
    try:
        program.unpack_results(raw, chain, inverse)
    except cp.SolverError as fault:
        return spent, str(fault).splitlines()[0], None
    return spent, program.status, None if u.value is None else u.value * book.available


def by_highs(book, limit_s):
    """(processor seconds, status, x or None) of HiGHS on the linear program of a book with scenarios."""
    N, S, n = book.accounts, book.risk.weights.size, book.available.size
    x = book.available / book.unit[book.account]
    lost = sparse.vstack([by_account(book, x * (column + book.haircut)) for column in book.loading.T])
    worth = ((book.factor + book.equity[:, None]) / book.unit[:, None]).T.ravel()
    share = book.available / book.asked[book.demand]
    meets = sparse.csr_array((share, (book.demand, np.arange(n))), (book.asked.size, n))
    start = time.process_time()
    found = optimize.linprog(
        np.concatenate([np.zeros(n), prices(book)]), method="highs", options={"time_limit": limit_s},
        A_ub=sparse.hstack([lost, -sparse.eye_array(N * S)]).tocsc(), b_ub=worth,
        A_eq=sparse.hstack([meets, sparse.csr_array((book.asked.size, N * S))]).tocsc(), b_eq=np.ones(book.asked.size),
        bounds=np.column_stack([np.zeros(n + N * S), np.concatenate([np.ones(n), np.full(N * S, np.inf)])]),
    )  # fmt: skip
    spent = time.process_time() - start
    return spent, found.message.split("(")[0].strip(), None if found.x is None else found.x[:n] * book.available
