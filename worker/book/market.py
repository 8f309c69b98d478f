"""One symbol: its scale, its mark, and who holds it."""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.messages import Instrument
from schemas.units import Scale
from worker.book.digest import cell_hash
from worker.book.holders import HELD, LOTS_HIGH, Holders


class Market:
    """What the book knows of a symbol."""

    __slots__ = (
        "_said",
        "cell",
        "den",
        "event_time_ms",
        "holders",
        "instrument",
        "key",
        "log_time_ms",
        "lots_limit",
        "mark",
        "mark_num",
        "parked",
        "row",
        "scale",
        "symbol",
    )  # fmt: skip

    def __init__(self, row: int, instrument: Instrument, scale: Scale, holders: Holders) -> None:
        self.row = row
        self.holders = holders
        self.key = 4 * row
        self.symbol = instrument.symbol
        self.set_instrument(instrument, scale)
        self.den = scale.den
        self.mark = 0  # scaled; 0: never had one
        self.mark_num = 0  # minor units per lot at the mark, times den: value = lots * mark_num // den
        self.event_time_ms = 0
        self.log_time_ms = 0
        self.lots_limit = limits.QUANTITY_LOTS_MAX  # of one position at this mark
        self.parked = False
        self.cell = 0  # what the digest holds of this symbol
        holders.table.reserve(row + 1)

    def set_instrument(self, instrument: Instrument, scale: Scale) -> None:
        """What the instrument says now; its part of the symbol's cells is put in words once, not with every mark."""
        self.instrument = instrument
        self.scale = scale
        self._said = (
            "symbol", self.symbol, str(scale.tick_size), str(scale.lot), str(scale.multiplier), str(scale.mmf),
            scale.price_decimals, instrument.fund_id, instrument.status, *([] if scale.sign > 0 else ["inverse"]),
            *(f"{begin}: {step}" for begin, step in scale.tiers),
        )  # fmt: skip

    def hash(self) -> int:
        """The hash of the symbol's cells: what its instrument means to us, and its mark."""
        return cell_hash(*self._said, self.mark, self.event_time_ms, self.log_time_ms)

    def terms(self) -> tuple[int, ...]:
        """In the order of the fields of a symbol's terms; an inverse contract has no lot there.

        So nothing plain is read of it: `update.py` alone knows how signs turn and prices are read.
        """
        scale, (whole, rest) = self.scale, divmod(self.mark_num, self.den)
        lot, price_max, value_num = scale.lot_scaled, scale.price_scaled_max, scale.value_num
        if scale.sign < 0:
            lot = price_max = value_num = 0
        return (
            scale.lot_decimals, lot, self.lots_limit, scale.price_decimals, price_max, value_num, self.den, whole, rest,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Positions in it."""
        return self.holders.table.columns[HELD][self.row]

    @property
    def lots_high(self) -> int:
        """At least the largest |lots| held; tightened only when it stands in the way of a mark."""
        return self.holders.table.columns[LOTS_HIGH][self.row]

    @lots_high.setter
    def lots_high(self, lots: int) -> None:
        self.holders.table.columns[LOTS_HIGH][self.row] = lots

    def value(self, lots: int) -> int:
        """Of lots at the mark, in minor units."""
        return lots * self.mark_num // self.den

    def slots(self) -> NDArray[np.int32]:
        """The slots with a position in it, in no order."""
        return self.holders.of(self.row)
