"""What is beyond a limit is refused with its sentence, and changes nothing."""

from functools import partial
from typing import Any

import pytest

from schemas import limits
from schemas.messages import Account, AccountUpdate, Balance, Instrument, MarkPrice, Position
from schemas.rejections import Refused
from worker.book.book import Book


def made(symbols: int = 1) -> Book:
    book = Book("USDT", 6)
    for number in range(symbols):
        book.set_instrument(
            Instrument(
                symbol=f"S{number}",
                tick_size="1",
                lot_size="1",
                settlement_currency="USDT",
                maintenance_margin_fraction="0.01",
                price_decimals=0,
            )
        )
    return book


def update(seq: int, positions: list[Position], full: bool = True, **fields: Any) -> AccountUpdate:
    return AccountUpdate(account="a", epoch=0, seq=seq, full=full, positions=positions, **fields)


def position(symbol: str = "S0", quantity: str = "1", **fields: Any) -> Position:
    return Position(symbol=symbol, quantity=quantity, **({"entry_price": "1"} | fields))


def refused(reason: str, change: Any, book: Book) -> str:
    """The sentence of a refusal that changed nothing."""
    before = book.digest(), book.digest_full(), book.positions("a"), book.equity_minor("a"), len(book.accounts)
    with pytest.raises(Refused) as caught:
        change()
    assert caught.value.reason == reason
    assert before == (
        book.digest(), book.digest_full(), book.positions("a"), book.equity_minor("a"), len(book.accounts),
    )  # fmt: skip
    return caught.value.sentence


def test_a_mark_that_makes_any_position_too_valuable_is_refused() -> None:
    """2**51 minor units is the most a position is worth, long or short, and what legs hold counts."""
    most = 2**51 // 10**9 - 1
    highest, higher = (MarkPrice(symbol="S0", mark_price=str(mark), event_time_ms=1) for mark in (most, most + 2))
    for sign in ("", "-"):
        book = made()
        book.apply_update(update(1, [position(quantity=f"{sign}1000")]))
        book.set_held("a", "S0", "NET", 1000, 1000, 0)
        assert "1000" in refused("RANGE", partial(book.set_mark, higher, 1), book)
        book.set_mark(highest, 1)
        book.set_held("a", "S0", "NET", 0, 0, 0)
        assert book.positions("a")[0].value_minor == int(f"{sign}1000") * most * 10**6


def test_a_mark_is_taken_again_when_the_large_position_is_gone() -> None:
    """The bound on lots is tightened by looking when it stands in the way."""
    book = made()
    book.apply_update(update(1, [position(quantity="100000")]))
    book.apply_update(update(2, [position(quantity="1")], full=False))
    book.set_mark(MarkPrice(symbol="S0", mark_price="1000000", event_time_ms=1), 1)
    assert book.equity_minor("a") == 999_999 * 10**6


def test_a_position_too_valuable_at_the_mark_is_refused() -> None:
    """The same limit at the other door."""
    book = made()
    book.set_mark(MarkPrice(symbol="S0", mark_price="1000000", event_time_ms=1), 1)
    sentence = refused("RANGE", lambda: book.apply_update(update(1, [position(quantity="3000")])), book)
    assert "at mark 1000000" in sentence


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("RANGE", {"entry_price": "9999999999"}),
        ("RANGE", {"entry_value": "2251799814"}),
        ("FIELD", {"entry_value": "-1"}),
        ("FIELD", {"entry_price": None}),
        ("FIELD", {"margin_mode": "isolated"}),
        ("FIELD", {"margin_mode": "isolated", "isolated_margin": "-1"}),
        ("RANGE", {"margin_mode": "isolated", "isolated_margin": "1152921504607"}),
        ("NUMBER", {"entry_value": "1.0000001"}),
        ("NUMBER", {"quantity": "NaN"}),
        ("LOT", {"quantity": "0.5"}),
        ("RANGE", {"quantity": "9007199254740993"}),
        ("SIDE", {"position_side": "SHORT"}),
        ("SIDE", {"position_side": "LONG", "quantity": "-1"}),
    ],
)
def test_a_position_beyond_the_rules_is_refused(reason: str, fields: dict[str, Any]) -> None:
    """Alone and behind a good one; the good one is not applied either."""
    book = made(2)
    refused(reason, lambda: book.apply_update(update(1, [position(**fields)])), book)
    refused(reason, lambda: book.apply_update(update(1, [position("S1"), position(**fields)])), book)


