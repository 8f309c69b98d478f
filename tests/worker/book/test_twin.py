"""The book and its naive twin agree exactly, after any history."""

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.rejections import Refused
from tests.worker.book.sequences import ACCOUNTS, CONVERTING, INSTRUMENTS, History, Step, instrument
from tests.worker.book.twin import SIDES, Twin, TwinRefusal
from tests.worker.book.twin_digest import digest
from tests.worker.book.twin_gather import gather
from worker.book.book import Book
from worker.book.views import Gathered


def play(book: Book, twin: Twin, step: Step) -> str:
    """Plays one step on both; they must answer, or refuse with the same reason. Returns what happened."""
    name, arguments = step
    if name == "set_loose_quote":
        twin.loose[arguments[0]] = arguments[1]
        book.set_loose_quote(*arguments)
        return "APPLIED"
    if name.startswith("park"):
        source = arguments[2] if len(arguments) > 2 else "AccountUpdate" if name == "park_account" else "MarkPrice"
        twin.parked[source, arguments[0]] = arguments[1]
        getattr(book, name)(*arguments)
        return "PARKED"
    try:
        expected = getattr(twin, name)(*arguments)
    except TwinRefusal as refusal:
        reason = str(refusal.args[0])
    else:
        assert getattr(book, name)(*arguments) == expected, step
        return str(expected)
    before, cells = book.digest(), derived(book)
    with pytest.raises(Refused) as caught:
        getattr(book, name)(*arguments)
    assert caught.value.reason == reason, (step, caught.value.sentence)
    assert (book.digest(), derived(book)) == (before, cells), "a refused message changed something"
    return reason


def derived(book: Book) -> list[Any]:
    return [(name, book.equity_minor(name), book.unmarked(name), book.positions(name)) for name in ACCOUNTS]


def compare(book: Book, twin: Twin) -> None:
    """Every question the book answers, asked of both."""
    for name in ACCOUNTS:
        held = [(symbol, side, held) for symbol, side, held in twin.sorted_positions(name)]
        assert book.equity_minor(name) == twin.equity(name)
        views = book.positions(name)
        assert [(v.symbol, v.side, v.lots, v.effective_lots, v.entry_minor, v.adl_seq) for v in views] == [
            (symbol, side, h.lots, h.effective, h.entry, h.adl_seq) for symbol, side, h in held
        ]
        assert [(v.value_minor, v.margin_minor if v.isolated else None) for v in views] == [
            (twin.value(symbol, h.effective), h.margin) for symbol, _, h in held
        ]
        assert book.collateral(name) == twin.collateral(name)
        lacking = [symbol for symbol, _, h in held if h.margin is None] + [s for s, _ in twin.collateral(name)]
        assert book.unmarked(name) == sum(symbol not in twin.marks for symbol in lacking)
        assert book.maintenance_requirement(name) == twin.requirement(name)
        own = twin.books.get(name)
        assert book.holds(name) == (own is not None)
        assert book.maintenance_margin(name) == (own.required if own else None)
        assert book.account_adl_seq(name) == (own.adl_seq if own else 0)
        assert book.account_seq(name) == (own.seq if own else -1)
        for symbol in twin.instruments:
            for side in SIDES:
                position = own.positions.get((symbol, side)) if own else None
                seq = position.adl_seq if position else own.closed.get((symbol, side), own.full_adl_seq) if own else 0
                assert book.position_adl_seq(name, symbol, side) == seq  # type: ignore[arg-type]
        for symbol, side, h in held:
            if h.margin is not None:
                assert book.isolated_equity_minor(name, symbol, side) == twin.isolated_equity(name, symbol, side)  # type: ignore[arg-type]
    for symbol in twin.instruments:
        holders = [n for n in ACCOUNTS for s, _, _ in twin.sorted_positions(n) if s == symbol]
        assert book.holders(symbol) == sorted(holders)
        net = sum(h.lots for n in ACCOUNTS for s, _, h in twin.sorted_positions(n) if s == symbol)
        assert book.longs_minus_shorts(symbol) == (-net if twin.inverse(symbol) else net)
        assert book.mark(book.symbols.row(symbol)) == twin.marks.get(symbol, (0, 0))[1]
    assert book.parked == twin.parked
    assert book.digest() == book.digest_full() == digest(twin)


def rows_of(book: Book, gathered: Gathered) -> list[dict[str, Any]]:
    """The gathered arrays as the twin writes them."""
    symbols = [book.symbols.name(row) for row in gathered.assets]
    rows = [
        {
            "account": book.accounts.name(gathered.row_account[row]),
            "isolated": bool(gathered.row_isolated[row]),
            "equity": gathered.equity[row],
            "balance": gathered.balance[row],
            "maintenance_margin": gathered.maintenance_margin[row],
            "adl_class": gathered.adl_class[row],
            "entries": [],
        }
        for row in range(len(gathered.equity))
    ]
    for at, row in enumerate(gathered.account):
        entry = symbols[gathered.asset[at]], gathered.quantity_lots[at], gathered.eligible[at], gathered.entry_price[at]
        rows[row]["entries"].append(entry)
    return rows


