"""The demo's symbols and their marks: correlated walks with jumps, in whole numbers only.

No float touches a price, so a seed gives the same path on every machine.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from schemas.units import scaled, text_of

CURRENCY = "USDT"
CURRENCY_DECIMALS = 6
PPM = 1_000_000
THIN = "TTT-PERP"  # the symbol with too few counterparties
SQUEEZED = "HHH-PERP"  # the symbol that jumps up before the crash, so that shorts go bankrupt as well


def money(minor: int) -> str:
    return text_of(minor, CURRENCY_DECIMALS)


def minor_of(text: str) -> int:
    return scaled(text, CURRENCY_DECIMALS)


def _whole(value: Fraction, text: str) -> int:
    if value.denominator != 1:
        raise ValueError(f"must be a whole number of units, was {text}")
    return value.numerator


@dataclass(frozen=True, slots=True)
class Spec:
    """One synthetic symbol: value of q lots at scaled price p is floor(q * p * num / den) minor units."""

    symbol: str
    start: str
    tick: str
    lot: str
    multiplier: str
    extra_decimals: int  # scale of marks beyond the tick's
    default_scale: bool  # price_decimals left out of the Instrument
    margin_ppm: int  # maintenance margin fraction
    beta: int  # per cent of the common factor
    noise_ppm: int  # own noise of one tick
    fund: str

    @property
    def tick_decimals(self) -> int:
        return len(self.tick.partition(".")[2])

    @property
    def price_decimals(self) -> int:
        return self.tick_decimals + self.extra_decimals

    @property
    def unit(self) -> Fraction:
        in_currency = Fraction(self.lot) * Fraction(self.multiplier)
        return in_currency * Fraction(10) ** (CURRENCY_DECIMALS - self.price_decimals)

    def price(self, scaled: int) -> str:
        return text_of(scaled, self.price_decimals)

    def scaled(self, text: str) -> int:
        return scaled(text, self.price_decimals)

    def quantity(self, lots: int) -> str:
        decimals = len(self.lot.partition(".")[2])
        return text_of(lots * _whole(Fraction(self.lot) * 10**decimals, self.lot), decimals)

    def lots(self, text: str) -> int:
        return _whole(Fraction(text) / Fraction(self.lot), text)

    def on_tick(self, scaled: int) -> int:
        """The tick at or below a scaled price, never below one tick."""
        tick = self.scaled(self.tick)
        return max(tick, scaled // tick * tick)


_ROWS = (
    # start, tick, lot, multiplier, extra decimals, margin ppm, beta %, noise ppm
    ("AAA-PERP", "61250", "0.1", "0.001", "1", 6, 4_000, 80, 150),
    ("BBB-PERP", "3125.5", "0.01", "0.01", "1", 6, 5_000, 95, 180),
    ("CCC-PERP", "148.2", "0.01", "0.1", "1", 3, 6_000, 105, 220),
    ("DDD-PERP", "2.415", "0.0001", "1", "1", 3, 8_000, 100, 250),
    ("EEE-PERP", "0.6125", "0.0001", "1", "10", 3, 10_000, 105, 260),
    ("FFF-PERP", "22.41", "0.001", "0.1", "1", 3, 10_000, 110, 300),
    ("GGG-PERP", "0.18244", "0.00001", "10", "1", 3, 10_000, 110, 300),
    (SQUEEZED, "7.35", "0.001", "0.5", "1", 3, 10_000, 90, 350),
    ("III-PERP", "415.6", "0.1", "0.01", "1", 6, 10_000, 90, 250),
    ("JJJ-PERP", "0.0008125", "0.0000001", "1000", "1", 4, 12_500, 120, 350),
    ("KKK-PERP", "11.92", "0.01", "0.1", "1", 3, 12_500, 115, 320),
    ("LLL-PERP", "0.00001234", "0.00000001", "1", "1000", 6, 12_500, 125, 380),
    ("MMM-PERP", "1.044", "0.001", "1", "1", 3, 12_500, 110, 330),
    ("NNN-PERP", "88.15", "0.05", "0.02", "1", 3, 12_500, 105, 300),
    ("OOO-PERP", "5.061", "0.001", "0.5", "1", 3, 15_000, 120, 360),
    ("PPP-PERP", "0.4412", "0.0001", "5", "1", 3, 15_000, 120, 360),
    ("QQQ-PERP", "1904", "1", "0.001", "1", 4, 15_000, 100, 280),
    ("RRR-PERP", "0.0311", "0.00001", "50", "1", 3, 15_000, 125, 400),
    ("SSS-PERP", "33.02", "0.01", "0.001", "25", 3, 15_000, 115, 350),
    (THIN, "0.7714", "0.0001", "1", "1", 3, 20_000, 110, 500),
)


def specs(count: int) -> tuple[Spec, ...]:
    """The first `count` symbols; the thin one is always the last."""
    if not 2 <= count <= len(_ROWS):
        raise ValueError(f"symbols must be between 2 and {len(_ROWS)}, was {count}")
    rows = (*_ROWS[: count - 1], _ROWS[-1])
    return tuple(
        Spec(name, start, tick, lot, multiplier, extra, extra == 6, margin, beta, noise, "default" if i < 9 else "alts")
        for i, (name, start, tick, lot, multiplier, extra, margin, beta, noise) in enumerate(rows)
    )


class PricePath:
    """Marks tick by tick: calm, a crash of jumps in the middle, half a rebound."""

    def __init__(self, symbols: tuple[Spec, ...], ticks: int, rng: np.random.Generator) -> None:
        self.specs = symbols
        self.rng = rng
        self.marks = [spec.scaled(spec.start) for spec in symbols]
        self.crash = range(ticks * 35 // 100, ticks * 60 // 100)
        at = [self.crash.start + len(self.crash) * part // 100 for part in (0, 12, 30, 45, 60, 80)]
        self.jumps = dict(zip(at, (-42_000, -58_000, -35_000, -72_000, -30_000, -38_000), strict=True))
        self.jumps |= {self.crash.stop + ticks * part // 100: 22_000 for part in (3, 7, 12)}
        self.own_jumps = {
            (self.crash.start * 4 // 5, SQUEEZED): 380_000,
            (at[1], THIN): -210_000,
            (at[4], THIN): -160_000,
        }

    def is_jump(self, tick: int) -> bool:
        return tick in self.jumps and self.jumps[tick] < 0

    def step(self, tick: int) -> list[int]:
        """Scaled marks of the next tick."""
        stress = 4 if tick in self.crash else 1
        # A sum of four uniform integers is bell-shaped and, unlike a normal draw, free of libm.
        common = int(self.rng.integers(-90, 91, 4).sum()) * stress + self.jumps.get(tick, 0)
        own = self.rng.integers(-1000, 1001, (len(self.specs), 4)).sum(axis=1)
        shake = self.rng.integers(-100, 101, len(self.specs))
        for i, spec in enumerate(self.specs):
            move = common * spec.beta // 100 + int(own[i]) * spec.noise_ppm * stress // 2000
            if tick in self.jumps:
                move += abs(self.jumps[tick]) * int(shake[i]) // 300
            move += self.own_jumps.get((tick, spec.symbol), 0)
            # Never below one tick: a price must stay positive.
            self.marks[i] = max(spec.scaled(spec.tick), self.marks[i] * (PPM + max(move, -PPM // 2)) // PPM)
        return self.marks
