"""`adl-state`: how near each symbol is to deleveraging, and what a forecast says of it and of the pool.

    NORMAL, ENDED --cause--> WARNING --quiet--> NORMAL      cause: a fund has fallen, or would not cover a shock
    any --a decision took positions--> ACTIVE               quiet: `quiet_ms` of log time without what began it
    ACTIVE --quiet--> WARNING with a cause, else ENDED      BLOCKED wins over all while its reason holds
    ENDED --quiet--> NORMAL

Rule 1: looked at in cuts alone, in log time; funds, forecasts and quiet only at watch cuts. So a replay says the same.
Rule 2: a cause is forgotten after `quiet_ms`, so a silent replay makes only the forecasts that can still matter; from
which on, the commit says.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from schemas import AdlDecision, AdlPoolState, AdlState, FundState, InsolventAccount, text_of
from worker.book.book import Book
from worker.cut import CutPoint
from worker.forecast import PPM_DECIMALS, Forecast, Struck, distance_ppm, forecast, is_insolvent, shocks_ppm
from worker.risk import Risk
from worker.settings import StateSettings

POOL_KEY: Final = "*"  # of the pool's own record, beside the symbols'
FUND_WINDOW_MS: Final = 8 * 3_600_000
INSOLVENT_SHOWN: Final = 20

Key = str
Message = AdlState | AdlPoolState


class Facts(NamedTuple):
    """What the engine holds at a cut that the states are made of."""

    book: Book
    risk: Risk
    available_minor: Mapping[str, int]  # per fund
    blocked: Mapping[str, str]  # symbol -> reason
    waiting: Collection[str]  # accounts whose bankruptcies wait for their decision


class Highest:
    """The largest value of the last `window_ms`: a deque whose values fall, so each is put in and taken out once."""

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._falling: deque[tuple[int, int]] = deque()  # (time, value)

    def see(self, time_ms: int, value: int) -> int:
        """Takes the value at a time, not before the last one; returns the largest."""
        falling = self._falling
        while falling and falling[-1][1] <= value:
            falling.pop()
        falling.append((time_ms, value))
        while falling[0][0] < time_ms - self._window_ms:
            falling.popleft()
        return falling[0][1]


class Machine:
    """The state of one symbol, or of the pool, but for what blocks it."""

    __slots__ = ("busy_ms", "state", "trigger")

    def __init__(self) -> None:
        self.state = "NORMAL"
        self.trigger: str | None = None
        self.busy_ms = 0  # log time of the decision, of the last cause, or of the end

    def act(self, trigger: str, now_ms: int) -> None:
        """A decision took positions."""
        self.state, self.trigger, self.busy_ms = "ACTIVE", trigger, now_ms

    def look(self, cause: str | None, now_ms: int, quiet_ms: int) -> None:
        """Takes what there is to warn of at a watch cut."""
        quiet = now_ms - self.busy_ms >= quiet_ms
        if self.state == "ACTIVE" and not quiet:
            return
        if cause is not None:
            self.state, self.trigger, self.busy_ms = "WARNING", cause, now_ms
        elif self.state != "NORMAL" and quiet:
            self.state = "ENDED" if self.state == "ACTIVE" else "NORMAL"
            self.trigger, self.busy_ms = None, now_ms


class Needed:
    """From which forecast on a replay must make them, so that nothing differs from a life without one.

    What earlier ones said is forgotten by the newest where the watch cut before the first that is made lies `quiet_ms`
    behind: a cause counts no more then, and what was said of the pool is said of the newest.
    """

    def __init__(self, quiet_ms: int) -> None:
        self._quiet_ms = quiet_ms
        self._later: deque[tuple[int, int]] = deque()  # (watch cut before, forecast): not quiet for long enough
        self.since_ms = 0

    def made(self, watched_ms: int, now_ms: int) -> None:
        """A forecast is due now; the watch cut before stood at `watched_ms`."""
        self._later.append((watched_ms, now_ms))
        while self._later and self._later[0][0] <= now_ms - self._quiet_ms:
            self.since_ms = self._later.popleft()[1]


class States:
    """The states of one pool, and what was said of them."""

    def __init__(self, settings: StateSettings, pool: str) -> None:
        self._settings, self._pool = settings, pool
        self._ppm = shocks_ppm(settings.shocks)
        self._machines: dict[str, Machine] = {}  # of symbols that are not NORMAL
        self._pool_machine = Machine()
        self._highest: dict[str, Highest] = {}
        self._funds: list[tuple[str, int, int]] = []  # name, available, highest; at the last watch cut
        self._fallen: list[str] = []
        self._turn = -1  # log time of the last forecast in units of `forecast_ms`
        self._forecasts_from_ms = 0
        self._needed = Needed(settings.quiet_ms)
        self._watched_ms = 0
        self._forecast_ms: int | None = None
        self._forecast = Forecast({}, [], {}, {}, {})
        self._warned: dict[str, str] = {}  # symbol -> trigger, by the last forecast
        self._blocked: set[str] = set()  # at the last cut
        self._acted: dict[str, str] = {}  # symbol -> trigger, since the last cut
        self._named: set[str] = set()  # accounts that a bankruptcy named and that have been insolvent since
        self._unnamed: list[tuple[str, int]] = []  # account, deficit
        self._said: dict[str, tuple[str, str | None]] = {}
        self.counts: dict[str, int] = {}  # symbols in each state, as was said last
        self.distance_ppm: dict[str, int] = {}  # by the last forecast; made anew each time, never changed
        self._pool_said: AdlPoolState | None = None
        self._again = False

    def say_again(self) -> None:
        """What was advised before a crash may be lost: the next watch cut says everything anew."""
        self._again = True

    @property
    def forecasts_since_ms(self) -> int:
        """Log time of the oldest forecast that what is said from now on may depend on."""
        return self._needed.since_ms

    def replay_until(self, log_time_ms: int, forecasts_since_ms: int) -> None:
        """Cuts until then are silent: forecasts on which nothing can depend at that time are not made.

        1 M accounts take 0.3 s each time, and a log may hold days. `forecasts_since_ms` is what the commit says; as it
        says it of older settings, no later than by those of today; 0: nothing that was said depends on one.
        """
        by_these = log_time_ms - self._settings.quiet_ms - (self._settings.forecast_ms or 0)
        self._forecasts_from_ms = min(by_these, forecasts_since_ms) if forecasts_since_ms else by_these

    def asks_book(self, now_ms: int) -> bool:
        """Whether a watch cut of a silent replay looks at positions: others need not apply the marks that wait."""
        forecast_ms = self._settings.forecast_ms
        due = forecast_ms is not None and now_ms // forecast_ms != self._turn
        return due and (bool(self._named) or now_ms >= self._forecasts_from_ms)

    def name(self, account: str) -> None:
        """A bankruptcy names an account; without forecasts nobody asks who was named, and nothing is forgotten."""
        if self._settings.forecast_ms is not None:
            self._named.add(account)

    def take(self, decision: AdlDecision) -> None:
        """A decision takes what it says."""
        for demand in decision.demands:
            if demand.taken != "0":
                self._acted[demand.symbol] = f"DECISION {decision.decision_id}"

    def watch(self, point: CutPoint, facts: Facts) -> Iterator[tuple[Key, Message]]:
        """What is to be said at a cut: states that changed, and whatever a new forecast changed."""
        now_ms, settings = point.log_time_ms, self._settings
        acted, self._acted = self._acted, {}
        for symbol, trigger in acted.items():
            self._machines.setdefault(symbol, Machine()).act(trigger, now_ms)
        looked_at = acted.keys() | facts.blocked.keys() | self._blocked
        self._blocked = set(facts.blocked)
        changed: set[str] = set()
        if not point.cutting:
            self._look_at_funds(now_ms, facts.available_minor)
            if settings.forecast_ms is not None and now_ms // settings.forecast_ms != self._turn:
                self._turn = now_ms // settings.forecast_ms
                self._needed.made(self._watched_ms, now_ms)
                still = {name for name in self._named if name in facts.waiting or is_insolvent(facts.book, name)}
                self._named = still
                if now_ms >= self._forecasts_from_ms:
                    changed = self._make_forecast(now_ms, facts)
            self._watched_ms = now_ms
            causes = self._causes(facts.book)
            for symbol in causes:
                self._machines.setdefault(symbol, Machine())
            for symbol, machine in self._machines.items():
                machine.look(causes.get(symbol), now_ms, settings.quiet_ms)
            looked_at |= self._machines.keys()
            self._pool_machine.look(self._pool_cause(), now_ms, settings.quiet_ms)
            if self._again:
                changed |= self._said.keys()
        for symbol in sorted(looked_at | changed):
            machine = self._machines.get(symbol) or Machine()
            said = machine.state, machine.trigger
            if symbol in facts.blocked:
                said = "BLOCKED", facts.blocked[symbol]
            if symbol in changed or said != self._said.get(symbol, ("NORMAL", None)):
                yield symbol, self._symbol_state(symbol, said, now_ms, facts)
            self._count(self._said.get(symbol, ("", None))[0], said[0])
            self._said[symbol] = said
            if machine.state == "NORMAL":
                self._machines.pop(symbol, None)
        if not point.cutting:
            yield from self._pool_state(now_ms, facts.book.currency_decimals)
            self._again = False

    def _count(self, before: str, now: str) -> None:
        if before != now:
            self.counts[before] = self.counts.get(before, 0) - 1
            self.counts[now] = self.counts.get(now, 0) + 1

    # --- causes -------------------------------------------------------------------------------------------------------

    def _look_at_funds(self, now_ms: int, available_minor: Mapping[str, int]) -> None:
        self._funds, self._fallen = [], []
        part = Decimal(0) if self._settings.warning_fall is None else self._settings.warning_fall
        numerator, denominator = part.as_integer_ratio()
        for name, available in sorted(available_minor.items()):
            highest = self._highest.setdefault(name, Highest(FUND_WINDOW_MS)).see(now_ms, available)
            self._funds.append((name, available, highest))
            if numerator and (highest - available) * denominator > numerator * highest:
                self._fallen.append(name)

    def _make_forecast(self, now_ms: int, facts: Facts) -> set[str]:
        """Makes a forecast; returns the symbols of which it says something else than the last one."""
        book, before = facts.book, self._forecast
        made = self._forecast = forecast(book, facts.risk, facts.available_minor, self._ppm)
        self._forecast_ms = now_ms
        self._warned = {}
        distances = {
            symbol: distance_ppm(struck) for symbol, struck in (*made.symbols.items(), (POOL_KEY, made.factor))
        }
        self.distance_ppm = {symbol: ppm for symbol, ppm in distances.items() if ppm is not None}
        whole = self._near(self.distance_ppm.get(POOL_KEY))
        if whole is not None:
            self._warned = {
                symbol: f"FORECAST_FACTOR {text_of(whole, PPM_DECIMALS)}"
                for symbol, volumes in made.factor_volumes.items()
                if whole in volumes
            }
        for symbol in made.symbols:
            alone = self._near(self.distance_ppm.get(symbol))
            if alone is not None:
                self._warned[symbol] = f"FORECAST {text_of(alone, PPM_DECIMALS)}"
        insolvent = {book.accounts.name(row): deficit for row, deficit in made.insolvent.items()}
        unnamed = [(name, deficit) for name, deficit in insolvent.items() if name not in self._named]
        self._unnamed = sorted(unnamed, key=lambda item: (-item[1], item[0].encode()))
        return {
            symbol
            for symbol in (made.symbols | made.factor_volumes | before.symbols | before.factor_volumes)
            if made.symbols.get(symbol) != before.symbols.get(symbol)
            or made.factor_volumes.get(symbol) != before.factor_volumes.get(symbol)
        }

    def _near(self, ppm: int | None) -> int | None:
        """The shock, if it is one that must warn."""
        limit = self._settings.warning_shock
        return ppm if ppm is not None and limit is not None and abs(ppm) <= limit * 10**PPM_DECIMALS else None

    def _causes(self, book: Book) -> dict[str, str]:
        fallen = set(self._fallen)
        causes = dict(self._warned)
        for market in book.markets if fallen else ():
            if market.instrument.fund_id in fallen:
                causes[market.symbol] = f"FUND_FALLEN {market.instrument.fund_id}"
        return causes

    def _pool_cause(self) -> str | None:
        if self._fallen:
            return f"FUND_FALLEN {self._fallen[0]}"
        whole = self._near(distance_ppm(self._forecast.factor))
        return None if whole is None else f"FORECAST_FACTOR {text_of(whole, PPM_DECIMALS)}"

    # --- words --------------------------------------------------------------------------------------------------------

    def _symbol_state(self, symbol: str, said: tuple[str, str | None], now_ms: int, facts: Facts) -> AdlState:
        decimals, made = facts.book.currency_decimals, self._forecast
        fund = facts.available_minor.get(facts.book.market(symbol).instrument.fund_id)
        struck = made.symbols.get(symbol, [])
        return AdlState(
            pool=self._pool, symbol=symbol, state=said[0], cut_time_ms=now_ms, trigger=said[1],  # type: ignore[arg-type]
            fund=None if fund is None else text_of(fund, decimals),
            distance=_distance(struck), forecast_time_ms=self._forecast_ms,
            shocks=[shock.message(decimals) for shock in struck],
            factor_volumes={
                text_of(ppm, PPM_DECIMALS): text_of(volume, decimals)
                for ppm, volume in made.factor_volumes.get(symbol, {}).items()
            },
        )  # fmt: skip

    def _pool_state(self, now_ms: int, decimals: int) -> Iterator[tuple[Key, Message]]:
        """The pool's record, where its state changed or a forecast was made that says something else."""
        machine, made, last = self._pool_machine, self._forecast, self._pool_said
        told = (last.state, last.trigger) if last is not None else ("NORMAL", None)
        may_differ = (machine.state, machine.trigger) != told or now_ms == self._forecast_ms
        if not (may_differ or self._again):
            return
        funds = [FundState(name, text_of(left, decimals), text_of(most, decimals)) for name, left, most in self._funds]
        largest = [
            InsolventAccount(name, text_of(deficit, decimals)) for name, deficit in self._unnamed[:INSOLVENT_SHOWN]
        ]
        said = AdlPoolState(
            pool=self._pool, state=machine.state, cut_time_ms=now_ms, trigger=machine.trigger,  # type: ignore[arg-type]
            funds=funds, distance=_distance(made.factor), forecast_time_ms=self._forecast_ms,
            shocks=[shock.message(decimals) for shock in made.factor],
            insolvent=len(self._unnamed),
            insolvent_deficit=text_of(sum(deficit for _, deficit in self._unnamed), decimals),
            insolvent_accounts=largest, left_out=made.left_out,
        )  # fmt: skip
        before = None if last is None else msgspec.structs.replace(
            last, cut_time_ms=said.cut_time_ms, forecast_time_ms=said.forecast_time_ms
        )  # fmt: skip
        differs = may_differ and said != before
        if differs:
            self._pool_said = said  # what is only said again changes nothing of what will be
        if differs or self._again:
            yield POOL_KEY, said


def _distance(struck: list[Struck]) -> str | None:
    ppm = distance_ppm(struck)
    return None if ppm is None else text_of(ppm, PPM_DECIMALS)
