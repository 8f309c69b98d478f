"""Seeded logs of a small exchange in trouble, with the answers it gives to our forced trades.

`random_log(seed)` lets an exchange act in log time while sequencer and engine read along. Each forced trade is executed
a little later (filled, partly filled or refused) and answered by a result and an account update with its `adl_seq`, so
that the loop is closed and further attempts happen. The records that come out are one complete log.
"""

import heapq
import random
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial

from msgspec.structs import replace

from schemas import (
    Account,
    AccountUpdate,
    AdlDecision,
    Balance,
    Bankruptcy,
    BankruptcyLine,
    Control,
    ForcedTrade,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarkPrice,
    Position,
    Refused,
    decode,
    decode_output,
    encode,
    text_of,
)
from tests.worker.tape import TOPIC, settings_of
from worker.cut import KIND, Event, Sequencer
from worker.engine import Engine
from worker.record import END, Record
from worker.settings import KINDS

# symbol: lot size, first mark in cents, place of the lot's decimal point
SYMBOLS = {"ADA": ("10", 45, 0), "BTC": ("0.1", 50_000, 1), "DOGE": ("100", 12, 0), "ETH": ("1", 3_000, 0)}
# Of bankruptcies:
SORTS = ("whole", "whole", "lines", "priced", "stands alone", "isolated", "stale", "again", "unknown")
LATE_SYMBOL = "NEW"  # listed while the log runs
POSITION_PARTITIONS, MARK_PARTITIONS, BANKRUPTCY_PARTITIONS = 3, 2, 2
PARTITIONS = sorted(
    {(kind, 0) for kind in KINDS}
    | {("positions", n) for n in range(POSITION_PARTITIONS)}
    | {("mark-prices", n) for n in range(MARK_PARTITIONS)}
    | {("bankruptcies", n) for n in range(BANKRUPTCY_PARTITIONS)}
)
BEGIN_MS, TRADING_MS = 100, 3_000  # instruments, then books, each behind a watch cut of their own; then trading


def random_settings(*flags):
    """Settings under which decisions are also held by a limit."""
    return settings_of("decision.accounts_max=12", *flags)


@dataclass
class Holding:
    """One position of the exchange's own ledger: whole lots, cents paid for all of them."""

    lots: int
    entry_cents: int
    isolated_cents: int | None = None


@dataclass
class Book:
    """One account as the exchange keeps it."""

    name: str
    partition: int
    cash_cents: int
    holdings: dict[tuple[str, str], Holding] = field(default_factory=dict)
    seq: int = 0
    adl_seq: int = 0
    gone: bool = False

    def holds(self, *, isolated):
        """True where there is a position, or an isolated one."""
        return any(h.lots and (not isolated or h.isolated_cents is not None) for h in self.holdings.values())


