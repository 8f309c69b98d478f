"""A block of a recording's plain lines as columns, partition by partition."""

import numpy as np

from worker.book.lines import (
    BEGIN,
    END,
    KEY,
    LINE_BYTES_MIN,
    LINE_FIELDS,
    OFFSET,
    PARTITION,
    PLACE,
    TIME,
    TOPIC_BEGIN,
    TOPIC_END,
    read_lines,
)
from worker.book.text import SENTINEL
from worker.fetched import Fetched, Span


def plain_lines(block: bytes) -> Fetched | None:
    """The records of whole lines; None where one of them is not plain."""
    text = np.frombuffer(block + SENTINEL, np.uint8)
    lines = np.empty((len(text) // LINE_BYTES_MIN + 1, LINE_FIELDS), np.int64)
    out = np.empty(len(text) + 1, np.uint8)
    count, end = read_lines(text, lines, out)
    if count < 0:
        return None
    out[end] = 0
    order = np.argsort(lines[:count, PLACE], kind="stable")
    columns = np.ascontiguousarray(lines[:count].T[:, order])
    spans: list[Span] = []
    begin = 0
    for after in (np.flatnonzero(np.diff(columns[PLACE], append=-1)) + 1).tolist():
        line = columns[:, begin].tolist()
        spans.append(((block[line[TOPIC_BEGIN] : line[TOPIC_END]].decode(), line[PARTITION]), begin, after))
        begin = after
    written = out[: end + 1].tobytes()
    return Fetched(spans, columns[OFFSET], columns[TIME], written, columns[KEY], columns[BEGIN], columns[END])
