"""Decides something small, so that the first decision of a run waits for no compiler.

The solver's kernels are compiled when they are first called: with nothing cached that takes a minute or two, else
seconds. One of them alone takes up to 20 s, so each that is compiled is told as a sign of life.
Rule: what is decided here is thrown away; it reaches neither the pool's state nor its outputs.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np
from numba.core import event as compiler

from schemas import AccountUpdate, Balance, Bankruptcy, InputMessage, Instrument, MarkPrice, Position
from schemas.messages import MarginMode
from solver import Problem, solve, verify
from solver.risk import default_risk_model
from worker.cut import KIND, CutPoint, Event
from worker.engine import Engine
from worker.inputs import POLICIES
from worker.record import Record
from worker.settings import load

SYMBOLS = ("A", "B")
ACCOUNTS = 10
ROWS = 25_000  # the solver has roads of its own for so many


class _Compiled(compiler.Listener):
    """Calls back whenever a kernel begins or ends to be compiled."""

    def __init__(self, turned: Callable[[], object]) -> None:
        self._turned = turned

    def on_start(self, event: object) -> None:  # noqa: ARG002
        self._turned()

    def on_end(self, event: object) -> None:  # noqa: ARG002
        self._turned()


def warm(turned: Callable[[], object] = lambda: None, decided: Callable[[], object] = lambda: None) -> int:
    """Once in a process, under each policy; returns how many outputs there were.

    `turned`: called before and after each kernel that is compiled, and after each policy; `decided`: after each policy.
    """
    outputs = 0
    with compiler.install_listener("numba:compile", _Compiled(turned)):
        for policy in POLICIES:
            outputs += _decide(policy)
            turned()
            decided()
    return outputs


@cache
def _decide(policy: str) -> int:
    """A bankruptcy in one symbol, then two in both together; how many outputs there were."""
    outputs = 0
    settings = load(flags=["worker.mode=live", "ranks.records_per_second=1"])
    engine = Engine(settings)
    engine.policy = policy
    for message in _exchange(settings.pool.currency):
        engine.apply(_event(message))
    for names in (("alone",), ("first", "second")):
        *others, last = [_event(Bankruptcy(id=name, account=name, event_time_ms=1)) for name in names]
        for event in others:
            engine.apply(event)
        outputs += len(engine.cut(CutPoint(1, {}, [last])))
    outputs += len(engine.cut(CutPoint(2, {}, [])))
    # At the mark there are more roads, one of them where everything is asked for.
    for symbols, asked, price, share in (
        (1, 1, 80.0, 9), (1, 1, 79.0, 9), (2, 1, 80.0, 9), (2, 2, 79.0, 9), (2, 2, 80.0, 0),
    ):  # fmt: skip
        problem, risk = _large(symbols, asked, price, share), default_risk_model([0.1] * symbols)
        verify(problem, solve(problem, policy, risk=risk), risk=risk)
    return outputs


def _large(symbols: int, demands: int, price: float, share: int) -> Problem:
    """ROWS accounts with a position in each symbol; ROWS / share lots of the first are demanded, with 0 all of them."""
    size, asked = ROWS * symbols, ROWS // share if share else 7 * ROWS
    account = np.repeat(np.arange(ROWS), symbols)
    return Problem(
        account, np.arange(size) % symbols, 1 + account % 7, 10.0 + account[::symbols] % 11, np.full(symbols, 80.0),
        demand_asset=range(demands), demand_side=[1] * demands, demand_lots=[asked] * demands,
        demand_price=[price] * demands, entry_price=np.full(size, 60.0), balance=np.ones(ROWS),
        maintenance_margin=np.ones(ROWS), tie_rank=np.arange(ROWS),
    )  # fmt: skip


def _exchange(currency: str) -> Iterator[InputMessage]:
    """Two symbols, three accounts that go bankrupt, and counterparties in one or both, cross and isolated."""
    for symbol in SYMBOLS:
        yield Instrument(
            symbol=symbol, tick_size="1", lot_size="1", settlement_currency=currency, maintenance_margin_fraction="0.01"
        )
        yield MarkPrice(symbol=symbol, mark_price="80", event_time_ms=1)
    yield _update("alone", currency, "10", "1", SYMBOLS[:1])
    yield _update("first", currency, "10", "2", SYMBOLS)
    yield _update("second", currency, "10", "3", SYMBOLS)
    for number in range(ACCOUNTS):
        yield _update(f"both {number}", currency, "500", f"-{1 + number % 7}", SYMBOLS)
    yield _update("one", currency, "500", "-2", SYMBOLS[1:])
    yield _update("isolated", currency, "500", "-3", SYMBOLS, "isolated")


def _update(
    account: str, currency: str, amount: str, quantity: str, symbols: Iterable[str], mode: MarginMode = "cross"
) -> AccountUpdate:
    margin = "50" if mode == "isolated" else None
    return AccountUpdate(
        account=account, epoch=1, seq=1, full=True, balances=[Balance(currency=currency, amount=amount)],
        positions=[
            Position(symbol=symbol, quantity=quantity, entry_price="100", margin_mode=mode, isolated_margin=margin)
            for symbol in symbols
        ],
    )  # fmt: skip


def _event(message: InputMessage) -> Event:
    return Event(Record("warm", 0, 0, 1, None, b""), [message], KIND[type(message)], None, 1)
