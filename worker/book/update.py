"""An AccountUpdate to numbers: everything that can be refused is refused here, before anything is written.

A balance in another currency than the pool's is booked as lots of the symbol that converts it, which nobody can take:
they are worth what the symbol's mark says, and enter no leverage. Rounded down to a lot; weighed where it is not owed.
"""

from math import floor

from schemas import limits
from schemas.messages import AccountUpdate, Balance, Position
from schemas.rejections import Reason, Refused, shown
from schemas.units import amount_minor, fraction_of, quantity_of
from worker.book.market import Market
from worker.book.table import COLLATERAL

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


def staged_balances(
    balances: list[Balance], currency: str, decimals: int, converting: dict[str, str], markets: dict[str, Market]
) -> tuple[int | None, list[Staged]]:
    """The balance in the pool's currency, None where it is not listed, and others as lots of `converting` symbols."""
    total: int | None = None
    staged: list[Staged] = []
    for balance in balances:
        if balance.currency != currency:
            staged.append(_collateral(balance, currency, converting, markets))
            continue
        if balance.collateral_weight != "1" and fraction_of(balance.collateral_weight, "collateral_weight") != 1:
            raise Refused(
                Reason.UNSUPPORTED,
                f"collateral_weight of {currency}, the pool's, must be 1, was {shown(balance.collateral_weight)}",
            )
        if total is not None:
            raise Refused(Reason.DUPLICATE, f"balances must name {currency} once, was twice")
        total = amount_minor(balance.amount, decimals, "amount")
    if len({key for _, key, *_ in staged}) < len(staged):
        raise Refused(Reason.DUPLICATE, "balances must name each currency once, one was named twice")
    return total, staged


def _collateral(balance: Balance, currency: str, converting: dict[str, str], markets: dict[str, Market]) -> Staged:
    """What is owed counts in full; what is owned by its weight."""
    symbol = converting.get(balance.currency)
    if symbol is None:
        raise Refused(
            Reason.UNSUPPORTED,
            f"currency of a balance must be {currency} or have a symbol in pool.collateral, "
            f"was {shown(balance.currency)}",
        )
    market = markets.get(symbol)
    if market is None:
        raise Refused(
            Reason.UNKNOWN_SYMBOL, f"symbol must have an instrument before it converts a balance, was {shown(symbol)}"
        )
    amount, weight = quantity_of(balance.amount, "amount"), fraction_of(balance.collateral_weight, "collateral_weight")
    if not 0 <= weight <= 1:
        raise Refused(
            Reason.FIELD, f"collateral_weight must be between 0 and 1, was {shown(balance.collateral_weight)}"
        )
    lots = floor((amount * weight if amount > 0 else amount) / (market.scale.lot * market.scale.multiplier))
    if abs(lots) > market.lots_limit:
        raise Refused(
            Reason.RANGE,
            f"a balance in {shown(balance.currency)} must be at most 2**51 minor units of {currency}, "
            f"was {shown(balance.amount)}",
        )
    return market, market.key + COLLATERAL, lots, 0, CROSS, 0


def requirement_minor(text: str | None, decimals: int) -> int:
    """The stated maintenance margin, -1 where there is none."""
    if text is None:
        return -1
    required = amount_minor(text, decimals, "maintenance_margin")
    if required < 0:
        raise Refused(Reason.FIELD, f"maintenance_margin must be at least 0, was {shown(text)}")
    return required
