"""What goes wrong at the random exchange: bankruptcies of every sort, operators, records that are refused."""

from msgspec.structs import replace

from schemas import (
    Bankruptcy,
    BankruptcyLine,
    Control,
    ForcedTradeResult,
    MarkPrice,
    encode,
    text_of,
)
from tests.worker.random_ledger import quantity_of

# Of bankruptcies:
SORTS = ("whole", "whole", "lines", "priced", "stands alone", "isolated", "stale", "again", "unknown")
POSITION_PARTITIONS, BANKRUPTCY_PARTITIONS = 3, 2
TRADING_MS = 3_000  # trading begins


class Trouble:
    """Actions of the exchange; it has books, marks, a time and a voice."""

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
        if not books:
            return
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
        for policy in ("queue:pnl_leverage", "queue:effective_leverage", "factor", "risk", "waterfill"):
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
