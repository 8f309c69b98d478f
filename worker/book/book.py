"""Who holds what: each message is one atomic step, and equities follow by exact integers.

1. A message that is refused changes nothing. 2. Each cell has one writer (a message type and key, or the engine for
what legs hold), so the state does not depend on how records of different keys were interleaved.
"""

from itertools import compress

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.messages import Account, AccountUpdate, Instrument, MarkPrice
from schemas.rejections import Reason, Refused, shown
from schemas.units import Scale
from worker.book.apply import apply_updates, no_update, wanted
from worker.book.ledger import Ledger
from worker.book.margins import Margins
from worker.book.market import Market
from worker.book.marks import first_mark, largest_lots, move_mark
from worker.book.names import joined
from worker.book.openings import Openings, judge, numbers, write
from worker.book.scales import GOOD, IS_FULL, ROW, UNSAYABLE
from worker.book.slots import SLOTS_MAX
from worker.book.state import CLASSES, ROLES, SIDES
from worker.book.table import (
    ACCOUNT,
    ADL_SEQ,
    ADL_SHIFT,
    BALANCE,
    COUNT,
    EPOCH,
    EQUITY,
    FLAGS,
    FULL_ADL_SEQ,
    LOT_DECIMALS,
    MARGIN,
    MARGIN_REQUIRED,
    NO_UPDATE,
    OWNER,
    PARKED,
    PRICE_DECIMALS,
    SEQ,
)
from worker.book.update import Staged, requirement_minor, staged_balances, staged_positions
from worker.book.value import lots_limit

FALLS_SHIFT = 4  # holders are sorted once one in 16 stands behind the next
Cells = NDArray[np.int64]


