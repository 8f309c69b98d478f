"""What is drawn of one policy in a comparison."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Curves(NamedTuple):
    """Amounts in quote currency."""

    policy: str
    leverage_before: Floats  # of each account that a decision took from
    leverage_after: Floats
    haircut: Floats  # of each account that could be asked; no bonuses
    notional: Floats  # the same, taken
