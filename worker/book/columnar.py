"""A PositionBatch as numbers: rows of its two blocks become heads and staged positions (worker/book/scales.py).

Rule: a block that does not hold together is refused as a whole; an update that could be refused is left to those who
refuse (`Book.apply_update`), and the others do not mind.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel
from worker.book.scales import (
    ADL_SEQ,
    BALANCE_MINOR,
    ENTRY,
    FIRST_STAGED,
    GOOD,
    IS_FULL,
    KEY,
    LOTS,
    MARGIN,
    POSITIONS_MAX,
    REQUIRED_MINOR,
    STAGED,
    UNSAID,
    UNSAYABLE,
    UPDATE_ADL_SEQ,
    UPDATE_EPOCH,
    UPDATE_SEQ,
    beside,
    plain_symbol,
)
from worker.book.update import CROSS

Cells = NDArray[np.int64]
Block = NDArray[np.int64]

# --- a row of `updates` -----------------------------------------------------------------------------------------------
U_ACCOUNT, U_EPOCH, U_SEQ, U_ADL_SEQ, U_FULL, U_STATED, U_AMOUNT, U_POSITIONS = range(limits.UPDATE_ROW)
# --- a row of `positions` ---------------------------------------------------------------------------------------------
P_ACCOUNT, P_SYMBOL, P_SIDE, P_EPOCH, P_SEQ, P_ADL_SEQ, P_LOTS, P_ENTRY = range(limits.POSITION_ROW)

ALL = -2  # what `pair` returns where everything fits

_BLOCK = "Array(int64, 2, 'C', readonly=True)"
_CELLS = "int64[:, ::1]"


@kernel(f"int64({_BLOCK}, {_BLOCK}, int64, int64, {_CELLS})")
def pair(updates: Block, positions: Block, accounts: int, symbols: int, heads: Cells) -> int:
    """Gives each update its positions, as many of the next rows as it says; writes FIRST_STAGED and STAGED.

    Returns ALL, or the first position that does not repeat the account, epoch and seq of its update, or is missing or
    too many; -1 where a row names an account or symbol that is not listed.
    """
    end = 0
    for at in range(len(updates)):
        update = updates[at]
        if not 0 <= update[U_ACCOUNT] < accounts:
            return -1
        heads[at, FIRST_STAGED], heads[at, STAGED] = end, update[U_POSITIONS]
        if not 0 <= update[U_POSITIONS] <= len(positions) - end:
            return end
        for _ in range(update[U_POSITIONS]):
            said = positions[end]
            if not 0 <= said[P_ACCOUNT] < accounts or not 0 <= said[P_SYMBOL] < symbols:
                return -1
            same = said[P_ACCOUNT] == update[U_ACCOUNT] and said[P_EPOCH] == update[U_EPOCH]
            if not same or said[P_SEQ] != update[U_SEQ]:
                return end
            end += 1
    return end if end < len(positions) else ALL


@kernel(f"boolean(int64[::1], {_CELLS}, int64, Array(int64, 1, 'C', readonly=True))")
def stage_row(out: Cells, terms: Cells, symbol: int, said: Cells) -> bool:
    """Writes one row as a position; False where it is to be left to others."""
    side, lots, entry = said[P_SIDE], said[P_LOTS], said[P_ENTRY]
    if not plain_symbol(terms, symbol) or not 0 <= side <= 2:
        return False
    out[KEY], out[LOTS], out[ENTRY], out[MARGIN] = 4 * symbol + side, lots, entry, CROSS
    out[ADL_SEQ] = said[P_ADL_SEQ]
    if not -limits.QUANTITY_LOTS_MAX <= lots <= limits.QUANTITY_LOTS_MAX or said[P_ADL_SEQ] < 0:
        return False
    if (side == 1 and lots < 0) or (side == 2 and lots > 0):
        return False
    if lots == 0:
        out[ENTRY] = 0
        return True
    if entry != 0 and (entry > 0) != (lots > 0):
        return False
    return -limits.ENTRY_VALUE_MINOR_MAX <= entry <= limits.ENTRY_VALUE_MINOR_MAX  # type: ignore[no-any-return]  # cells are untyped


@kernel(f"void({_BLOCK}, {_BLOCK}, int64[::1], {_CELLS}, {_CELLS}, {_CELLS})")
def stage_rows(updates: Block, positions: Block, symbols: Cells, terms: Cells, heads: Cells, staged: Cells) -> None:
    """Writes paired rows as numbers, but for ROW; symbols: rows of the names listed, -1 unknown."""
    for at in range(len(updates)):
        update, head = updates[at], heads[at]
        head[IS_FULL] = update[U_FULL]
        head[UPDATE_EPOCH], head[UPDATE_SEQ] = update[U_EPOCH], update[U_SEQ]
        head[UPDATE_ADL_SEQ] = update[U_ADL_SEQ]
        amount = update[U_AMOUNT]
        head[BALANCE_MINOR] = amount if update[U_STATED] != 0 else 0 if update[U_FULL] == 1 else UNSAID
        head[REQUIRED_MINOR] = -1 if update[U_FULL] == 1 else UNSAID
        fine = 0 <= update[U_FULL] <= 1 and 0 <= update[U_ADL_SEQ] <= limits.SEQUENCE_MAX
        fine &= 0 <= update[U_EPOCH] <= limits.SEQUENCE_MAX and 0 <= update[U_SEQ] <= limits.SEQUENCE_MAX
        begin = head[FIRST_STAGED]
        for place in range(begin, begin + head[STAGED] if fine else begin):  # what a message could not say either
            said = positions[place]
            fine &= 0 <= said[P_SIDE] <= 2 and 0 <= said[P_ADL_SEQ] <= limits.ADL_SEQ_UNKNOWN_MAX
        fine &= head[STAGED] <= limits.POSITIONS_PER_ACCOUNT_MAX
        sayable = fine
        fine &= -limits.BALANCE_MINOR_MAX <= amount <= limits.BALANCE_MINOR_MAX and head[STAGED] <= POSITIONS_MAX
        for place in range(begin, begin + head[STAGED] if fine else begin):
            said = positions[place]
            fine = stage_row(staged[place], terms, symbols[said[P_SYMBOL]], said)
            fine = fine and beside(staged, begin, place)
            if not fine:
                break
        head[GOOD] = fine if sayable else UNSAYABLE
