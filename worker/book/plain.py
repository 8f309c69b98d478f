"""Plain records of JSON, read by one kernel: account updates and marks as exchanges send nearly all of them.

Rule 1: what is not plain is left to msgspec, which alone knows how to refuse: other messages, unknown or doubled
fields, spaces, escapes, texts that are not ASCII, nulls, numbers of more than 18 digits.
Rule 2: what is plain means what msgspec would have read; fields may stand in any order, the type first.
"""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from worker.book.kernel import kernel

Bytes = NDArray[np.uint8]
Cells = NDArray[np.int64]

# --- a record ---------------------------------------------------------------------------------------------------------
KIND = 0  # NOT_PLAIN, or MARK or UPDATE
NAME_BEGIN, NAME_END = 1, 2  # of the account, or a mark's symbol
EPOCH = 3
SEQ = 4  # of a mark: event_time_ms
ADL_SEQ = 5
FULL = 6
BALANCE, BALANCE_PLACES = 7, 8  # amount * 10**places; places -1: not said. Of a mark: its price
REQUIRED, REQUIRED_PLACES = 9, 10  # maintenance margin, the same
FIRST, COUNT = 11, 12  # its positions
KEY_DIFFERS = 13  # the record's key is there, and another than its account
BEGIN, END = 14, 15  # of the record
RECORD_FIELDS = 16

# --- a position -------------------------------------------------------------------------------------------------------
SYMBOL_BEGIN, SYMBOL_END = 0, 1
SIDE = 2
QUANTITY, QUANTITY_PLACES = 3, 4
PRICE, PRICE_PLACES = 5, 6  # entry price, places -1: not said
VALUE, VALUE_PLACES = 7, 8  # entry value, the same
MARGIN, MARGIN_PLACES = 9, 10  # isolated margin, the same
ISOLATED = 11
POSITION_ADL_SEQ = 12
POSITION_FIELDS = 13

NOT_PLAIN, MARK, UPDATE = -1, 5, 6  # the kinds as worker/cut.py numbers them
DIGITS_MAX = 18  # below 2**63 whatever they are
_POSITION_BYTES_MIN = len('{"symbol":"","quantity":"0"}')


def word(text: str) -> Bytes:
    return np.frombuffer(text.encode(), np.uint8)


_UPDATE_BEGINS, _MARK_BEGINS = word('{"type":"AccountUpdate"'), word('{"type":"MarkPrice"')
_ACCOUNT, _EPOCH, _SEQ, _ADL = word('"account":"'), word('"epoch":'), word('"seq":'), word('"adl_seq":')
_FULL, _BALANCES, _POSITIONS = word('"full":'), word('"balances":['), word('"positions":[')
_REQUIRED, _CURRENCY, _AMOUNT = word('"maintenance_margin":"'), word('"currency":"'), word('"amount":"')
_WEIGHT, _TRUE, _FALSE = word('"collateral_weight":"1"'), word("true"), word("false")
_SYMBOL, _QUANTITY, _SIDE = word('"symbol":"'), word('"quantity":"'), word('"position_side":"')
_PRICE, _VALUE, _MARGIN = word('"entry_price":"'), word('"entry_value":"'), word('"isolated_margin":"')
_MODE, _MODE_CROSS, _MODE_ISOLATED = word('"margin_mode":"'), word('cross"'), word('isolated"')
_NET, _LONG, _SHORT = word('NET"'), word('LONG"'), word('SHORT"')
_MARK_PRICE, _INDEX, _TIME = word('"mark_price":"'), word('"index_price":"'), word('"event_time_ms":')
_QUOTE, _COMMA, _POINT, _MINUS, _ZERO, _NINE, _ESCAPE, _SPACE, _TILDE, _OPEN, _CLOSE, _OPEN_LIST, _CLOSE_LIST = (
    np.uint8(ord(char)) for char in '",.-09\\ ~{}[]'
)


# Whether a character of a text is one that needs no second look. A table and an index without a sign, at which nobody
# looks whether it is below 0, save a quarter of the time.
ONE = np.uint64(1)
PLAIN_CHAR = np.array([_SPACE <= c <= _TILDE and c not in (_QUOTE, _ESCAPE) for c in range(256)])


