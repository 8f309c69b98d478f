"""The whole state at a committed cut, as words and columns, and an engine made of them again.

Rule 1: everything that a later output can rest on is in `Saved` or in `columns`, or is made anew from them; what is
passed from one record to the next inside a cut must be gone by then (`is_whole`). Rule 2: an engine that was loaded
holds the digest that was committed, made anew from its cells, or it is not used.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import AdlPoolState
from worker.book import saved as book
from worker.book.saved import Column, SavedBook
from worker.claims import Claim
from worker.cut import Standing
from worker.decide import Case
from worker.engine import Engine
from worker.forecast import Forecast
from worker.held import Held
from worker.rebuild import Mark
from worker.record import NotKeptError
from worker.reductions import Name
from worker.refusals import Gone, Replacement
from worker.risk import Risk
from worker.solvent import Marks, SolventMarks
from worker.states import FUND_WINDOW_MS, Highest, Machine, States

Big = str  # an integer of more than 64 bits


class SavedCase(msgspec.Struct, frozen=True):
    """A case; `gone` says which of the shared ones."""

    claims: list[Claim]
    decision_id: str
    attempt: int
    replacement: Replacement | None
    gone: int
    released: bool
    held_reason: str | None


class SavedHeld(msgspec.Struct, frozen=True):
    """Legs, beside their columns."""

    used: int
    accounts: int  # rows of accounts that are known
    free: list[int]
    decisions: list[str]


class SavedRisk(msgspec.Struct, frozen=True):
    """The risk model as it is kept."""

    name: str
    model_digest: str | None
    digest: Big
    tail: float
    rows: dict[str, tuple[list[float], float]]
    common: list[float]


class SavedStates(msgspec.Struct, frozen=True):
    """What was seen and said of states."""

    machines: dict[str, tuple[str, str | None, int]]
    pool_machine: tuple[str, str | None, int]
    highest: dict[str, list[tuple[int, int]]]
    funds: list[tuple[str, int, int]]
    fallen: list[str]
    turn: int
    forecast_ms: int | None
    forecast: Forecast
    warned: dict[str, str]
    blocked: set[str]
    acted: dict[str, str]
    named: set[str]
    unnamed: list[tuple[str, int]]
    said: dict[str, tuple[str, str | None]]
    pool_said: AdlPoolState | None
    watched_ms: int
    later: list[tuple[int, int]]  # forecasts that a replay may still need
    since_ms: int
    counts: dict[str, int]
    distance_ppm: dict[str, int]


class SavedSolvent(msgspec.Struct, frozen=True):
    """Last solvent marks; those of one watch cut are shared."""

    digest: Big
    marks: list[tuple[bytes, Big]]
    last: int
    kept: dict[tuple[str, int], tuple[int, Big]]


class Saved(msgspec.Struct, frozen=True):
    """The state at a cut but for its columns; `mark` is what was committed of it."""

    mark: Mark
    standing: Standing
    book: SavedBook
    held: SavedHeld
    risk: SavedRisk
    states: SavedStates
    solvent: SavedSolvent
    policy: str
    policy_said: str | None
    paused: bool
    refused: tuple[int, int]  # in which minute, how many
    counts: dict[str, int]
    balances: dict[str, tuple[int, int]]
    draws: dict[str, list[tuple[int, int]]]
    used_tiers: list[tuple[Name, dict[str, str], int]]
    known: dict[str, str]
    gones: list[Gone]
    cases: list[SavedCase]
    roots: list[SavedCase]
    unanswered: dict[str, int]
    ledger: Big
    marks_before: dict[str, int]


def is_whole(engine: Engine) -> bool:
    """Whether nothing waits inside the engine: always so at a cut, but for one inside a joint window."""
    waiting: tuple[Any, ...] = (
        engine._new, engine._folded, engine._waiting, engine._triggered, engine._refused, engine._letters,
        engine._marks_moved, engine.outputs._pending,
    )  # fmt: skip
    return not any(waiting)


def words(engine: Engine, standing: Standing, mark: Mark) -> bytes:
    """The state of a whole engine but for its columns."""
    if not is_whole(engine):
        raise ValueError("nothing may wait in an engine that is saved")
    cases, roots = engine._cases, list(engine._roots.values())
    gones: dict[int, Gone] = {id(case.gone): case.gone for case in (*cases, *roots)}
    places = {key: place for place, key in enumerate(gones)}

    def saved(case: Case) -> SavedCase:
        return SavedCase(
            case.claims, case.decision_id, case.attempt, case.replacement, places[id(case.gone)], case.released,
            case.held_reason,
        )  # fmt: skip

    return msgspec.msgpack.encode(
        Saved(
            mark=mark, standing=standing, book=book.saved_book(engine._book), held=_saved_held(engine.held),
            risk=_saved_risk(engine.risk), states=_saved_states(engine.states),
            solvent=_saved_solvent(engine._solvent, engine._solvent_digest), policy=engine.policy,
            policy_said=engine._policy_said, paused=engine._paused,
            refused=(engine.poison._minute, engine.poison._count),
            counts=engine.counts, balances=engine.funds._balance, draws=engine.funds._draws,
            used_tiers=[
                (name, used.again_above, used.not_before_ms) for name, used in engine.reductions._used.items()
            ],
            known=engine._known, gones=list(gones.values()), cases=list(map(saved, cases)),
            roots=list(map(saved, roots)), unanswered=engine._unanswered, ledger=str(engine._ledger_digest),
            marks_before=engine._marks_before,
        )
    )  # fmt: skip


def columns(engine: Engine) -> Iterator[Column]:
    """The columns of the state; those of an engine that was prepared are filled by who loads."""
    yield from book.columns(engine._book)
    held = engine.held
    yield "leg", held._legs.cells[:, : held._used]
    yield "leg id", held._rows.ids(held._used)
    yield "account leg", held._accounts.cells[:, : min(held._accounts.capacity, engine._book.accounts.used)]


def load(engine: Engine, text: bytes, fill: Callable[[Sequence[Column]], None]) -> Saved:
    """Makes a new engine the one that was saved; `fill` puts into the columns what was written of them.

    Raises NotKeptError, or msgspec's, where it cannot be; the engine is of no use then.
    """
    saved = msgspec.msgpack.decode(text, type=Saved)
    book.prepare(engine._book, saved.book)
    _prepare_held(engine.held, saved.held)
    fill(list(columns(engine)))
    book.finish(engine._book)
    held = engine.held
    held._rows.relist(np.setdiff1d(np.arange(held._used), held._free))
    _load_risk(engine.risk, saved.risk)
    _load_states(engine.states, saved.states)
    _load_solvent(engine._solvent, saved.solvent)
    engine._solvent_digest = int(saved.solvent.digest)
    engine.cut_number, engine.policy, engine._paused = saved.mark.cut, saved.policy, saved.paused
    engine._policy_said = saved.policy_said
    engine.poison._minute, engine.poison._count = saved.refused
    engine.counts.update(saved.counts)
    engine.funds._balance.update(saved.balances)
    engine.funds._draws.update(saved.draws)
    for name, again_above, not_before_ms in saved.used_tiers:
        engine.reductions._put(name, engine.reductions._use(again_above, not_before_ms))
    engine._known.update(saved.known)
    engine._cases += [_case(of, saved.gones) for of in saved.cases]
    engine._roots.update({of.decision_id: _case(of, saved.gones) for of in saved.roots})
    engine._unanswered.update(saved.unanswered)
    engine._ledger_digest = int(saved.ledger)
    engine._marks_before.update(saved.marks_before)
    engine._silent = True  # what was advised since may be lost, as after a replay
    engine.outputs.heads.update(saved.mark.heads)
    if engine.digest() != saved.mark.digest:
        raise NotKeptError(f"the state has digest {engine.digest()}, {saved.mark.digest} was saved")
    return saved


def _case(saved: SavedCase, gones: list[Gone]) -> Case:
    return Case(
        saved.claims, saved.decision_id, saved.attempt, saved.replacement, gones[saved.gone], saved.released,
        saved.held_reason,
    )  # fmt: skip


def _saved_held(held: Held) -> SavedHeld:
    rows = min(held._accounts.capacity, held._book.accounts.used)
    return SavedHeld(held._used, rows, held._free, held._decisions)


def _prepare_held(held: Held, saved: SavedHeld) -> None:
    held._legs.reserve(saved.used)
    held._accounts.reserve(saved.accounts)
    held._used = saved.used
    held._free, held._decisions = saved.free, saved.decisions


def _saved_risk(risk: Risk) -> SavedRisk:
    return SavedRisk(risk.name, risk.model_digest, str(risk.digest), float(risk._tail), risk._rows, risk._common)


def _load_risk(risk: Risk, saved: SavedRisk) -> None:
    risk.name, risk.model_digest, risk.digest = saved.name, saved.model_digest, int(saved.digest)
    risk._tail, risk._rows, risk._common = saved.tail, saved.rows, saved.common


def _saved_states(states: States) -> SavedStates:
    def saved(machine: Machine) -> tuple[str, str | None, int]:
        return machine.state, machine.trigger, machine.busy_ms

    return SavedStates(
        machines={symbol: saved(machine) for symbol, machine in states._machines.items()},
        pool_machine=saved(states._pool_machine),
        highest={name: list(highest._falling) for name, highest in states._highest.items()},
        funds=states._funds, fallen=states._fallen, turn=states._turn, forecast_ms=states._forecast_ms,
        forecast=states._forecast, warned=states._warned, blocked=states._blocked, acted=states._acted,
        named=states._named, unnamed=states._unnamed, said=states._said, pool_said=states._pool_said,
        watched_ms=states._watched_ms, later=list(states._needed._later), since_ms=states._needed.since_ms,
        counts=states.counts, distance_ppm=states.distance_ppm,
    )  # fmt: skip


def _load_states(states: States, saved: SavedStates) -> None:
    def machine(of: tuple[str, str | None, int]) -> Machine:
        made = Machine()
        made.state, made.trigger, made.busy_ms = of
        return made

    states._machines = {symbol: machine(of) for symbol, of in saved.machines.items()}
    states._pool_machine = machine(saved.pool_machine)
    for name, falling in saved.highest.items():
        states._highest[name] = Highest(FUND_WINDOW_MS)
        states._highest[name]._falling = deque(falling)
    states._funds, states._fallen, states._turn = saved.funds, saved.fallen, saved.turn
    states._forecast_ms, states._forecast, states._warned = saved.forecast_ms, saved.forecast, saved.warned
    states._blocked, states._acted, states._named = saved.blocked, saved.acted, saved.named
    states._unnamed, states._said, states._pool_said = saved.unnamed, saved.said, saved.pool_said
    states._watched_ms, states._needed._later, states._needed.since_ms = (
        saved.watched_ms, deque(saved.later), saved.since_ms,
    )  # fmt: skip
    states.counts, states.distance_ppm = saved.counts, saved.distance_ppm


def _saved_solvent(solvent: SolventMarks, digest: int) -> SavedSolvent:
    every = {id(marks): marks for marks in (solvent._last, *(marks for marks, _ in solvent._kept.values()))}
    places = {key: place for place, key in enumerate(every)}
    return SavedSolvent(
        str(digest),
        [(marks.scaled.tobytes(), str(marks.digest)) for marks in every.values()],
        places[id(solvent._last)],
        {unit: (places[id(marks)], str(digest)) for unit, (marks, digest) in solvent._kept.items()},
    )


def _load_solvent(solvent: SolventMarks, saved: SavedSolvent) -> None:
    every = [Marks(_scaled(scaled), int(digest)) for scaled, digest in saved.marks]
    solvent._last = every[saved.last]
    solvent._kept = {unit: (every[place], int(digest)) for unit, (place, digest) in saved.kept.items()}


def _scaled(text: bytes) -> NDArray[np.int64]:
    return np.frombuffer(text, np.int64)