class Book(Ledger, Margins):
    """The book of one pool."""

    # --- symbols ------------------------------------------------------------------------------------------------------

    def set_instrument(self, message: Instrument) -> None:
        """A new symbol, or new margin fraction, fund or status of one; Refused, among others SCALE for other scales."""
        if message.settlement_currency != self.currency:
            raise Refused(
                Reason.UNSUPPORTED,
                f"settlement_currency of {shown(message.symbol)} must be {self.currency}, the pool's, "
                f"was {shown(message.settlement_currency)}",
            )
        scale = Scale.of(message, self.currency_decimals)
        market = self._market.get(message.symbol)
        if market is None:
            self._refuse_beyond(self.symbols, "symbols")
            market = Market(self.symbols.add(message.symbol), message, scale, self._slots.holders)
            market.parked = self._is_parked(message.symbol, "MarkPrice", "Instrument")
            self.markets.append(market)
            self._market[message.symbol] = market
            self._reserve_rungs()
        elif not market.scale.same_units(scale):
            raise Refused(Reason.SCALE, f"the scales of {shown(message.symbol)} must stay what they were first")
        market.set_instrument(message, scale)
        self._rehash(market)
        self._unpark("Instrument", message.symbol)

    def set_mark(self, message: MarkPrice, log_time_ms: int) -> None:
        """A new mark; equities of holders follow. Refused where a holder's value would leave the limits."""
        market = self._market.get(message.symbol)
        if market is None:
            raise Refused(
                Reason.UNKNOWN_SYMBOL, f"symbol must have an instrument before a mark, was {shown(message.symbol)}"
            )
        mark = market.scale.price(message.mark_price, "mark_price")
        if mark != market.mark:
            mark_num = market.scale.per_lot_num(mark)
            limit = lots_limit(mark_num, market.den)
            slots = self._slots.table.cells
            if market.lots_high > limit:
                market.lots_high = int(largest_lots(slots, market.slots()))
                if market.lots_high > limit:
                    raise Refused(
                        Reason.RANGE,
                        f"mark_price must leave every position's value at most 2**51 minor units, was "
                        f"{shown(message.mark_price)} with one of {market.scale.quantity_text(market.lots_high)}",
                    )
            whole, rest = divmod(mark_num, market.den)
            holders, accounts = self._slots.holders, self._table.cells
            if market.mark == 0:
                held = market.slots()
                self._lift_many(slots[ACCOUNT, held])
                first_mark(accounts, slots[ACCOUNT, held[slots[MARGIN, held] < 0]])
            falls = move_mark(
                accounts, slots, self._rungs, holders.seats, holders.table.cells, self._terms.cells, market.row, whole,
                rest,
            )  # fmt: skip
            if falls > market.size >> FALLS_SHIFT:
                holders.sort(market.row, slots)
            market.mark, market.mark_num, market.lots_limit = mark, mark_num, limit
        market.event_time_ms = message.event_time_ms
        market.log_time_ms = log_time_ms
        self._rehash(market)
        self._unpark("MarkPrice", message.symbol)

    def _rehash(self, market: Market) -> None:
        self._terms.reserve(len(self.markets))
        for column, term in zip(self._terms.columns, market.terms(), strict=True):
            column[market.row] = term
        cell = market.hash()
        self._rare += cell - market.cell
        market.cell = cell

    # --- accounts -----------------------------------------------------------------------------------------------------

    def set_account(self, message: Account) -> None:
        """Role, class and owner of an account."""
        flags = ROLES.index(message.role) | CLASSES.index(message.adl) << ADL_SHIFT
        owner = message.beneficial_owner
        if owner is not None and owner not in self.owners:
            self._refuse_beyond(self.owners, "beneficial owners")
        row = self._account_row(message.account)
        self._set_role(row, flags, -1 if owner is None else self.owners.take(owner))
        self._unpark("Account", message.account)

    def clear_account(self, name: str) -> None:
        """A null value on the accounts topic: a normal trader again, as if never named there."""
        row = self.accounts.row(name)
        if row >= 0:
            self._set_role(row, 0, -1)
        self._unpark("Account", name)

    def _set_role(self, row: int, flags: int, owner: int) -> None:
        self._lift(row)
        accounts = self._table.columns
        accounts[FLAGS][row] = flags | accounts[FLAGS][row] & PARKED
        if accounts[OWNER][row] >= 0:
            self.owners.leave(accounts[OWNER][row])
        accounts[OWNER][row] = owner
        if not flags and owner < 0:
            self._emptied.append(row)
        self._touch(row)

    def remove_account(self, name: str) -> None:
        """A null value on the positions topic: balances and positions go, and with them what its legs held."""
        row = self.accounts.row(name)
        if row >= 0:
            self._lift(row)
            for slot in reversed(self._slots.of(row)):
                self._close(row, slot, 0)
            self._forget_all_closed(row)
            accounts = self._table.columns
            accounts[EQUITY][row] = 0
            for field, value in NO_UPDATE:
                accounts[field][row] = value
            self._touch(row)
            self._emptied.append(row)
        self._unpark("AccountUpdate", name)

    def apply_update(self, update: AccountUpdate) -> str:
        """Balances and positions as one step: APPLIED, or STALE where not newer; Refused changes nothing."""
        row = self.accounts.row(update.account)
        accounts = self._table.columns
        epoch = accounts[EPOCH][row] if row >= 0 else -1
        full, renewed = update.full, update.epoch > epoch
        if not renewed and (update.epoch < epoch or update.seq <= accounts[SEQ][row]):
            return "STALE"
        if renewed and not full:
            raise Refused(
                Reason.EPOCH,
                f"the first update of epoch {update.epoch} of {shown(update.account)} must be full, was a delta",
            )
        staged = staged_positions(update, self._market, self.currency_decimals)
        kept = not full and row >= 0 and accounts[COUNT][row] > 0
        if kept or len(staged) > 1:
            self._refuse_mixed_modes(row if kept else -1, staged)
        # What a delta does not list stays; what a full update does not list is gone.
        balance = required = None
        if full or update.balances:
            balance, collateral = staged_balances(
                update.balances, self.currency, self.currency_decimals, self.converting, self._market
            )
            staged += collateral
            balance = 0 if full and balance is None else balance
        if len(staged) + (accounts[COUNT][row] if kept else 0) > limits.POSITIONS_PER_ACCOUNT_MAX:
            self._check_count(row, full, staged)
        self._refuse_positions_beyond(row, staged)
        if row < 0:
            self._refuse_beyond(self.accounts, "accounts")
        if full or update.maintenance_margin is not None:
            required = requirement_minor(update.maintenance_margin, self.currency_decimals)

        # From here on nothing can fail.
        if row < 0:
            row = self._account_row(update.account)
            accounts = self._table.columns
        self._lift(row)
        if renewed:
            accounts[EPOCH][row] = update.epoch
        accounts[SEQ][row] = update.seq
        if renewed or update.adl_seq > accounts[ADL_SEQ][row]:
            accounts[ADL_SEQ][row] = update.adl_seq
        if full and (renewed or update.adl_seq > accounts[FULL_ADL_SEQ][row]):
            accounts[FULL_ADL_SEQ][row] = update.adl_seq
        if staged or (full and accounts[COUNT][row]) or row in self._closed:
            self._write_positions(row, staged, full, renewed, accounts[FULL_ADL_SEQ][row])
        if balance is not None:
            accounts[EQUITY][row] += balance - accounts[BALANCE][row]
            accounts[BALANCE][row] = balance
        if required is not None:
            accounts[MARGIN_REQUIRED][row] = required
        self._touch(row)
        if self.parked:
            self._unpark("AccountUpdate", update.account)
        return "APPLIED"

    def _refuse_mixed_modes(self, row: int, staged: list[Staged]) -> None:
        """Refuses an update after which the account would hold a symbol both NET and as LONG or SHORT.

        `row`: the account whose other positions stay, -1 where none does.
        """
        said = {key: lots for _, key, lots, *_ in staged}
        for market, key, lots, *_ in staged:
            others = (market.key + 1, market.key + 2) if key == market.key else (market.key,)
            for other in others if lots else ():
                if said[other] if other in said else row >= 0 and self._slots.find(row, other) >= 0:
                    raise Refused(
                        Reason.SIDE,
                        f"positions in {shown(market.symbol)} must be NET, or LONG and SHORT, "
                        f"would be {SIDES[key - market.key]} beside {SIDES[other - market.key]}",
                    )

    # --- updates as columns -------------------------------------------------------------------------------------------

    def enter(self, heads: Cells, text: NDArray[np.uint8], begins: Cells, ends: Cells) -> None:
        """Writes the rows of the accounts text[begin:end] into heads; a new one gets its row for an update that opens.

        heads: [U, HEAD_FIELDS] (worker/book/scales.py).
        """
        rows = self.accounts.rows_of(text, begins, ends)
        new = np.flatnonzero((rows < 0) & (heads[:, GOOD] > 0) & (heads[:, IS_FULL] > 0))
        names_parked = any(source in ("AccountUpdate", "Account") for source, _ in self.parked)
        if len(new) and not names_parked and self.accounts.has_room(len(new)):
            rows[new] = made = self.accounts.extend(text, begins[new], ends[new])
            self._table.reserve(self.accounts.used)
            no_update(self._table.cells, made)
        heads[:, ROW] = np.where(heads[:, GOOD] == UNSAYABLE, -1, rows)

    def apply_columns(self, heads: Cells, staged: Cells, special: NDArray[np.bool_], at: int) -> tuple[int, int]:
        """Applies updates from the place `at` on; returns the place of the first that is left, and how many were stale.

        special: [U] those that are left in any case. What is left is for `apply_update`, before those behind it.
        """
        positions, slots = wanted(self._table.cells, heads, at)
        if not self._slots.has_room(positions) or self._slots.used + slots > SLOTS_MAX:
            self._may_be_empty(heads, at)
            return at, 0
        self._slots.reserve(positions, slots)
        rows = heads[at:, ROW]
        self._lift_many(rows[rows >= 0])
        end, stale = apply_updates(*self._slots.cells(), self._terms.cells, heads, staged, special, at)
        self._touch_many(heads[at:end, ROW])
        self._may_be_empty(heads, end)
        return end, stale

    def _may_be_empty(self, heads: Cells, at: int) -> None:
        """An account's row was made for an update that may be refused."""
        if at < len(heads) and heads[at, ROW] >= 0:
            self._emptied.append(int(heads[at, ROW]))

    def remembers(self, rows: Cells) -> NDArray[np.bool_]:
        """Which accounts have closed positions whose newest leg must be remembered."""
        if not self._closed:
            return np.zeros(len(rows), np.bool_)
        return np.isin(rows, np.fromiter(self._closed, np.int64, len(self._closed)))

    def openings(self) -> Openings:
        """An empty list of accounts to be opened; valid until the book changes otherwise."""
        return Openings(self.accounts, self._market, self.currency, self.parked.keys())

    def open_accounts(self, new: Openings) -> list[bool]:
        """Opens the accounts; says of each in turn whether it did, or leaves its update to `apply_update`."""
        heads = np.array(new.heads, np.int64).reshape(-1, 4)
        keys, terms = np.array(new.keys, np.int64), self._terms.cells
        decimals = np.full(len(heads), self.currency_decimals, np.int64)
        amounts = numbers(new.amounts, decimals)
        required = numbers(new.required, decimals)
        quantities = numbers(new.quantities, terms[LOT_DECIMALS, keys >> 2])
        prices = numbers(new.prices, terms[PRICE_DECIMALS, keys >> 2])
        worth, good = np.empty((3, len(keys)), np.int64), np.empty(len(heads), np.bool_)
        placed = judge(heads, amounts, required, keys, quantities, prices, terms, worth, good)
        if not (self.accounts.has_room(len(heads)) and self._slots.has_room(placed)):
            return [False] * len(heads)

        # From here on nothing can fail.
        opened = good.tolist()
        rows = self.accounts.extend(*joined(compress(new.accounts, opened)))
        self._table.reserve(self.accounts.used)
        self._lift_many(rows)
        self._slots.reserve(placed, 2 * placed)
        write(*self._slots.cells(), rows, heads, amounts, required, keys, worth, terms, good)
        self._touch_many(rows)
        return opened

    def _check_count(self, row: int, full: bool, staged: list[Staged]) -> None:
        """Refuses an update that would leave the account with too many positions."""
        kept = 0 if full or row < 0 else self._table.columns[COUNT][row]
        count = kept
        for _, key, lots, *_ in staged:
            count += (lots != 0) - (kept > 0 and self._slots.find(row, key) >= 0)
        if count > limits.POSITIONS_PER_ACCOUNT_MAX:
            most = limits.POSITIONS_PER_ACCOUNT_MAX
            raise Refused(Reason.RANGE, f"an account must have at most {most} positions, would be {count}")
