"""Texts that are woven, hashed and found in columns are those that Python makes one by one."""

from hashlib import blake2b

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from worker.book.blake import hex_digests
from worker.book.leg_rows import LegRows
from worker.book.weave import Pieces, woven

WORDS = st.binary(max_size=400).map(lambda text: text.replace(b"\0", b"-"))
COLUMNS = st.lists(st.lists(WORDS, min_size=1, max_size=5), min_size=1, max_size=4)


@given(COLUMNS, st.data())
def test_rows_are_their_pieces_behind_each_other(columns, data):
    """Whichever piece of a column stands in a row, and if none of them holds anything."""
    rows = data.draw(st.integers(0, 6))
    chosen = [[data.draw(st.integers(0, len(pieces) - 1)) for _ in range(rows)] for pieces in columns]
    given_columns = [
        Pieces(b"".join(piece + b"\0" for piece in pieces), np.array(index, np.int64))
        for pieces, index in zip(columns, chosen, strict=True)
    ]
    said = woven(given_columns).tobytes().split(b"\0")[:-1]
    picked = zip(columns, chosen, strict=True)
    parts = [[pieces[at] for at in index] for pieces, index in picked]
    assert said == [b"".join(row) for row in zip(*parts, strict=True)]


@given(st.lists(WORDS, max_size=6))
def test_hashes_are_those_of_hashlib(texts):
    """Of no byte, of a block to the byte, of several blocks."""
    texts += [b"", b"x" * 127, b"x" * 128, b"x" * 129, b"x" * 256, b"x" * 257]
    column = np.frombuffer(b"".join(text + b"\0" for text in texts), np.uint8)
    wanted = [blake2b(text, digest_size=16).hexdigest().encode() for text in texts]
    assert hex_digests(column, len(texts)).tolist() == wanted


def test_a_leg_is_found_until_it_is_dropped():
    """By its id alone, as the rows grow, are given back and taken again; beside a dictionary that says the same."""
    rows, twin = LegRows(), {}
    rng = np.random.default_rng(7)
    ids = [rng.bytes(16).hex() for _ in range(3000)]
    # Of one bucket at any size: the low words differ in their upper half alone.
    ids += [f"{at:08x}" + "0" * 24 for at in range(1, 50)] + [f"{at:024x}" + "0" * 8 for at in range(1, 50)]
    rng.shuffle(ids)
    free, used = [], 0
    while ids:
        count = int(rng.integers(1, 400))
        batch, ids = ids[:count], ids[count:]
        places = [free.pop() if free else used + at for at in range(len(batch))]
        used = max(used, max(places) + 1)
        rows.add(np.array(batch, "S32"), np.array(places, np.int64))
        twin.update(zip(batch, places, strict=True))
        for trade_id in [name for name in twin if rng.random() < 0.3]:
            rows.drop(twin[trade_id])
            free.append(twin.pop(trade_id))
            assert rows.row(trade_id) == -1
        assert {name: rows.row(name) for name in twin} == twin
        assert [row for row in range(used + 500) if rows.has(row)] == sorted(twin.values())
    known = next(iter(twin))
    for other in ("", "zz", known.upper() + "A", known[:-1], known + "00", f" {known}", known[:30], "é" * 32, "0" * 64):
        assert rows.row(other) == -1
