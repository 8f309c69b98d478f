"""The book once more, as dictionaries and fractions: slow, obvious, and nothing shared with the real one but messages.

Every answer is computed from the messages' numbers anew; nothing is kept incrementally.
"""

from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import floor

from schemas.messages import Account, AccountUpdate, Instrument, MarkPrice, Position

VALUE_MAX = 2**51
SIDES = ["NET", "LONG", "SHORT"]


class TwinRefusal(Exception):  # noqa: N818  # named after what it stands for
    """The twin would not take it; the reason is the argument."""


@dataclass
class Held:
    lots: int
    entry: int
    margin: int | None
    adl_seq: int
    sell: int = 0
    buy: int = 0
    quote: int = 0

    @property
    def effective(self) -> int:
        return max(0, self.lots - self.sell) if self.lots > 0 else min(0, self.lots + self.buy)


@dataclass
class Book1:
    """What updates of one account say."""

    epoch: int
    seq: int
    adl_seq: int
    full_adl_seq: int
    balance: int = 0
    required: int | None = None
    positions: dict[tuple[str, str], Held] = field(default_factory=dict)
    collateral: dict[str, int] = field(default_factory=dict)  # converting symbol -> booked lots
    closed: dict[tuple[str, str], int] = field(default_factory=dict)


class Twin:
    def __init__(self, currency: str, decimals: int, converting: dict[str, str] | None = None) -> None:
        self.currency, self.decimals, self.converting = currency, decimals, converting or {}
        self.unit = 10**decimals
        self.instruments: dict[str, Instrument] = {}
        self.marks: dict[str, tuple[Fraction, int, int, int]] = {}  # price, scaled, event time, log time
        self.accounts: dict[str, Account] = {}
        self.books: dict[str, Book1] = {}
        self.loose: dict[str, int] = {}
        self.parked: dict[tuple[str, str], str] = {}

    # --- numbers ------------------------------------------------------------------------------------------------------

    def number(self, text: str, reason: str = "NUMBER", step: Fraction | None = None) -> Fraction:
        value = Fraction(text)
        if step is not None and (value / step).denominator != 1:
            raise TwinRefusal(reason)
        return value

    def minor(self, text: str, most: int) -> int:
        value = self.number(text, "NUMBER", Fraction(1, self.unit)) * self.unit
        if abs(value) > most:
            raise TwinRefusal("RANGE")
        return int(value)

    def lot(self, symbol: str) -> Fraction:
        return Fraction(self.instruments[symbol].lot_size)

    def price_scale(self, symbol: str) -> int:
        instrument = self.instruments[symbol]
        if instrument.price_decimals is not None:
            return instrument.price_decimals
        tick = Fraction(instrument.tick_size)
        return next(d for d in range(30) if (tick * 10**d).denominator == 1) + 6

    def price(self, symbol: str, text: str) -> Fraction:
        price = self.number(text, "PRICE", Fraction(1, 10 ** self.price_scale(symbol)))
        if price <= 0:
            raise TwinRefusal("PRICE")
        scaled = price * 10 ** self.price_scale(symbol)
        if self.inverse(symbol):
            if scaled > 2**62 or not 10**6 <= self.exact(symbol, 1, price) * 10**9 <= 2**63 - 2:
                raise TwinRefusal("RANGE")
        elif scaled * (self.exact(symbol, 1, price) / scaled).numerator >= 2**63 or scaled > 2**62:
            raise TwinRefusal("RANGE")
        return price

    def inverse(self, symbol: str) -> bool:
        return self.instruments[symbol].contract_type == "inverse"

    def exact(self, symbol: str, lots: int, price: Fraction) -> Fraction:
        """Booked lots at a price; of an inverse contract at its reciprocal, to nine decimals of a minor unit."""
        if self.inverse(symbol):
            per_lot = self.lot(symbol) * Fraction(self.instruments[symbol].multiplier) / price * self.unit
            return lots * Fraction(floor(per_lot * 10**9 + Fraction(1, 2)), 10**9)
        return lots * self.lot(symbol) * Fraction(self.instruments[symbol].multiplier) * price * self.unit

    def value(self, symbol: str, lots: int) -> int:
        return floor(self.exact(symbol, lots, self.marks[symbol][0])) if symbol in self.marks else 0

    def too_large(self, symbol: str, lots: int, price: Fraction) -> bool:
        per_lot = floor(self.exact(symbol, 1, price))
        return abs(lots) * (per_lot + 1) > VALUE_MAX

    # --- messages -----------------------------------------------------------------------------------------------------

    def set_instrument(self, message: Instrument) -> None:
        if message.settlement_currency != self.currency:
            raise TwinRefusal("UNSUPPORTED")
        self.check_tiers(message)
        before = self.instruments.get(message.symbol)
        if before is not None:
            if before.contract_type != message.contract_type:
                raise TwinRefusal("SCALE")
            same = ("tick_size", "lot_size", "multiplier")
            if any(Fraction(getattr(before, name)) != Fraction(getattr(message, name)) for name in same):
                raise TwinRefusal("SCALE")
        self.instruments[message.symbol] = message
        self.parked.pop(("Instrument", message.symbol), None)

    def check_tiers(self, message: Instrument) -> None:
        end = 0
        for number, tier in enumerate(message.margin_tiers or []):
            fraction = Fraction(tier.maintenance_margin_fraction)
            if not 0 < fraction <= 1 or (number == 0 and fraction != Fraction(message.maintenance_margin_fraction)):
                raise TwinRefusal("FIELD")
            begin, end = end, self.minor(tier.notional_max, 2**60)
            if end <= begin:
                raise TwinRefusal("FIELD")

    def set_account(self, message: Account) -> None:
        self.accounts[message.account] = message
        self.parked.pop(("Account", message.account), None)

    def set_mark(self, message: MarkPrice, log_time_ms: int) -> None:
        symbol = message.symbol
        if symbol not in self.instruments:
            raise TwinRefusal("UNKNOWN_SYMBOL")
        price = self.price(symbol, message.mark_price)
        for book in self.books.values():
            for (held_symbol, _), held in book.positions.items():
                if held_symbol == symbol and self.too_large(symbol, held.lots, price):
                    raise TwinRefusal("RANGE")
            if self.too_large(symbol, book.collateral.get(symbol, 0), price):
                raise TwinRefusal("RANGE")
        scaled = int(price * 10 ** self.price_scale(symbol))
        self.marks[symbol] = price, scaled, message.event_time_ms, log_time_ms
        self.parked.pop(("MarkPrice", symbol), None)

    def apply_update(self, update: AccountUpdate) -> str:
        book = self.books.get(update.account) or Book1(-1, -1, 0, 0)
        if (update.epoch, update.seq) <= (book.epoch, book.seq) or update.epoch < book.epoch:
            return "STALE"
        renewed = update.epoch > book.epoch
        if renewed and not update.full:
            raise TwinRefusal("EPOCH")
        new = Book1(update.epoch, update.seq, update.adl_seq, update.adl_seq if update.full else 0)
        if not renewed:
            new.adl_seq = max(book.adl_seq, update.adl_seq)
            new.full_adl_seq = max(book.full_adl_seq, new.full_adl_seq)
        seen = {} if renewed else {key: held.adl_seq for key, held in book.positions.items()} | book.closed
        if not update.full:
            new.balance, new.required, new.collateral = book.balance, book.required, dict(book.collateral)
            new.positions = {key: replace(held) for key, held in book.positions.items()}
        listed = [(position.symbol, position.position_side) for position in update.positions]
        for position in update.positions:
            key = position.symbol, position.position_side
            if position.symbol not in self.instruments:
                raise TwinRefusal("UNKNOWN_SYMBOL")
            held = self.held(position)
            seen[key] = max(seen.get(key, 0), position.adl_seq)
            new.positions.pop(key, None)
            if held.lots:
                before = book.positions.get(key)
                if before is not None:
                    held.sell, held.buy, held.quote = before.sell, before.buy, before.quote
                new.positions[key] = held
        if len(set(listed)) < len(listed):
            raise TwinRefusal("DUPLICATE")
        for symbol, side in new.positions:
            if side == "NET" and new.positions.keys() & {(symbol, "LONG"), (symbol, "SHORT")}:
                raise TwinRefusal("SIDE")
        if len(new.positions) > 1024:
            raise TwinRefusal("RANGE")
        for key, held in new.positions.items():
            held.adl_seq = max(seen[key], new.full_adl_seq)
        new.closed = {k: seq for k, seq in seen.items() if k not in new.positions and seq > new.full_adl_seq}
        self.balances(update, new)
        if update.maintenance_margin is not None:
            new.required = self.minor(update.maintenance_margin, 2**60)
            if new.required < 0:
                raise TwinRefusal("FIELD")
        self.books[update.account] = new
        self.parked.pop(("AccountUpdate", update.account), None)
        return "APPLIED"

    def held(self, position: Position) -> Held:
        symbol = position.symbol
        lots = int(self.number(position.quantity, "LOT", self.lot(symbol)) / self.lot(symbol))
        if (position.position_side == "LONG" and lots < 0) or (position.position_side == "SHORT" and lots > 0):
            raise TwinRefusal("SIDE")
        sign = -1 if self.inverse(symbol) else 1
        lots *= sign
        if symbol in self.marks and self.too_large(symbol, lots, self.marks[symbol][0]):
            raise TwinRefusal("RANGE")
        if not lots:
            return Held(0, 0, None, 0)
        if position.entry_value is not None:
            entry = sign * self.minor(position.entry_value, VALUE_MAX)
            if entry * lots < 0:
                raise TwinRefusal("FIELD")
        elif position.entry_price is not None:
            entry = floor(self.exact(symbol, lots, self.price(symbol, position.entry_price)))
            if abs(entry) > VALUE_MAX:
                raise TwinRefusal("RANGE")
        else:
            raise TwinRefusal("FIELD")
        margin = None
        if position.margin_mode == "isolated":
            if position.isolated_margin is None:
                raise TwinRefusal("FIELD")
            margin = self.minor(position.isolated_margin, 2**60)
            if margin < 0:
                raise TwinRefusal("FIELD")
        return Held(lots, entry, margin, 0)

    def balances(self, update: AccountUpdate, new: Book1) -> None:
        own, listed = [], set()
        for balance in update.balances:
            weight = Fraction(balance.collateral_weight)
            if balance.currency == self.currency:
                if weight != 1:
                    raise TwinRefusal("UNSUPPORTED")
                if own:
                    raise TwinRefusal("DUPLICATE")
                own.append(self.minor(balance.amount, 2**60))
                continue
            symbol = self.converting.get(balance.currency)
            if symbol is None:
                raise TwinRefusal("UNSUPPORTED")
            if symbol not in self.instruments:
                raise TwinRefusal("UNKNOWN_SYMBOL")
            if not 0 <= weight <= 1:
                raise TwinRefusal("FIELD")
            amount = Fraction(balance.amount)
            lots = floor(
                min(amount, amount * weight) / self.lot(symbol) / Fraction(self.instruments[symbol].multiplier)
            )
            if abs(lots) > 2**53 or (symbol in self.marks and self.too_large(symbol, lots, self.marks[symbol][0])):
                raise TwinRefusal("RANGE")
            if symbol in listed:
                raise TwinRefusal("DUPLICATE")
            listed.add(symbol)
            new.collateral[symbol] = lots
        new.balance = own[0] if own else new.balance
        new.collateral = {symbol: lots for symbol, lots in new.collateral.items() if lots}

    def collateral(self, account: str) -> list[tuple[str, int]]:
        return sorted(self.books[account].collateral.items()) if account in self.books else []

    def remove_account(self, name: str) -> None:
        self.books.pop(name, None)
        self.loose.pop(name, None)
        self.parked.pop(("AccountUpdate", name), None)

    def clear_account(self, name: str) -> None:
        self.accounts.pop(name, None)
        self.parked.pop(("Account", name), None)

    def set_held(self, account: str, symbol: str, side: str, sell: int, buy: int, quote: int) -> bool:
        held = self.books[account].positions.get((symbol, side)) if account in self.books else None
        if held is None:
            return False
        held.sell, held.buy, held.quote = sell, buy, quote
        return True

    # --- questions ----------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        return sorted({*self.books, *self.accounts, *self.loose}, key=str.encode)

    def sorted_positions(self, account: str) -> list[tuple[str, str, Held]]:
        book = self.books.get(account)
        held = [(symbol, side, held) for (symbol, side), held in book.positions.items()] if book else []
        return sorted(held, key=lambda item: (item[0].encode(), SIDES.index(item[1])))

    def equity(self, account: str) -> int:
        total = self.loose.get(account, 0)
        if account in self.books:
            total += self.books[account].balance
        for symbol, _, held in self.sorted_positions(account):
            if held.margin is None:
                total += self.value(symbol, held.effective) - held.entry + held.quote
        return total + sum(self.value(symbol, lots) for symbol, lots in self.collateral(account))

    def isolated_equity(self, account: str, symbol: str, side: str) -> int:
        held = self.books[account].positions[symbol, side]
        assert held.margin is not None
        return held.margin + self.value(symbol, held.effective) - held.entry + held.quote

    def requirement(self, account: str) -> Fraction:
        cross = [(s, held) for s, _, held in self.sorted_positions(account) if held.margin is None]
        return sum((self.required(s, self.value(s, held.effective)) for s, held in cross), Fraction(0))

    def required(self, symbol: str, value: int) -> Fraction:
        """Bracket by bracket; the last tier has no end."""
        tiers = self.instruments[symbol].margin_tiers
        if not tiers:
            return abs(value) * Fraction(self.instruments[symbol].maintenance_margin_fraction)
        needed, begin = Fraction(0), 0
        for tier in tiers:
            end = int(Fraction(tier.notional_max) * self.unit) if tier is not tiers[-1] else max(abs(value), begin)
            needed += max(0, min(abs(value), end) - begin) * Fraction(tier.maintenance_margin_fraction)
            begin = end
        return needed

    def is_parked(self, name: str, *sources: str) -> bool:
        return any((source, name) in self.parked for source in sources)
