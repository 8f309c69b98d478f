"""The book's cells and every question that can be asked of them; nothing here changes what the book says."""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.messages import AccountRole, AdlClass, Instrument, PositionSide
from schemas.rejections import Reason, Refused, shown
from schemas.units import Scale
from worker.book import digest
from worker.book.below import units_below_zero
from worker.book.census import Units, census
from worker.book.gather import gather
from worker.book.market import Market
from worker.book.marks import net_lots
from worker.book.names import Names
from worker.book.owners import Owners
from worker.book.refresh import refresh_accounts
from worker.book.slots import Slots
from worker.book.table import (
    ACCOUNT,
    ACCOUNT_FIELDS,
    ADL_SEQ,
    ADL_SHIFT,
    BALANCE,
    COLLATERAL,
    EFFECTIVE,
    ENTRY,
    EPOCH,
    EQUITY,
    FLAGS,
    FULL_ADL_SEQ,
    HELD_QUOTE,
    KEY,
    LOOSE,
    LOTS,
    MARGIN,
    MARGIN_REQUIRED,
    OWNER,
    ROLE_BITS,
    SEQ,
    SLOT_ADL_SEQ,
    TERM_FIELDS,
    UNMARKED,
    Table,
)
from worker.book.update import SIDE_CODE
from worker.book.views import Gathered, PositionView

ROLES: tuple[AccountRole, ...] = ("TRADER", "LIQUIDATION", "INSURANCE", "CLEARING")
CLASSES: tuple[AdlClass, ...] = ("NORMAL", "LAST", "EXEMPT")
SIDES: tuple[PositionSide, ...] = ("NET", "LONG", "SHORT")


