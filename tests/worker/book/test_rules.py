"""The rules of the book, one example each."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from schemas.messages import Account, AccountUpdate, Balance, Instrument, MarkPrice, Position
from schemas.rejections import Refused
from worker.book import digest
from worker.book.book import Book


@pytest.fixture
def book() -> Book:
    book = Book("USDT", 6)
    for symbol in ("BTC", "ETH"):
        book.set_instrument(
            Instrument(
                symbol=symbol,
                tick_size="0.1",
                lot_size="0.01",
                settlement_currency="USDT",
                maintenance_margin_fraction="0.02",
            )
        )
    return book


def mark(book: Book, symbol: str, price: str) -> None:
    book.set_mark(MarkPrice(symbol=symbol, mark_price=price, event_time_ms=7), 8)


def give(book: Book, account: str, seq: int, *positions: Position, **fields: Any) -> str:
    fields = {"full": seq == 1, "epoch": 0} | fields
    return book.apply_update(AccountUpdate(account=account, seq=seq, positions=list(positions), **fields))


def long(symbol: str = "BTC", quantity: str = "1", **fields: Any) -> Position:
    return Position(symbol=symbol, quantity=quantity, **({"entry_price": "100"} | fields))


def test_the_first_update_of_an_epoch_must_be_full(book: Book) -> None:
    """Otherwise we would add a delta to something we do not know."""
    with pytest.raises(Refused, match="EPOCH"):
        give(book, "a", 1, long(), full=False)
    assert not book.holds("a")
    assert give(book, "a", 5, long(), full=True) == "APPLIED"
    assert give(book, "a", 5, long(quantity="2")) == "STALE"
    with pytest.raises(Refused, match="EPOCH"):
        give(book, "a", 1, long(), epoch=1, full=False)
    assert give(book, "a", 1, long(quantity="3"), epoch=1, full=True) == "APPLIED"
    assert give(book, "a", 9, long(quantity="4"), epoch=0) == "STALE"
    assert book.positions("a")[0].lots == 300


def test_held_lots_never_flip_a_position_and_cash_counts_as_executed(book: Book) -> None:
    """Effective lots stop at zero; selling 0.4 at 110 while the mark is 110 leaves equity as it was."""
    give(book, "a", 1, long(), balances=[Balance(currency="USDT", amount="50")])
    mark(book, "BTC", "110")
    assert book.equity_minor("a") == 60 * 10**6
    assert book.set_held("a", "BTC", "NET", 40, 0, 44 * 10**6)
    assert book.equity_minor("a") == 60 * 10**6
    assert book.positions("a")[0].effective_lots == 60
    book.set_held("a", "BTC", "NET", 400, 0, 0)
    assert book.positions("a")[0].effective_lots == 0
    assert book.gather([(0, 1)]).equity.size == 0
    give(book, "a", 2, long(quantity="5"))
    assert book.positions("a")[0].effective_lots == 100
    assert not book.set_held("a", "BTC", "SHORT", 1, 1, 1)
    assert not book.set_held("nobody", "BTC", "NET", 1, 1, 1)


def test_a_closed_position_remembers_the_newest_leg_it_contains(book: Book) -> None:
    """A closing delta releases its legs for good; a full update speaks for every symbol; a new epoch starts afresh."""
    give(book, "a", 1, long(adl_seq=3))
    give(book, "a", 2, long(quantity="0", adl_seq=9))
    assert book.position_adl_seq("a", "BTC", "NET") == 9
    assert book.position_adl_seq("a", "ETH", "NET") == 0
    give(book, "a", 3, long())
    assert book.position_adl_seq("a", "BTC", "NET") == 9
    give(book, "a", 4, adl_seq=12, full=True)
    assert book.position_adl_seq("a", "ETH", "NET") == 12
    assert book.account_adl_seq("a") == 12
    give(book, "a", 5, adl_seq=2)
    assert book.account_adl_seq("a") == 12
    give(book, "a", 1, long(), epoch=1, full=True, adl_seq=4)
    assert book.position_adl_seq("a", "BTC", "NET") == 4
    assert book.account_adl_seq("a") == 4
    assert book.digest() == book.digest_full()


def test_isolated_and_cross_positions_are_rows_of_their_own(book: Book) -> None:
    """The isolated row has its margin for equity, the cross row all its positions and the balance."""
    give(
        book,
        "a",
        1,
        long("ETH", "2"),
        long(margin_mode="isolated", isolated_margin="20", position_side="LONG"),
        long(quantity="-3", position_side="SHORT"),
        balances=[Balance(currency="USDT", amount="1000")],
    )
    mark(book, "BTC", "110")
    assert book.gather([(0, -1)]).unmarked_accounts == 1
    mark(book, "ETH", "90")
    assert book.isolated_equity_minor("a", "BTC", "LONG") == 30 * 10**6
    assert book.equity_minor("a") == (1000 - 20 - 30) * 10**6
    assert book.maintenance_requirement("a") == Fraction(2, 100) * (180 + 330) * 10**6
    gathered = book.gather([(0, 1), (0, -1)])
    assert gathered.account.tolist() == [0, 0, 1]
    assert [book.symbols.name(row) for row in gathered.assets] == ["BTC", "ETH"]
    assert gathered.asset.tolist() == [0, 1, 0]
    assert gathered.quantity_lots.tolist() == [-300, 200, 100]
    assert gathered.equity.tolist() == [950.0, 30.0]
    assert gathered.balance.tolist() == [1000.0, 20.0]
    assert gathered.maintenance_margin.tolist() == [10.2, 2.2]
    assert gathered.entry_price.tolist() == [1.0, 1.0, 1.0]
    assert gathered.row_isolated.tolist() == [False, True]
    accounts, keys = book.accounts_and_keys(gathered.slot)
    assert [book.accounts.name(row) for row in accounts] == ["a", "a", "a"]
    assert keys.tolist() == [2, 4, 1]  # BTC SHORT, ETH NET, BTC LONG
    assert book.gather([(0, 1)]).quantity_lots.tolist() == [100]


@pytest.mark.parametrize(
    "change",
    [
        lambda book: book.set_account(Account(account="b", role="LIQUIDATION")),
        lambda book: book.set_account(Account(account="b", adl="EXEMPT")),
        lambda book: book.set_account(Account(account="b", beneficial_owner="x")),
        lambda book: book.park_account("b", "LOT"),
        lambda book: book.remove_account("b"),
    ],
)
def test_who_may_not_be_a_counterparty_is_left_out(book: Book, change: Any) -> None:
    """Role, class, an excluded owner, parked, removed; the other account stays."""
    mark(book, "BTC", "100")
    for name in ("c", "b", "a"):
        give(book, name, 1, long())
    book.set_account(Account(account="a", beneficial_owner="x"))
    assert [book.accounts.name(row) for row in book.gather([(0, 1)]).row_account] == ["a", "b", "c"]
    change(book)
    gathered = book.gather([(0, 1)], excluded_accounts=["a"], excluded_owners=["x"])
    assert [book.accounts.name(row) for row in gathered.row_account] == ["c"]


def test_a_good_record_of_the_same_kind_unparks(book: Book) -> None:
    """A mark does not heal a refused instrument; parked symbols are not eligible, parked accounts not there."""
    mark(book, "BTC", "100")
    give(book, "a", 1, long())
    book.park_symbol("BTC", "SCALE", "Instrument")
    mark(book, "BTC", "101")
    assert book.gather([(0, 1)]).eligible.tolist() == [False]
    assert book.parked == {("Instrument", "BTC"): "SCALE"}
    book.set_instrument(book.instrument("BTC"))
    assert book.gather([(0, 1)]).eligible.tolist() == [True]
    book.park_account("a", "LOT")
    assert give(book, "a", 1, long()) == "STALE"
    assert book.gather([(0, 1)]).account.size == 0
    give(book, "a", 2, long())
    assert book.gather([(0, 1)]).account.size == 1
    assert book.parked == {}


def test_a_name_parked_before_it_is_known_is_parked_when_it_comes(book: Book) -> None:
    """The refused first record of an account leaves no row, but its role record may still make one."""
    mark(book, "BTC", "100")
    book.park_account("a", "FIELD", "Account")
    give(book, "a", 1, long())
    assert book.gather([(0, 1)]).account.size == 0
    book.set_account(Account(account="a"))
    assert book.gather([(0, 1)]).account.size == 1


def test_every_field_moves_the_digest(book: Book) -> None:
    """Each cell counts: no two of these states share a digest."""
    give(book, "a", 1, long(), balances=[Balance(currency="USDT", amount="1")])
    digests = [book.digest()]
    for change in [
        lambda: give(book, "a", 2),
        lambda: give(book, "a", 3, balances=[Balance(currency="USDT", amount="2")]),
        lambda: give(book, "a", 4, adl_seq=1),
        lambda: give(book, "a", 5, maintenance_margin="3"),
        lambda: give(book, "a", 6, long(quantity="2", entry_value="100")),
        lambda: give(book, "a", 7, long(quantity="2", entry_value="101")),
        lambda: give(book, "a", 8, long(quantity="2", margin_mode="isolated", isolated_margin="0")),
        lambda: give(book, "a", 9, long(quantity="0"), long(position_side="LONG")),
        lambda: give(book, "a", 10, long(position_side="LONG", adl_seq=2)),
        lambda: book.set_held("a", "BTC", "LONG", 1, 0, 0),
        lambda: book.set_held("a", "BTC", "LONG", 0, 1, 0),
        lambda: book.set_held("a", "BTC", "LONG", 0, 1, 1),
        lambda: book.set_loose_quote("a", 1),
        lambda: book.set_account(Account(account="a", adl="LAST")),
        lambda: book.set_account(Account(account="a", adl="LAST", beneficial_owner="x")),
        lambda: book.set_account(Account(account="a", role="CLEARING")),
        lambda: mark(book, "BTC", "100"),
        lambda: book.set_mark(MarkPrice(symbol="BTC", mark_price="100", event_time_ms=9), 8),
        lambda: book.set_mark(MarkPrice(symbol="BTC", mark_price="100", event_time_ms=9), 9),
        lambda: book.park_symbol("BTC", "PRICE"),
        lambda: book.park_account("a", "LOT"),
    ]:
        change()
        digests.append(book.digest())
        assert book.digest_full() == digests[-1]
    assert len(set(digests)) == len(digests)


def test_a_removed_account_leaves_no_trace_in_the_digest(book: Book) -> None:
    """Tombstones of both topics bring back the digest of before."""
    before = book.digest()
    give(book, "a", 1, long(), long(symbol="ETH", adl_seq=4))
    give(book, "a", 2, long(symbol="ETH", quantity="0"))
    book.set_account(Account(account="a", role="INSURANCE", beneficial_owner="x"))
    assert book.digest() != before
    book.remove_account("a")
    assert book.role("a") == "INSURANCE"
    book.clear_account("a")
    assert book.digest() == before == book.digest_full()
    assert (book.positions("a"), book.equity_minor("a"), book.holders("BTC")) == ([], 0, [])


def test_the_total_of_the_digest_is_kept_modulo_two_to_the_128() -> None:
    """Carries and borrows cross the lanes."""
    total = np.array([0, 2**64 - 1], np.uint64)
    digest.add(total, np.uint64(0), np.uint64(1), False)
    assert total.tolist() == [1, 0]
    digest.add(total, np.uint64(1), np.uint64(1), True)
    assert total.tolist() == [2**64 - 1, 2**64 - 1]
    digest.add(total, np.uint64(0), np.uint64(1), False)
    assert total.tolist() == [0, 0]
