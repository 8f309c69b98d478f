"""Binance-style futures events as our messages: a worked example of an adapter, to copy and change.

    [input.topics]
    positions = ["positions", "user-data"]
    [format.topics]
    user-data = "worker.adapters.binance:account_update"    # ACCOUNT_UPDATE of the user data streams, key: account
    mark-prices = "worker.adapters.binance:mark_price"      # markPriceUpdate, or an array of them (!markPrice@arr)

What an account update of that format lacks, and where it comes from:

* the account: the record's key, so whoever writes user data streams to Kafka must set it;
* `seq`: the record's offset + 1, which grows per account because a key stays in one partition. The transaction time T
  would not do: two fills of one millisecond share it, and the second would be taken for a repeat;
* `epoch`: always 1, and events are deltas (only what changed is listed). An account's first word is its whole book: a
  `full` update of our own format with epoch 1 and seq 0, here on the topic `positions`, with an earlier log time;
* `adl_seq`: nothing in the format says which forced trades an update contains, and until something does, they stay
  held. Add `adl_seq` to `a` (balances) and to the items of `a.P` (positions); foreign readers ignore it;
* the maintenance margin: computed from the instruments, as always where none is stated.

Of balances `cw` is taken, the cross wallet: ours exclude isolated margins too. Other events of the same streams
(orders, margin calls) say nothing that we keep and give no message. Instruments, funds, bankruptcies and results have
no counterpart in these streams and come in our own format.
"""

from typing import Literal

import msgspec

from schemas import AccountUpdate, Balance, InputMessage, MarkPrice, Position, PositionSide, Reason, Refused
from worker.record import Record

# Fields have the foreign format's own names; those not named here are ignored.
_SIDES: dict[str, PositionSide] = {"BOTH": "NET", "LONG": "LONG", "SHORT": "SHORT"}


class ForeignBalance(msgspec.Struct):
    a: str  # asset
    cw: str  # cross wallet balance


class ForeignPosition(msgspec.Struct):
    s: str  # symbol
    pa: str  # amount, signed
    ep: str  # entry price; "0" when closed
    ps: Literal["BOTH", "LONG", "SHORT"] = "BOTH"
    mt: Literal["cross", "isolated"] = "cross"
    iw: str | None = None  # isolated wallet
    adl_seq: int = 0  # ours, see above


class ForeignChange(msgspec.Struct):
    B: list[ForeignBalance] = []
    P: list[ForeignPosition] = []
    adl_seq: int = 0  # ours, see above


class ForeignAccountUpdate(msgspec.Struct):
    a: ForeignChange


class ForeignMark(msgspec.Struct):
    E: int  # event time, milliseconds
    s: str
    p: str  # mark price
    i: str | None = None  # index price


class ForeignEvent(msgspec.Struct):
    """All that is read of an event before its kind is known."""

    e: str


_events = msgspec.json.Decoder(ForeignEvent | list[ForeignEvent])
_account_updates = msgspec.json.Decoder(ForeignAccountUpdate)
_marks = msgspec.json.Decoder(ForeignMark | list[ForeignMark])


def account_update(record: Record) -> list[InputMessage]:
    """The account's change that an ACCOUNT_UPDATE says; nothing of other events. Refused FIELD without a key."""
    value = record.value or b""
    event = _events.decode(value)
    if isinstance(event, list) or event.e != "ACCOUNT_UPDATE":
        return []
    if not record.key:
        raise Refused(Reason.FIELD, "the key must be the account: an ACCOUNT_UPDATE does not name it")
    change = _account_updates.decode(value).a
    balances = [Balance(currency=item.a, amount=item.cw) for item in change.B]
    update = AccountUpdate(
        account=record.key.decode(),
        epoch=1,
        seq=record.offset + 1,
        adl_seq=change.adl_seq,
        balances=balances,
        positions=[_position(item) for item in change.P],
    )
    return [update]


def _position(item: ForeignPosition) -> Position:
    return Position(
        symbol=item.s,
        quantity=item.pa,
        position_side=_SIDES[item.ps],
        entry_price=item.ep,
        margin_mode=item.mt,
        isolated_margin=item.iw if item.mt == "isolated" else None,
        adl_seq=item.adl_seq,
    )


def mark_price(record: Record) -> list[InputMessage]:
    """The marks of a markPriceUpdate, or of an array of them; nothing of other events."""
    value = record.value or b""
    events = _events.decode(value)
    if any(event.e != "markPriceUpdate" for event in (events if isinstance(events, list) else [events])):
        return []
    marks = _marks.decode(value)
    return [
        MarkPrice(symbol=mark.s, mark_price=mark.p, event_time_ms=mark.E, index_price=mark.i)
        for mark in (marks if isinstance(marks, list) else [marks])
    ]