def compare_gather(book: Book, twin: Twin, chance: random.Random) -> int:
    """One random demand gathered by both; returns the number of rows."""
    known = sorted(twin.instruments)
    sides = [(symbol, side) for symbol in known for side in (1, -1) if chance.random() < 0.4]
    excluded = chance.sample(ACCOUNTS, chance.choice([0, 1, 2]))
    owners = chance.choice([[], ["owner 1"], ["nobody"]])
    asked, with_collateral = [(book.symbols.row(symbol), side) for symbol, side in sides], chance.random() < 0.5
    gathered = book.gather(asked, excluded, owners, with_collateral=with_collateral)
    rows, unmarked = gather(twin, sides, excluded, owners, with_collateral)
    assert not gathered.collateral.any() or with_collateral
    assert rows_of(book, gathered) == rows
    assert gathered.unmarked_accounts == unmarked
    assert (np.diff(gathered.account) >= 0).all()
    assert gathered.tie_rank.tolist() == list(range(len(rows)))
    used = {entry[0] for row in rows for entry in row["entries"]}
    assert [book.symbols.name(row) for row in gathered.assets] == sorted(used, key=str.encode)
    accounts, keys = book.accounts_and_keys(gathered.slot)
    entries = [(book.accounts.name(row), book.symbols.name(key >> 2)) for row, key in zip(accounts, keys, strict=True)]
    assert entries == [(r["account"], e[0]) for r in rows for e in r["entries"]]
    return len(rows)


@pytest.mark.parametrize("seed", range(12))
def test_the_whole_state_agrees_with_the_twin_after_every_few_messages(seed: int) -> None:
    """State, equities, holders, gathered arrays and digest are the twin's, and a refusal changes nothing."""
    converting = CONVERTING if seed % 2 else {}
    book, twin, history = Book("USDT", 6, converting), Twin("USDT", 6, converting), History(seed, bool(converting))
    for step in history.start():
        play(book, twin, step)
    seen: dict[str, int] = {}
    rows = 0
    for number in range(400):
        answer = play(book, twin, history.step())
        seen[answer] = seen.get(answer, 0) + 1
        if number % 10 == 0:
            compare(book, twin)
            rows += compare_gather(book, twin, history.random)
    compare(book, twin)
    assert seen["APPLIED"] > 30, seen
    assert rows > 30


def test_histories_reach_every_kind_of_refusal() -> None:
    """The histories above would not be worth much if nothing in them was refused."""
    seen = set()
    for seed in range(12):
        book, twin, history = Book("USDT", 6), Twin("USDT", 6), History(seed)
        for step in history.start():
            play(book, twin, step)
        seen |= {play(book, twin, history.step()) for _ in range(400)}
    wanted = {"APPLIED", "STALE", "EPOCH", "LOT", "SIDE", "FIELD", "PRICE", "RANGE", "DUPLICATE", "UNSUPPORTED"}
    assert wanted | {"UNKNOWN_SYMBOL", "SCALE", "NUMBER"} <= seen


KEYS = {"set_instrument": "symbol", "set_mark": "symbol", "set_account": "account", "apply_update": "account"}


def interleaved(steps: list[Step], chance: random.Random) -> list[Step]:
    """The steps in another order that keeps the order of each (method, key)."""
    queues: dict[tuple[str, str], list[Step]] = {}
    for step in steps:
        name, arguments = step
        key = arguments[0] if isinstance(arguments[0], str) else getattr(arguments[0], KEYS[name])
        name = {"remove_account": "apply_update", "clear_account": "set_account"}.get(name, name)
        queues.setdefault((name, key), []).append(step)
    lanes = list(queues.values())
    mixed = []
    while lanes:
        lane = chance.choice(lanes)
        mixed.append(lane.pop(0))
        lanes = [lane for lane in lanes if lane]
    return mixed


def beyond_limits(name: str, message: Any) -> bool:
    """Whether a value leaves its limit depends on mark and position of the moment: not what is tested here."""
    if name == "set_mark":
        return message.mark_price == "100000000000"
    return name == "apply_update" and any(len(position.quantity) > 14 for position in message.positions)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_order_of_arrival_changes_neither_digest_nor_gather(seed: int) -> None:
    """Row numbers differ, the answers do not, as long as each key keeps its own order."""
    history = History(seed)
    chance = random.Random(seed)
    kept = ("set_mark", "set_account", "apply_update", "remove_account", "clear_account")
    steps = [step for step in (history.step() for _ in range(150)) if step[0] in kept]
    books = []
    for order in (steps, interleaved(steps, chance)):
        book = Book("USDT", 6)
        for symbol in chance.sample(list(INSTRUMENTS), len(INSTRUMENTS)):
            book.set_instrument(instrument(symbol))
        for name, arguments in order:
            if beyond_limits(name, arguments[0]):
                continue
            try:
                getattr(book, name)(*arguments)
            except Refused:
                continue
        books.append(book)
    one, two = books
    assert one.digest() == two.digest() == two.digest_full()
    demand = [(symbol, side) for symbol in INSTRUMENTS for side in (1, -1)]
    gathered = [book.gather([(book.symbols.row(symbol), side) for symbol, side in demand]) for book in books]
    assert rows_of(one, gathered[0]) == rows_of(two, gathered[1])
    private = {"slot", "row_account", "assets", "unmarked_accounts"}
    for name in set(Gathered.__slots__) - private:
        assert getattr(gathered[0], name).tobytes() == getattr(gathered[1], name).tobytes(), name
