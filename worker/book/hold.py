"""What many new legs do in one pass: their numbers, their places in their accounts' lists, what they hold in the book.

Columns of legs and accounts are tables of int64, as those of the book; a list of an account's legs holds row + 1, so
that 0 ends it.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.holders import tell
from worker.book.kernel import kernel
from worker.book.slots import find_slot
from worker.book.table import (
    ADL_SEQ,
    BUY,
    COUNT,
    EFFECTIVE,
    EPOCH,
    EQUITY,
    FIRST,
    HELD_QUOTE,
    LOOSE,
    LOTS,
    MARGIN,
    SELL,
    SLOT_ADL_SEQ,
)
from worker.book.value import slot_value

Cells = NDArray[np.int64]

# --- a leg ------------------------------------------------------------------------------------------------------------
LEG_ACCOUNT = 0  # row
LEG_KEY = 1  # 4 * symbol row + side
LEG_LOTS = 2  # ordered less refused; above 0 where it sells, below 0 where it buys
LEG_QUOTE = 3  # cash of these lots, as if executed
LEG_ADL_SEQ = 4
LEG_NEXT = 5  # in its account's list
LEG_STATE = 6  # bits of worker/held.py
LEG_FIELDS = 7

# --- what is known of an account's legs -------------------------------------------------------------------------------
NEWEST = 0  # adl_seq that was given last
FIRST_LEG = 1
ACCOUNT_LEG_FIELDS = 2

FITS, LOTS_BEYOND, QUOTE_BEYOND, LOOSE_BEYOND = 0, 1, 2, 3  # what `hold` answers
BEYOND = {
    LOTS_BEYOND: "held lots of a position must be at most 2**62",
    QUOTE_BEYOND: "held quote of a position must be at most 2**51 minor units",
    LOOSE_BEYOND: "loose quote of an account must be at most 2**59 minor units",
}
LOOSE_CASH, NOTHING = -1, -2  # instead of a slot: the leg holds cash alone; its account has no update

_LOTS_MAX = limits.SEQUENCE_MAX
_QUOTE_MAX = limits.HELD_QUOTE_MINOR_MAX
_LOOSE_MAX = limits.LOOSE_QUOTE_MINOR_MAX


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1], int64[::1])")
def number(accounts: Cells, known: Cells, account: Cells, adl_seq: Cells) -> None:
    """Writes each leg's adl_seq: one more than any that its account was given or reports."""
    for leg in range(len(account)):
        row = account[leg]
        newest = max(known[NEWEST, row], accounts[ADL_SEQ, row]) + 1
        known[NEWEST, row] = adl_seq[leg] = newest


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1])")
def link(legs: Cells, known: Cells, rows: Cells) -> None:
    """Puts legs at the heads of their accounts' lists."""
    for leg in rows:
        account = legs[LEG_ACCOUNT, leg]
        known[NEWEST, account] = max(known[NEWEST, account], legs[LEG_ADL_SEQ, leg])
        legs[LEG_NEXT, leg] = known[FIRST_LEG, account]
        known[FIRST_LEG, account] = leg + 1


@kernel("int64(int64[:, ::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[:, ::1], int64[::1], int64[::1])")
def hold(accounts: Cells, slots: Cells, seats: Cells, terms: Cells, legs: Cells, rows: Cells, touched: Cells) -> int:
    """Adds what new legs hold to cells that contain what older ones hold; stops at the first leg beyond a limit.

    `touched`: the slot a leg is held in, LOOSE_CASH or
    NOTHING. An account without an update may have older legs that are not in its cells, so nothing is added there.
    """
    for at in range(len(rows)):
        leg = rows[at]
        account, key, quote = legs[LEG_ACCOUNT, leg], legs[LEG_KEY, leg], legs[LEG_QUOTE, leg]
        touched[at] = NOTHING
        if accounts[EPOCH, account] < 0:
            continue
        slot = find_slot(slots, accounts[FIRST, account], accounts[COUNT, account], key)
        touched[at] = slot
        if slot < 0:
            if abs(quote) > _LOOSE_MAX or abs(accounts[LOOSE, account] + quote) > _LOOSE_MAX:
                return LOOSE_BEYOND
            accounts[LOOSE, account] += quote
            accounts[EQUITY, account] += quote
            continue
        if abs(quote) > _QUOTE_MAX or abs(slots[HELD_QUOTE, slot] + quote) > _QUOTE_MAX:
            return QUOTE_BEYOND
        lots = legs[LEG_LOTS, leg] if legs[LEG_ADL_SEQ, leg] > slots[SLOT_ADL_SEQ, slot] else np.int64(0)
        sell, buy = slots[SELL, slot] + max(lots, 0), slots[BUY, slot] - min(lots, 0)
        if sell > _LOTS_MAX or buy > _LOTS_MAX:
            return LOTS_BEYOND
        held = slots[LOTS, slot]
        effective = max(0, held - sell) if held > 0 else min(0, held + buy)
        before = slot_value(slots, terms, slot)
        slots[EFFECTIVE, slot] = effective
        if slots[MARGIN, slot] < 0:
            accounts[EQUITY, account] += slot_value(slots, terms, slot) - before + quote
        slots[SELL, slot], slots[BUY, slot], slots[HELD_QUOTE, slot] = sell, buy, slots[HELD_QUOTE, slot] + quote
        tell(seats, slots, slot)
    return FITS


@kernel("boolean(int64[:, ::1], int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1])")
def fits(legs: Cells, known: Cells, account: Cells, key: Cells, lots: Cells, quote: Cells) -> bool:
    """Whether new legs, sorted by (account, key), fit beside those that are open: by position, and by account.

    What an update says later decides which of an account's legs its positions hold, which are loose cash, which are
    gone. So all of them are added up, whatever their sign: then no later sum can be beyond a limit.
    """
    at = 0
    while at < len(account):
        row = account[at]
        loose = np.int64(0)
        leg = known[FIRST_LEG, row] - 1
        while leg >= 0:
            loose += abs(legs[LEG_QUOTE, leg])
            leg = legs[LEG_NEXT, leg] - 1
        while at < len(account) and account[at] == row:
            position = key[at]
            held_lots = held_quote = np.int64(0)
            leg = known[FIRST_LEG, row] - 1
            while leg >= 0:
                if legs[LEG_KEY, leg] == position:
                    held_lots += abs(legs[LEG_LOTS, leg])
                    held_quote += abs(legs[LEG_QUOTE, leg])
                leg = legs[LEG_NEXT, leg] - 1
            while at < len(account) and account[at] == row and key[at] == position:
                cash = abs(quote[at])
                if cash > _QUOTE_MAX - held_quote or cash > _LOOSE_MAX - loose or lots[at] > _LOTS_MAX - held_lots:
                    return False
                held_lots, held_quote, loose = held_lots + lots[at], held_quote + cash, loose + cash
                at += 1
    return True
