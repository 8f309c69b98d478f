"""Forced trades between columns and the wire: their ids, their texts, and back from what was published.

Rule: the text of a trade is byte for byte what `schemas.encode` gives for its `ForcedTrade`, without making one: 40,000
legs of one decision took 1 s as objects. Floats and whatever is not printable have been through msgspec's encoder.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from schemas import ForcedTrade, Scale, scaled
from solver.settlement import INT64_SAFE
from worker.book.blake import HEX_BYTES, hex_digests
from worker.book.book import Book
from worker.book.decimals import decimal_pieces
from worker.book.state import SIDES
from worker.book.update import SIDE_CODE
from worker.book.weave import Pieces, woven
from worker.held import Legs
from worker.legs import Floats, Ints, Orders
from worker.output import Texts

_json = msgspec.json.Encoder().encode
ROLES = ("COUNTERPARTY", "LIQUIDATED")
_LARGEST = 2**63 - 1
_PRODUCT_MAX = 2.0**61  # three of them are below 2**63


class Frame(NamedTuple):
    """What all trades of one decision share."""

    decision_id: str
    clearing_account: str
    strict: bool  # carries the account's seq, while which it may be filled


def trades_of_orders(book: Book, frame: Frame, orders: Orders, adl_seq: Ints) -> tuple[Legs, Texts]:
    """What was decided with its numbers and ids, and as records."""
    words = _words(book, orders)
    names = book.accounts.pieces(orders.account)
    legs = Legs(
        _trade_ids(frame.decision_id, orders, names, words), orders.account, orders.key, orders.liquidated,
        orders.sign * orders.lots, orders.quote_minor, adl_seq,
    )  # fmt: skip
    return legs, Texts(_split(names), _texts(book, frame, orders, legs, names, words))


def legs_of_trades(book: Book, trades: Sequence[ForcedTrade]) -> Legs:
    """What was published; equal to the legs of what was decided."""
    markets = [book.market(trade.symbol) for trade in trades]
    sides = zip(markets, trades, strict=True)
    return Legs(
        np.array([trade.trade_id for trade in trades], f"S{HEX_BYTES}"),
        np.array([book.account_row(trade.account) for trade in trades], np.int64),
        np.array([market.key + SIDE_CODE[trade.position_side] for market, trade in sides], np.int64),
        np.array([trade.role == "LIQUIDATED" for trade in trades], np.bool_),
        np.array(
            [
                market.scale.lots(trade.quantity) * market.scale.sign * (1 if trade.side == "SELL" else -1)
                for market, trade in zip(markets, trades, strict=True)
            ],
            np.int64,
        ),
        np.array([scaled(trade.quote_amount, book.currency_decimals) for trade in trades], np.int64),
        np.array([trade.adl_seq for trade in trades], np.int64),
    )


class _Words(NamedTuple):
    """What legs of one position side, direction and role share; `code` says which of them are a leg's."""

    code: Ints
    id_ends: bytes
    roles: bytes
    symbols: bytes
    scales: list[Scale]


def _words(book: Book, orders: Orders) -> _Words:
    codes = orders.key * 4 + (orders.sign > 0) * 2 + orders.liquidated
    distinct = np.flatnonzero(np.bincount(codes))
    ends, roles, symbols, scales = [], [], [], []
    for code in distinct.tolist():
        market, side, role = book.markets[code >> 4], SIDES[code >> 2 & 3], ROLES[code & 1]
        direction = "SELL" if (code & 2 != 0) == (market.scale.sign > 0) else "BUY"
        ends.append(f"\x1f{market.symbol}\x1f{side}\x1f{role}")
        roles.append(f',"role":"{role}","account":"')
        symbols.append(f'","symbol":{_text(market.symbol)},"position_side":"{side}","side":"{direction}","quantity":"')
        scales.append(market.scale)
    return _Words(np.searchsorted(distinct, codes), _joined(ends), _joined(roles), _joined(symbols), scales)


def _trade_ids(decision_id: str, orders: Orders, names: bytes, words: _Words) -> NDArray[np.bytes_]:
    """`short_hash` of decision, round, account, symbol, position side and role."""
    rows = len(orders.account)
    rounds, which = np.unique(orders.round, return_inverse=True)
    begins = _joined(f"{decision_id}\x1f{number}\x1f" for number in rounds.tolist())
    columns = (Pieces(begins, which), Pieces(names, np.arange(rows)), Pieces(words.id_ends, words.code))
    return hex_digests(woven(columns), rows)


