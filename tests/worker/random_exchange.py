"""A small exchange in trouble, acting in log time from a seed, and how it answers our forced trades."""

import heapq
import random
from decimal import Decimal
from functools import partial

from schemas import (
    Account,
    AccountUpdate,
    AdlDecision,
    Balance,
    ForcedTrade,
    ForcedTradeResult,
    Instrument,
    InsuranceFund,
    MarginTier,
    MarkPrice,
    Position,
    RiskModel,
    RiskSymbol,
    decode_output,
    encode,
    text_of,
)
from tests.worker.random_ledger import SYMBOLS, Book, Holding, cents_of, fill, lots_of, quantity_of
from tests.worker.random_trouble import BANKRUPTCY_PARTITIONS, POSITION_PARTITIONS, TRADING_MS, Trouble
from tests.worker.tape import TOPIC
from worker.record import END
from worker.settings import KINDS

LATE_SYMBOL = "NEW"  # listed while the log runs
TIERED = min(SYMBOLS)  # has margin tiers
MARK_PARTITIONS = 2
PARTITIONS = sorted(
    {(kind, 0) for kind in KINDS}
    | {("positions", n) for n in range(POSITION_PARTITIONS)}
    | {("mark-prices", n) for n in range(MARK_PARTITIONS)}
    | {("bankruptcies", n) for n in range(BANKRUPTCY_PARTITIONS)}
)
BEGIN_MS = 100  # instruments, then books, each behind a watch cut of their own; then trading


class Exchange(Trouble):
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
        self._publish_models(random.Random(seed))
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
            tiers = [
                MarginTier(notional_max=end, maintenance_margin_fraction=fraction)
                for end, fraction in (("60", "0.05"), ("200", "0.1"), ("400", "0.2"))
            ]
            message = Instrument(
                symbol=symbol, tick_size="0.01", lot_size=lot, settlement_currency="USD",
                maintenance_margin_fraction="0.05", price_decimals=2,
                margin_tiers=tiers if symbol == TIERED else None,
            )  # fmt: skip
            self.at(ms, self._say, message)

    def _publish_models(self, rng):
        """Two models, with other factors and tails and not of all symbols, behind a time without one."""
        for number, tail in enumerate((4.0, None, 3.5)[: 2 + self.poison]):
            rows = [
                RiskSymbol(
                    symbol=symbol, loadings=[rng.uniform(-0.01, 0.05) for _ in range(1 + number)],
                    idiosyncratic=rng.uniform(1e-5, 1e-3) * (-1 if number == 2 else 1),  # the third is refused
                )
                for symbol in rng.sample(sorted(SYMBOLS), 3)
            ]  # fmt: skip
            model = RiskModel(id=f"m{number}", horizon_seconds=600, tail=tail, symbols=rows)
            self.at(rng.randint(TRADING_MS, self.end_ms), self._say, model)

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
