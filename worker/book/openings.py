"""Accounts that nobody knew, opened many at once: what a rebuild mostly does.

Rule 1: only plain updates are opened here (full, cross, amounts of at most 18 digits, far from every limit); the rest
is left to `Book.apply_update`, which alone knows how to refuse. Rule 2: both ways leave the same cells.
One by one an account costs 4 us and a position 5 us; here two kernels read the texts and write the cells of a batch.
"""

from collections.abc import Collection, Container

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.messages import AccountUpdate
from worker.book.blocks import length_of, take
from worker.book.kernel import kernel
from worker.book.market import Market
from worker.book.slots import fill_slot
from worker.book.table import (
    BALANCE,
    DEN,
    EPOCH,
    EQUITY,
    FIRST,
    LOT_SCALED,
    LOTS_LIMIT,
    MARGIN_REQUIRED,
    MARK_REST,
    MARK_WHOLE,
    OWNER,
    PRICE_MAX,
    SEQ,
    UNMARKED,
    VALUE_NUM,
)
from worker.book.update import CROSS, SIDE_CODE
from worker.book.value import value_minor

Cells = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Seats = NDArray[np.int64]

POSITIONS_MAX = 64  # of one account here: looking for doubles costs the square of it
_DIGITS_MAX = 18  # below 2**63 whatever they are
_POWERS = np.array([10**places for places in range(_DIGITS_MAX + 1)], np.int64)
_NO_NUMBER = np.int64(-(2**63))
_MINUS, _POINT, _ZERO, _NINE, _END = (np.uint8(ord(char)) for char in "-.09\n")


class Openings:
    """New accounts that wait to be opened together, as columns: K accounts with P positions, numbers still as text."""

    __slots__ = (
        "accounts", "amounts", "currency", "heads", "keys", "known", "market", "parked", "prices", "quantities",
        "required",
    )  # fmt: skip

    def __init__(
        self, known: Container[str], market: dict[str, Market], currency: str, parked: Collection[tuple[str, str]]
    ) -> None:
        self.known, self.market, self.currency, self.parked = known, market, currency, parked
        self.accounts: dict[str, None] = {}  # [K]
        self.heads: list[int] = []  # [4 K] epoch, seq, number of positions, maintenance margin stated or not
        self.amounts: list[str] = []  # [K]
        self.required: list[str] = []  # [K] stated maintenance margin
        self.keys: list[int] = []  # [P]
        self.quantities: list[str] = []  # [P]
        self.prices: list[str] = []  # [P]

    def __len__(self) -> int:
        return len(self.accounts)

    def add(self, update: AccountUpdate) -> bool:
        """Takes an update of a new account whose fields are plain, numbers unread; False where it is not that."""
        account, balances, positions = update.account, update.balances, update.positions
        required = update.maintenance_margin
        if (
            account in self.known
            or account in self.accounts
            or not update.full
            or update.adl_seq
            or len(balances) != 1
            or balances[0].currency != self.currency
            or balances[0].collateral_weight != "1"
            or len(positions) > POSITIONS_MAX
            or (self.parked and (("AccountUpdate", account) in self.parked or ("Account", account) in self.parked))
        ):
            return False
        begin = len(self.keys)
        for position in positions:
            market, price = self.market.get(position.symbol), position.entry_price
            if (
                market is None
                or market.scale.sign < 0  # see Market.terms
                or price is None
                or position.entry_value is not None
                or position.margin_mode != "cross"
                or position.adl_seq
            ):
                del self.keys[begin:], self.quantities[begin:], self.prices[begin:]
                return False
            self.keys.append(market.key + SIDE_CODE[position.position_side])
            self.quantities.append(position.quantity)
            self.prices.append(price)
        self.accounts[account] = None
        self.heads += (update.epoch, update.seq, len(positions), required is not None)
        self.amounts.append(balances[0].amount)
        self.required.append(required or "0")
        return True


def numbers(texts: list[str], decimals: Cells) -> Cells:
    """Each text times 10**decimals, or _NO_NUMBER where that has more than 18 digits or is to be refused."""
    found = np.full(len(texts), _NO_NUMBER, np.int64)
    joined = "\n".join(texts)
    if texts and joined.count("\n") == len(texts) - 1:
        read_numbers(np.frombuffer(f"{joined}\n".encode("ascii", "replace"), np.uint8), decimals, _POWERS, found)
    return found


