"""What the auditor keeps: markets, traders and their legs in Fractions and minor units; what a decision takes over."""

from dataclasses import dataclass, field
from fractions import Fraction


@dataclass
class Removal:
    """A null value on the topic of positions or accounts."""

    topic: str
    account: str


@dataclass
class Market:
    """One symbol; `value` is exact, in minor units."""

    lot: Fraction
    unit: Fraction  # minor units per contract and price
    mmf: Fraction
    fund_id: str
    mark: Fraction | None = None
    tiers: list = field(default_factory=list)  # (largest value in minor units, fraction)

    def value(self, quantity):
        return quantity * self.unit * (self.mark or 0)

    def requirement(self, value):
        """Each part of a value by its own tier, the last one without end."""
        needed, begin, value = Fraction(0), 0, abs(value)
        ends = [end for end, _ in self.tiers[:-1]]
        for end, (_, fraction) in zip([*ends, value], self.tiers or [(0, self.mmf)], strict=True):
            needed += fraction * max(0, min(value, end) - begin)
            begin = end
        return needed


@dataclass
class Holding:
    quantity: Fraction
    entry: int
    margin: int | None
    adl_seq: int


@dataclass
class Leg:
    trade_id: str
    decision_id: str
    role: str
    account: str
    key: tuple[str, str]  # symbol, position side
    sign: int  # +1 a long is reduced
    adl_seq: int
    quantity: Fraction
    quote: int
    haircut: int
    round: int


@dataclass
class Trader:
    role: str = "TRADER"
    adl: str = "NORMAL"
    owner: str | None = None
    epoch: int = -1
    seq: int = -1
    adl_seq: int = 0
    full_adl_seq: int = 0
    cash: int = 0
    holdings: dict = field(default_factory=dict)  # (symbol, position side) -> Holding
    closed: dict = field(default_factory=dict)  # the same -> newest leg in a position that is gone
    legs: list = field(default_factory=list)


@dataclass
class Estate:
    """One margin unit of a bankrupt account, with what it must give up."""

    claim: int  # place of the bankruptcy in the decision
    account: str
    lines: list  # (symbol, position side, signed quantity, price or None)
    equity: int  # of its whole margin unit
    requirement: Fraction  # the same
    unit: tuple
    fractions: dict = field(default_factory=dict)  # position -> what all of it requires over its value
    deficit: Fraction = Fraction(0)  # its part of the unit's, exact
    asked: int = 0  # of it, what fund and trades are asked for


@dataclass
class Refusal:
    """Legs of one decision that were refused in one run of results, less what both sides refused."""

    bankruptcies: tuple[str, ...]
    attempt: int
    wanted: dict  # (symbol, side) -> [quantity, quote], of counterparties
    refused_by: set
    gave_less: dict = field(default_factory=dict)  # the same of liquidated accounts, by the side they hold
    open: dict = field(default_factory=dict)  # (symbol, side) -> quantity they leave open, where it changed
    lost: int = 0  # of the clearing account, where what was undone had two prices
