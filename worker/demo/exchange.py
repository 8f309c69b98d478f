"""A tiny derivatives exchange, whole and seeded: it trades, falls, goes bankrupt, and executes what it is told.

Rule 1: a tick's records come in log time order, and answers to a trade come after the cut that decided it.
Rule 2: after every step the ledger checks itself: longs equal shorts, and all cash sums to zero.
"""

import zlib
from collections.abc import Sequence

import numpy as np

from schemas import encode
from schemas.messages import (
    AccountUpdate,
    AdlDecision,
    Balance,
    ForcedTrade,
    InputMessage,
    Instrument,
    InsuranceFund,
    MarginReduction,
    MarkPrice,
    Position,
)
from schemas.units import text_of
from worker.demo import population, prices
from worker.demo.execution import Execution
from worker.demo.ledger import SIDES, Health, Ledger
from worker.demo.liquidation import Liquidation
from worker.demo.prices import CURRENCY, PPM, money
from worker.demo.reducing import Reducing
from worker.demo.trading import trade_some
from worker.record import Partition, Record

EPOCH_MS = 1_760_130_000_000  # 2025-10-10T21:00:00Z
TICK_MS = 1000
# In the order in which kinds of equal log time are merged; with their partitions.
TOPICS = {
    "instruments": 1,
    "accounts": 4,
    "controls": 1,
    "insurance-fund": 1,
    "mark-prices": 1,
    "positions": 4,
    "forced-trade-results": 1,
    "bankruptcies": 1,
}
RANK = {topic: rank for rank, topic in enumerate(TOPICS)}
TRADES_PER_TICK = 40
QUIET_TICKS = 10  # at the end: nothing is declared any more, so that everything open is answered
DRAIN_TICKS = 3  # ticks with nothing open before the stream ends