@kernel("void(Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1], int64[::1])")
def read_numbers(text: Bytes, decimals: Cells, powers: Cells, found: Cells) -> None:
    """Reads one number a line: a minus or none, digits, and perhaps a point with more digits."""
    at = 0
    for line in range(len(found)):
        minus = text[at] == _MINUS
        at += minus
        value, digits, point = np.int64(0), 0, -1  # point: how many digits stand before it
        good = True
        while text[at] != _END:
            char = text[at]
            if _ZERO <= char <= _NINE:
                digits += 1
                if digits <= _DIGITS_MAX:
                    value = 10 * value + np.int64(char - _ZERO)
            elif char == _POINT and point < 0 and digits > 0:
                point = digits
            else:
                good = False
            at += 1
        at += 1
        places = digits - point if point >= 0 else 0
        missing = decimals[line] - places
        if good and digits > 0 and point != digits and missing >= 0 and digits + missing <= _DIGITS_MAX:
            value *= powers[missing]
            found[line] = -value if minus else value


@kernel(
    "int64(int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], "
    "boolean[::1])"
)
def judge(
    heads: Cells,
    amounts: Cells,
    required: Cells,
    keys: Cells,
    quantities: Cells,
    prices: Cells,
    terms: Cells,
    worth: Cells,
    good: Flags,
) -> int:
    """Which updates are within all limits; returns how many positions those have.

    worth: [3, P]; lots, entry and value are written. The limits are those of `update.py`, or narrower; that nothing
    overflows is shown in schemas/limits.py.
    """
    end, placed = 0, 0
    for at in range(len(heads)):
        begin, end = end, end + heads[at, 2]
        fine = abs(amounts[at]) <= limits.BALANCE_MINOR_MAX and amounts[at] != _NO_NUMBER
        fine &= 0 <= required[at] <= limits.BALANCE_MINOR_MAX
        for place in range(begin, end):
            key, quantity, price = keys[place], quantities[place], prices[place]
            symbol, side = key >> 2, key & 3
            lots = quantity // terms[LOT_SCALED, symbol]
            fine &= quantity != _NO_NUMBER and lots * terms[LOT_SCALED, symbol] == quantity and lots != 0
            fine &= (
                abs(lots) <= terms[LOTS_LIMIT, symbol] and not (side == 1 and lots < 0) and not (side == 2 and lots > 0)
            )
            fine &= 0 < price <= terms[PRICE_MAX, symbol]
            for other in range(begin, place):
                fine &= keys[other] >> 2 != symbol
            if not fine:
                break
            den, paid = terms[DEN, symbol], price * terms[VALUE_NUM, symbol]
            whole = paid // den
            fine = abs(lots) <= limits.POSITION_VALUE_MINOR_MAX // (whole + 1)
            if not fine:
                break
            worth[0, place] = lots
            worth[1, place] = value_minor(lots, whole, paid - whole * den, den)
            worth[2, place] = value_minor(lots, terms[MARK_WHOLE, symbol], terms[MARK_REST, symbol], den)
        good[at] = fine
        if fine:
            placed += end - begin
    return placed


@kernel(
    "void(int64[:, ::1], int64[:, ::1], int64[::1], int64[::1], int64[:, ::1], int64[::1], int64[:, ::1], int64[::1], "
    "int64[::1], int64[::1], int64[:, ::1], int64[:, ::1], boolean[::1])"
)
def write(
    accounts: Cells,
    slots: Cells,
    heap: Cells,
    seats: Seats,
    holdings: Cells,
    rows: Cells,
    heads: Cells,
    amounts: Cells,
    required: Cells,
    keys: Cells,
    worth: Cells,
    terms: Cells,
    good: Flags,
) -> None:
    """Writes the good ones into `rows`, each with its positions in a block of its own."""
    end, opened = 0, 0
    for at in range(len(heads)):
        begin, end = end, end + heads[at, 2]
        if not good[at]:
            continue
        row = rows[opened]
        opened += 1
        equity = amounts[at]
        block = take(slots, heap, length_of(end - begin)) if end > begin else -1
        for place in range(begin, end):
            key, lots, entry, value = keys[place], worth[0, place], worth[1, place], worth[2, place]
            equity += value - entry
            if terms[MARK_WHOLE, key >> 2] == 0 and terms[MARK_REST, key >> 2] == 0:
                accounts[UNMARKED, row] += 1
            slot = block + place - begin
            fill_slot(accounts, slots, heap, seats, holdings, row, slot, key, lots, entry, CROSS, 0)
        accounts[FIRST, row] = block
        accounts[EPOCH, row] = heads[at, 0]
        accounts[SEQ, row] = heads[at, 1]
        accounts[BALANCE, row] = amounts[at]
        accounts[MARGIN_REQUIRED, row] = required[at] if heads[at, 3] else -1
        accounts[OWNER, row] = -1
        accounts[EQUITY, row] = equity