@kernel("boolean(Array(uint8, 1, 'C', readonly=True), int64, Array(uint8, 1, 'C', readonly=True))")
def stands(text: Bytes, at: int, word: Bytes) -> bool:
    """Whether the word stands there."""
    begin = np.uint64(at)
    for place in range(len(word)):  # noqa: SIM110  numba has no generator here
        if text[begin + np.uint64(place)] != word[place]:
            return False
    return True


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64)")
def text_end(text: Bytes, at: int) -> int:
    """Where the closing quote of a plain text stands, -1 where it is not plain."""
    read = np.uint64(at)
    while PLAIN_CHAR[text[read]]:
        read += ONE
    return int(np.int64(read)) if text[read] == _QUOTE else -1


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, int64[::1], int64)")
def integer(text: Bytes, at: int, out: Cells, field: int) -> int:
    """Reads a whole number as JSON writes it, at least 0; returns what follows, -1 where it is not plain."""
    begin, value = at, np.int64(0)
    while _ZERO <= text[np.uint64(at)] <= _NINE:
        value = 10 * value + np.int64(text[np.uint64(at)] - _ZERO)
        at += 1
        if at - begin > DIGITS_MAX:
            return -1
    out[field] = value
    return at if at == begin + 1 or (at > begin and text[begin] != _ZERO) else -1


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, int64[::1], int64)")
def decimal(text: Bytes, at: int, out: Cells, field: int) -> int:
    """Reads a decimal text up to its closing quote into value and places, zeros at the end left out; as `integer`."""
    minus = text[np.uint64(at)] == _MINUS
    at += minus
    begin, value = at, np.int64(0)
    while _ZERO <= text[np.uint64(at)] <= _NINE:
        value = 10 * value + np.int64(text[np.uint64(at)] - _ZERO)
        at += 1
        if at - begin > DIGITS_MAX:
            return -1
    if at == begin:
        return -1
    places = 0
    if text[np.uint64(at)] == _POINT:
        at += 1
        point = at
        while _ZERO <= text[np.uint64(at)] <= _NINE:
            value = 10 * value + np.int64(text[np.uint64(at)] - _ZERO)
            at += 1
            if at - 1 - begin > DIGITS_MAX:
                return -1
        places = at - point
        if places == 0:
            return -1
        while places > 0 and text[np.uint64(point + places - 1)] == _ZERO:
            value //= 10
            places -= 1
    if text[np.uint64(at)] != _QUOTE:
        return -1
    out[field], out[field + 1] = -value if minus else value, places
    return at + 1


@kernel(
    "int64(Array(uint8, 1, 'C', readonly=True), int64, Array(uint8, 1, 'C', readonly=True), int64[::1])",
)
def balance(text: Bytes, at: int, currency: Bytes, out: Cells) -> int:
    """Reads a list of no balance or of one in the currency; returns what follows, -1 where it is not plain."""
    if text[at] == _CLOSE_LIST:
        return at + 1
    if text[at] != _OPEN:
        return -1
    seen = 0
    while True:
        at += 1
        if stands(text, at, _CURRENCY) and not seen & 1 and stands(text, at + len(_CURRENCY), currency):
            at += len(_CURRENCY) + len(currency)
            seen |= 1
        elif stands(text, at, _AMOUNT) and not seen & 2:
            at = decimal(text, at + len(_AMOUNT), out, BALANCE)
            seen |= 2
        elif stands(text, at, _WEIGHT) and not seen & 4:
            at += len(_WEIGHT)
            seen |= 4
        else:
            return -1
        if at < 0 or text[at] != _COMMA:
            break
    return at + 2 if at >= 0 and seen & 3 == 3 and text[at] == _CLOSE and text[at + 1] == _CLOSE_LIST else -1