def test_balances_are_bounded_and_in_the_pools_currency() -> None:
    """1.15e12, one currency, full weight, listed once."""
    book = made()
    for reason, balances in [
        ("RANGE", [Balance(currency="USDT", amount="1152921504607")]),
        ("UNSUPPORTED", [Balance(currency="BTC", amount="1")]),
        ("UNSUPPORTED", [Balance(currency="USDT", amount="1", collateral_weight="0.95")]),
        ("DUPLICATE", [Balance(currency="USDT", amount="1"), Balance(currency="USDT", amount="1")]),
        ("NUMBER", [Balance(currency="USDT", amount="1e3")]),
    ]:
        refused(reason, partial(book.apply_update, update(1, [], balances=balances)), book)
    assert book.apply_update(update(1, [], balances=[Balance(currency="USDT", amount="5", collateral_weight="1.0")]))
    assert book.equity_minor("a") == 5 * 10**6


def test_an_account_has_at_most_1024_positions() -> None:
    """Counted after the update: closing some makes room for others, in full updates and deltas."""
    book = made(1030)
    full = [position(f"S{number}") for number in range(1024)]
    refused("RANGE", lambda: book.apply_update(update(1, [*full, position("S1024")])), book)
    book.apply_update(update(1, full))
    refused("RANGE", lambda: book.apply_update(update(2, [position("S1024")], full=False)), book)
    swap = [position("S1024"), position("S3", "0"), position("S4", "2")]
    assert book.apply_update(update(2, swap, full=False)) == "APPLIED"
    held = {view.symbol for view in book.positions("a")}
    assert held == {f"S{number}" for number in range(1025)} - {"S3"}
    assert book.position("a", "S4", "NET").lots == 2  # type: ignore[union-attr]
    assert book.apply_update(update(3, [position("S7", "-5")])) == "APPLIED"
    assert [view.lots for view in book.positions("a")] == [-5]
    assert book.digest() == book.digest_full()


def test_the_largest_equity_does_not_overflow() -> None:
    """The largest balance, loose quote and 1024 largest gains add up exactly, and down again."""
    book = made(1024)
    book.apply_update(
        update(
            1,
            [position(f"S{n}", "2251797561", entry_value="0") for n in range(1024)],
            balances=[Balance(currency="USDT", amount="1152921504606.846976")],
        )
    )
    book.set_loose_quote("a", 2**59)
    for number in range(1024):
        book.set_mark(MarkPrice(symbol=f"S{number}", mark_price="1", event_time_ms=1), 1)
        book.set_held("a", f"S{number}", "NET", 0, 0, 2**51)
    assert book.equity_minor("a") == 2**60 + 2**59 + 1024 * (2251797561 * 10**6 + 2**51)
    book.apply_update(update(2, []))
    assert book.equity_minor("a") == 2**59


def test_what_legs_hold_is_bounded() -> None:
    """More held quote than the proof of limits.py allows is refused, negative lots too."""
    book = made()
    book.apply_update(update(1, [position()]))
    refused("RANGE", lambda: book.set_held("a", "S0", "NET", 0, 0, 2**51 + 1), book)
    refused("RANGE", lambda: book.set_held("a", "S0", "NET", -1, 0, 0), book)
    refused("RANGE", lambda: book.set_loose_quote("a", -(2**59) - 1), book)


def test_a_pool_takes_no_more_than_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """One position, account, owner or symbol more is refused; what is there goes on, and room that was given back is
    room."""
    book = made(3)
    monkeypatch.setattr(limits, "POSITIONS_MAX", 2)
    book.apply_update(update(1, [position("S0"), position("S1")]))
    three = update(2, [position("S0", "5"), position("S1"), position("S2")])
    assert "at most 2 positions, would be 1 more" in refused("RANGE", partial(book.apply_update, three), book)
    book.apply_update(update(2, [position("S0", "5"), position("S1")]))
    assert [view.lots for view in book.positions("a")] == [5, 1]
    book.apply_update(update(3, [position("S1", "0")], full=False))
    book.apply_update(update(4, [position("S2")], full=False))

    book.accounts.most = book.owners.most = 1
    book.symbols.most = 3
    second = AccountUpdate(account="b", epoch=0, seq=1, full=True)
    assert "at most 1 accounts" in refused("RANGE", partial(book.apply_update, second), book)
    assert "at most 1 accounts" in refused("RANGE", partial(book.set_account, Account(account="b")), book)
    book.set_account(Account(account="a", beneficial_owner="one"))
    book.set_account(Account(account="a", beneficial_owner="one"))
    other = Account(account="a", beneficial_owner="two")
    assert "at most 1 beneficial owners" in refused("RANGE", partial(book.set_account, other), book)
    instrument = Instrument(
        symbol="S3", tick_size="1", lot_size="1", settlement_currency="USDT", maintenance_margin_fraction="0.01"
    )
    assert "at most 3 symbols" in refused("RANGE", partial(book.set_instrument, instrument), book)
    assert book.digest() == book.digest_full()