def _texts(book: Book, frame: Frame, orders: Orders, legs: Legs, names: bytes, words: _Words) -> list[bytes]:
    """Each trade's JSON text behind its chain."""
    rows = len(orders.account)
    every, whole = np.arange(rows), np.zeros(rows, np.int64)
    minor = np.full(rows, book.currency_decimals)
    rounds, which = np.unique(orders.round, return_inverse=True)
    clearing = f'","clearing_account":{_text(frame.clearing_account)},"round":'
    columns = (
        Pieces(b',"trade_id":"\0', whole),
        Pieces(b"\0".join(legs.trade_id.tolist()) + b"\0", every),
        Pieces(_joined([f'","decision_id":{_text(frame.decision_id)},"adl_seq":']), whole),
        Pieces(decimal_pieces(legs.adl_seq, whole), every),
        Pieces(words.roles, words.code),
        Pieces(_escaped(names), every),
        Pieces(words.symbols, words.code),
        Pieces(_quantities(orders, words), every),
        Pieces(b'","quote_amount":"\0', whole),
        Pieces(decimal_pieces(orders.quote_minor, minor), every),
        Pieces(b'","price":"\0', whole),
        Pieces(_prices(orders, words), every),
        Pieces(_joined(f"{clearing}{number}" for number in rounds.tolist()), which),
        _haircuts(orders, minor),
        _rate("leverage", orders.leverage),
        _rate("score", orders.score),
        _rate("score_after", orders.score_after),
        _rate("score_alone", orders.score_alone),
        _account_seqs(book, frame, orders),
        Pieces(b"}\0", whole),
    )
    return _split(woven(columns).tobytes())


def _joined(texts: Iterable[str]) -> bytes:
    return b"".join(text.encode() + b"\0" for text in texts)


def _split(pieces: bytes) -> list[bytes]:
    return pieces.split(b"\0")[:-1]


def _text(name: str) -> str:
    """As JSON, with its quotes."""
    return _json(name).decode()


def _escaped(names: bytes) -> bytes:
    """Names as in a JSON text; what is printable stays as it is, but for a quote and a backslash."""
    return names.replace(b"\\", b"\\\\").replace(b'"', b'\\"')


def _of_scales(words: _Words, field: str) -> Ints:
    """A number of each leg's scale, or the largest there is: an inverse contract's may be larger."""
    numbers: Ints = np.array([min(getattr(scale, field), _LARGEST) for scale in words.scales], np.int64)[words.code]
    return numbers


def _quantities(orders: Orders, words: _Words) -> bytes:
    decimals, most = _of_scales(words, "lot_decimals"), int(orders.lots.max(initial=0))
    if all(scale.lot_scaled * most < INT64_SAFE for scale in words.scales):
        return decimal_pieces(orders.lots * _of_scales(words, "lot_scaled"), decimals)
    legs = zip(orders.lots.tolist(), words.code.tolist(), strict=True)
    return decimal_pieces([lots * words.scales[code].lot_scaled for lots, code in legs], decimals)


def _prices(orders: Orders, words: _Words) -> bytes:
    """`Scale.nearest_price` of each leg; what no int64 can hold is left to Python."""
    num, den = _of_scales(words, "value_num"), _of_scales(words, "value_den")
    cash = np.abs(orders.quote_minor)
    fits = (cash.astype(np.float64) * den < _PRODUCT_MAX) & (orders.lots.astype(np.float64) * num < _PRODUCT_MAX)
    amount, size = cash * den, orders.lots * num
    is_inverse = _of_scales(words, "sign") < 0
    amount, size = np.where(is_inverse, size, amount), np.where(is_inverse, amount, size)
    none = ~fits | (size == 0)
    amount[none], size[none] = 0, 1
    prices, decimals = (2 * amount + size) // (2 * size), _of_scales(words, "price_decimals")
    if fits.all():
        return decimal_pieces(prices, decimals)
    exact = prices.tolist()
    for leg in np.flatnonzero(~fits).tolist():
        scale = words.scales[words.code[leg]]
        exact[leg] = scale.nearest_price(int(orders.quote_minor[leg]), int(orders.lots[leg]))
    return decimal_pieces(exact, decimals)


def _rate(field: str, values: Floats) -> Pieces:
    """The field of each leg, nothing where the value is NaN."""
    there = ~np.isnan(values)
    texts = _json(values[there].tolist())[1:-1].replace(b",", b"\0")
    return _optional(field, texts + b"\0", there)


def _optional(field: str, texts: bytes, there: NDArray[np.bool_]) -> Pieces:
    """A field with a text for each leg that has one; the others have nothing."""
    begin = f',"{field}":'.encode()
    index: Ints = np.where(there, np.cumsum(there), 0)
    return Pieces(b"\0" + begin + texts[:-1].replace(b"\0", b"\0" + begin) + b"\0", index)


def _haircuts(orders: Orders, decimals: Ints) -> Pieces:
    there = orders.haircut_minor != 0
    texts = decimal_pieces(orders.haircut_minor[there], decimals[there])
    return _optional("haircut", b'"' + texts[:-1].replace(b"\0", b'"\0"') + b'"\0', there)


def _account_seqs(book: Book, frame: Frame, orders: Orders) -> Pieces:
    rows = len(orders.account)
    if not frame.strict:
        return Pieces(b"\0", np.zeros(rows, np.int64))
    texts = decimal_pieces(book.account_seqs(orders.account), np.zeros(rows, np.int64))
    return _optional("account_seq", texts, np.ones(rows, np.bool_))
