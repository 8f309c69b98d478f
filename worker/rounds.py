"""Who is reduced: one `solve` a round on what is left, first normal accounts, then those marked LAST, then at the mark.

Rule 1: each round is certified by `verify`; nothing that fails it leaves this file.
Rule 2: being taken in one symbol lowers an account's leverage, so it may become able to pay in another. After each
round that took something the order begins anew: LAST accounts are asked only where normal ones just gave nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas import Certificate
from solver import Problem, leverage, solve, verify
from solver.marginals import marginals
from worker.book.book import Book
from worker.book.market import Market
from worker.book.views import Gathered
from worker.risk import NEEDED_BY, Risk
from worker.takeover import Line

Key = tuple[str, int]  # symbol, side that is reduced: +1 longs
# Is shown each certified round before it is applied: counterparties with all that they hold, their symbols, the problem
# and the lots taken. For reports.
Observe = Callable[[Gathered, Sequence[Market], Problem, NDArray[np.int64]], None]


class NotCertifiedError(Exception):
    """A solution failed its certificate: our bug, and nothing of it may be published."""

    def __init__(self, certificate: Certificate) -> None:
        super().__init__(certificate.failures)
        self.certificate = certificate


@dataclass(frozen=True, slots=True)
class Excluded:
    """Who must not be asked: these accounts, and every account of these owners."""

    accounts: set[str]
    owners: set[str]


@dataclass(frozen=True, slots=True)
class Method:
    """By which rule a round takes."""

    policy: str
    protect_principal: bool
    residual_at_mark: bool
    risk: Risk
    observe: Observe | None = None


@dataclass(slots=True)
class Round:
    """What one solve took: parallel arrays over the reduced entries, in the order in which legs are written."""

    number: int
    at_mark: bool
    demands: list[Key]
    wanted: list[int]  # lots asked for, per demand
    taken: list[int]
    demand: NDArray[np.int64]  # index into demands
    slot: NDArray[np.int64]
    lots: NDArray[np.int64]
    leverage: NDArray[np.float64]
    scores: tuple[NDArray[np.float64], ...]  # score, score_after and score_alone, as far as the policy has them
    tie_rank: NDArray[np.int64]
    level: list[float | None]
    shadow_price: list[float | None]
    leverage_before_max: list[float | None]
    leverage_after_max: list[float | None]
    certificate: Certificate
    parts: list[list[int]] = field(default_factory=list)  # of what was taken, per demand and line


@dataclass(slots=True)
class Outcome:
    rounds: list[Round]
    left: dict[Key, int]
    reasons: dict[Key, str]
    accounts_without_mark: int
    accounts_insolvent: int


class _Allocation:
    """The counterparties of one decision as they stand between rounds, and what is still asked of them."""

    def __init__(
        self, book: Book, demands: dict[Key, list[Line]], excluded: Excluded, *, with_collateral: bool
    ) -> None:
        self.demands = demands
        self.left = {key: sum(line.left for line in demands[key]) for key in sorted(demands)}
        self.gathered = gathered = book.gather(
            [(book.market(symbol).row, side) for symbol, side in self.left], excluded.accounts, excluded.owners,
            with_collateral=with_collateral,
        )  # fmt: skip
        markets = [book.markets[row] for row in gathered.assets.tolist()]
        self.markets = markets
        self.lot_price = np.array([market.scale.price_float(market.mark) for market in markets], np.float64)
        self.quantity: NDArray[np.int64] = gathered.quantity_lots.copy()
        self.equity = gathered.equity.copy()
        self.asset_of = {market.symbol: index for index, market in enumerate(markets)}
        self._unit = 10**book.currency_decimals

    def open_keys(self) -> list[Key]:
        """Demands that are not met, of symbols in which there is anybody to ask."""
        return [key for key, lots in self.left.items() if lots and key[0] in self.asset_of]

    def problem(self, keys: list[Key], eligible: NDArray[np.bool_], *, at_mark: bool) -> Problem:
        """What one round asks."""
        gathered, unit = self.gathered, self._unit
        return Problem(
            gathered.account, gathered.asset, self.quantity, self.equity, self.lot_price,
            demand_asset=[self.asset_of[symbol] for symbol, _ in keys],
            demand_side=[side for _, side in keys],
            demand_lots=[self.left[key] for key in keys],
            demand_price=None if at_mark else [float(mean_price(self.demands[key]) / unit) for key in keys],
            eligible=eligible, entry_price=gathered.entry_price, balance=gathered.balance,
            maintenance_margin=gathered.maintenance_margin, tie_rank=gathered.tie_rank,
            collateral=gathered.collateral,
        )  # fmt: skip

    def apply(self, result: Round, problem: Problem, reduction: NDArray[np.int64]) -> None:
        """Takes what a round took off quantities, equities and what is left of the lines."""
        self.quantity = np.subtract(self.quantity, np.sign(self.quantity) * reduction)  # the problem keeps the old
        rows = np.flatnonzero(reduction)
        key_of = problem.demand_of[2 * problem.asset[rows] + (problem.quantity_lots[rows] < 0)]
        np.subtract.at(self.equity, self.gathered.account[rows], problem.haircut[key_of] * reduction[rows])
        for key, taken in zip(result.demands, result.taken, strict=True):
            self.left[key] -= taken
            parts = share_lots(self.demands[key], taken)
            result.parts.append(parts)
            for line, part in zip(self.demands[key], parts, strict=True):
                line.left -= part

    def shown(
        self,
        now: "_Allocation",
        keys: list[Key],
        eligible: NDArray[np.bool_],
        lots: NDArray[np.int64],
        *,
        at_mark: bool,
    ) -> tuple[Problem, NDArray[np.int64]]:
        """A round of `now`, which knows no collateral, as it looks with it: the problem and the lots taken."""
        held = ~self.gathered.collateral  # the entries of both, in one order; their rows are the same
        may, taken, quantity = np.zeros(held.size, np.bool_), np.zeros(held.size, np.int64), self.quantity.copy()
        may[held], taken[held], quantity[held] = eligible, lots, now.quantity
        self.quantity, self.equity, self.left = quantity, now.equity, now.left
        return self.problem(keys, may, at_mark=at_mark), taken

    def has_holders(self, key: Key, eligible: NDArray[np.bool_]) -> bool:
        """Whether anybody eligible has lots left on a side."""
        symbol, side = key
        here = self.gathered.asset == self.asset_of.get(symbol, -1)
        return bool((here & (np.sign(self.quantity) == side) & eligible).any())


def run_rounds(
    book: Book,
    demands: dict[Key, list[Line]],
    excluded: Excluded,
    method: Method,
) -> Outcome:
    """Takes what the demands ask for as far as it is there; raises NotCertifiedError."""
    if not demands:
        return Outcome([], {}, {}, 0, 0)
    looks_at_collateral = method.policy in NEEDED_BY
    now = _Allocation(book, demands, excluded, with_collateral=looks_at_collateral)
    whole = None
    if method.observe is not None and not looks_at_collateral:
        whole = _Allocation(book, demands, excluded, with_collateral=True)
    gathered = now.gathered
    risk = method.risk.returns(now.markets, method.policy) if looks_at_collateral else None
    outcome = Outcome([], now.left, {}, gathered.unmarked_accounts, int((gathered.equity <= 0).sum()))
    last = gathered.adl_class[gathered.account] == 1
    plan = [(False, gathered.eligible & ~last), (False, gathered.eligible & last)]
    if method.residual_at_mark:
        plan.append((True, gathered.eligible))
    steps, asked, number = list(range(len(plan))), set[int](), 0
    while steps:
        step = steps.pop(0)
        at_mark, eligible = plan[step]
        again = step in asked
        asked.add(step)
        number += not again
        open_keys = now.open_keys()
        if not open_keys or not eligible.any():
            continue
        if again and not any(now.has_holders(key, eligible) for key in open_keys):
            continue
        if at_mark and all(x.price_minor == x.mark_minor for key in open_keys for x in demands[key] if x.left):
            continue
        problem = now.problem(open_keys, eligible, at_mark=at_mark)
        solution = solve(problem, policy=method.policy, risk=risk, protect_principal=method.protect_principal)
        reduction = solution.reduction_lots
        if again and not reduction.any():
            continue
        number += again
        result = _round(number, at_mark, open_keys, problem, solution, risk, gathered, eligible)
        outcome.rounds.append(result)
        if method.observe is not None:
            shown = whole or now
            seen = whole.shown(now, open_keys, eligible, reduction, at_mark=at_mark) if whole else (problem, reduction)
            method.observe(shown.gathered, shown.markets, *seen)
        if reduction.any() and not at_mark:
            steps = list(range(len(plan)))
        now.apply(result, problem, reduction)
    for key, lots in now.left.items():
        if lots:
            holders = now.has_holders(key, gathered.eligible)
            outcome.reasons[key] = "COUNTERPARTIES_CANNOT_PAY" if holders else "NO_COUNTERPARTIES"
    return outcome


def mean_price(lines: Sequence[Line]) -> Fraction:
    """Volume weighted price per lot of what the lines still need, exact."""
    lots = sum(line.left for line in lines)
    return sum((line.price_minor * line.left for line in lines), Fraction(0)) / lots


def share_lots(lines: Sequence[Line], taken: int) -> list[int]:
    """`taken` shared over the lines in proportion to what they still need, in whole lots.

    What the floors leave goes to the lines that cost the counterparties least, ties in order: so they never pay more
    than the mean price at which they were found able to pay. By largest remainder they could.
    """
    whole = sum(line.left for line in lines)
    parts = [taken * line.left // whole for line in lines]
    if missing := taken - sum(parts):
        open_lines = [index for index, line in enumerate(lines) if line.left]
        open_lines.sort(key=lambda index: lines[index].sign * lines[index].price_minor)
        for index in open_lines[:missing]:
            parts[index] += 1
    return parts


def _round(
    number: int, at_mark: bool, keys: list[Key], problem: Any, solution: Any, risk: Any, gathered: Gathered,
    eligible: NDArray[np.bool_],
) -> Round:  # fmt: skip
    report = verify(problem, solution, risk=risk)
    certificate = Certificate(
        round=number,
        status=solution.status,
        ok=bool(report.ok) and not solution.reason,
        clearing_residual_lots=int(solution.residual_lots.sum()) if solution.residual_lots is not None else 0,
        kkt_residual=solution.kkt_residual,
        objective_before=solution.objective_before,
        objective_after=solution.objective_after,
        failures=[solution.reason] * bool(solution.reason) + [str(failure) for failure in report.failures[:20]],
    )
    if certificate.failures:
        raise NotCertifiedError(certificate)
    reduction: NDArray[np.int64] = solution.reduction_lots
    demand_of = problem.demand_of[2 * problem.asset + (problem.quantity_lots < 0)]
    rows = np.flatnonzero(reduction)
    rows = rows[np.lexsort((gathered.tie_rank[gathered.account[rows]], demand_of[rows]))]
    before, after = leverage(problem), leverage(problem, reduction)
    maxima: list[list[float | None]] = []
    asked = np.flatnonzero((demand_of >= 0) & eligible)
    for values in (before, after):
        values = values[gathered.account[asked]]
        finite = np.isfinite(values) & (gathered.equity[gathered.account[asked]] > 0)
        largest = np.full(len(keys), -1.0)
        np.maximum.at(largest, demand_of[asked][finite], values[finite])
        maxima.append([None if value < 0 else float(value) for value in largest])
    return Round(
        number=number,
        at_mark=at_mark,
        demands=keys,
        wanted=[int(lots) for lots in problem.demand_lots],
        taken=[int(lots) for lots in problem.demand_lots - solution.residual_lots],
        demand=demand_of[rows],
        slot=gathered.slot[rows],
        lots=reduction[rows],
        leverage=before[gathered.account[rows]],
        scores=_scores(problem, solution, risk, rows),
        tie_rank=gathered.tie_rank[gathered.account[rows]],
        level=_finite(solution.level, len(keys)),
        shadow_price=_finite(solution.shadow_price, len(keys)),
        leverage_before_max=maxima[0],
        leverage_after_max=maxima[1],
        certificate=certificate,
    )


def _scores(problem: Any, solution: Any, risk: Any, rows: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """What the policy ranks positions by; `risk`: the risk that a unit of notional removes, now, after, and alone."""
    if solution.policy != "risk":
        return () if solution.score is None else (solution.score[rows],)
    after = marginals(problem, risk, rows, solution.reduction_lots)
    return marginals(problem, risk, rows), after, marginals(problem, risk, rows, alone=True)


def _finite(values: NDArray[np.float64] | None, count: int) -> list[float | None]:
    if values is None:
        return [None] * count
    return [float(value) if np.isfinite(value) else None for value in values]
