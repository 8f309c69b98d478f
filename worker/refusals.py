"""Legs that were refused: what new counterparties are asked for, and what the liquidated side left open.

Every leg faces the clearing account. So a liquidated account that gives less and a counterparty that takes less undo
each other, in one run of results or in several, whichever comes first; only the rest is replaced, or is a residual.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from worker.held import Leg

Key = tuple[str, int]  # symbol, side that is reduced: +1 longs


@dataclass(slots=True)
class Part:
    """Refused lots of one symbol and side, and the cash that their accounts would have received (+) or paid (-)."""

    lots: int = 0
    cash_minor: int = 0

    def add(self, leg: Leg) -> None:
        self.lots += leg.lots
        self.cash_minor += leg.quote_minor

    def meet(self, side: int, other: "Part") -> int:
        """Undoes what both sides refused: self's counterparties reduce `side`, `other` is the liquidated side.

        The rest of self keeps what the clearing account is still owed for it, but never more than its own share: new
        counterparties pay no more than those who refused. Returns what the clearing account lost by that.
        """
        lots = min(self.lots, other.lots)
        met = other.cash_minor * lots // other.lots
        share = self.cash_minor * (self.lots - lots) // self.lots
        owed = self.cash_minor + met
        other.lots, other.cash_minor = other.lots - lots, other.cash_minor - met
        self.lots -= lots
        # Buyers are never paid for buying.
        self.cash_minor = max(share, min(owed, 0) if side < 0 else owed) if self.lots else 0
        return max(0, share - owed)


Gone = dict[Key, Part]  # what liquidated accounts could not give, of one group of bankruptcies over all attempts


@dataclass(slots=True)
class Replacement:
    """What one run of results refused: lots and cash for new counterparties, and who must not be asked again."""

    parts: dict[Key, Part] = field(default_factory=dict)
    refused_by: set[str] = field(default_factory=set)
    gone: dict[Key, int] = field(default_factory=dict)  # lots that the liquidated side leaves open, where it changed
    lost_minor: int = 0  # of the clearing account, because lots that were undone had two prices


def replacement_of(refused: Mapping[Key, Iterable[Leg]], gone: Gone, waiting: Iterable[Replacement]) -> Replacement:
    """The legs refused in one run of results, by symbol and side; lowers what `waiting` and `gone` hold of them."""
    made = Replacement()
    before = {key: part.lots for key, part in gone.items()}
    for key, legs in sorted(refused.items()):
        for leg in legs:
            if leg.liquidated:
                gone.setdefault(key, Part()).add(leg)
            else:
                made.parts.setdefault(key, Part()).add(leg)
                made.refused_by.add(leg.account)
    for (symbol, side), other in sorted(gone.items()):
        facing = symbol, -side
        for replacement in (*waiting, made):
            part = replacement.parts.get(facing)
            if part is not None and other.lots:
                replacement.lost_minor += part.meet(-side, other)
                if not part.lots:
                    del replacement.parts[facing]
        if other.lots != before.get((symbol, side), 0):
            made.gone[symbol, side] = other.lots
    return made
