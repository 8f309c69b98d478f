"""Bytes to messages and back, as JSON or MessagePack; decoders and encoders are built once, at import.

What passes `decode` has known fields of the right types, integers that fit int64 and names within their limits, and
passes in both encodings or in none. Decimal texts are judged later, by `units.py`, where the instrument's scale is
known. Only a risk model holds floats, and none that is not finite; on the way out NaN and infinities are null in both.
"""

from collections.abc import Callable
from functools import cache
from math import isfinite
from typing import Any, Final, Literal, get_args

import msgspec

from schemas import limits
from schemas.messages import (
    Account,
    AccountUpdate,
    Bankruptcy,
    Control,
    ForcedTradeResult,
    InputMessage,
    Instrument,
    InsuranceFund,
    MarkPrice,
    OutputMessage,
    PositionBatch,
    RiskModel,
)
from schemas.rejections import Reason, Refused, shown

Encoding = Literal["json", "msgpack"]

_INPUT: Final = InputMessage | list[InputMessage]
_DECODE_INPUT: Final[dict[Encoding, Callable[[bytes], InputMessage | list[InputMessage]]]] = {
    "json": msgspec.json.Decoder(_INPUT).decode,
    "msgpack": msgspec.msgpack.Decoder(_INPUT).decode,
}
_json_output: Callable[[bytes], OutputMessage] = msgspec.json.Decoder(OutputMessage).decode
_msgpack_output: Callable[[bytes], OutputMessage] = msgspec.msgpack.Decoder(OutputMessage).decode
# Fields stand in the struct's order and keys of dictionaries sorted, so equal messages are equal bytes.
_encode_json = msgspec.json.Encoder(order="deterministic").encode
_encode_msgpack = msgspec.msgpack.Encoder(order="deterministic").encode


def decode(value: bytes, encoding: Encoding = "json") -> list[InputMessage]:
    """The messages of one record, which holds one or an array; Refused DECODE, FIELD or RANGE."""
    try:
        try:
            decoded = _DECODE_INPUT[encoding](value)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Refused(Reason.DECODE, f"a record must be one of our input messages: {str(error)[:300]}") from None
        if isinstance(decoded, list):
            if len(decoded) > limits.MESSAGES_PER_RECORD_MAX:
                most = limits.MESSAGES_PER_RECORD_MAX
                raise Refused(Reason.RANGE, f"a record must hold at most {most} messages, was {len(decoded)}")
            for message in decoded:
                _CHECKS[type(message)](message)
            return decoded
        _CHECKS[type(decoded)](decoded)
    except Refused as refused:
        refused.accounts = _named_in_batches(value, encoding)
        raise
    return [decoded]


def _named_in_batches(value: bytes, encoding: Encoding) -> list[str]:
    """The accounts of the PositionBatches of a record that is refused; none where its bytes are no JSON or MessagePack.

    Names that no account can have are left out.
    """
    if _BATCH not in value:
        return []
    try:
        said = msgspec.json.decode(value) if encoding == "json" else msgspec.msgpack.decode(value)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        return []
    named: dict[str, None] = {}
    for message in said if isinstance(said, list) else [said]:
        if isinstance(message, dict) and message.get("type") == _BATCH.decode():
            accounts = message.get("accounts")
            named |= dict.fromkeys(filter(_is_name, accounts if isinstance(accounts, list) else ()))
    return list(named)


def decode_output(value: bytes) -> OutputMessage:
    """One of our own messages, read back, in whichever encoding it was written.

    msgspec's error is passed on, for bytes of ours that fail are our bug.
    """
    # One message is a map: JSON's begins with a brace, which in MessagePack is the number 123.
    return _json_output(value) if value[:1] == b"{" else _msgpack_output(value)


def fields_of(value: bytes) -> dict[str, Any]:
    """The fields of one record by name, whatever they say; raises msgspec.MsgspecError or ValueError."""
    if value[:1] == b"{":
        return msgspec.json.decode(value, type=dict[str, Any])
    return msgspec.msgpack.decode(value, type=dict[str, Any])


def encode(message: InputMessage | OutputMessage, encoding: Encoding = "json") -> bytes:
    """The one text of a message in an encoding: equal messages give equal bytes."""
    return _encode_json(message) if encoding == "json" else _encode_msgpack(_finite(message))