@kernel("UniTuple(int64, 2)(Array(uint8, 1, 'C', readonly=True), int64)")
def side(text: Bytes, at: int) -> tuple[int, int]:
    """What follows a position side, and its code."""
    if stands(text, at, _NET):
        return at + len(_NET), 0
    if stands(text, at, _LONG):
        return at + len(_LONG), 1
    if stands(text, at, _SHORT):
        return at + len(_SHORT), 2
    return -1, 0


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, int64[::1])")
def position(text: Bytes, at: int, out: Cells) -> int:
    """Reads one position from its brace on; returns what follows, -1 where it is not plain."""
    out[SIDE] = out[ISOLATED] = out[POSITION_ADL_SEQ] = 0
    out[PRICE_PLACES] = out[VALUE_PLACES] = out[MARGIN_PLACES] = -1
    if text[at] != _OPEN:
        return -1
    seen = 0
    while True:
        at += 1
        if stands(text, at, _SYMBOL) and not seen & 1:
            out[SYMBOL_BEGIN] = at + len(_SYMBOL)
            out[SYMBOL_END] = text_end(text, out[SYMBOL_BEGIN])
            at = out[SYMBOL_END] + 1 if out[SYMBOL_END] >= 0 else -1
            seen |= 1
        elif stands(text, at, _QUANTITY) and not seen & 2:
            at = decimal(text, at + len(_QUANTITY), out, QUANTITY)
            seen |= 2
        elif stands(text, at, _PRICE) and not seen & 4:
            at = decimal(text, at + len(_PRICE), out, PRICE)
            seen |= 4
        elif stands(text, at, _VALUE) and not seen & 8:
            at = decimal(text, at + len(_VALUE), out, VALUE)
            seen |= 8
        elif stands(text, at, _SIDE) and not seen & 16:
            at, out[SIDE] = side(text, at + len(_SIDE))
            seen |= 16
        elif stands(text, at, _MODE) and not seen & 32:
            at += len(_MODE)
            out[ISOLATED] = stands(text, at, _MODE_ISOLATED)
            at = (
                at + len(_MODE_ISOLATED)
                if out[ISOLATED]
                else at + len(_MODE_CROSS)
                if stands(text, at, _MODE_CROSS)
                else -1
            )
            seen |= 32
        elif stands(text, at, _ADL) and not seen & 64:
            at = integer(text, at + len(_ADL), out, POSITION_ADL_SEQ)
            seen |= 64
        elif stands(text, at, _MARGIN) and not seen & 128:
            at = decimal(text, at + len(_MARGIN), out, MARGIN)
            seen |= 128
        else:
            return -1
        if at < 0 or text[at] != _COMMA:
            break
    return at + 1 if at >= 0 and seen & 3 == 3 and text[at] == _CLOSE else -1


@kernel("UniTuple(int64, 2)(Array(uint8, 1, 'C', readonly=True), int64, int64[:, ::1], int64)")
def positions_of(text: Bytes, at: int, positions: Cells, used: int) -> tuple[int, int]:
    """Reads a list of positions behind the `used` ones; returns what follows (-1: not plain) and how many are used."""
    if text[at] == _CLOSE_LIST:
        return at + 1, used
    while True:
        at = position(text, at, positions[used])
        used += 1
        if at < 0 or text[at] != _COMMA:
            break
        at += 1
    return (at + 1 if at >= 0 and text[at] == _CLOSE_LIST else -1), used


@kernel(
    "UniTuple(int64, 2)(Array(uint8, 1, 'C', readonly=True), int64, Array(uint8, 1, 'C', readonly=True), int64[::1], "
    "int64[:, ::1], int64)"
)
def update(text: Bytes, at: int, currency: Bytes, out: Cells, positions: Cells, used: int) -> tuple[int, int]:
    """Reads an update's fields behind its type; returns as `positions_of`, the closing brace taken."""
    out[EPOCH:BEGIN] = 0
    out[BALANCE_PLACES] = out[REQUIRED_PLACES] = -1
    out[FIRST] = used
    seen = 0
    while text[at] == _COMMA:
        at += 1
        if stands(text, at, _ACCOUNT) and not seen & 1:
            out[NAME_BEGIN] = at + len(_ACCOUNT)
            out[NAME_END] = text_end(text, out[NAME_BEGIN])
            at = out[NAME_END] + 1 if out[NAME_END] >= 0 else -1
            seen |= 1
        elif stands(text, at, _EPOCH) and not seen & 2:
            at = integer(text, at + len(_EPOCH), out, EPOCH)
            seen |= 2
        elif stands(text, at, _SEQ) and not seen & 4:
            at = integer(text, at + len(_SEQ), out, SEQ)
            seen |= 4
        elif stands(text, at, _ADL) and not seen & 8:
            at = integer(text, at + len(_ADL), out, ADL_SEQ)
            seen |= 8
        elif stands(text, at, _FULL) and not seen & 16:
            out[FULL] = stands(text, at + len(_FULL), _TRUE)
            known = out[FULL] or stands(text, at + len(_FULL), _FALSE)
            at = at + len(_FULL) + (len(_TRUE) if out[FULL] else len(_FALSE)) if known else -1
            seen |= 16
        elif stands(text, at, _BALANCES) and not seen & 32:
            at = balance(text, at + len(_BALANCES), currency, out)
            seen |= 32
        elif stands(text, at, _POSITIONS) and not seen & 64:
            at, used = positions_of(text, at + len(_POSITIONS), positions, used)
            seen |= 64
        elif stands(text, at, _REQUIRED) and not seen & 128:
            at = decimal(text, at + len(_REQUIRED), out, REQUIRED)
            seen |= 128
        else:
            return -1, used
        if at < 0:
            return -1, used
    out[COUNT] = used - out[FIRST]
    return (at + 1 if seen & 7 == 7 and text[at] == _CLOSE else -1), used


