"""Forced trades between columns and the wire: their ids, their texts, and back from what was published.

Rule: the text of a trade is byte for byte what `schemas.encode` gives for its `ForcedTrade`, without making one: 40,000
legs of one decision took 1 s as objects. Whatever is not a plain number has been through msgspec's encoder.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import numpy as np

from schemas import ForcedTrade, Scale, scaled
from worker.book.book import Book
from worker.book.decimals import decimal_texts
from worker.book.state import SIDES
from worker.book.update import SIDE_CODE
from worker.held import Legs
from worker.legs import Floats, Ints, Orders

_json = msgspec.json.Encoder().encode
ROLES = ("COUNTERPARTY", "LIQUIDATED")
ID_BYTES = 16


class Frame(NamedTuple):
    """What all trades of one decision share."""

    decision_id: str
    clearing_account: str
    strict: bool  # carries the account's seq, while which it may be filled


def legs_of_orders(book: Book, decision_id: str, orders: Orders, adl_seq: Ints) -> Legs:
    """What was decided, with its numbers and ids."""
    ids = trade_ids(book, decision_id, orders)
    return Legs(
        ids, orders.account, orders.key, orders.liquidated, orders.sign * orders.lots, orders.quote_minor, adl_seq
    )


def legs_of_trades(book: Book, trades: Sequence[ForcedTrade]) -> Legs:
    """What was published; equal to `legs_of_orders` of what was decided."""
    markets = [book.market(trade.symbol) for trade in trades]
    sides = zip(markets, trades, strict=True)
    return Legs(
        [trade.trade_id for trade in trades],
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
    """What all legs of one position side, direction and role share, as text."""

    id_end: str
    role: str
    symbol: str
    scale: Scale


def _words(book: Book, orders: Orders) -> list[_Words]:
    """The words of each leg."""
    codes = (orders.key * 4 + (orders.sign > 0) * 2 + orders.liquidated).tolist()
    known: dict[int, _Words] = {}
    for code in set(codes):
        market, side, role = book.markets[code >> 4], SIDES[code >> 2 & 3], ROLES[code & 1]
        direction = "SELL" if (code & 2 != 0) == (market.scale.sign > 0) else "BUY"
        known[code] = _Words(
            f"\x1f{market.symbol}\x1f{side}\x1f{role}",
            f',"role":"{role}","account":',
            f',"symbol":{_text(market.symbol)},"position_side":"{side}","side":"{direction}","quantity":"',
            market.scale,
        )
    return [known[code] for code in codes]


def trade_ids(book: Book, decision_id: str, orders: Orders) -> list[str]:
    """`short_hash` of decision, round, account, symbol, position side and role; what is common is hashed once."""
    ids = []
    rounds = orders.round.tolist()
    begin = {n: blake2b(f"{decision_id}\x1f{n}\x1f".encode(), digest_size=ID_BYTES) for n in set(rounds)}
    names = book.accounts.names(orders.account)
    for number, name, words in zip(rounds, names, _words(book, orders), strict=True):
        identity = begin[number].copy()
        identity.update((name + words.id_end).encode())
        ids.append(identity.hexdigest())
    return ids


def trade_texts(book: Book, frame: Frame, orders: Orders, legs: Legs) -> list[str]:
    """Each trade's JSON text behind its chain."""
    same = f',"decision_id":{_text(frame.decision_id)},"adl_seq":'
    clearing = f'","clearing_account":{_text(frame.clearing_account)},"round":'
    every = _words(book, orders)
    columns = zip(
        legs.trade_id, legs.adl_seq.tolist(), book.accounts.names(orders.account), orders.round.tolist(), every,
        *_numbers(book, orders, [words.scale for words in every]), _optional("leverage", orders.leverage),
        _scores(orders), _account_seqs(book, frame, orders), strict=True,
    )  # fmt: skip
    return [
        f',"trade_id":"{trade_id}"{same}{adl_seq}{words.role}{_text(name)}{words.symbol}{quantity}'
        f'","quote_amount":"{quote}","price":"{price}{clearing}{number}{given_up}{leverage}{scores}{account_seq}}}'
        for trade_id, adl_seq, name, number, words, quantity, quote, price, given_up, leverage, scores, account_seq in (
            columns
        )
    ]


def _numbers(book: Book, orders: Orders, scales: list[Scale]) -> tuple[list[str], list[str], list[str], list[str]]:
    """Quantity, quote, price and haircut of each leg as text; the last one with its field, nothing where it is 0."""
    lots, quotes = orders.lots.tolist(), orders.quote_minor.tolist()
    minor = [book.currency_decimals] * len(lots)
    scaled_lots = [n * scale.lot_scaled for n, scale in zip(lots, scales, strict=True)]
    quantities = decimal_texts(scaled_lots, [scale.lot_decimals for scale in scales])
    scaled_prices = [scale.nearest_price(q, n) for q, n, scale in zip(quotes, lots, scales, strict=True)]
    prices = decimal_texts(scaled_prices, [scale.price_decimals for scale in scales])
    haircuts = decimal_texts(orders.haircut_minor.tolist(), minor)
    given_up = ["" if haircut == "0" else f',"haircut":"{haircut}"' for haircut in haircuts]
    return quantities, decimal_texts(quotes, minor), prices, given_up


def _text(name: str) -> str:
    """As JSON; what is printable needs no more than its quotes unless it holds a quote itself, or a backslash."""
    return f'"{name}"' if '"' not in name and "\\" not in name else _json(name).decode()


def _optional(field: str, values: Floats) -> list[str]:
    """The field as text, nothing where the value is NaN."""
    if not values.size:
        return []
    numbers = _json(values.tolist())[1:-1].decode().split(",")
    missing = np.isnan(values).tolist()
    return ["" if none else f',"{field}":{number}' for none, number in zip(missing, numbers, strict=True)]


def _scores(orders: Orders) -> list[str]:
    columns = (
        _optional("score", orders.score), _optional("score_after", orders.score_after),
        _optional("score_alone", orders.score_alone),
    )  # fmt: skip
    return ["".join(texts) for texts in zip(*columns, strict=True)]


def _account_seqs(book: Book, frame: Frame, orders: Orders) -> list[str]:
    if not frame.strict:
        return [""] * len(orders.account)
    return [f',"account_seq":{seq}' for seq in book.account_seqs(orders.account)]
