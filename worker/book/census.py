"""Every margin unit of the book in columns, a block of accounts at a time: what a shock of prices is asked of.

A unit is a trader's cross account, or one isolated position; it has an equity and, per symbol, the value of its longs
and of its shorts after what legs hold. Rule 1: a unit without such a position is none, and a unit that cannot be valued
is counted by its reason instead. Rule 2: units stand in the order of rows, which must not reach an output.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.table import (
    COLLATERAL,
    COUNT,
    EFFECTIVE,
    ENTRY,
    EQUITY,
    FIRST,
    FLAGS,
    HELD_QUOTE,
    KEY,
    MARGIN,
    MARK_REST,
    MARK_WHOLE,
    PARKED,
    ROLE_BITS,
    UNMARKED,
)
from worker.book.value import slot_value

Cells = NDArray[np.int64]

# Why a unit is left out: not a trader's; its last word was refused; a symbol of it never had a mark; beyond the limits
# below, which keep sums of a unit within int64 at every shock.
REASONS: Final = ("HOUSE", "PARKED", "UNMARKED", "TOO_LARGE")
_HOUSE, _PARKED, _UNMARKED, _TOO_LARGE = range(4)
EQUITY_MINOR_MAX: Final = 2**60  # 1.15e12 of a currency with 6 decimals
GROSS_MINOR_MAX: Final = 2**58
_BLOCK_ACCOUNTS = 1 << 15  # so many fit a processor's cache, and 10 M positions need no second copy of the book


class Units(NamedTuple):
    """Units of one block; unit u holds entries [first[u], first[u + 1]), one per symbol."""

    account: Cells  # [U] row
    equity: Cells  # [U] minor units
    first: Cells  # [U + 1]
    symbol: Cells  # [E] row
    longs: Cells  # [E] value, not negative
    shorts: Cells  # [E] value, not positive
    collateral: Cells  # [E] value of a balance that the symbol converts


@kernel(
    "UniTuple(int64, 2)(int64[:, ::1], int64[:, ::1], int64[:, ::1], int64, int64, int64[::1], int64[::1], "
    "int64[:, ::1], int64[:, ::1], int64[::1])"
)
def walk(
    accounts: Cells,
    slots: Cells,
    terms: Cells,
    begin: int,
    end: int,
    seen: Cells,
    place: Cells,
    unit: Cells,
    entry: Cells,
    left_out: Cells,
) -> tuple[int, int]:
    """Writes the units of accounts [begin, end) as `unit` (account, equity, first) and `entry`.

    `entry`: symbol, longs, shorts, collateral. `seen` and `place`, one per symbol: the account that last held it, and
    that entry. Returns (units, entries).
    """
    units = entries = 0
    for account in range(begin, end):
        flags = accounts[FLAGS, account]
        reason = -1
        if flags & PARKED:
            reason = _PARKED
        if flags & ROLE_BITS:
            reason = _HOUSE
        first, gross, cross, isolated = entries, 0, 0, 0
        begun = accounts[FIRST, account]
        held = range(begun, begun + accounts[COUNT, account])
        for slot in held:  # the cross account
            lots, symbol, value = slots[EFFECTIVE, slot], slots[KEY, slot] >> 2, slot_value(slots, terms, slot)
            if slots[MARGIN, slot] >= 0:
                isolated += 1
            elif lots != 0:
                if seen[symbol] != account:
                    seen[symbol], place[symbol] = account, entries
                    entry[0, entries] = symbol
                    entry[1, entries] = entry[2, entries] = entry[3, entries] = 0
                    entries += 1
                if slots[KEY, slot] & 3 == COLLATERAL:
                    entry[3, place[symbol]] += value
                else:
                    entry[1 if lots > 0 else 2, place[symbol]] += value
                    cross += 1
                gross += abs(value)
        if cross == 0:
            entries = first
        else:
            equity, why = accounts[EQUITY, account], reason
            if why < 0 and accounts[UNMARKED, account] > 0:
                why = _UNMARKED
            if why < 0 and (abs(equity) > EQUITY_MINOR_MAX or gross > GROSS_MINOR_MAX):
                why = _TOO_LARGE
            if why < 0:
                unit[0, units], unit[1, units], unit[2, units] = account, equity, first
                units += 1
            else:
                left_out[why] += 1
                entries = first
        if isolated == 0:
            continue
        for slot in held:  # its isolated positions
            lots, symbol = slots[EFFECTIVE, slot], slots[KEY, slot] >> 2
            if slots[MARGIN, slot] >= 0 and lots != 0:
                value = slot_value(slots, terms, slot)
                equity = slots[MARGIN, slot] + value - slots[ENTRY, slot] + slots[HELD_QUOTE, slot]
                why = reason
                if why < 0 and terms[MARK_WHOLE, symbol] == 0 and terms[MARK_REST, symbol] == 0:
                    why = _UNMARKED
                if why < 0 and abs(equity) > EQUITY_MINOR_MAX:
                    why = _TOO_LARGE
                if why < 0:
                    unit[0, units], unit[1, units], unit[2, units] = account, equity, entries
                    entry[0, entries], entry[1, entries], entry[2, entries] = symbol, max(value, 0), min(value, 0)
                    entry[3, entries] = 0
                    units += 1
                    entries += 1
                else:
                    left_out[why] += 1
    unit[2, units] = entries
    return units, entries


def census(accounts: Cells, slots: Cells, terms: Cells, count: int, symbols: int, left_out: Cells) -> Iterator[Units]:
    """The units of the first `count` accounts, block by block; adds to `left_out`, int64[reasons]."""
    seen, place = np.full(symbols, -1, np.int64), np.zeros(symbols, np.int64)
    for begin in range(0, count, _BLOCK_ACCOUNTS):
        end = min(count, begin + _BLOCK_ACCOUNTS)
        held = int(accounts[COUNT, begin:end].sum())
        unit, entry = np.empty((3, held + 1), np.int64), np.empty((4, held), np.int64)
        units, entries = walk(accounts, slots, terms, begin, end, seen, place, unit, entry, left_out)
        if units:
            columns = [*unit[:2, :units], unit[2, : units + 1], *entry[:, :entries]]
            yield Units(*columns)
