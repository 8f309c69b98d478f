"""One symbol: its scale, its mark, and who holds it."""

import numpy as np
from numpy.typing import NDArray

from schemas import limits
from schemas.messages import Instrument
from schemas.units import Scale
from worker.book.digest import cell_hash


class Market:
    """What the book knows of a symbol; `holders[:size]` are the slots with a position in it, in any order."""

    __slots__ = (
        "_said",
        "cell",
        "den",
        "event_time_ms",
        "holders",
        "instrument",
        "key",
        "log_time_ms",
        "lots_high",
        "lots_limit",
        "mark",
        "mark_num",
        "parked",
        "places",
        "row",
        "scale",
        "size",
        "symbol",
    )  # fmt: skip

    def __init__(self, row: int, instrument: Instrument, scale: Scale) -> None:
        self.row = row
        self.key = 4 * row
        self.symbol = instrument.symbol
        self.set_instrument(instrument, scale)
        self.den = scale.value_den
        self.mark = 0  # scaled; 0: never had one
        self.mark_num = 0  # mark * value_num, so that value = lots * mark_num // den
        self.event_time_ms = 0
        self.log_time_ms = 0
        self.lots_limit = limits.QUANTITY_LOTS_MAX  # of one position at this mark
        self.lots_high = 0  # at least the largest |lots| held; tightened only when it stands in the way of a mark
        self.parked = False
        self.cell = 0  # what the digest holds of this symbol
        self.size = 0
        self._take(np.empty(16, np.int32))

    def set_instrument(self, instrument: Instrument, scale: Scale) -> None:
        """What the instrument says now; its part of the symbol's cells is put in words once, not with every mark."""
        self.instrument = instrument
        self.scale = scale
        self._said = (
            "symbol", self.symbol, str(scale.tick_size), str(scale.lot), str(scale.multiplier), str(scale.mmf),
            scale.price_decimals, instrument.fund_id, instrument.status,
        )  # fmt: skip

    def _take(self, holders: NDArray[np.int32]) -> None:
        self.holders = holders
        self.places = holders.data

    def hold(self, slot: int) -> int:
        """Adds a slot; returns its place."""
        place = self.size
        if place == len(self.holders):
            holders = np.empty(2 * place, np.int32)
            holders[:place] = self.holders
            self._take(holders)
        self.places[place] = slot
        self.size = place + 1
        return place

    def release(self, place: int) -> int:
        """Removes the slot at a place; returns the slot that moved into it (itself, if it was the last)."""
        self.size -= 1
        moved = self.places[self.size]
        self.places[place] = moved
        return moved

    def hash(self) -> int:
        """The hash of the symbol's cells: what its instrument means to us, and its mark."""
        return cell_hash(*self._said, self.mark, self.event_time_ms, self.log_time_ms)

    def terms(self) -> tuple[int, ...]:
        """In the order of the fields of a symbol's terms."""
        scale, (whole, rest) = self.scale, divmod(self.mark_num, self.den)
        return (
            scale.lot_decimals, scale.lot_scaled, self.lots_limit, scale.price_decimals, scale.price_scaled_max,
            scale.value_num, self.den, whole, rest,
        )  # fmt: skip

    def slots(self) -> NDArray[np.int32]:
        return self.holders[: self.size]
