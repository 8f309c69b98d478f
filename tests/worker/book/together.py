"""Updates that reach a book together, as columns: read from plain records, or as a PositionBatch.

Rule: a twin is told them one by one; what the book leaves to be applied as messages must end as the twin says, and
what it does not leave was applied, or stale.
"""

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from schemas import Balance, Position, Refused, encode
from schemas.messages import AccountUpdate
from tests.worker.book.sequences import History
from tests.worker.book.twin import Twin, TwinRefusal
from tests.worker.columnar import position_batch
from worker.batch import Batch, Plain, Run
from worker.book.book import Book
from worker.book.plain import KIND, NOT_PLAIN, POSITION_FIELDS, RECORD_FIELDS, SYMBOL_BEGIN, positions_max, read_plain
from worker.columns import Columns, spans
from worker.fetched import packed
from worker.held import Held
from worker.updates import Updates, batch_updates, plain_updates

PLACE = ("positions", 0)
CURRENCY = np.frombuffer(b'USDT"', np.uint8)
TOGETHER_MAX = 12


def apply_lines(book: Book, twin: Twin, history: History) -> int:
    """Updates as plain records, those between them that are not plain as messages; returns how many columns took."""
    said = [history.update()[1][0] for _ in range(history.random.randint(2, TOGETHER_MAX))]
    count = len(said)
    fetched = packed([(PLACE, 0, count)], range(count), [0] * count, [None] * count, [encode(each) for each in said])
    text = np.frombuffer(fetched.text, np.uint8)
    records = np.empty((count, RECORD_FIELDS), np.int64)
    positions = np.empty((positions_max(len(text)), POSITION_FIELDS), np.int64)
    used = read_plain(text, fetched.keys, fetched.begins, fetched.ends, CURRENCY, records, positions)
    plain = Plain(fetched, text, records, positions[:used].copy())
    taken, begin = 0, 0
    for at in [*np.flatnonzero(records[:, KIND] == NOT_PLAIN).tolist(), count]:
        if at > begin:
            columns = Columns(Batch([Run(PLACE, plain, begin, at, np.zeros(at - begin, np.int64))]))
            symbols = book.symbols.rows_of(columns.text, *spans(columns.positions, SYMBOL_BEGIN))
            taken += compare(book, twin, plain_updates(book, columns, symbols), said[begin:at])
        if at < count:
            assert ended(book.apply_update, said[at]) == ended(twin.apply_update, said[at])
        begin = at + 1
    return taken


def apply_rows(book: Book, twin: Twin, history: History) -> int:
    """Updates as a PositionBatch; returns how many columns took."""
    count = history.random.randint(2, TOGETHER_MAX)
    said = [sayable(history.update()[1][0], twin, history) for _ in range(count)]
    updates, update_of = batch_updates(book, position_batch(said, twin.instruments.values()))
    return compare(book, twin, updates, said, update_of)


def compare(
    book: Book,
    twin: Twin,
    updates: Updates,
    said: list[AccountUpdate],
    update_of: Callable[[int], AccountUpdate] | None = None,
) -> int:
    """Applies updates to both; returns how many were not left."""
    left = {
        at: ended(book.apply_update, update_of(at) if update_of else said[at]) for at in updates.left(book, Held(book))
    }
    expected = [ended(twin.apply_update, update) for update in said]
    taken = [end for at, end in enumerate(expected) if at not in left]
    assert {at: expected[at] for at in left} == left, said
    assert sorted(taken) == ["APPLIED"] * (len(taken) - updates.stale) + ["STALE"] * updates.stale, (said, left)
    return len(taken)


def ended(apply: Callable[[AccountUpdate], object], update: AccountUpdate) -> str:
    """APPLIED, STALE, or the reason of a refusal."""
    try:
        return str(apply(update))
    except Refused as refused:
        return str(refused.reason)
    except TwinRefusal as refused:
        return str(refused.args[0])


def sayable(update: AccountUpdate, twin: Twin, history: History) -> AccountUpdate:
    """The part of an update that a PositionBatch can say: cross positions of whole lots, one balance, entry values."""
    own = [Balance(currency=b.currency, amount=b.amount) for b in update.balances if b.currency == twin.currency]
    return replace(
        update,
        balances=[b for b in own[:1] if b.amount != "0.0000001"],
        positions=[
            replace(
                position, margin_mode="cross", isolated_margin=None, entry_price=None,
                entry_value=position.entry_value or entry_value(position, history),
            )
            for position in update.positions
            if whole(position, twin)
        ],
        maintenance_margin=None,
    )  # fmt: skip


def whole(position: Position, twin: Twin) -> bool:
    """Whether it is of whole lots; of an unknown symbol nothing is."""
    if position.symbol not in twin.instruments:
        return True
    try:
        twin.number(position.quantity, "LOT", twin.lot(position.symbol))
    except TwinRefusal:
        return False
    return True


def entry_value(position: Position, history: History) -> str:
    sign = "-" if position.quantity.startswith("-") else ""
    return f"{sign}{history.random.uniform(0, 1e5):.6f}"