class Exchange:
    """Acts in log time: `due` holds what it will do, each action writes the records of its moment."""

    def __init__(self, seed, write, *, accounts, end_ms, poison):
        self.rng = random.Random(seed)
        self.end_ms = end_ms
        self.poison = poison
        self.due = []
        self.marks = {symbol: mark for symbol, (_, mark, _) in SYMBOLS.items()}
        self.books = {}
        self.fund_cents, self.fund_sequence = 40_000, 0
        self._write = write
        self._acts = self._bankruptcies = self._controls = 0
        self._list_instruments(sorted(SYMBOLS), BEGIN_MS)
        self._open_accounts(accounts)
        self._move_marks(TRADING_MS - 900)
        self.at(TRADING_MS - 800, self._publish_fund)
        for _ in range(2 * accounts):
            self.at(self.rng.randint(TRADING_MS, end_ms), self._trade)
        self._go_bankrupt()
        self._be_operated()
        if poison:
            self._be_wrong()

    # --- time and writing ---------------------------------------------------------------------------------------------

    def at(self, ms, action, *args, **kwargs):
        self._acts += 1
        heapq.heappush(self.due, (ms, self._acts, partial(action, *args, **kwargs)))

    def act(self):
        """Does everything that is due at the next moment, and returns that moment."""
        self.now_ms = self.due[0][0]
        while self.due and self.due[0][0] == self.now_ms:
            heapq.heappop(self.due)[2]()
        return self.now_ms

    def _raw(self, topic, key, value, partition=0, stamp_ms=None):
        self._write(topic, partition, self.now_ms if stamp_ms is None else stamp_ms, key, value)

    def _say(self, message, partition=0, stamp_ms=None):
        key = next(getattr(message, name) for name in message.__struct_fields__).encode()
        self._raw(TOPIC[type(message)], key, encode(message), partition, stamp_ms)

    def _update(self, book, *, full=None, only=(), again=False):
        """The account as it now stands; a delta names the positions in `only`, closed ones with quantity 0."""
        if book.gone:
            return
        book.seq += not again
        full = (self.rng.random() < 0.5 or book.seq == 1) if full is None else full
        positions = [self._position(book, key) for key in (sorted(book.holdings) if full else sorted(set(only)))]
        message = AccountUpdate(
            account=book.name, epoch=1, seq=book.seq, adl_seq=book.adl_seq, full=full,
            balances=[Balance(currency="USD", amount=text_of(book.cash_cents, 2))], positions=positions,
        )  # fmt: skip
        self._say(message, book.partition)

    def _position(self, book, key):
        symbol, side = key
        holding = book.holdings.get(key) or Holding(0, 0)
        isolated = holding.isolated_cents
        return Position(
            symbol=symbol, position_side=side, quantity=quantity_of(symbol, holding.lots),
            entry_value=text_of(holding.entry_cents, 2), margin_mode="cross" if isolated is None else "isolated",
            isolated_margin=None if isolated is None else text_of(isolated, 2), adl_seq=book.adl_seq,
        )  # fmt: skip

    # --- what an exchange says by itself ------------------------------------------------------------------------------

    def _list_instruments(self, symbols, ms):
        for symbol in symbols:
            lot = SYMBOLS[symbol][0] if symbol in SYMBOLS else "1"
            message = Instrument(
                symbol=symbol, tick_size="0.01", lot_size=lot, settlement_currency="USD",
                maintenance_margin_fraction="0.05", price_decimals=2,
            )  # fmt: skip
            self.at(ms, self._say, message)

    def _open_accounts(self, count):
        rng = self.rng
        for number in range(count):
            book = Book(f"a{number:03}", number % POSITION_PARTITIONS, rng.randint(0, 60_000))
            self.books[book.name] = book
            for symbol in rng.sample(sorted(SYMBOLS), rng.choice((1, 1, 1, 2, 3))):
                hedged = rng.random() < 0.15
                for side in ("LONG", "SHORT") if hedged else ("NET",):
                    sign = {"NET": rng.choice((-1, 1)), "LONG": 1, "SHORT": -1}[side]
                    lots = sign * rng.randint(1, 40)
                    isolated = rng.randint(0, 20_000) if rng.random() < 0.15 else None
                    entry = int(lots * self.lot_cents(symbol) * rng.uniform(0.9, 1.1))
                    book.holdings[symbol, side] = Holding(lots, entry, isolated)
            self.at(1_000 + rng.randint(1, 900), self._update, book)
            role = rng.choices(("TRADER", "LIQUIDATION", "INSURANCE"), (95, 3, 2))[0]
            adl = rng.choices(("NORMAL", "LAST", "EXEMPT"), (80, 12, 8))[0]
            owner = f"o{number // 4}" if rng.random() < 0.3 else None
            if (role, adl, owner) != ("TRADER", "NORMAL", None):
                said = Account(account=book.name, role=role, adl=adl, beneficial_owner=owner)
                self.at(rng.choice((700, 1_500, 6_500)), self._say, said)

    def lot_cents(self, symbol):
        """Cents that one lot is worth."""
        return int(self.marks[symbol] * Decimal(SYMBOLS[symbol][0] if symbol in SYMBOLS else "1"))

    def _move_marks(self, begin_ms):
        """Prices that wander and, halfway, jump, on two partitions; one more symbol is listed while they do."""
        for number, symbol in enumerate(sorted(SYMBOLS)):
            jump = self.rng.choice((0.6, 0.75, 1.3))
            jump_ms = (begin_ms + self.end_ms) // 2 + self.rng.randint(0, 2_000)
            self.at(begin_ms, self._tick, symbol, number % MARK_PARTITIONS, jump, jump_ms)
        self._list_instruments([LATE_SYMBOL], 6_500)
        self.marks[LATE_SYMBOL] = 700
        late = MarkPrice(symbol=LATE_SYMBOL, mark_price="7", event_time_ms=7_500)
        self.at(7_500, self._say, late)

    def _tick(self, symbol, partition, jump, jump_ms):
        """One mark, the next one set up; now and then the producer's clock steps back for a moment."""
        rng = self.rng
        factor = rng.uniform(0.985, 1.015)
        if self.now_ms >= jump_ms:
            factor, jump_ms = factor * jump, END
        mark = self.marks[symbol] = max(1, round(self.marks[symbol] * factor))
        message = MarkPrice(symbol=symbol, mark_price=text_of(mark, 2), event_time_ms=self.now_ms)
        self._say(message, partition)
        if rng.random() < 0.1:
            self._say(message, partition, self.now_ms - 40)
        next_ms = self.now_ms + rng.choice((100, 250, 250, 400, 900))
        if next_ms < self.end_ms:
            self.at(next_ms, self._tick, symbol, partition, jump, jump_ms)

    def _trade(self):
        """One fill of two accounts, by delta or full update; some are sent again, some accounts go away."""
        rng = self.rng
        buyer, seller = rng.sample([book for book in self.books.values() if not book.gone], 2)
        symbol = rng.choice(sorted(SYMBOLS) + [LATE_SYMBOL] * (self.now_ms > 8_000))
        lots = rng.randint(1, 8)
        cents = lots * self.lot_cents(symbol)
        for book, sign in ((buyer, 1), (seller, -1)):
            hedged = any((symbol, side) in book.holdings for side in ("LONG", "SHORT"))
            key = symbol, ("LONG" if sign > 0 else "SHORT") if hedged else "NET"
            fill(book, key, sign * lots, -sign * cents)
            self._update(book, only=[key])
        if rng.random() < 0.1:
            self._update(seller, only=[key], again=True)
        if rng.random() < 0.02:
            seller.gone = True
            self._raw("positions", seller.name.encode(), None, seller.partition)

    # --- what goes wrong ----------------------------------------------------------------------------------------------

    def _go_bankrupt(self):
        """Moments at which accounts go bankrupt, some of them jointly."""
        ms = TRADING_MS + 500
        while ms < self.end_ms - 2_000:
            for _ in range(self.rng.choice((1, 1, 2, 3))):
                self.at(ms, self._bankrupt)
            ms += self.rng.choice((3, 150, 700, 1_300, 2_000))

    def _bankrupt(self):
        """One event of any sort about an account as its book now stands."""
        rng = self.rng
        self._bankruptcies += 1
        sort = rng.choice(SORTS)
        books = [book for book in self.books.values() if not book.gone and book.holds(isolated=sort == "isolated")]
        book = min(rng.sample(books, min(5, len(books))), key=lambda item: item.cash_cents)
        message = Bankruptcy(
            id=f"b{rng.randint(1, self._bankruptcies) if sort == 'again' else self._bankruptcies}",
            account="nobody" if sort == "unknown" else book.name,
            event_time_ms=self.now_ms + 61_000 * (sort == "stale"),  # fresh only when a later mark has come
            lines=[] if sort in ("whole", "stale", "unknown") else self._lines(book, sort),
            equity=text_of(-rng.randint(1, 5_000), 2) if sort == "stands alone" else None,
            insurance=text_of(rng.randint(0, 2_000), 2) if sort == "stands alone" else None,
        )
        if len(message.lines) > 1 and rng.random() < 0.3:  # in two events at once, or a part and then the book
            more = replace(message, id=f"{message.id}-", lines=rng.choice(([], message.lines[1:])))
            message = replace(message, lines=message.lines[:1])
            self._say(more, rng.randrange(BANKRUPTCY_PARTITIONS))
        if rng.random() < 0.05:
            self._control("TRIGGER", bankruptcy=message)
        else:
            self._say(message, rng.randrange(BANKRUPTCY_PARTITIONS))

    def _lines(self, book, sort):
        """The account's positions; now and then the event knows more of them than we do."""
        rng = self.rng
        lines = []
        for (symbol, side), holding in sorted(book.holdings.items()):
            if holding.lots and (sort != "isolated" or holding.isolated_cents is not None):
                price = text_of(round(self.marks[symbol] * rng.uniform(0.95, 1.05)) or 1, 2)
                lots = holding.lots * rng.choice((1, 1, 1, 1, 2))
                line = BankruptcyLine(
                    symbol=symbol, quantity=quantity_of(symbol, lots), position_side=side,
                    price=price if sort == "priced" and rng.random() < 0.8 else None,
                )  # fmt: skip
                lines.append(line)
        return lines

    def _control(self, action, **more):
        self._controls += 1
        self._say(Control(id=f"c{self._controls}", action=action, operator="ann", reason="test", **more))

    def _be_operated(self):
        rng = self.rng
        for _ in range(2):
            ms = rng.randint(TRADING_MS, self.end_ms - 3_000)
            self.at(ms, self._control, "PAUSE")
            self.at(ms + rng.randint(100, 1_500), self._control, "RESUME")
        for policy in ("queue:pnl_leverage", "queue:effective_leverage", "waterfill"):
            self.at(rng.randint(TRADING_MS, self.end_ms), self._control, "POLICY", policy=policy)

    def _be_wrong(self):
        """Records that are refused, each sort twice."""
        stranger = encode(ForcedTradeResult(trade_id="q", account="q", filled_quantity="1"))
        for topic, key, value in 2 * [
            ("positions", b"a007", b"\xff{"),
            ("positions", b"a008", b'{"type":"Nothing"}'),
            ("mark-prices", b"ETH", encode(MarkPrice(symbol="ETH", mark_price="-1", event_time_ms=1))),
            ("mark-prices", b"X", encode(MarkPrice(symbol="X", mark_price="1", event_time_ms=1))),
            ("bankruptcies", b"q", b"?"),
            ("controls", b"q", None),
            ("forced-trade-results", b"q", b"[]"),
            ("forced-trade-results", b"q", stranger),
        ]:
            number = int(key[1:]) % POSITION_PARTITIONS if topic == "positions" else 0
            self.at(self.rng.randint(TRADING_MS, self.end_ms), self._raw, topic, key, value, number)

    # --- how it answers -----------------------------------------------------------------------------------------------

    def answer(self, outputs, now_ms):
        """Sets up what follows from our outputs: trades executed, funds less draws, a release where a limit held."""
        rng = self.rng
        legs = {}
        for output in outputs:
            message = decode_output(output.value)
            if isinstance(message, ForcedTrade):
                legs.setdefault(message.account, []).append(message)
            elif isinstance(message, AdlDecision):
                if (message.reason or "").startswith("ACCOUNTS"):
                    release = partial(self._control, "RELEASE", decision_id=message.decision_id)
                    self.at(now_ms + rng.randint(1, 900), release)
                if message.fund_draws:
                    self.fund_cents -= sum(cents_of(paid) for paid in message.fund_draws.values())
                    self.fund_sequence = message.sequence
                    self.at(now_ms + rng.randint(1, 400), self._publish_fund)
        together_ms = now_ms + rng.randint(1, 60)
        for account, trades in legs.items():
            ms = together_ms if rng.random() < 0.6 else now_ms + rng.randint(1, 500)
            self.at(ms, self._execute, self.books.get(account), trades)

    def _publish_fund(self):
        balance = text_of(self.fund_cents, 2)
        self._say(InsuranceFund(fund_id="default", balance=balance, decision_sequence=self.fund_sequence))

    def _execute(self, book, trades):
        """Fills what the account still has, refuses some of it, answers each leg, and says the account."""
        rng = self.rng
        touched = []
        for trade in trades:
            key = trade.symbol, trade.position_side
            wanted, sign = lots_of(trade.symbol, trade.quantity), -1 if trade.side == "SELL" else 1
            holding = None if book is None or book.gone else book.holdings.get(key)
            filled = 0 if holding is None else min(wanted, max(0, -sign * holding.lots))
            if trade.role == "COUNTERPARTY":
                filled = rng.choices((filled, 0, rng.randint(0, filled)), (75, 15, 10))[0]
            if filled:
                fill(book, key, sign * filled, cents_of(trade.quote_amount) * filled // wanted)
            result = ForcedTradeResult(
                trade_id=trade.trade_id, account=trade.account, filled_quantity=quantity_of(trade.symbol, filled),
                reason=None if filled == wanted else "POSITION",
            )  # fmt: skip
            for _ in range(1 + (self.poison and rng.random() < 0.03)):
                self._say(result)
            if book is not None:
                book.adl_seq = trade.adl_seq
                touched.append(key)
        if touched:
            self.at(self.now_ms + rng.choice((0, 0, 30)), self._update, book, only=touched)


def fill(book, key, lots, cash_cents):
    """Books a signed fill: what is reduced gives back its share of the entry, the rest opens at what was paid."""
    holding = book.holdings.setdefault(key, Holding(0, 0))
    reduced = min(abs(lots), abs(holding.lots)) if holding.lots * lots < 0 else 0
    if reduced:
        sign = 1 if lots > 0 else -1
        entry = holding.entry_cents * reduced // abs(holding.lots)
        cash = cash_cents * reduced // abs(lots)
        holding.lots += sign * reduced
        holding.entry_cents -= entry
        if holding.isolated_cents is None:
            book.cash_cents += cash - entry
        else:
            holding.isolated_cents = max(0, holding.isolated_cents + cash - entry)
        lots, cash_cents = lots - sign * reduced, cash_cents - cash
    if lots:
        holding.lots += lots
        holding.entry_cents -= cash_cents
    if holding.entry_cents * holding.lots < 0:  # a rounded share may leave a cent on the wrong side
        holding.entry_cents = 0
    if not holding.lots:
        holding.entry_cents, holding.isolated_cents = 0, None


def cents_of(text):
    """An amount of money in cents."""
    return int(Decimal(text) * 100)


def quantity_of(symbol, lots):
    """Lots as the text of a quantity in contracts."""
    lot, _, decimals = SYMBOLS.get(symbol, ("1", 0, 0))
    return text_of(int(lots * Decimal(lot).scaleb(decimals)), decimals)


def lots_of(symbol, text):
    """The text of a quantity as lots."""
    return int(Decimal(text) / Decimal(SYMBOLS.get(symbol, ("1",))[0]))


def random_log(seed, *, accounts=200, end_ms=24_000, poison=True, settings=None, said=None):
    """Records of a complete log in the order in which they were written, the exchange's answers among them.

    `said` collects the outputs that the engine gave while the log grew.
    """
    settings = settings or random_settings()
    engine = Engine(settings)
    sequencer = Sequencer(PARTITIONS, settings.cut.watch_ms, settings.cut.joint_window_ms)
    records, offsets = [], dict.fromkeys(PARTITIONS, 0)

    def write(topic, partition, stamp_ms, key, value):
        record = Record(topic, partition, offsets[topic, partition], stamp_ms, key, value)
        offsets[topic, partition] += 1
        records.append(record)
        sequencer.push(event_of(record))

    exchange = Exchange(seed, write, accounts=accounts, end_ms=end_ms, poison=poison)
    while exchange.due:
        now_ms = exchange.act()
        until_ms = now_ms + 1 if exchange.due else END
        for step in list(sequencer.steps(lambda _, until_ms=until_ms: until_ms)):
            if isinstance(step, Event):
                engine.apply(step)
            else:
                outputs = engine.cut(step)
                exchange.answer(outputs, max(now_ms, step.log_time_ms))
                if said is not None:
                    said += outputs
    return records


KIND_OF_TOPIC = {topic: KIND[message] for message, topic in TOPIC.items()}


def event_of(record):
    """The event of a record whose topic carries its own kind of message."""
    kind = KIND_OF_TOPIC[record.topic]
    try:
        return Event(record, [] if record.value is None else decode(record.value), kind)
    except Refused as refused:
        return Event(record, [], kind, refused)