class State:
    """Accounts, slots and markets; unknown accounts answer as empty ones, unknown symbols raise KeyError.

    `converting`: the symbol at whose mark each other currency of balances is worth something.
    """

    def __init__(self, currency: str, currency_decimals: int, converting: Mapping[str, str] | None = None) -> None:
        self.currency = currency
        self.converting = dict(converting or {})
        self.currency_decimals = currency_decimals
        self.accounts = Names("account")
        self.symbols = Names("symbol", limits.SYMBOLS_MAX)
        self.owners = Owners()
        self.markets: list[Market] = []
        self.parked: dict[tuple[str, str], str] = {}  # (type of the refused message, name) -> reason
        self._market: dict[str, Market] = {}
        self._table = Table(ACCOUNT_FIELDS, limits.ACCOUNTS_MAX)
        self._slots = Slots(self._table)
        self._terms = Table(TERM_FIELDS, limits.SYMBOLS_MAX)  # of symbols
        # Newest leg contained in a position that is closed, where it is newer than what the last full update contains.
        self._closed: dict[int, dict[int, int]] = {}
        self._dirty = array("q")
        self._emptied = array("q")  # rows of accounts of which nothing may be left
        self._total = np.zeros(2, np.uint64)
        self._rare = 0  # sum of the hashes of rare cells

    # --- one account --------------------------------------------------------------------------------------------------

    def _cell(self, account: str, field: int, default: int = 0) -> int:
        row = self.accounts.row(account)
        return self._table.columns[field][row] if row >= 0 else default

    def holds(self, account: str) -> bool:
        """Whether an update of the account was applied and not removed."""
        return self._cell(account, EPOCH, -1) >= 0

    def account_seq(self, account: str) -> int:
        """`seq` of the last update applied, -1 without one."""
        return self._cell(account, SEQ, -1)

    def account_adl_seq(self, account: str) -> int:
        """The newest leg contained in the account's balances."""
        return self._cell(account, ADL_SEQ)

    def equity_minor(self, account: str) -> int:
        """Cross equity at the marks: balance, loose quote, and value - entry + held quote of cross positions."""
        return self._cell(account, EQUITY)

    def balance_minor(self, account: str) -> int:
        return self._cell(account, BALANCE)

    def loose_quote_minor(self, account: str) -> int:
        return self._cell(account, LOOSE)

    def unmarked(self, account: str) -> int:
        """How many cross positions are in symbols that never had a mark; they count with value 0."""
        return self._cell(account, UNMARKED)

    def role(self, account: str) -> AccountRole:
        return ROLES[self._cell(account, FLAGS) & ROLE_BITS]

    def adl_class(self, account: str) -> AdlClass:
        return CLASSES[self._cell(account, FLAGS) >> ADL_SHIFT & 3]

    def beneficial_owner(self, account: str) -> str | None:
        row = self._cell(account, OWNER, -1)
        return self.owners.name(row) if row >= 0 else None

    def maintenance_margin(self, account: str) -> int | None:
        """The maintenance margin that the exchange stated, in minor units."""
        required = self._cell(account, MARGIN_REQUIRED, -1)
        return required if required >= 0 else None

    def maintenance_requirement(self, account: str) -> Fraction:
        """What cross positions less what legs hold require at the marks, in minor units, exactly."""
        cells = self._slots.table.columns
        row = self.accounts.row(account)
        required = Fraction(0)
        for slot in self._slots.of(row) if row >= 0 else ():
            if cells[MARGIN][slot] < 0 and cells[KEY][slot] & 3 != COLLATERAL:
                market = self.markets[cells[KEY][slot] >> 2]
                required += market.scale.requirement(market.value(cells[EFFECTIVE][slot]))
        return required

    def _is_parked(self, name: str, *sources: str) -> bool:
        return any((source, name) in self.parked for source in sources)

    # --- its positions ------------------------------------------------------------------------------------------------

    def _find(self, account: str, symbol: str, position_side: PositionSide) -> int:
        row = self.accounts.row(account)
        market = self._market.get(symbol)
        if row < 0 or market is None:
            return -1
        return self._slots.find(row, market.key + SIDE_CODE[position_side])

    def position_adl_seq(self, account: str, symbol: str, position_side: PositionSide) -> int:
        """The newest leg contained in the position, held or closed: its own or the last full update's."""
        slot = self._find(account, symbol, position_side)
        if slot >= 0:
            return self._slots.table.columns[SLOT_ADL_SEQ][slot]
        row, market = self.accounts.row(account), self._market.get(symbol)
        if row < 0 or market is None:
            return 0
        full = self._table.columns[FULL_ADL_SEQ][row]
        return self._closed.get(row, {}).get(market.key + SIDE_CODE[position_side], full)

    def isolated_equity_minor(self, account: str, symbol: str, position_side: PositionSide) -> int:
        """Margin + value - entry + held quote of an isolated position; KeyError where there is none."""
        slot = self._find(account, symbol, position_side)
        if slot < 0 or self._slots.table.columns[MARGIN][slot] < 0:
            raise KeyError(f"no isolated position of {account!r} in {symbol!r} {position_side}")
        cells = self._slots.table.columns
        return cells[MARGIN][slot] + self._view(slot).value_minor - cells[ENTRY][slot] + cells[HELD_QUOTE][slot]

    def position(self, account: str, symbol: str, position_side: PositionSide) -> PositionView | None:
        slot = self._find(account, symbol, position_side)
        return self._view(slot) if slot >= 0 else None

    def positions(self, account: str) -> list[PositionView]:
        """All positions of an account, in the order of (symbol, side NET, LONG, SHORT)."""
        row, keys = self.accounts.row(account), self._slots.table.columns[KEY]
        slots = [slot for slot in self._slots.of(row) if keys[slot] & 3 != COLLATERAL] if row >= 0 else []
        views = [self._view(slot) for slot in slots]
        return sorted(views, key=lambda view: (view.symbol.encode(), SIDE_CODE[view.side]))

    def collateral(self, account: str) -> list[tuple[str, int]]:
        """Balances in other currencies as (converting symbol, booked lots), sorted."""
        row, cells = self.accounts.row(account), self._slots.table.columns
        slots = [slot for slot in self._slots.of(row) if cells[KEY][slot] & 3 == COLLATERAL] if row >= 0 else []
        return sorted((self.markets[cells[KEY][slot] >> 2].symbol, cells[LOTS][slot]) for slot in slots)

    def _view(self, slot: int) -> PositionView:
        row = self._slots.table.cells[:, slot].tolist()
        _, key, effective, entry, held_quote, margin, lots, _, adl_seq, sell, buy = row
        market = self.markets[key >> 2]
        return PositionView(
            symbol=market.symbol, symbol_row=market.row, side=SIDES[key & 3], lots=lots, effective_lots=effective,
            isolated=margin >= 0, mark=market.mark, entry_minor=entry, value_minor=market.value(effective),
            margin_minor=max(margin, 0), sell_lots=sell, buy_lots=buy, held_quote_minor=held_quote, adl_seq=adl_seq,
            slot=slot,
        )  # fmt: skip

    # --- symbols ------------------------------------------------------------------------------------------------------

    def scale(self, symbol: str) -> Scale:
        return self._market[symbol].scale

    def instrument(self, symbol: str) -> Instrument:
        return self._market[symbol].instrument

    def terms(self) -> NDArray[np.int64]:
        """int64[TERM_FIELDS, symbols or more]: what reading and valuing positions needs, by symbol row."""
        return self._terms.cells

    def mark(self, symbol_row: int) -> int:
        """The scaled mark, 0 where there never was one."""
        return self.markets[symbol_row].mark

    def market(self, symbol: str) -> Market:
        """All that is known of a symbol; Refused UNKNOWN_SYMBOL without an instrument."""
        market = self._market.get(symbol)
        if market is None:
            raise Refused(Reason.UNKNOWN_SYMBOL, f"symbol must have an instrument, was {shown(symbol)}")
        return market

    def blocked_symbols(self) -> dict[str, str]:
        """Parked symbols with an instrument, and why."""
        return {
            name: reason
            for (source, name), reason in sorted(self.parked.items())
            if source in ("MarkPrice", "Instrument") and name in self._market
        }

    def accounts_and_keys(self, slots: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Account row, and 4 * symbol row + side, of each slot."""
        table = self._slots.table.cells
        return table[ACCOUNT, slots], table[KEY, slots]

    def account_seqs(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """`account_seq` of each account row."""
        seqs: NDArray[np.int64] = self._table.cells[SEQ, rows]
        return seqs

    def holders(self, symbol: str) -> list[str]:
        """Names of the accounts with a position in the symbol, sorted, once per position."""
        cells = self._slots.table.columns
        slots = [slot for slot in self._market[symbol].slots().tolist() if cells[KEY][slot] & 3 != COLLATERAL]
        return sorted(self.accounts.name(cells[ACCOUNT][slot]) for slot in slots)

    def longs_minus_shorts(self, symbol: str) -> int:
        """Net lots over all positions of a symbol, signed as on the wire, before what legs hold: 0 if all are there."""
        market = self._market[symbol]
        return market.scale.sign * int(net_lots(self._slots.table.cells, market.slots()))

    def units(self, left_out: NDArray[np.int64]) -> Iterator[Units]:
        """Every margin unit with its equity and exposures, in blocks; adds to `left_out`, one of `census.REASONS`."""
        slots, terms = self._slots.table.cells, self._terms.cells
        return census(self._table.cells, slots, terms, self.accounts.used, len(self.markets), left_out)

    def units_below_zero(self) -> list[tuple[str, int]]:
        """Account, and 0 or 1 + the key of an isolated position, of all units whose equity is known and below zero."""
        slots, terms = self._slots, self._terms.cells
        units = units_below_zero(self._table.cells, self.accounts.used, slots.table.cells, slots.used, terms)
        return list(zip(self.accounts.names(units[0]), units[1].tolist(), strict=True))

    # --- a decision ---------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Does now what a decision would otherwise wait for: sorting new names, hashing changed rows."""
        self.accounts.order()
        self.symbols.order()
        self.digest()

    def gather(
        self,
        symbol_sides: Iterable[tuple[int, int]],
        excluded_accounts: Iterable[str] = (),
        excluded_owners: Iterable[str] = (),
        *,
        with_collateral: bool = False,
    ) -> Gathered:
        """Counterparties on the demanded (symbol row, +1 longs or -1 shorts, as booked).

        Excluded accounts are left out, and every account of an excluded owner. `with_collateral`: balances in other
        currencies are entries too, for who asks what an account could lose.
        """
        rows = [row for row in map(self.accounts.row, excluded_accounts) if row >= 0]
        owner_excluded = np.zeros(self.owners.used, np.uint8)
        owner_excluded[[owner for owner in map(self.owners.row, excluded_owners) if owner >= 0]] = 1
        return gather(
            self._table.cells, self._slots.table.cells, self._terms.cells, self.accounts, self.symbols,
            self.markets, self._slots.used, symbol_sides, rows, owner_excluded, with_collateral,
            float(10**self.currency_decimals),
        )  # fmt: skip

    # --- the digest ---------------------------------------------------------------------------------------------------

    def digest(self) -> int:
        """128 bits of all cells; costs the rows changed since it was last asked, at most DIRTY_MAX."""
        self._hash_dirty()
        return ((int(self._total[0]) << 64) + int(self._total[1]) + self._rare) % digest.MODULUS

    def _hash_dirty(self) -> None:
        if self._dirty:
            rows, self._dirty = np.sort(np.frombuffer(self._dirty, np.int64)), array("q")
            # As np.unique, which takes ten times as long: 0.1 us a record of all that comes in.
            self._refresh(self._total, rows[np.diff(rows, prepend=-1) != 0], anew=False)

    def _refresh(self, total: NDArray[np.uint64], rows: NDArray[np.int64], anew: bool) -> None:
        refresh_accounts(
            total, anew, rows, self._table.cells, self._slots.table.cells, *self.accounts.cells(), *self.owners.cells(),
            self.symbols.hashes(),
        )  # fmt: skip

    def digest_full(self) -> int:
        """The digest made anew from every cell; equal to `digest()`, or our bookkeeping is wrong."""
        total = np.zeros(2, np.uint64)
        self._refresh(total, np.arange(self.accounts.used, dtype=np.int64), anew=True)
        rare = sum(market.hash() for market in self.markets)
        rare += sum(digest.cell_hash("parked", *key, reason) for key, reason in self.parked.items())
        rare += sum(
            self._closed_hash(row, key, seq) for row, closed in self._closed.items() for key, seq in closed.items()
        )
        return ((int(total[0]) << 64) + int(total[1]) + rare) % digest.MODULUS

    def _closed_hash(self, row: int, key: int, adl_seq: int) -> int:
        symbol = self.markets[key >> 2].symbol
        return digest.cell_hash("closed", self.accounts.name(row), symbol, key & 3, adl_seq)
