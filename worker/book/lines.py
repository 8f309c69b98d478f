"""Plain lines of a recording, read by one kernel: the fields that `kcat -J` and we print, in that order, and no others.

Rule: of a block with any other line, an escape but \\" and \\\\ or a text that is not ASCII, nothing is read here.
"""

import numpy as np
from numpy.typing import NDArray

from worker.book.kernel import kernel
from worker.book.plain import ONE, PLAIN_CHAR, integer, stands, text_end, word

Bytes = NDArray[np.uint8]
Cells = NDArray[np.int64]

# --- a line -----------------------------------------------------------------------------------------------------------
TOPIC_BEGIN, TOPIC_END = 0, 1
PARTITION = 2
OFFSET = 3
TIME = 4
KEY = 5  # where the key begins in what is written, which ends where the value begins; -1: none
BEGIN, END = 6, 7  # of the value; -1: null
PLACE = 8  # the first line of the same topic and partition
LINE_FIELDS = 9

PLACES_MAX = 256  # of a block here: each line is compared with them
LINE_BYTES_MIN = 60

_TOPIC, _PARTITION, _OFFSET = word('{"topic":"'), word('","partition":'), word(',"offset":')
_KIND, _TIME, _BROKER, _KEY = word(',"tstype":"'), word('","ts":'), word(',"broker":'), word(',"key":')
_PAYLOAD, _NULL = word(',"payload":'), word("null")
_QUOTE, _ESCAPE, _SPACE, _TILDE, _CLOSE, _LINE, _END = (np.uint8(ord(char)) for char in '"\\ ~}\n\0')

_TEXT = "Array(uint8, 1, 'C', readonly=True)"


@kernel(f"UniTuple(int64, 2)({_TEXT}, int64, uint8[::1], int64)")
def unescaped(text: Bytes, at: int, out: Bytes, end: int) -> tuple[int, int]:
    """Copies a text behind its opening quote to out[end:]; returns what follows it (-1: not plain) and the new end."""
    read, written = np.uint64(at), np.uint64(end)
    while True:
        char = text[read]
        while PLAIN_CHAR[char]:
            out[written] = char
            written += ONE
            read += ONE
            char = text[read]
        if char == _QUOTE:
            return int(np.int64(read)) + 1, int(np.int64(written))
        if char == _ESCAPE:
            read += ONE
            char = text[read]
        else:
            char = _END
        if char != _QUOTE and char != _ESCAPE:
            return -1, int(np.int64(written))
        out[written] = char
        written += ONE
        read += ONE


@kernel(f"int64({_TEXT}, int64, int64[::1])")
def read_head(text: Bytes, at: int, line: Cells) -> int:
    """Reads a line up to its key; returns what follows, -1 where it is not plain."""
    if not stands(text, at, _TOPIC):
        return -1
    line[TOPIC_BEGIN] = at + len(_TOPIC)
    line[TOPIC_END] = at = text_end(text, line[TOPIC_BEGIN])
    if at < 0 or not stands(text, at, _PARTITION):
        return -1
    at = integer(text, at + len(_PARTITION), line, PARTITION)
    if at < 0 or not stands(text, at, _OFFSET):
        return -1
    at = integer(text, at + len(_OFFSET), line, OFFSET)
    if at < 0 or not stands(text, at, _KIND):
        return -1
    at = text_end(text, at + len(_KIND))
    if at < 0 or not stands(text, at, _TIME):
        return -1
    at = integer(text, at + len(_TIME), line, TIME)
    if at < 0 or not stands(text, at, _BROKER):
        return -1
    at = integer(text, at + len(_BROKER), line, PLACE)
    return at + len(_KEY) if at >= 0 and stands(text, at, _KEY) else -1


@kernel(f"int64({_TEXT}, int64[:, ::1], int64, int64[::1], int64)")
def place_of(text: Bytes, lines: Cells, at: int, places: Cells, known: int) -> int:
    """Which of the known places a line is of, or how many there are."""
    line = lines[at]
    for number in range(known):
        other = lines[places[number]]
        size = line[TOPIC_END] - line[TOPIC_BEGIN]
        same = line[PARTITION] == other[PARTITION] and size == other[TOPIC_END] - other[TOPIC_BEGIN]
        for char in range(size if same else 0):
            if text[line[TOPIC_BEGIN] + char] != text[other[TOPIC_BEGIN] + char]:
                same = False
                break
        if same:
            return number
    return known


@kernel(f"UniTuple(int64, 2)({_TEXT}, int64[:, ::1], uint8[::1])")
def read_lines(text: Bytes, lines: Cells, out: Bytes) -> tuple[int, int]:
    """Reads the lines of a text that ends with a NUL; returns how many, -1 where one is not plain, and the end of out.

    lines: [N, LINE_FIELDS] and out, as long as the text, are written: key and value of each line side by side.
    """
    at, count, end, known = 0, 0, 0, 0
    places = np.empty(PLACES_MAX, np.int64)
    while text[at] != _END:
        if count == len(lines):
            return -1, end
        line = lines[count]
        at = read_head(text, at, line)
        if at < 0:
            return -1, end
        line[KEY] = end
        if text[at] == _QUOTE:
            at, end = unescaped(text, at + 1, out, end)
        elif stands(text, at, _NULL):
            line[KEY], at = -1, at + len(_NULL)
        else:
            return -1, end
        if at < 0 or not stands(text, at, _PAYLOAD):
            return -1, end
        at += len(_PAYLOAD)
        line[BEGIN] = end
        if text[at] == _QUOTE:
            at, end = unescaped(text, at + 1, out, end)
            line[END] = end
        elif stands(text, at, _NULL):
            line[END], at = -1, at + len(_NULL)
        else:
            return -1, end
        if at < 0 or text[at] != _CLOSE:
            return -1, end
        at += 1
        if text[at] == _LINE:
            at += 1
        elif text[at] != _END:
            return -1, end
        number = place_of(text, lines, count, places, known)
        if number == PLACES_MAX:
            return -1, end
        if number == known:
            places[known] = count
            known += 1
        line[PLACE] = places[number]
        count += 1
    return count if at == len(text) - 1 else -1, end