def _finite(value: Any) -> Any:
    """The message with null for every float that is no number, as JSON writes it."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, msgspec.Struct):
        old = {name: getattr(value, name) for name in _float_fields(type(value))}
        new = {name: _finite(item) for name, item in old.items()}
        return msgspec.structs.replace(value, **new) if new != old else value
    return value


@cache
def _float_fields(struct: type) -> tuple[str, ...]:
    """Fields of a struct in which a float can be, also deeper."""
    return tuple(field.name for field in msgspec.structs.fields(struct) if _has_float(field.type))


def _has_float(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return bool(_float_fields(hint))
    return hint is float or any(_has_float(part) for part in get_args(hint))


# --- what no type says ------------------------------------------------------------------------------------------------


_BATCH: Final = PositionBatch.__name__.encode()
_LARGEST = limits.SEQUENCE_MAX
_NAME_BYTES_MAX = limits.NAME_BYTES_MAX
_NAME_SIZES = frozenset(range(1, limits.NAME_BYTES_MAX + 1))


def _name(text: str, field: str, bytes_max: int = limits.NAME_BYTES_MAX) -> None:
    """Refuse a name that is empty, too long as UTF-8, or has a character that does not print (NUL, line ends)."""
    if not _is_name(text, bytes_max):
        raise Refused(
            Reason.FIELD, f"{field} must be 1 to {bytes_max} bytes of printable characters, was {shown(text)}"
        )


def _is_name(text: object, bytes_max: int = limits.NAME_BYTES_MAX) -> bool:
    if not isinstance(text, str) or not 0 < len(text) <= bytes_max or not text.isprintable():
        return False
    return text.isascii() or len(text.encode()) <= bytes_max


def _optional_name(text: str | None, field: str, bytes_max: int = limits.NAME_BYTES_MAX) -> None:
    if text is not None:
        _name(text, field, bytes_max)


def _free_text(text: str | None, field: str) -> None:
    """An operator may write line ends and nothing at all, but not a book."""
    size = len((text or "").encode())
    if size > limits.REASON_BYTES_MAX:
        raise Refused(Reason.FIELD, f"{field} must be at most {limits.REASON_BYTES_MAX} bytes, was {size}")


def _integer(value: int, field: str, largest: int = limits.SEQUENCE_MAX) -> None:
    if not 0 <= value <= largest:
        raise Refused(Reason.RANGE, f"{field} must be between 0 and {largest}, was {shown(str(value))}")


def _check_instrument(message: Instrument) -> None:
    _name(message.symbol, "symbol")
    _name(message.settlement_currency, "settlement_currency")
    _name(message.fund_id, "fund_id")


def _check_risk_model(message: RiskModel) -> None:
    """Floats of the same kind in every symbol: what is no number JSON could not have said, so it is not decoded."""
    _name(message.id, "id", limits.ID_BYTES_MAX)
    _between(message.horizon_seconds, 1, limits.RISK_HORIZON_SECONDS_MAX, "horizon_seconds")
    if message.tail is not None:
        _between(message.tail, limits.RISK_TAIL_MIN, limits.RISK_TAIL_MAX, "tail")
    _between(len(message.symbols), 0, limits.RISK_SYMBOLS_MAX, "symbols")
    factors = len(message.symbols[0].loadings) if message.symbols else 0
    _between(factors, 0, limits.RISK_FACTORS_MAX, "loadings of a symbol")
    seen: set[str] = set()
    for symbol in message.symbols:
        _name(symbol.symbol, "symbol")
        of = f"of {shown(symbol.symbol)}"
        if symbol.symbol in seen:
            raise Refused(Reason.DUPLICATE, f"a symbol must stand in a model once, {shown(symbol.symbol)} did twice")
        seen.add(symbol.symbol)
        if len(symbol.loadings) != factors:
            count = len(symbol.loadings)
            raise Refused(Reason.FIELD, f"loadings {of} must be {factors} as of the first symbol, were {count}")
        for loading in symbol.loadings:
            _between(loading, -limits.RISK_SCALE_MAX, limits.RISK_SCALE_MAX, f"loadings {of}")
        _between(symbol.idiosyncratic, 0.0, limits.RISK_SCALE_MAX**2, f"idiosyncratic {of}")
        variance = symbol.idiosyncratic + sum(loading * loading for loading in symbol.loadings)
        if variance < limits.RISK_SCALE_MIN**2:
            raise Refused(Reason.RANGE, f"the variance {of} must be at least {limits.RISK_SCALE_MIN**2}")


def _between(value: float, least: float, most: float, field: str) -> None:
    if not isfinite(value):
        raise Refused(Reason.DECODE, f"{field} must be finite, was {value}")
    if not least <= value <= most:
        raise Refused(Reason.RANGE, f"{field} must be between {least:,} and {most:,}, was {shown(str(value))}")


def _check_account(message: Account) -> None:
    _name(message.account, "account")
    _optional_name(message.beneficial_owner, "beneficial_owner")


def _check_account_update(message: AccountUpdate) -> None:
    # The hot path: plain comparisons; the sentence is only looked for when one of them fails.
    account, positions = message.account, message.positions
    if not (account.isascii() and account.isprintable() and 0 < len(account) <= _NAME_BYTES_MAX):
        _name(account, "account")
    if not (0 <= message.seq <= _LARGEST and 0 <= message.epoch <= _LARGEST and 0 <= message.adl_seq <= _LARGEST):
        _integer(message.seq, "seq")
        _integer(message.epoch, "epoch")
        _integer(message.adl_seq, "adl_seq")
    if len(positions) > limits.POSITIONS_PER_ACCOUNT_MAX:
        most = limits.POSITIONS_PER_ACCOUNT_MAX
        raise Refused(Reason.RANGE, f"positions must be at most {most}, was {len(positions)}")
    for position in positions:  # an unknown symbol is refused by the book, so its length needs no look here
        if not 0 <= position.adl_seq <= _LARGEST:
            _integer(position.adl_seq, "adl_seq of a position")


def _check_position_batch(message: PositionBatch) -> None:
    """Names, and blocks of whole rows; what the rows say is judged update by update, by the book."""
    for names, field in ((message.accounts, "account"), (message.symbols, "symbol")):
        text, sizes = "".join(names), set(map(len, names))  # one look at all of them, a name by itself costs 0.3 us
        if not (text.isascii() and text.isprintable() and sizes.issubset(_NAME_SIZES)):
            for name in names:
                _name(name, field)
    blocks = ((message.updates, "updates", limits.UPDATE_ROW), (message.positions, "positions", limits.POSITION_ROW))
    for block, field, row in blocks:
        if len(block) % (8 * row):
            raise Refused(Reason.FIELD, f"{field} must be rows of {row} int64, was {len(block)} bytes")


def _check_mark_price(message: MarkPrice) -> None:
    _integer(message.event_time_ms, "event_time_ms", limits.TIME_MS_MAX)


def _check_bankruptcy(message: Bankruptcy) -> None:
    _name(message.id, "id", limits.ID_BYTES_MAX)
    _name(message.account, "account")
    _integer(message.event_time_ms, "event_time_ms", limits.TIME_MS_MAX)
    _optional_name(message.fund_id, "fund_id")
    if len(message.lines) > limits.BANKRUPTCY_LINES_MAX:
        most = limits.BANKRUPTCY_LINES_MAX
        raise Refused(Reason.RANGE, f"lines must be at most {most}, was {len(message.lines)}")
    for line in message.lines:
        _name(line.symbol, "symbol of a line")


def _check_insurance_fund(message: InsuranceFund) -> None:
    _name(message.fund_id, "fund_id")
    _integer(message.decision_sequence, "decision_sequence")


def _check_forced_trade_result(message: ForcedTradeResult) -> None:
    _name(message.trade_id, "trade_id", limits.ID_BYTES_MAX)
    _name(message.account, "account")
    _free_text(message.reason, "reason")
    _integer(message.seq or 0, "seq")


def _check_control(message: Control) -> None:
    _name(message.id, "id", limits.ID_BYTES_MAX)
    _name(message.operator, "operator")
    _free_text(message.reason, "reason")
    _optional_name(message.decision_id, "decision_id", limits.ID_BYTES_MAX)
    _optional_name(message.policy, "policy")
    for action, field in (("RELEASE", "decision_id"), ("POLICY", "policy"), ("TRIGGER", "bankruptcy")):
        if (message.action == action) != (getattr(message, field) is not None):
            raise Refused(Reason.FIELD, f"{field} must come with action {action} and no other, was {message.action}")
    if message.bankruptcy is not None:
        _check_bankruptcy(message.bankruptcy)


_CHECKS: dict[type, Callable[..., None]] = {
    Instrument: _check_instrument,
    RiskModel: _check_risk_model,
    Account: _check_account,
    AccountUpdate: _check_account_update,
    PositionBatch: _check_position_batch,
    MarkPrice: _check_mark_price,
    Bankruptcy: _check_bankruptcy,
    InsuranceFund: _check_insurance_fund,
    ForcedTradeResult: _check_forced_trade_result,
    Control: _check_control,
}