@kernel("int64(Array(uint8, 1, 'C', readonly=True), int64, int64[::1])")
def mark(text: Bytes, at: int, out: Cells) -> int:
    """Reads a mark's fields behind its type; returns what follows the closing brace, -1 where it is not plain."""
    out[EPOCH:BEGIN] = 0
    seen = 0
    while text[at] == _COMMA:
        at += 1
        if stands(text, at, _SYMBOL) and not seen & 1:
            out[NAME_BEGIN] = at + len(_SYMBOL)
            out[NAME_END] = text_end(text, out[NAME_BEGIN])
            at = out[NAME_END] + 1 if out[NAME_END] >= 0 else -1
            seen |= 1
        elif stands(text, at, _MARK_PRICE) and not seen & 2:
            at = decimal(text, at + len(_MARK_PRICE), out, BALANCE)
            seen |= 2
        elif stands(text, at, _TIME) and not seen & 4:
            at = integer(text, at + len(_TIME), out, SEQ)
            seen |= 4
        elif stands(text, at, _INDEX) and not seen & 8:
            at = text_end(text, at + len(_INDEX))
            at = at + 1 if at >= 0 else -1
            seen |= 8
        else:
            return -1
        if at < 0:
            return -1
    fine = seen & 7 == 7 and text[at] == _CLOSE and out[SEQ] <= limits.TIME_MS_MAX
    return at + 1 if fine else -1


@kernel(
    "int64(Array(uint8, 1, 'C', readonly=True), int64[::1], int64[::1], int64[::1], "
    "Array(uint8, 1, 'C', readonly=True), int64[:, ::1], int64[:, ::1])"
)
def read_plain(
    text: Bytes, keys: Cells, begins: Cells, ends: Cells, currency: Bytes, records: Cells, positions: Cells
) -> int:
    """Reads N records of the text, which ends with SENTINEL; returns how many positions they have.

    keys: where each record's key begins, it ends where its value begins; -1 without one. currency: with its closing
    quote. records: [N, RECORD_FIELDS] and positions: [P, POSITION_FIELDS] are written.
    """
    used = 0
    for at in range(len(begins)):
        out, begin, end, next_used = records[at], begins[at], ends[at], used
        out[KIND], out[BEGIN], out[END] = NOT_PLAIN, begin, end
        if end < 0:  # a null value: what stands there is another record's
            continue
        if stands(text, begin, _UPDATE_BEGINS):
            after, next_used = update(text, begin + len(_UPDATE_BEGINS), currency, out, positions, used)
            size = out[NAME_END] - out[NAME_BEGIN]
            if after == end and 0 < size <= limits.NAME_BYTES_MAX and out[COUNT] <= limits.POSITIONS_PER_ACCOUNT_MAX:
                out[KIND] = UPDATE
                if keys[at] >= 0:
                    same = begin - keys[at] == size
                    for place in range(size if same else 0):
                        same &= text[keys[at] + place] == text[out[NAME_BEGIN] + place]
                    out[KEY_DIFFERS] = not same
                used = next_used
        elif stands(text, begin, _MARK_BEGINS) and mark(text, begin + len(_MARK_BEGINS), out) == end:
            out[KIND] = MARK
    return used


def positions_max(text_bytes: int) -> int:
    """How many positions so long a text can hold, one of them perhaps torn."""
    return text_bytes // _POSITION_BYTES_MIN + 2
