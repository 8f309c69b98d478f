"""Tiers of margin ratio: at or below which one what share of a maintenance requirement is removed.

Rule: largest ratio first; each deeper tier removes more, so the deepest one that is reached says all.
"""

import re
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

_DECIMAL = re.compile(r"[0-9]+(\.[0-9]+)?").fullmatch


class Tier(NamedTuple):
    """One tier; the texts are what is written, the fractions what is compared."""

    text: str
    share_text: str
    ratio: Fraction
    share: Fraction
    about: float  # the ratio, nearly


def tiers_of(text: str | None) -> list[Tier]:
    """Tiers as they are written in settings, largest ratio first; raises ValueError with a sentence."""
    tiers: list[Tier] = []
    for part in (text or "").split(",") if text else ():
        ratio, _, share = (word.strip() for word in part.partition(":"))
        if not (_DECIMAL(ratio) and _DECIMAL(share)):
            raise ValueError(f"must be decimals, ratio:share, was {part.strip()!r}")
        tier = Tier(plain(Decimal(ratio)), plain(Decimal(share)), Fraction(ratio), Fraction(share), float(ratio))
        if tier.ratio <= 1:
            raise ValueError(f"ratios must be above 1, where liquidation begins, was {ratio}")
        if not 0 < tier.share <= 1:
            raise ValueError(f"shares must be above 0 and at most 1, was {share}")
        if tiers and not (tier.ratio < tiers[-1].ratio and tier.share > tiers[-1].share):
            raise ValueError(f"ratios must fall and shares rise from tier to tier, {part.strip()} does not")
        tiers.append(tier)
    return tiers


def plain(number: Decimal) -> str:
    """The one text of a decimal: no exponent, no trailing zeros."""
    return f"{number.normalize():f}"
