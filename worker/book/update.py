"""An AccountUpdate to numbers: everything that can be refused is refused here, before anything is written."""

from schemas import limits
from schemas.messages import AccountUpdate, Balance, Position
from schemas.rejections import Reason, Refused, shown
from schemas.units import amount_minor, fraction_of
from worker.book.market import Market

SIDE_CODE = {"NET": 0, "LONG": 1, "SHORT": 2}
CROSS = -1  # as isolated margin

# market, key, lots, entry value, isolated margin or CROSS, adl_seq
Staged = tuple[Market, int, int, int, int, int]


def staged_positions(update: AccountUpdate, markets: dict[str, Market], decimals: int) -> list[Staged]:
    """The update's positions as integers, each (symbol, side) once."""
    staged = []
    for position in update.positions:
        market = markets.get(position.symbol)
        if market is None:
            raise Refused(
                Reason.UNKNOWN_SYMBOL, f"symbol must have an instrument before a position, was {shown(position.symbol)}"
            )
        quantity_lots = market.scale.lots(position.quantity)
        lots = market.scale.sign * quantity_lots
        side = SIDE_CODE[position.position_side]
        if side and (quantity_lots < 0 if side == 1 else quantity_lots > 0):
            need = "at least 0 on side LONG" if side == 1 else "at most 0 on side SHORT"
            raise Refused(Reason.SIDE, f"quantity must be {need}, was {shown(position.quantity)}")
        if lots > market.lots_limit or -lots > market.lots_limit:
            raise _too_large(market, position)
        if lots:
            entry = _entry_minor(position, market, lots, decimals)
            margin = CROSS if position.margin_mode == "cross" else _margin_minor(position, decimals)
            staged.append((market, market.key + side, lots, entry, margin, position.adl_seq))
        else:
            staged.append((market, market.key + side, 0, 0, CROSS, position.adl_seq))
    if len(staged) > 1:
        _refuse_doubles(staged)
    return staged


def _entry_minor(position: Position, market: Market, lots: int, decimals: int) -> int:
    if position.entry_value is not None:
        entry = amount_minor(position.entry_value, decimals, "entry_value", limits.ENTRY_VALUE_MINOR_MAX)
        entry *= market.scale.sign
        if entry and (entry > 0) != (lots > 0):
            raise Refused(
                Reason.FIELD,
                f"entry_value must have the sign of the quantity {shown(position.quantity)}, "
                f"was {shown(position.entry_value)}",
            )
        return entry
    if position.entry_price is None:
        raise Refused(
            Reason.FIELD, f"a position in {shown(position.symbol)} must have an entry_price or an entry_value"
        )
    entry = market.scale.value_minor(lots, market.scale.price(position.entry_price, "entry_price"))
    if -limits.ENTRY_VALUE_MINOR_MAX <= entry <= limits.ENTRY_VALUE_MINOR_MAX:
        return entry
    raise Refused(
        Reason.RANGE,
        f"the value at entry_price must be at most 2**51 minor units, was {shown(position.quantity)} * "
        f"{shown(position.entry_price)}",
    )


def _margin_minor(position: Position, decimals: int) -> int:
    if position.isolated_margin is None:
        raise Refused(Reason.FIELD, f"an isolated position in {shown(position.symbol)} must have an isolated_margin")
    margin = amount_minor(position.isolated_margin, decimals, "isolated_margin", limits.ISOLATED_MARGIN_MINOR_MAX)
    if margin < 0:
        raise Refused(Reason.FIELD, f"isolated_margin must be at least 0, was {shown(position.isolated_margin)}")
    return margin


def _too_large(market: Market, position: Position) -> Refused:
    mark = f" at mark {market.scale.price_text(market.mark)}" if market.mark else ""
    most = market.scale.quantity_text(market.lots_limit)
    return Refused(
        Reason.RANGE,
        f"quantity in {shown(position.symbol)} must be at most {most}{mark}, was {shown(position.quantity)}",
    )


def _refuse_doubles(staged: list[Staged]) -> None:
    seen = set()
    for market, key, *_ in staged:
        if key in seen:
            raise Refused(Reason.DUPLICATE, f"positions must name {shown(market.symbol)} and side once, was twice")
        seen.add(key)


def balance_minor(balances: list[Balance], currency: str, decimals: int) -> int:
    """The account's balance in the pool's currency; 0 where nothing is listed."""
    total = 0
    for balance in balances:
        if balance.currency != currency:
            raise Refused(
                Reason.UNSUPPORTED, f"currency of a balance must be {currency}, was {shown(balance.currency)}"
            )
        if balance.collateral_weight != "1" and fraction_of(balance.collateral_weight, "collateral_weight") != 1:
            raise Refused(Reason.UNSUPPORTED, f"collateral_weight must be 1, was {shown(balance.collateral_weight)}")
        total = amount_minor(balance.amount, decimals, "amount")
    if len(balances) > 1:
        raise Refused(Reason.DUPLICATE, f"balances must name {currency} once, were {len(balances)}")
    return total


def requirement_minor(text: str | None, decimals: int) -> int:
    """The stated maintenance margin, -1 where there is none."""
    if text is None:
        return -1
    required = amount_minor(text, decimals, "maintenance_margin")
    if required < 0:
        raise Refused(Reason.FIELD, f"maintenance_margin must be at least 0, was {shown(text)}")
    return required
