"""Positions as slots: taken and given back, found in their account's list, kept among their symbol's holders.

Nothing here ever scans the book: an account reaches its slots by a linked list (an index, once the list is long), a
symbol its holders by an array with back pointers.
"""

from array import array

import numpy as np
from numpy.typing import NDArray

from worker.book.market import Market
from worker.book.table import (
    ACCOUNT,
    BUY,
    COUNT,
    EFFECTIVE,
    ENTRY,
    FIRST,
    HELD_QUOTE,
    KEY,
    LOTS,
    MARGIN,
    NEXT,
    PLACE,
    PREVIOUS,
    SELL,
    SLOT_ADL_SEQ,
    SLOT_FIELDS,
    VALUE,
    Table,
)

# Walking a list costs 0.1 us a step; an index costs memory, and is worth it for the few large accounts.
INDEXED_FROM = 16


class Slots:
    """All slots; the accounts' table is passed in, for list heads and counts live there."""

    def __init__(self, accounts: Table) -> None:
        self._accounts = accounts
        self.table = Table(SLOT_FIELDS)
        self.dirty = array("q")
        self._free: list[int] = []
        self.used = 0  # slots ever taken: rows below it are held or free
        self._index: dict[int, dict[int, int]] = {}

    def of(self, account: int) -> list[int]:
        """The account's slots, in no order."""
        following = self.table.columns[NEXT]
        slot = self._accounts.columns[FIRST][account]
        found = []
        while slot >= 0:
            found.append(slot)
            slot = following[slot]
        return found

    def find(self, account: int, key: int) -> int:
        """The account's slot of a (symbol, side) or -1."""
        accounts = self._accounts.columns
        if accounts[COUNT][account] >= INDEXED_FROM:
            index = self._index.get(account)
            if index is None:
                index = self._index[account] = self.keys(account)
            return index.get(key, -1)
        columns = self.table.columns
        keys, following = columns[KEY], columns[NEXT]
        slot = accounts[FIRST][account]
        while slot >= 0 and keys[slot] != key:
            slot = following[slot]
        return slot

    def keys(self, account: int) -> dict[int, int]:
        """The account's slots by key."""
        keys = self.table.columns[KEY]
        return {keys[slot]: slot for slot in self.of(account)}

    def open(
        self, account: int, market: Market, key: int, lots: int, value: int, entry: int, margin: int, adl_seq: int
    ) -> int:
        """A new slot at the head of the account's list; the caller sees to equity."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = self.used
            self.used = slot + 1
            if slot == self.table.capacity:
                self.table.reserve(slot + 1)
        columns, accounts = self.table.columns, self._accounts.columns
        first = accounts[FIRST][account]
        columns[ACCOUNT][slot] = account
        columns[KEY][slot] = key
        columns[EFFECTIVE][slot] = columns[LOTS][slot] = lots
        columns[VALUE][slot] = value
        columns[ENTRY][slot] = entry
        columns[MARGIN][slot] = margin
        columns[NEXT][slot] = first
        columns[PREVIOUS][slot] = -1
        columns[PLACE][slot] = market.hold(slot)
        columns[SLOT_ADL_SEQ][slot] = adl_seq
        if first >= 0:
            columns[PREVIOUS][first] = slot
        accounts[FIRST][account] = slot
        accounts[COUNT][account] += 1
        if account in self._index:
            self._index[account][key] = slot
        self.dirty.append(slot)
        return slot

    def take(self, count: int) -> NDArray[np.int64]:
        """So many free slots, for the caller to write; they count as changed."""
        kept = max(0, len(self._free) - count)
        reused, self._free = self._free[kept:], self._free[:kept]
        used = self.used + count - len(reused)
        self.table.reserve(used)
        taken = np.array([*reused, *range(self.used, used)], np.int64)
        self.used = used
        self.dirty.frombytes(taken.tobytes())
        return taken

    def close(self, slot: int, market: Market) -> None:
        """Gives a slot back; the caller sees to equity."""
        columns, accounts = self.table.columns, self._accounts.columns
        account, following, previous = columns[ACCOUNT][slot], columns[NEXT][slot], columns[PREVIOUS][slot]
        if previous >= 0:
            columns[NEXT][previous] = following
        else:
            accounts[FIRST][account] = following
        if following >= 0:
            columns[PREVIOUS][following] = previous
        accounts[COUNT][account] -= 1
        place = columns[PLACE][slot]
        columns[PLACE][market.release(place)] = place
        if account in self._index:
            if accounts[COUNT][account] < INDEXED_FROM:
                del self._index[account]
            else:
                del self._index[account][columns[KEY][slot]]
        # `open` relies on a free slot holding nothing; the hash stays, for the digest still contains it.
        columns[ACCOUNT][slot] = -1
        columns[HELD_QUOTE][slot] = columns[SELL][slot] = columns[BUY][slot] = 0
        self._free.append(slot)
        self.dirty.append(slot)
