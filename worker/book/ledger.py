"""The steps that write cells: slots, the equity of their account, what legs hold, what is parked.

Every step keeps the derived cells true: equity, unmarked and count of the account, holders of the symbol, dirty rows.
"""

from array import array
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.messages import PositionSide
from schemas.rejections import Reason, Refused
from worker.book.digest import DIRTY_MAX, cell_hash
from worker.book.hold import BEYOND, FITS, LEG_ACCOUNT, NOTHING, hold, number
from worker.book.market import Market
from worker.book.names import Names
from worker.book.queues import Queues
from worker.book.table import (
    ACCOUNT,
    BUY,
    COUNT,
    EFFECTIVE,
    ENTRY,
    EPOCH,
    EQUITY,
    FIRST,
    FLAGS,
    HELD_QUOTE,
    KEY,
    LOOSE,
    LOTS,
    MARGIN,
    NO_UPDATE,
    OWNER,
    PARKED,
    SELL,
    SLOT_ADL_SEQ,
    UNMARKED,
)
from worker.book.update import Staged


class Ledger(Queues):
    """The book's writing hand; callers have checked everything."""

    def _account_row(self, name: str) -> int:
        """The account's row, made if it is new."""
        row = self.accounts.row(name)
        if row < 0:
            self._refuse_beyond(self.accounts, "accounts")
            row = self.accounts.add(name)
            self._table.reserve(row + 1)
            columns = self._table.columns
            columns[FIRST][row] = columns[OWNER][row] = -1
            for field, value in NO_UPDATE:
                columns[field][row] = value
            if self.parked:
                self._flag_parked(name)
        return row

    def let_go(self, keep: Callable[[NDArray[np.int64]], NDArray[np.bool_]]) -> None:
        """Gives up the names and rows of accounts of which nothing is left, unless they are to be kept, and of owners.

        To be called at cuts only: in between, which accounts are empty depends on the order of records of other topics.
        """
        if self._emptied:
            rows, self._emptied = np.unique(np.frombuffer(self._emptied, np.int64)), array("q")
            empty = (self._table.cells[[EPOCH, OWNER], rows[:, None]] < 0).all(axis=1)
            empty &= (self._table.cells[[FLAGS, LOOSE, COUNT], rows[:, None]] == 0).all(axis=1)
            rows = rows[empty & ~keep(rows)]
            self._hash_dirty()  # while their names are known
            self.accounts.drop(rows)
        self.owners.let_go()

    def _refuse_beyond(self, names: Names, what: str) -> None:
        if not names.has_room(1):
            raise Refused(Reason.RANGE, f"a pool must have at most {names.most} {what}, would be one more")

    def _refuse_positions_beyond(self, row: int, staged: list[Staged]) -> None:
        """Refuses an update that opens positions for which a pool has no room; `row`: -1 for a new account."""
        if not self._slots.has_room(len(staged)):
            opened = sum(lots != 0 and (row < 0 or self._slots.find(row, key) < 0) for _, key, lots, *_ in staged)
            if opened and not self._slots.has_room(opened):
                most = limits.POSITIONS_MAX
                raise Refused(Reason.RANGE, f"a pool must have at most {most} positions, would be {opened} more")

    def _touch(self, row: int) -> None:
        """Notes that the digest has to look at the account, and looks when enough wait."""
        self._dirty.append(row)
        self._hash_when_many()

    def _touch_many(self, rows: NDArray[np.int64]) -> None:
        self._dirty.frombytes(rows.tobytes())
        self._hash_when_many()

    def _hash_when_many(self) -> None:
        if len(self._dirty) >= DIRTY_MAX:
            self._hash_dirty()
        self._place_when_many()

    def _write_positions(self, row: int, staged: list[Staged], full: bool, renewed: bool, full_adl_seq: int) -> None:
        """Opens, changes and closes slots. A position contains at least what the last full update contains."""
        slots = self._slots
        left = dict.fromkeys(slots.keys(row)) if full else {}
        closed = self._closed.get(row)
        if renewed and closed:
            self._forget_all_closed(row)
            closed = None
        for market, key, lots, entry, margin, position_adl_seq in staged:
            adl_seq = max(full_adl_seq, position_adl_seq)
            left.pop(key, None)
            slot = slots.find(row, key)
            if slot < 0:
                if closed and key in closed:
                    adl_seq = max(adl_seq, self._forget_closed(row, key))
                if lots:
                    self._open(row, market, key, lots, entry, margin, adl_seq)
                elif adl_seq > full_adl_seq:
                    self._remember_closed(row, key, adl_seq)
                continue
            if not renewed:
                adl_seq = max(adl_seq, slots.table.columns[SLOT_ADL_SEQ][slot])
            if lots:
                self._change(row, slot, market, lots, entry, margin, adl_seq)
            else:
                self._close(row, slot, adl_seq if adl_seq > full_adl_seq else 0)
        for key in left:
            slot = slots.find(row, key)
            adl_seq = 0 if renewed else slots.table.columns[SLOT_ADL_SEQ][slot]
            self._close(row, slot, adl_seq if adl_seq > full_adl_seq else 0)
        if full and closed:
            for key in [key for key, adl_seq in closed.items() if adl_seq <= full_adl_seq]:
                self._forget_closed(row, key)

    # --- one slot and its account's equity ----------------------------------------------------------------------------

    def _open(self, row: int, market: Market, key: int, lots: int, entry: int, margin: int, adl_seq: int) -> None:
        self._slots.open(row, key, lots, entry, margin, adl_seq)
        if margin < 0:
            accounts = self._table.columns
            accounts[EQUITY][row] += market.value(lots) - entry
            if not market.mark:
                accounts[UNMARKED][row] += 1

    def _change(self, row: int, slot: int, market: Market, lots: int, entry: int, margin: int, adl_seq: int) -> None:
        """Rewrites a slot and moves the account's equity by what its cross part changed."""
        cells = self._slots.table.columns
        before = self._cross_part(market, slot)
        was_unmarked = cells[MARGIN][slot] < 0 and not market.mark
        effective = max(0, lots - cells[SELL][slot]) if lots > 0 else min(0, lots + cells[BUY][slot])
        cells[LOTS][slot] = lots
        cells[EFFECTIVE][slot] = effective
        cells[ENTRY][slot] = entry
        cells[MARGIN][slot] = margin
        cells[SLOT_ADL_SEQ][slot] = adl_seq
        self._slots.tell(slot)
        accounts = self._table.columns
        accounts[EQUITY][row] += self._cross_part(market, slot) - before
        accounts[UNMARKED][row] += (margin < 0 and not market.mark) - was_unmarked
        if abs(lots) > market.lots_high:
            market.lots_high = abs(lots)

    def _cross_part(self, market: Market, slot: int) -> int:
        """What a slot adds to its account's equity: nothing where it is isolated."""
        cells = self._slots.table.columns
        if cells[MARGIN][slot] >= 0:
            return 0
        return market.value(cells[EFFECTIVE][slot]) - cells[ENTRY][slot] + cells[HELD_QUOTE][slot]

    def _close(self, row: int, slot: int, remembered_adl_seq: int) -> None:
        cells = self._slots.table.columns
        market = self.markets[cells[KEY][slot] >> 2]
        if cells[MARGIN][slot] < 0:
            accounts = self._table.columns
            accounts[EQUITY][row] -= self._cross_part(market, slot)
            if not market.mark:
                accounts[UNMARKED][row] -= 1
        if remembered_adl_seq:
            self._remember_closed(row, cells[KEY][slot], remembered_adl_seq)
        self._slots.close(slot)

    # --- newest legs of closed positions: without them the legs of a closing delta would be held for ever ---

    def _remember_closed(self, row: int, key: int, adl_seq: int) -> None:
        self._closed.setdefault(row, {})[key] = adl_seq
        self._rare += self._closed_hash(row, key, adl_seq)

    def _forget_closed(self, row: int, key: int) -> int:
        closed = self._closed[row]
        adl_seq = closed.pop(key)
        self._rare -= self._closed_hash(row, key, adl_seq)
        if not closed:
            del self._closed[row]
        return adl_seq

    def _forget_all_closed(self, row: int) -> None:
        for key in list(self._closed.get(row, ())):
            self._forget_closed(row, key)

    # --- parked names -------------------------------------------------------------------------------------------------

    def park_account(self, name: str, reason: str, source: str = "AccountUpdate") -> None:
        """Keeps an account out of decisions until a good message of type `source` arrives for it."""
        self._park(source, name, reason)
        self._flag_parked(name)

    def park_symbol(self, name: str, reason: str, source: str = "MarkPrice") -> None:
        """The same for a symbol: its positions are not eligible."""
        self._park(source, name, reason)
        if name in self._market:
            self._market[name].parked = True

    def _park(self, source: str, name: str, reason: str) -> None:
        before = self.parked.get((source, name))
        if before is not None:
            self._rare -= cell_hash("parked", source, name, before)
        self.parked[source, name] = str(reason)
        self._rare += cell_hash("parked", source, name, str(reason))

    def _unpark(self, source: str, name: str) -> None:
        reason = self.parked.pop((source, name), None)
        if reason is None:
            return
        self._rare -= cell_hash("parked", source, name, reason)
        if source in ("MarkPrice", "Instrument"):
            self._market[name].parked = self._is_parked(name, "MarkPrice", "Instrument")
        else:
            self._flag_parked(name)

    def _flag_parked(self, name: str) -> None:
        row = self.accounts.row(name)
        if row >= 0:
            self._lift(row)
            flags = self._table.columns[FLAGS]
            parked = self._is_parked(name, "AccountUpdate", "Account")
            flags[row] = flags[row] & ~PARKED | (PARKED if parked else 0)

    # --- what open legs hold: written by the engine -------------------------------------------------------------------

    def set_held(
        self, account: str, symbol: str, position_side: PositionSide, sell_lots: int, buy_lots: int, quote_minor: int
    ) -> bool:
        """What the position's open legs hold, absolute; False where there is no such position."""
        slot = self._find(account, symbol, position_side)
        if slot < 0:
            return False
        if not (0 <= sell_lots <= limits.SEQUENCE_MAX and 0 <= buy_lots <= limits.SEQUENCE_MAX):
            raise Refused(Reason.RANGE, f"held lots must be between 0 and 2**62, were {sell_lots} and {buy_lots}")
        if abs(quote_minor) > limits.HELD_QUOTE_MINOR_MAX:
            raise Refused(Reason.RANGE, f"held quote must be at most 2**51 minor units, was {quote_minor}")
        cells = self._slots.table.columns
        if (cells[SELL][slot], cells[BUY][slot], cells[HELD_QUOTE][slot]) == (sell_lots, buy_lots, quote_minor):
            return True
        self._lift(cells[ACCOUNT][slot])
        market = self._market[symbol]
        lots, before = cells[LOTS][slot], self._cross_part(market, slot)
        cells[SELL][slot], cells[BUY][slot], cells[HELD_QUOTE][slot] = sell_lots, buy_lots, quote_minor
        cells[EFFECTIVE][slot] = max(0, lots - sell_lots) if lots > 0 else min(0, lots + buy_lots)
        self._slots.tell(slot)
        self._table.columns[EQUITY][cells[ACCOUNT][slot]] += self._cross_part(market, slot) - before
        self._touch(cells[ACCOUNT][slot])
        return True

    def account_row(self, name: str) -> int:
        """The row of a leg's account; made where nobody has reported the account, which changes nothing that leaves."""
        return self._account_row(name)

    def number_legs(self, known: NDArray[np.int64], account: NDArray[np.int64]) -> NDArray[np.int64]:
        """The adl_seq of new legs, which follows from what was given before (`known`, of hold.py) and is reported."""
        adl_seq = np.empty(len(account), np.int64)
        number(self._table.cells, known, account, adl_seq)
        return adl_seq

    def without_update(self, rows: NDArray[np.int64]) -> list[int]:
        """Those of the account rows, once each, whose accounts never had an update or were removed."""
        found: list[int] = np.unique(rows[self._table.cells[EPOCH, rows] < 0]).tolist()
        return found

    def add_held(self, legs: NDArray[np.int64], rows: NDArray[np.int64]) -> None:
        """Adds what new legs hold, given as columns of hold.py and rows of them; not of accounts without an update."""
        self._lift_many(legs[LEG_ACCOUNT, rows])
        touched = np.empty(len(rows), np.int64)
        slots, seats = self._slots.table.cells, self._slots.holders.seats
        answer = hold(self._table.cells, slots, seats, self._terms.cells, legs, rows, touched)
        if answer != FITS:
            raise Refused(Reason.RANGE, BEYOND[answer])
        self._touch_many(legs[LEG_ACCOUNT, rows[touched != NOTHING]])

    def set_loose_quote(self, account: str, quote_minor: int) -> None:
        """Cash of open legs whose position is gone, absolute; part of cross equity."""
        if abs(quote_minor) > limits.LOOSE_QUOTE_MINOR_MAX:
            raise Refused(Reason.RANGE, f"loose quote must be at most 2**59 minor units, was {quote_minor}")
        if quote_minor == self.loose_quote_minor(account):
            return
        row = self._account_row(account)
        self._lift(row)
        accounts = self._table.columns
        accounts[EQUITY][row] += quote_minor - accounts[LOOSE][row]
        accounts[LOOSE][row] = quote_minor
        self._touch(row)
