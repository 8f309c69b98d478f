"""What a pool counts for whoever watches it: whole numbers that the loop has anyway, handed over as one value."""

from collections.abc import Mapping
from typing import NamedTuple


class Figures(NamedTuple):
    """As of the last cut; nothing in it is changed afterwards."""

    cuts: int = 0  # records of each chained topic since the pool began
    decisions: int = 0
    forced_trades: int = 0
    reductions: int = 0
    dead_letters: int = 0
    ranks: int = 0  # records of `adl-ranks` since this process began
    states: Mapping[str, int] = {}  # symbols in each state but NORMAL
    distance_ppm: Mapping[str, int] = {}  # the smallest shock that funds would not cover, by symbol; "*": all together
