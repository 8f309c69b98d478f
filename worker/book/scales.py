"""Plain records on their symbols' scales: lots, entry values, minor units and scaled marks.

Rule: what could be refused, or comes near a limit, is left to those who refuse (worker/book/update.py, `set_mark`).
Limits that depend on a mark are looked at where the mark is known, not here.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.plain import ADL_SEQ as RECORD_ADL_SEQ
from worker.book.plain import (
    BALANCE,
    BALANCE_PLACES,
    COUNT,
    DIGITS_MAX,
    EPOCH,
    FIRST,
    FULL,
    ISOLATED,
    MARGIN_PLACES,
    POSITION_ADL_SEQ,
    PRICE,
    PRICE_PLACES,
    QUANTITY,
    QUANTITY_PLACES,
    REQUIRED,
    REQUIRED_PLACES,
    SEQ,
    SIDE,
    VALUE_PLACES,
)
from worker.book.plain import MARGIN as ISOLATED_MARGIN
from worker.book.plain import VALUE as ENTRY_VALUE
from worker.book.table import DEN, LOT_DECIMALS, LOT_SCALED, LOTS_LIMIT, PRICE_DECIMALS, PRICE_MAX, VALUE_NUM
from worker.book.update import CROSS
from worker.book.value import value_minor

Cells = NDArray[np.int64]

# --- a position as numbers --------------------------------------------------------------------------------------------
KEY = 0  # 4 * symbol row + side
LOTS = 1
ENTRY = 2  # minor units
MARGIN = 3  # isolated margin in minor units, or CROSS
ADL_SEQ = 4
STAGED_FIELDS = 5

# --- an update as numbers ---------------------------------------------------------------------------------------------
ROW = 0  # of the account, -1 unknown
UPDATE_EPOCH, UPDATE_SEQ, UPDATE_ADL_SEQ = 1, 2, 3
IS_FULL = 4
BALANCE_MINOR, REQUIRED_MINOR = 5, 6  # UNSAID where they stay; a margin of -1 is none
FIRST_STAGED, STAGED = 7, 8  # its positions
GOOD = 9  # 1, or 0: left to others, or UNSAYABLE
HEAD_FIELDS = 10
UNSAYABLE = -1  # numbers that no message could have: not even stale

NO_NUMBER = -(2**63)
UNSAID = -(2**62)  # of a balance or requirement that a delta does not list
POSITIONS_MAX = 64  # of one update here: looking for doubles costs the square of it
_POWERS = np.array([10**places for places in range(DIGITS_MAX + 1)], np.int64)


@kernel("int64(int64, int64, int64)")
def on_scale(mantissa: int, places: int, decimals: int) -> int:
    """mantissa * 10**(decimals - places), or NO_NUMBER where that is no whole number or has more than 18 digits."""
    missing = decimals - places
    if missing < 0 or missing > DIGITS_MAX or abs(mantissa) >= _POWERS[DIGITS_MAX - missing]:
        return NO_NUMBER
    scaled: int = mantissa * _POWERS[missing]
    return scaled


@kernel("boolean(int64[:, ::1], int64)")
def plain_symbol(terms: Cells, symbol: int) -> bool:
    """Whether the row is that of a linear contract: of an inverse one no price passes, and signs turn elsewhere."""
    return symbol >= 0 and terms[LOT_SCALED, symbol] > 0 and terms[VALUE_NUM, symbol] > 0


@kernel("boolean(int64[::1], int64, int64, int64[:, ::1], int64[::1])")
def stage_position(said: Cells, symbol: int, decimals: int, terms: Cells, out: Cells) -> bool:
    """Writes one position as numbers; False where it is to be left to others."""
    side, lot = said[SIDE], terms[LOT_SCALED, symbol]
    quantity = on_scale(said[QUANTITY], said[QUANTITY_PLACES], terms[LOT_DECIMALS, symbol])
    if quantity == NO_NUMBER:
        return False
    lots = quantity // lot
    if lots * lot != quantity or abs(lots) > limits.QUANTITY_LOTS_MAX or (side == 1 and lots < 0):
        return False
    if side == 2 and lots > 0:
        return False
    out[KEY], out[LOTS], out[ENTRY], out[MARGIN] = 4 * symbol + side, lots, 0, CROSS
    out[ADL_SEQ] = said[POSITION_ADL_SEQ]
    if lots == 0:
        return True
    if said[ISOLATED]:
        if said[MARGIN_PLACES] < 0:
            return False
        out[MARGIN] = on_scale(said[ISOLATED_MARGIN], said[MARGIN_PLACES], decimals)
        if not 0 <= out[MARGIN] <= limits.ISOLATED_MARGIN_MINOR_MAX:
            return False
    if said[VALUE_PLACES] >= 0:
        entry = on_scale(said[ENTRY_VALUE], said[VALUE_PLACES], decimals)
        out[ENTRY] = entry
        fits = entry != NO_NUMBER and abs(entry) <= limits.ENTRY_VALUE_MINOR_MAX
        return fits and (entry == 0 or (entry > 0) == (lots > 0))
    if said[PRICE_PLACES] < 0:
        return False
    price = on_scale(said[PRICE], said[PRICE_PLACES], terms[PRICE_DECIMALS, symbol])
    if not 0 < price <= terms[PRICE_MAX, symbol]:
        return False
    den, paid = terms[DEN, symbol], price * terms[VALUE_NUM, symbol]
    whole = paid // den
    if abs(lots) > limits.POSITION_VALUE_MINOR_MAX // (whole + 1):
        return False
    out[ENTRY] = value_minor(lots, whole, paid - whole * den, den)
    return True


@kernel("boolean(int64[:, ::1], int64, int64)")
def beside(staged: Cells, begin: int, place: int) -> bool:
    """Whether a position may stand beside those of its update before it: not twice, and nothing beside NET."""
    two = staged[place, KEY]
    for other in range(begin, place):
        one = staged[other, KEY]
        if one >> 2 == two >> 2 and (one == two or one & 3 == 0 or two & 3 == 0):
            return False
    return True


@kernel("void(int64[:, ::1], int64[:, ::1], int64[::1], int64, int64[:, ::1], int64[:, ::1], int64[:, ::1])")
def stage_updates(
    records: Cells, positions: Cells, symbols: Cells, decimals: int, terms: Cells, heads: Cells, staged: Cells
) -> None:
    """Writes N plain updates as numbers: heads [N, HEAD_FIELDS], but for ROW, and staged [P, STAGED_FIELDS].

    symbols: [P] rows of the positions' symbols, -1 unknown.
    """
    for at in range(len(records)):
        record = records[at]
        balance, required = UNSAID, UNSAID
        if record[BALANCE_PLACES] >= 0:
            balance = on_scale(record[BALANCE], record[BALANCE_PLACES], decimals)
        elif record[FULL]:
            balance = 0
        if record[REQUIRED_PLACES] >= 0:
            required = on_scale(record[REQUIRED], record[REQUIRED_PLACES], decimals)
        elif record[FULL]:
            required = -1
        fine = (balance == UNSAID or abs(balance) <= limits.BALANCE_MINOR_MAX) and balance != NO_NUMBER
        fine &= required == UNSAID or -1 <= required <= limits.BALANCE_MINOR_MAX
        fine &= record[REQUIRED_PLACES] < 0 or required >= 0
        fine &= record[COUNT] <= POSITIONS_MAX
        head, begin = heads[at], record[FIRST]
        head[UPDATE_EPOCH], head[UPDATE_SEQ], head[UPDATE_ADL_SEQ] = record[EPOCH], record[SEQ], record[RECORD_ADL_SEQ]
        head[IS_FULL], head[BALANCE_MINOR], head[REQUIRED_MINOR] = record[FULL], balance, required
        head[FIRST_STAGED], head[STAGED] = begin, record[COUNT]
        for place in range(begin, begin + record[COUNT] if fine else begin):
            fine = plain_symbol(terms, symbols[place]) and stage_position(
                positions[place], symbols[place], decimals, terms, staged[place]
            )
            fine = fine and beside(staged, begin, place)
            if not fine:
                break
        head[GOOD] = fine


@kernel("boolean(int64[:, ::1], int64[::1], int64[:, ::1], int64[::1])")
def stage_marks(records: Cells, symbols: Cells, terms: Cells, lots_max: Cells) -> bool:
    """Lowers lots_max of each symbol to what its new marks allow; False where one of them could be refused itself.

    symbols: [N] rows, -1 unknown. lots_max: [symbols] the most lots that no mark so far would refuse.
    """
    for at in range(len(records)):
        symbol = symbols[at]
        if not plain_symbol(terms, symbol):
            return False
        price = on_scale(records[at, BALANCE], records[at, BALANCE_PLACES], terms[PRICE_DECIMALS, symbol])
        if not 0 < price <= terms[PRICE_MAX, symbol]:
            return False
        whole = price * terms[VALUE_NUM, symbol] // terms[DEN, symbol]
        lots_max[symbol] = min(lots_max[symbol], limits.POSITION_VALUE_MINOR_MAX // (whole + 1))
    return True


@kernel("boolean(int64[:, ::1], int64[::1], int64[:, ::1], int64[::1])")
def within(positions: Cells, symbols: Cells, terms: Cells, lots_max: Cells) -> bool:
    """Whether no mark that `lots_max` knows of could refuse one of the positions, or be refused for it."""
    for at in range(len(positions)):
        symbol = symbols[at]
        if symbol >= 0 and terms[LOT_SCALED, symbol] > 0:
            said = positions[at]
            quantity = on_scale(said[QUANTITY], said[QUANTITY_PLACES], terms[LOT_DECIMALS, symbol])
            most = min(lots_max[symbol], terms[LOTS_LIMIT, symbol])
            if quantity == NO_NUMBER:
                # One with too many decimals is refused whatever the mark.
                if said[QUANTITY_PLACES] <= terms[LOT_DECIMALS, symbol]:
                    return False
            elif abs(quantity) // terms[LOT_SCALED, symbol] > most:
                return False
    return True