class Exchange:
    """`start()` once, then `step()` until `done`; `execute()` at any time between."""

    def __init__(self, seed: int, accounts: int = 10_000, symbols: int = 20, ticks: int = 180) -> None:
        if ticks < 60:
            raise ValueError(f"ticks must be at least 60, was {ticks}")
        # One stream of chance per part: what one of them draws never moves another.
        crowd, path, trading, engine, feed = np.random.default_rng(seed).spawn(5)
        specs = prices.specs(symbols)
        self.path = prices.PricePath(specs, ticks, path)
        self.ledger = Ledger(population.names(accounts), specs, self.path.marks)
        self.open_interest = population.Population(self.ledger, crowd).open_interest
        for fund, ppm in (("default", 1800), ("alts", 300)):
            self.ledger.endow(fund, self.open_interest * ppm // PPM)
        self.crowd, self.trading, self.feed = crowd, trading, feed
        self.liquidation = Liquidation(self.ledger, engine)
        self.seq = [0] * accounts
        self.epoch = [1] * accounts
        self.execution = Execution(self.ledger, self.liquidation, seed, self.seq)
        self.reducing = Reducing(self.ledger, self.liquidation)
        self.ticks, self.tick, self.traded = ticks, 0, 0
        self.offsets: dict[Partition, int] = {(topic, p): 0 for topic, count in TOPICS.items() for p in range(count)}
        self._drafts: list[tuple[int, int, int, str, bytes, bytes]] = []
        self._funds: dict[str, int] = {}
        self._idle = 0
        self._bankruptcies: list[int] = []  # per tick with any
        self.ledger.check()

    @property
    def next_time_ms(self) -> int:
        """No record still to come has a smaller log time."""
        return EPOCH_MS + (self.tick + 1) * TICK_MS if self.started else EPOCH_MS

    @property
    def started(self) -> bool:
        return self.offsets["instruments", 0] > 0

    @property
    def done(self) -> bool:
        """True when the last tick is over and for some ticks nothing was left to answer."""
        return self.tick >= self.ticks and self._idle >= DRAIN_TICKS and self.execution.idle

    def start(self) -> list[Record]:
        """Instruments, accounts, funds, first marks, and a full update of every account."""
        ledger = self.ledger
        for spec in ledger.specs:
            instrument = Instrument(
                symbol=spec.symbol,
                tick_size=spec.tick,
                lot_size=spec.lot,
                multiplier=spec.multiplier,
                settlement_currency=CURRENCY,
                maintenance_margin_fraction=text_of(spec.margin_ppm, 6),
                price_decimals=None if spec.default_scale else spec.price_decimals,
                fund_id=spec.fund,
            )
            self._draft("instruments", spec.symbol, instrument, EPOCH_MS)
        for account in population.account_records(ledger, self.crowd):
            self._draft("accounts", account.account, account, EPOCH_MS)
        self._publish_funds(EPOCH_MS)
        self._publish_marks(EPOCH_MS)
        for row in range(len(ledger.names)):
            self._publish_account(row, EPOCH_MS + 1, full=True)
        ledger.touched.clear()
        return self._records()

    def step(self) -> list[Record]:
        """The next tick: marks, trades, answers to forced trades, liquidations, bankruptcies."""
        self.tick += 1
        tick, ledger, now = self.tick, self.ledger, EPOCH_MS + self.tick * TICK_MS
        ledger.marks[:] = self.path.step(tick)
        self._publish_marks(now)
        open_market = tick <= self.ticks
        if open_market:
            self.traded += trade_some(ledger, self.liquidation, Health(ledger), TRADES_PER_TICK, self.trading)
            self.reducing.run()
            self._publish_touched(now + 100)
            self._restart_epochs(now + 150)
        self.execution.pay()
        self.execution.run(tick)
        waiting = self.execution.waiting()
        self.liquidation.thaw(waiting)
        self._publish_funds(now + 300)
        self._publish_touched(now + 300)
        for result in self.execution.due_results(tick):
            self._draft("forced-trade-results", result.trade_id, result, now + 300)
        if open_market:
            self.liquidation.sell(Health(ledger), 1 if tick in self.path.crash else 12)
            self._publish_touched(now + 400)
        if tick <= self.ticks - QUIET_TICKS:
            self._declare(now, waiting)
        self._idle = self._idle + 1 if self.execution.idle else 0
        self.check()
        return self._records()

    def execute(
        self,
        trades: Sequence[ForcedTrade],
        decisions: Sequence[AdlDecision] = (),
        reductions: Sequence[MarginReduction] = (),
    ) -> None:
        """Takes committed forced trades, the fund draws of their decisions, and staged reductions; later ticks answer.

        A reduction is not answered: the next update shows it.
        """
        self.execution.accept(self.tick, trades, decisions)
        self.reducing.accept(reductions)

    def check(self) -> None:
        """Raises BrokenInvariant when the ledger contradicts itself."""
        self.ledger.check()

    def report(self) -> dict[str, int | str | list[int] | dict[str, str]]:
        """What happened, by the exchange's own books."""
        ledger, clearing = self.ledger, self.execution.clearing
        return {
            "ticks": self.tick,
            "accounts": len(ledger.names),
            "positions": int(np.count_nonzero(ledger.lots)),
            "open_interest": money(self.open_interest),
            "ordinary_trades": self.traded,
            "closed_in_market": self.liquidation.closed_in_market,
            "bankruptcies": self.liquidation.declared,
            "bankruptcies_by_tick": self._bankruptcies,
            "still_frozen": len(self.liquidation.frozen),
            "forced_filled": self.execution.counts["filled"],
            "forced_partial": self.execution.counts["partial"],
            "forced_refused": self.execution.counts["refused"],
            "reductions_filled": self.reducing.counts["filled"],
            "reductions_partial": self.reducing.counts["partial"],
            "fund_start": {fund: money(amount) for fund, amount in self.liquidation.fund_start.items()},
            "fund_end": {fund: money(amount) for fund, amount in ledger.funds.items()},
            "fund_shortfall": money(ledger.fund_shortfall),
            "written_off_by_house": money(ledger.bad_debt),
            "clearing_lots": sum(abs(int(ledger.lots[slot])) for slot in ledger.slots[clearing]),
            "clearing_cash": money(int(ledger.balance[clearing])),
        }

    def _declare(self, now: int, waiting: set[int]) -> None:
        """Bankruptcies of one tick: all at one log time after a jump or by chance, else in threes."""
        declared = self.liquidation.declare(self.tick, Health(self.ledger), waiting, now)
        if not declared:
            return
        self._bankruptcies.append(len(declared))
        self._publish_funds(now + 450)
        joint = self.path.is_jump(self.tick) or self.feed.random() < 0.3
        gap = max(1, min(20, 450 // len(declared)))
        for i, bankruptcy in enumerate(declared):
            self._draft("bankruptcies", bankruptcy.account, bankruptcy, now + 500 + (0 if joint else i // 3 * gap))

    def _publish_marks(self, now: int) -> None:
        for spec, mark in zip(self.ledger.specs, self.path.marks, strict=True):
            message = MarkPrice(symbol=spec.symbol, mark_price=spec.price(mark), event_time_ms=now)
            self._draft("mark-prices", spec.symbol, message, now)

    def _publish_funds(self, now: int) -> None:
        for fund, amount in self.ledger.funds.items():
            if self._funds.get(fund) != amount:
                self._funds[fund] = amount
                sequence = self.execution.decision_sequence
                message = InsuranceFund(fund_id=fund, balance=money(amount), decision_sequence=sequence)
                self._draft("insurance-fund", fund, message, now)

    def _publish_touched(self, now: int) -> None:
        lag, touched = self.execution.lag, self.ledger.touched
        for row in sorted(row for row in touched if lag.get(row, 0) <= self.tick):
            full = zlib.crc32(self.ledger.names[row].encode()) % 3 == 0
            again = 2 if self.feed.random() < 0.01 else 1  # upstreams send a record twice now and then
            draft = self._publish_account(row, now, full)
            self._drafts += [draft] * (again - 1)
            del touched[row]
            lag.pop(row, None)

    def _restart_epochs(self, now: int) -> None:
        """Once, in the middle, some accounts move to another margin engine: a new epoch, sequence numbers from one."""
        if self.tick != self.ticks // 2:
            return
        busy = self.execution.waiting() | set(self.ledger.touched)
        for row in self.feed.integers(population.FIRST_TRADER, len(self.ledger.names), 20).tolist():
            if row not in busy:
                self.epoch[row] += 1
                self.seq[row] = 0
                self._publish_account(row, now, full=True)

    def _publish_account(self, row: int, now: int, full: bool) -> tuple[int, int, int, str, bytes, bytes]:
        """One atomic record: the balance and, if full, every position, else those that changed."""
        ledger = self.ledger
        slots = [s for s in ledger.slots[row] if ledger.lots[s]] if full else sorted(ledger.touched[row])
        self.seq[row] += 1
        message = AccountUpdate(
            account=ledger.names[row],
            epoch=self.epoch[row],
            seq=self.seq[row],
            adl_seq=int(ledger.account_leg[row]),
            full=full,
            balances=[Balance(currency=CURRENCY, amount=money(int(ledger.balance[row])))],
            positions=[self._position(slot) for slot in slots],
        )
        return self._draft("positions", ledger.names[row], message, now)

    def _position(self, slot: int) -> Position:
        ledger = self.ledger
        spec, isolated = ledger.specs[int(ledger.symbol[slot])], bool(ledger.isolated[slot])
        return Position(
            symbol=spec.symbol,
            quantity=spec.quantity(int(ledger.lots[slot])),
            position_side=SIDES[int(ledger.side[slot])],
            entry_value=money(int(ledger.entry[slot])),
            margin_mode="isolated" if isolated else "cross",
            isolated_margin=money(int(ledger.margin[slot])) if isolated else None,
            adl_seq=int(ledger.leg[slot]),
        )

    def _draft(self, topic: str, key: str, message: InputMessage, now: int) -> tuple[int, int, int, str, bytes, bytes]:
        partition = zlib.crc32(key.encode()) % TOPICS[topic]
        draft = (now, RANK[topic], partition, topic, key.encode(), encode(message))
        self._drafts.append(draft)
        return draft

    def _records(self) -> list[Record]:
        """The drafts of the tick in merge order, with their offsets."""
        self._drafts.sort(key=lambda draft: draft[:3])
        records = []
        for now, _, partition, topic, key, value in self._drafts:
            offset = self.offsets[topic, partition]
            self.offsets[topic, partition] = offset + 1
            records.append(Record(topic, partition, offset, now, key, value))
        self._drafts.clear()
        return records
